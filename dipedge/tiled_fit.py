"""TiledFit: a picture larger than one fit can hold, fitted tile by tile on one program.

The program is compiled once. Before every tile it is set back to its first state, so each tile is the fit
that its own pixels alone would have had, with the same seed; neighbours and order do not matter.
Starting a tile from its neighbour's weights instead was measured and rejected (docs/large_pictures.md).

Only the answer is kept, as float32: 288 MB for 24 megapixels. A tile's estimate is added to it, multiplied by
the tile's cross-fade, and forgotten.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from dipedge import arrays
from dipedge.course import Course
from dipedge.engines.base import Program
from dipedge.errors import OutOfMemoryError
from dipedge.fit import FitDivergedError, fit_steps
from dipedge.result import FitResult, FittedTile, Step, StopReason
from dipedge.stopping import Rule
from dipedge.tiles import Grid

Clock = Callable[[], float]


class TiledFit:
    """One picture's answer, as far as it has come.

    Args:
        picture: as ``arrays.read`` gives it.
        mask: bool [H, W], True = known, or None.
        grid: of the picture.
        scale: how many times larger the answer is.

    Attributes:
        estimate: float32 [scale * H, scale * W, C], the sum of what was added so far.
        tiles: those that were added.
        history: the losses of all steps.

    Raises:
        OutOfMemoryError: the answer alone needs more memory than there is.
    """

    def __init__(self, picture: arrays.Picture, mask: np.ndarray | None, grid: Grid, scale: int) -> None:
        self._picture, self._mask = picture, mask
        self._places = list(grid.places())
        enlarged = grid.enlarged(scale)
        self._answer_places, self._weights = list(enlarged.places()), list(enlarged.weights())
        self._grid = grid
        height, width, channels = picture.shape
        self.estimate = _zeros((height * scale, width * scale, channels))
        self.tiles: list[FittedTile] = []
        self.history: list[float] = []

    def run(
        self,
        program: Program,
        stop: Rule,
        clock: Clock,
        backtrack: bool,
        progress: Callable[[Step], object] | None,
        noise: Callable[[np.ndarray], float | None] = lambda target: None,
    ) -> None:
        """Fits every tile to ``stop``.

        Args:
            program: compiled for one tile, before its first step.
            stop: the rule of every single tile. Time is the exception: see ``_tile_clock``.
            clock: seconds since the whole fit began.
            backtrack: as ``fit_steps`` takes it.
            progress: called after every step, with counts of the whole picture.
            noise: gives the variance of a tile's noise, for rules that ask for it.

        Raises:
            FitDivergedError: the message names the tile.
            KeyboardInterrupt: what the tile came to until then has been added.
        """
        # The input is fixed and may be large (32 numbers a pixel), so it stays where it is.
        first = {key: values for key, values in program.state().items() if key != "input"}
        for index, (rows, columns) in enumerate(self._places):
            if index > 0:
                program.load_state(first)
            mask = None if self._mask is None else self._mask[rows, columns]
            target = self._picture.window(rows, columns)
            program.set_target(target, mask)
            known = 1.0 if mask is None else float(mask.mean())
            tile_clock = self._tile_clock(clock)
            steps = fit_steps(
                program,
                stop,
                clock=tile_clock,
                backtrack=backtrack,
                known=known,
                noise=partial(noise, target),
            )
            try:
                self._follow(steps, program, clock, progress)
            except FitDivergedError as error:
                raise FitDivergedError(f"{self._grid.name(index)}: {error}") from error

    def _follow(
        self,
        steps: Iterator[Step],
        program: Program,
        clock: Clock,
        progress: Callable[[Step], object] | None,
    ) -> None:
        """Consumes the loop of the current tile and adds what it came to."""
        course, began, index = Course(), clock(), len(self.tiles)
        try:
            for step in steps:
                course.take(step)
                if progress is not None:
                    progress(self._of_whole(step, clock()))
            self._add(course, program, clock() - began, course.last.reason)
        except KeyboardInterrupt:
            if course.last is not None and len(self.tiles) == index:
                self._add(course, program, clock() - began, StopReason.INTERRUPTED)
            raise

    def _tile_clock(self, clock: Clock) -> Clock:
        """The time a stopping rule sees in the next tile: as if every tile still to come took as long as it.

        A deadline is meant for the picture. With this clock each tile ends when its share of what is left is
        used up, and a tile that ends earlier leaves its time to the others.
        """
        began, left = clock(), len(self._places) - len(self.tiles)
        return lambda: began + (clock() - began) * left

    def _of_whole(self, step: Step, seconds: float) -> Step:
        """A tile's step as a step of the whole picture."""
        earlier, left = self._steps(), len(self._places) - len(self.tiles)
        return replace(
            step,
            index=earlier + step.index,
            seconds=seconds,
            limit=None if step.limit is None else earlier + left * step.limit,
            reason=step.reason if left == 1 else None,
            tile=len(self.tiles) + 1,
            tiles=len(self._places),
            earlier=earlier,
        )

    def _add(self, course: Course, program: Program, seconds: float, reason: StopReason) -> None:
        """Joins the current tile's estimate to the answer."""
        self._join(course.estimate(program), course, seconds, reason)

    def _join(self, estimate: np.ndarray, course: Course | None, seconds: float, reason: StopReason) -> None:
        """Without a course it is a tile that was not reached."""
        (rows, columns), (down, across) = (
            which[len(self.tiles)] for which in (self._answer_places, self._weights)
        )
        place = rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
        went = (0, 0.0, 0, None) if course is None else _figures(course, seconds)
        tile = FittedTile(*place, *went, reason)
        part, window = estimate * (down * across), self.estimate[rows, columns]
        # Nothing is called between these lines, so Ctrl-C finds the tile joined and noted, or neither.
        window += part
        self.history += [] if course is None else course.history
        self.tiles.append(tile)

    def _steps(self) -> int:
        return sum(tile.steps for tile in self.tiles)

    def fill(self) -> None:
        """Shows the picture that went in where no tile has been fitted (enlarged, for super-resolution)."""
        for index in range(len(self.tiles), len(self._places)):
            rows, columns = self._answer_places[index]
            pixels = self._picture.window(*self._places[index])
            shown = arrays.enlarged(pixels, rows.stop - rows.start, columns.stop - columns.start)
            self._join(shown, None, 0.0, StopReason.INTERRUPTED)

    def result(self, seconds: float, engine: str, device: dict[str, str]) -> FitResult:
        """What ``FitResult`` says of all tiles together."""
        begun = [tile for tile in self.tiles if tile.steps > 0]
        interrupted = any(tile.reason is StopReason.INTERRUPTED for tile in self.tiles)
        commonest = Counter(tile.reason for tile in begun).most_common(1)[0][0]
        return FitResult(
            image=self._picture.give_back(self.estimate),
            reason=StopReason.INTERRUPTED if interrupted else commonest,
            steps=self._steps(),
            seconds=seconds,
            loss=statistics.fmean(tile.loss for tile in begun),
            history=np.array(self.history),
            engine=engine,
            device=device,
            chosen_step=sum(tile.chosen_step for tile in begun),
            tiles=tuple(self.tiles),
        )


def _figures(course: Course, seconds: float) -> tuple[int, float, int, float]:
    """Steps, seconds, chosen step and loss, as ``FittedTile`` has them."""
    return course.last.index, seconds, course.chosen_step, course.last.loss


def _zeros(shape: tuple[int, int, int]) -> np.ndarray:
    """The answer's array, there from the start: to run out of memory after hours helps nobody."""
    needed, available = 4 * math.prod(shape), _available_bytes()
    try:
        if available is not None and needed > available:
            raise MemoryError
        answer = np.empty(shape, np.float32)
        answer.fill(0)  # the system hands out pages when they are first written, not when they are asked for
    except MemoryError as error:
        size = " x ".join(map(str, shape))
        there = "" if available is None else f"; {available / 2**20:.0f} MiB are available"
        message = f"an answer of {size} needs {needed / 2**20:.0f} MiB of memory{there}"
        raise OutOfMemoryError(message, needed) from error
    return answer


def _available_bytes() -> int | None:
    """What Linux says it could still hand out; None elsewhere."""
    try:
        with open("/proc/meminfo", encoding="ascii") as info:
            found = next(line for line in info if line.startswith("MemAvailable:"))
            return 1024 * int(found.split()[1])
    except (OSError, StopIteration):
        return None
