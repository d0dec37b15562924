"""dipedge invert IN -o OUT --model alexnet --weights FILE --layer conv3"""

from __future__ import annotations

from dipedge import models
from dipedge.cli.network import SIZE, Layer, Model, Size, Weights
from dipedge.cli.options import restoring
from dipedge.tasks import InvertFeatures


@restoring(reads=("weights",))
def invert(model: Model, weights: Weights, layer: Layer, size: Size = SIZE) -> InvertFeatures:
    """Finds a natural picture that a trained network takes for IN, judged by one layer."""
    return InvertFeatures(models.build(model, weights), layer, size)
