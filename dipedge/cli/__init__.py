"""The command line: ``dipedge denoise IN -o OUT`` and its sisters.

Exit codes: 0 done; 2 bad usage or bad input (one line on standard error, nothing half-written); 130 after
Ctrl-C, with the best result so far written; 1 anything else. A traceback always means a defect of ours.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import typer

from dipedge.cli.restoring import INTERRUPTED, Options, restore_files
from dipedge.errors import DipedgeError, EngineFallbackWarning
from dipedge.tasks import Denoise, Inpaint, RemoveJpeg, SuperResolve

# BadParameter, UsageError, ClickException: the last is what every complaint about a command line derives
# from. Where it is imported from has changed with typer's versions; that BadParameter has it has not.
UsageProblem = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="dipedge",
    help="Restores pictures with untrained networks, fitted to the one picture at hand.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Inputs = Annotated[list[str], typer.Argument(metavar="IN", help="Files, folders or globs.")]
Output = Annotated[str, typer.Option("--output", "-o", metavar="OUT", help="File, or folder for several.")]
Prior = Annotated[str, typer.Option(metavar="pip|dip", help="The network that is fitted.")]
Engine = Annotated[
    str, typer.Option(metavar="auto|native|triton|torch", help="Who computes; see dipedge info.")
]
Quality = Annotated[str, typer.Option(metavar="paper|balanced|fast", help="Which settings.")]
Steps = Annotated[int | None, typer.Option(help="Exactly so many steps; default: end by itself or preset.")]
Seed = Annotated[int, typer.Option(help="Of weights, input and perturbation: same seed, same bits.")]
Ensemble = Annotated[int, typer.Option(help="Fits that are averaged, with seed, seed + 1, ...; 1 to 64.")]
Threads = Annotated[int | None, typer.Option(help="Worker threads; default: all processors.")]
Average = Annotated[float | None, typer.Option(help="Weight of the past in the averaged output; 0: raw.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="Of the optimiser; default: preset.")]
Precision = Annotated[str, typer.Option(metavar="auto|fp32|bf16", help="What the engine computes in.")]
Tiles = Annotated[
    str,
    typer.Option(metavar="auto|none|SIDE[,OVERLAP]", help="How a large picture is cut; auto: from 1 MP up."),
]
Reference = Annotated[
    str | None, typer.Option(metavar="GT", help="The true picture (or a folder of them), for PSNR and SSIM.")
]
Json = Annotated[str | None, typer.Option(metavar="FILE", help="Writes what happened as JSON.")]
SideBySide = Annotated[
    str | None, typer.Option(metavar="FILE", help="Writes degraded | restored [| reference] as one picture.")
]


def _run(task: Denoise | RemoveJpeg | SuperResolve | Inpaint, inputs: list[str], **options: object) -> None:
    mask = task.mask if isinstance(task, Inpaint) else None
    raise typer.Exit(restore_files(task, inputs, Options(**options), mask))


@app.command()
def denoise(
    inputs: Inputs,
    output: Output,
    sigma: Annotated[float | None, typer.Option(help="The noise's standard deviation, 0..255.")] = None,
    prior: Prior = "pip",
    engine: Engine = "auto",
    quality: Quality = "balanced",
    steps: Steps = None,
    seed: Seed = 0,
    ensemble: Ensemble = 1,
    threads: Threads = None,
    average: Average = None,
    learning_rate: Rate = None,
    precision: Precision = "auto",
    tiles: Tiles = "auto",
    reference: Reference = None,
    json: Json = None,
    side_by_side: SideBySide = None,
) -> None:
    """Removes noise."""
    options = {name: value for name, value in locals().items() if name not in ("inputs", "sigma")}
    _run(Denoise(sigma), inputs, **options)


@app.command()
def jpeg(
    inputs: Inputs,
    output: Output,
    prior: Prior = "pip",
    engine: Engine = "auto",
    quality: Quality = "balanced",
    steps: Steps = None,
    seed: Seed = 0,
    ensemble: Ensemble = 1,
    threads: Threads = None,
    average: Average = None,
    learning_rate: Rate = None,
    precision: Precision = "auto",
    tiles: Tiles = "auto",
    reference: Reference = None,
    json: Json = None,
    side_by_side: SideBySide = None,
) -> None:
    """Removes the artefacts of JPEG compression."""
    options = {name: value for name, value in locals().items() if name != "inputs"}
    _run(RemoveJpeg(), inputs, **options)


@app.command()
def superresolve(
    inputs: Inputs,
    output: Output,
    scale: Annotated[int, typer.Option(metavar="2|3|4|8", help="How many times larger.")] = 4,
    prior: Prior = "pip",
    engine: Engine = "auto",
    quality: Quality = "balanced",
    steps: Steps = None,
    seed: Seed = 0,
    ensemble: Ensemble = 1,
    threads: Threads = None,
    average: Average = None,
    learning_rate: Rate = None,
    precision: Precision = "auto",
    tiles: Tiles = "auto",
    reference: Reference = None,
    json: Json = None,
    side_by_side: SideBySide = None,
) -> None:
    """Enlarges pictures."""
    options = {name: value for name, value in locals().items() if name not in ("inputs", "scale")}
    _run(SuperResolve(scale), inputs, **options)


@app.command()
def inpaint(
    inputs: Inputs,
    output: Output,
    mask: Annotated[str, typer.Option(metavar="M", help="Picture of the same size: nonzero = known.")],
    prior: Annotated[
        str, typer.Option(metavar="pip|dip", help="Or pip-large-hole, dip-large-hole, dip-half ...")
    ] = "pip",
    engine: Engine = "auto",
    quality: Quality = "balanced",
    steps: Steps = None,
    seed: Seed = 0,
    ensemble: Ensemble = 1,
    threads: Threads = None,
    average: Average = None,
    learning_rate: Rate = None,
    precision: Precision = "auto",
    tiles: Tiles = "auto",
    reference: Reference = None,
    json: Json = None,
    side_by_side: SideBySide = None,
) -> None:
    """Fills holes."""
    options = {name: value for name, value in locals().items() if name not in ("inputs", "mask")}
    _run(Inpaint(mask), inputs, **options)


@app.command()
def info() -> None:
    """Shows the version, the machine and which engines can run on it."""
    from dipedge.cli.machine import describe

    print("\n".join(describe()))


@app.command()
def bench(
    size: Annotated[int, typer.Option(help="Side of the square picture, 16 or more.")] = 256,
    prior: Prior = "pip",
    seconds: Annotated[float, typer.Option(help="Measured for about so long on each engine.")] = 5.0,
    threads: Threads = None,
) -> None:
    """Compares the engines' steps per second, and their outputs."""
    from dipedge.cli.bench import compare

    compare(size, prior, seconds, threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; the exit code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", EngineFallbackWarning)
            warnings.showwarning = partial(_in_one_line, warnings.showwarning)
            code = app(
                args=None if arguments is None else list(arguments),
                prog_name="dipedge",
                standalone_mode=False,
            )
    except UsageProblem as problem:
        return _complain(f"{problem.format_message()} (dipedge --help shows what there is)", 2)
    except DipedgeError as error:
        return _complain(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _in_one_line(otherwise: Callable[..., None], message: Warning | str, *where: object) -> None:
    """Shows a warning of ours as all lines for users look; others with their place in the code."""
    if isinstance(message, EngineFallbackWarning):
        print(f"dipedge: note: {message}", file=sys.stderr)
    else:
        otherwise(message, *where)


def _complain(text: str, code: int) -> int:
    print(f"dipedge: {' '.join(text.split())}", file=sys.stderr)
    return code
