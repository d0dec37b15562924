"""The options that every command for videos has, and the decorator that gives them to one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_type_hints

import typer

from dipedge.cli.options import FIT, PICTURE
from dipedge.cli.video_run import Filming, restore_clip
from dipedge.tasks import Task

Inputs = Annotated[
    list[str], typer.Argument(metavar="IN", help="A video, a folder of frames, a glob of frames, or frames.")
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="OUT", help="Video, folder of frames, or FOLDER/*.png (.tif, .jpg)."
    ),
]
# What single pictures have, too.
SHARED = ("prior", "engine", "quality", "steps", "seed", "threads", "precision", "json", "history")
OWN: dict[str, tuple[Any, Any]] = {
    "segment": (
        Annotated[int | None, typer.Option(help="Most frames that are fitted together; default: preset.")],
        None,
    ),
    "overlap": (
        Annotated[int | None, typer.Option(help="Frames that two segments share; default: preset.")],
        None,
    ),
    "motion": (
        Annotated[
            str, typer.Option(metavar="auto|shift|affine|none", help="How coordinates follow the camera.")
        ],
        "auto",
    ),
    "times": (Annotated[int, typer.Option(help="2 adds a frame between each two; 1 to 8.")], 1),
    "resume": (
        Annotated[bool, typer.Option("--resume", help="Goes on from what a killed run has left.")],
        False,
    ),
    "rate": (
        Annotated[float | None, typer.Option(help="Frames a second of a folder of frames; default: 25.")],
        None,
    ),
    "codec": (
        Annotated[
            str | None,
            typer.Option(metavar="h264|hevc|vp9|av1|ffv1|prores|...", help="Default: the input's."),
        ],
        None,
    ),
    "crf": (
        Annotated[int | None, typer.Option(help="The codec's quality, 0 is best; default: no visible loss.")],
        None,
    ),
    "audio": (
        Annotated[bool, typer.Option("--copy-audio/--no-audio", help="Whether the sound comes along.")],
        True,
    ),
    "reference": (
        Annotated[
            str | None,
            typer.Option(metavar="GT", help="The true video or frames, for PSNR, SSIM and 3D-SSIM."),
        ],
        None,
    ),
}


def filming(make: Callable[..., Task] | None = None, *, reads: Sequence[str] = ()) -> Callable[..., Any]:
    """Makes a command for videos of a function that only says what its task is.

    Args:
        make: takes the command's own arguments, gives the task. Its docstring is the command's help.
        reads: names of its arguments that are files, which no output may overwrite.
    """
    if make is None:
        return lambda function: filming(function, reads=reads)
    hints = get_type_hints(make, include_extras=True)
    hints.pop("return")
    own = list(inspect.signature(make).parameters.values())
    shared = {name: FIT[name] for name in SHARED} | {"tiles": PICTURE["tiles"]} | OWN

    def command(**values: Any) -> None:
        given = {parameter.name: values.pop(parameter.name) for parameter in own}
        inputs = values.pop("inputs")
        read = [value for name in reads if isinstance(value := given[name], str)]
        raise typer.Exit(restore_clip(make(**given), inputs, Filming(**values), read))

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = [inspect.Parameter("inputs", keyword, annotation=Inputs)]
    signature += [each.replace(kind=keyword, annotation=hints[each.name]) for each in own]
    signature += [inspect.Parameter("output", keyword, annotation=Output)]
    signature += [
        inspect.Parameter(name, keyword, annotation=hint, default=default)
        for name, (hint, default) in shared.items()
    ]
    command.__signature__ = inspect.Signature(signature)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in signature}
    command.__name__, command.__doc__ = make.__name__, make.__doc__
    return command
