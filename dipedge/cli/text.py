"""``dipedge text``: a picture out of words."""

from __future__ import annotations

from typing import Annotated

import typer

from dipedge import encoders
from dipedge.cli.options import restoring
from dipedge.errors import InputError
from dipedge.tasks import Encoders, MatchText

KNOWN = "open_clip:MODEL/WEIGHTS or huggingface:NAME or huggingface:FOLDER"


@restoring
def text(
    text: Annotated[str, typer.Argument(metavar="TEXT", help='What it shall show: "a lake | stars:0.5".')],
    encoder: Annotated[
        str,
        typer.Option(metavar="KIND:MODEL", help=f"Who compares picture and text: {KNOWN}."),
    ],
    size: Annotated[str, typer.Option(metavar="SIDE|HxW", help="Of the picture, in pixels.")] = "512",
    negative: Annotated[str | None, typer.Option(metavar="TEXT", help="What it shall not show.")] = None,
    cutouts: Annotated[int, typer.Option(help="Pieces of the picture that are looked at in a step.")] = 10,
) -> MatchText:
    """Makes a picture that fits a text."""
    sides = sides_of(size)
    # Checked before a model is loaded, which takes long: every complaint that can come without one.
    MatchText(text, Encoders(image=abs, text=len), sides, negative, cutouts)
    return MatchText(text, encoders_of(encoder), sides, negative, cutouts)


def sides_of(size: str) -> int | tuple[int, int]:
    """ "512" -> 512, "384x512" -> (384, 512): height, then width.

    Raises:
        InputError: anything else.
    """
    sides = size.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise InputError(f"size is {size!r}; it must be SIDE or HEIGHTxWIDTH (pixels)")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def encoders_of(encoder: str) -> Encoders:
    """The encoders that ``--encoder`` means.

    Raises:
        InputError: another form, or a package that is not installed.
        FileError: the model could not be had.
    """
    kind, _, model = encoder.partition(":")
    if kind == "open_clip":
        name, _, weights = model.partition("/")
        if name and weights:
            return encoders.open_clip(name, weights)
    elif kind == "huggingface" and model:
        return encoders.hugging_face(model)
    raise InputError(f"encoder is {encoder!r}; it must be {KNOWN}")
