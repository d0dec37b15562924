"""``dipedge dehaze``: its own arguments, and the task they make."""

from __future__ import annotations

from typing import Annotated

import typer

from dipedge.cli.options import restoring
from dipedge.errors import InputError
from dipedge.tasks import Dehaze


def _colour(text: str | None) -> tuple[float, ...] | None:
    """The colour that ``--airlight R,G,B`` means."""
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"airlight is {text!r}; it must be R,G,B, each in [0, 1]") from None


@restoring(parts={"transmission": "Writes the share of light that came through, white = clear."})
def dehaze(
    airlight: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="The haze's colour, each 0..1; default: found.")
    ] = None,
    clip: Annotated[
        bool, typer.Option("--clip", help="As published: shadows and lights may lose their detail.")
    ] = False,
    longest: Annotated[int, typer.Option(help="Longest side of the fit, pixels; the answer is full.")] = 512,
) -> Dehaze:
    """Removes haze."""
    return Dehaze(_colour(airlight), longest, keep_range=not clip)
