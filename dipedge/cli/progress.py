"""How far a fit is: a bar on a terminal, now and then a line elsewhere; both on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from dipedge.result import Step

LINE_SECONDS = 10.0


def clock_time(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def status(step: Step) -> str:
    """Steps a second, time left and loss."""
    rate = step.index / step.seconds if step.seconds > 0 else 0.0
    left = time_left(step, rate)
    return ", ".join([f"{rate:.1f} steps/s", *([left] if left else []), f"loss {step.loss:.5f}"])


def time_left(step: Step, rate: float) -> str:
    """In words; empty where nothing is known.

    In one piece, and in the first of several tiles, it is an upper bound: a rule may end the fit sooner. From
    the second tile on those that are done tell what the others will take.
    """
    if rate <= 0:
        return ""
    of_what = "of this fit " if step.fits > 1 else ""
    if step.tile > 1:
        usual = step.earlier / (step.tile - 1)
        rest = max(usual * (step.tiles - step.tile + 1) - (step.index - step.earlier), 0)
        return f"about {clock_time(rest / rate)} {of_what}left"
    if step.limit is None:
        return ""
    return f"at most {clock_time((step.limit - step.index) / rate)} {of_what}left"


def named(name: str, step: Step) -> str:
    """The picture, and which fit and tile of it where there are several."""
    fit = f", fit {step.fit} of {step.fits}" if step.fits > 1 else ""
    tile = f", tile {step.tile} of {step.tiles}" if step.tiles > 1 else ""
    return name + fit + tile


class Lines:
    """A plain line every few seconds, for logs and pipes.

    Args:
        stream: where to.
        clock: seconds, from any beginning.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._name, self._last = "", 0.0

    def begin(self, name: str) -> None:
        self._name, self._last = name, self._clock()

    def __call__(self, step: Step) -> None:
        now = self._clock()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            of = f"/{step.limit}" if step.limit is not None else ""
            name = named(self._name, step)
            print(f"{name}: step {step.index}{of}, {status(step)}", file=self._stream, flush=True)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Bar:
    """A bar that is drawn in place and gone when the work is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=Console(file=sys.stderr),
            transient=True,
        )
        self._task: Any = None
        self._name = ""

    def begin(self, name: str) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._name = name
        self._task = self._progress.add_task(name, total=None, status="preparing")

    def __call__(self, step: Step) -> None:
        name = named(self._name, step)
        self._progress.update(
            self._task, description=name, completed=step.index, total=step.limit, status=status(step)
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def progress() -> Bar | Lines:
    """The right one for where standard error goes."""
    return Bar() if sys.stderr.isatty() else Lines(sys.stderr)
