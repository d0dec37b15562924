"""The options that every restoring command has, and the decorator that gives them to one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_type_hints

import typer

from dipedge.cli.restoring import Options, restore_files
from dipedge.tasks import Task

Inputs = Annotated[list[str], typer.Argument(metavar="IN", help="Files, folders or globs.")]
Output = Annotated[str, typer.Option("--output", "-o", metavar="OUT", help="File, or folder for several.")]
File = Annotated[str | None, typer.Option(metavar="FILE")]

# What a session is told; the names are those of ``Options``.
FIT: dict[str, tuple[Any, Any]] = {
    "prior": (
        Annotated[
            str | None,
            typer.Option(
                metavar="pip|dip|unet|resnet|pixels|tv", help="What is fitted; default: the task's first."
            ),
        ],
        None,
    ),
    "engine": (
        Annotated[
            str, typer.Option(metavar="auto|native|triton|torch", help="Who computes; see dipedge info.")
        ],
        "auto",
    ),
    "quality": (
        Annotated[str, typer.Option(metavar="paper|balanced|fast", help="Which settings.")],
        "balanced",
    ),
    "steps": (
        Annotated[int | None, typer.Option(help="Exactly so many; default: end by itself or preset.")],
        None,
    ),
    "seed": (
        Annotated[int, typer.Option(help="Of weights, input and perturbation: same seed, same bits.")],
        0,
    ),
    "ensemble": (
        Annotated[int, typer.Option(help="Fits that are averaged, with seed, seed + 1, ...; 1 to 64.")],
        1,
    ),
    "threads": (Annotated[int | None, typer.Option(help="Worker threads; default: all processors.")], None),
    "average": (
        Annotated[float | None, typer.Option(help="Weight of the past in the averaged output; 0: raw.")],
        None,
    ),
    "learning_rate": (
        Annotated[float | None, typer.Option("--learning-rate", help="Of the optimiser; default: preset.")],
        None,
    ),
    "precision": (
        Annotated[str, typer.Option(metavar="auto|fp32|bf16", help="What the engine computes in.")],
        "auto",
    ),
    "json": (
        Annotated[str | None, typer.Option(metavar="FILE", help="Writes what happened as JSON.")],
        None,
    ),
    "history": (
        Annotated[bool, typer.Option("--history", help="The JSON has the loss (PSNR, SSIM) by step, too.")],
        False,
    ),
    "report": (
        Annotated[str | None, typer.Option(metavar="FILE", help="Writes a page to look at, as HTML.")],
        None,
    ),
}
# What only makes sense where there was a picture before.
PICTURE: dict[str, tuple[Any, Any]] = {
    "tiles": (
        Annotated[
            str,
            typer.Option(
                metavar="auto|none|SIDE[,OVERLAP]", help="How a large picture is cut; auto: from 1 MP up."
            ),
        ],
        "auto",
    ),
    "reference": (
        Annotated[
            str | None,
            typer.Option(metavar="GT", help="The true picture (or a folder of them), for PSNR and SSIM."),
        ],
        None,
    ),
    "measure_every": (
        Annotated[
            int | None,
            typer.Option("--measure-every", help="Steps between looks at GT; default: a hundredth of all."),
        ],
        None,
    ),
    "side_by_side": (
        Annotated[
            str | None,
            typer.Option(metavar="FILE", help="Writes degraded | restored [| reference] as one picture."),
        ],
        None,
    ),
}
# What only some tasks have.
SOME: dict[str, tuple[Any, Any]] = {
    "preset": (
        Annotated[
            str | None,
            typer.Option(metavar="text|large-hole|large-hole-6|-4|-2|half", help="Which published settings."),
        ],
        None,
    ),
}


def restoring(
    make: Callable[..., Task] | None = None,
    *,
    reads: Sequence[str] = (),
    settings: Sequence[str] = (),
    parts: dict[str, str] | None = None,
) -> Callable[..., Any]:
    """Makes a command of a function that only says what its task is.

    Args:
        make: takes the command's own arguments, gives the task. Its docstring is the command's help.
        reads: names of its arguments that are files, which no output may overwrite.
        settings: names in ``SOME`` that it has too.
        parts: an option ``--NAME FILE`` for each, that writes ``FitResult.parts[NAME]`` of one picture; the
            value is its help.

    Its own arguments stand before the shared ones in the help. If the command's task begins from no picture
    (``Task.needs_picture``), it has neither IN nor what needs one; the return annotation of ``make`` says so.
    """
    if make is None:
        return lambda function: restoring(function, reads=reads, settings=settings, parts=parts)
    hints = get_type_hints(make, include_extras=True)
    kind, parts = hints.pop("return"), parts or {}
    begins_from_picture = kind.needs_picture
    own = list(inspect.signature(make).parameters.values())
    own = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
    positional = {"inputs": Inputs} if begins_from_picture else {}
    shared = {name: SOME[name] for name in settings} | FIT | (PICTURE if begins_from_picture else {})
    files = {
        name: (Annotated[str | None, typer.Option(metavar="FILE", help=text)], None)
        for name, text in parts.items()
    }

    def command(**values: Any) -> None:
        given = {parameter.name: values.pop(parameter.name) for parameter in own}
        task = make(**given)
        inputs = values.pop("inputs", None)
        written = {name: path for name in files if (path := values.pop(name)) is not None}
        read = [value for name in reads if isinstance(value := given[name], str)]
        raise typer.Exit(restore_files(task, inputs, Options(**values, parts=written), read))

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = [inspect.Parameter(name, keyword, annotation=hint) for name, hint in positional.items()]
    signature += [parameter.replace(kind=keyword) for parameter in own]
    signature += [inspect.Parameter("output", keyword, annotation=Output)]
    signature += [
        inspect.Parameter(name, keyword, annotation=hint, default=default)
        for name, (hint, default) in {**files, **shared}.items()
        if name not in hints
    ]
    command.__signature__ = inspect.Signature(signature)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in signature}
    command.__name__, command.__doc__ = make.__name__, make.__doc__
    return command
