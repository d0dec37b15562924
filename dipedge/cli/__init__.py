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

from dipedge.cli.activate import activate
from dipedge.cli.dehaze import dehaze
from dipedge.cli.invert import invert
from dipedge.cli.options import restoring
from dipedge.cli.restoring import INTERRUPTED
from dipedge.cli.text import text
from dipedge.cli.video import video
from dipedge.errors import DipedgeError, EngineFallbackWarning
from dipedge.tasks import Denoise, Enhance, FlashNoFlash, Inpaint, RemoveJpeg, SuperResolve

# BadParameter, UsageError, ClickException: the last is what every complaint about a command line derives
# from. Where it is imported from has changed with typer's versions; that BadParameter has it has not.
UsageProblem = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="dipedge",
    help="Restores pictures with untrained networks, fitted to the one picture at hand.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
@restoring
def denoise(
    sigma: Annotated[float | None, typer.Option(help="The noise's standard deviation, 0..255.")] = None,
) -> Denoise:
    """Removes noise."""
    return Denoise(sigma)


@app.command()
@restoring
def jpeg() -> RemoveJpeg:
    """Removes the artefacts of JPEG compression."""
    return RemoveJpeg()


@app.command()
@restoring
def superresolve(
    scale: Annotated[int, typer.Option(metavar="2|3|4|8", help="How many times larger.")] = 4,
) -> SuperResolve:
    """Enlarges pictures."""
    return SuperResolve(scale)


@app.command()
@restoring(reads=("mask",), settings=("preset",))
def inpaint(
    mask: Annotated[str, typer.Option(metavar="M", help="Picture of the same size: nonzero = known.")],
    keep: Annotated[bool, typer.Option(help="Known pixels come back as they were.")] = True,
) -> Inpaint:
    """Fills holes."""
    return Inpaint(mask, keep)


@app.command()
@restoring(parts={"coarse": "Writes the picture without its detail."})
def enhance(
    strength: Annotated[float, typer.Option(help="How much of the detail is added; 1 doubles it.")] = 1.0,
) -> Enhance:
    """Brings out detail. Fewer --steps take more for detail."""
    return Enhance(strength)


@app.command()
@restoring(reads=("flash",))
def flash(
    flash: Annotated[str, typer.Option(metavar="FLASH", help="The same scene, taken with a flash.")],
) -> FlashNoFlash:
    """Denoises a picture taken without a flash by one taken with it."""
    return FlashNoFlash(flash)


app.command()(invert)
app.command()(activate)
app.command()(dehaze)
app.command()(text)
app.add_typer(video, name="video")


@app.command()
def info() -> None:
    """Shows the version, the machine and which engines can run on it."""
    from dipedge.cli.machine import describe

    print("\n".join(describe()))


@app.command()
def bench(
    size: Annotated[int, typer.Option(help="Side of the square picture, 16 or more.")] = 256,
    prior: Annotated[str, typer.Option(metavar="pip|dip", help="The network that is fitted.")] = "pip",
    seconds: Annotated[float, typer.Option(help="Measured for about so long on each engine.")] = 5.0,
    threads: Annotated[int | None, typer.Option(help="Worker threads; default: all processors.")] = None,
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
