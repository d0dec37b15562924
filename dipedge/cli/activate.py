"""dipedge activate -o OUT --model alexnet --weights FILE --layer conv5 --unit 7"""

from __future__ import annotations

from typing import Annotated

import typer

from dipedge import models
from dipedge.cli.network import SIZE, Layer, Model, Size, Weights
from dipedge.cli.options import restoring
from dipedge.tasks import MaximizeActivation


@restoring(reads=("weights",))
def activate(
    model: Model,
    weights: Weights,
    layer: Layer,
    unit: Annotated[int, typer.Option(help="Feature map or output, counted from 0.")],
    size: Size = SIZE,
    window: Annotated[
        int, typer.Option(help="Side of the map's middle that is excited; as published: 40.")
    ] = 1,
    goal: Annotated[float | None, typer.Option(help="The activation aimed at; default: the highest.")] = None,
) -> MaximizeActivation:
    """Makes a picture that excites one unit of a trained network most."""
    network = models.build(model, weights)
    return MaximizeActivation(network, layer, unit, size, window=window, goal=goal)
