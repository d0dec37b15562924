"""``dipedge video denoise IN -o OUT`` and its sisters: clips, as files or folders of frames."""

from __future__ import annotations

from typing import Annotated

import typer

from dipedge.cli.video_options import filming
from dipedge.tasks import Denoise, Inpaint, RemoveJpeg, SuperResolve

video = typer.Typer(
    help="Restores videos: one network of space and time is fitted to many frames at once.",
    no_args_is_help=True,
)


@video.command()
@filming
def denoise(
    sigma: Annotated[float | None, typer.Option(help="The noise's standard deviation, 0..255.")] = None,
) -> Denoise:
    """Removes noise."""
    return Denoise(sigma)


@video.command()
@filming
def jpeg() -> RemoveJpeg:
    """Removes the artefacts of compression in blocks."""
    return RemoveJpeg()


@video.command()
@filming
def superresolve(
    scale: Annotated[int, typer.Option(metavar="2|3|4|8", help="How many times larger.")] = 4,
) -> SuperResolve:
    """Enlarges videos."""
    return SuperResolve(scale)


@video.command()
@filming(reads=("mask",))
def inpaint(
    mask: Annotated[
        str,
        typer.Option(metavar="M", help="Picture for all frames, or a video or folder: nonzero = known."),
    ],
    keep: Annotated[bool, typer.Option(help="Known pixels come back as they were.")] = True,
) -> Inpaint:
    """Fills holes."""
    return Inpaint(mask, keep)
