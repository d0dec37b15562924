"""What the commands that look into a trained network are told of it."""

from __future__ import annotations

from typing import Annotated

import typer

from dipedge.models import MODELS

Model = Annotated[str, typer.Option(metavar="|".join(MODELS), help="Which network.")]
Weights = Annotated[
    str, typer.Option(metavar="FILE", help="Its weights: .pth, .safetensors or .npz; dipedge brings none.")
]
Layer = Annotated[
    str, typer.Option(metavar="NAME", help="conv3, conv3_2, fc6 ..., or as torchvision: features.6.")
]
Size = Annotated[int, typer.Option(help="Side of what the network sees, in pixels.")]
SIZE = 224  # what these networks were trained on
