"""TiledFit: a picture larger than one fit can hold, fitted tile by tile on one program.

The program is compiled once. Before every tile it is set back to its first state, so each tile is the fit
that its own pixels alone would have had, with the same seed; neighbours and order do not matter. Where an
engine makes the steps of several fits together there are as many programs, and tiles in hand, at a time.
Starting a tile from its neighbour's weights instead was measured and rejected (docs/large_pictures.md).

Only the answer is kept, as float32: 288 MB for 24 megapixels. A tile's estimate is added to it, multiplied by
the tile's cross-fade, and forgotten.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dipedge import arrays
from dipedge.course import Course, commonest
from dipedge.engines.base import Batch
from dipedge.errors import OutOfMemoryError
from dipedge.fit import Fitting, fit_together
from dipedge.history import History
from dipedge.measure import Measure
from dipedge.result import FitResult, FittedTile, Step, StopReason
from dipedge.stopping import Rule
from dipedge.stopwatch import Clock, shared

if TYPE_CHECKING:
    from dipedge.given import Given


class TiledFit:
    """One picture's answer, as far as it has come.

    Args:
        given: the picture, with its mask and its grid.
        later: fits of the same picture that will follow this one, and share its deadline.
        measure: makes of a tile's place in the picture and in the answer what compares its fit with the
            reference: ``Given.measure``.

    Attributes:
        estimate: float32 [scale * H, scale * W, C], the sum of what was added so far.
        tiles: those that were added.
        histories: of those that were fitted.

    Raises:
        OutOfMemoryError: the answer alone needs more memory than there is.
    """

    def __init__(
        self,
        given: Given,
        later: int = 0,
        measure: Callable[..., Measure | None] = lambda place, answered: None,
    ) -> None:
        self._given, self._picture = given, given.picture
        grid, scale = given.grid, given.task.data_term.scale
        self._places = list(grid.places())
        enlarged = grid.enlarged(scale)
        self._answer_places, self._weights = list(enlarged.places()), list(enlarged.weights())
        self._grid, self._later, self._measure = grid, later, measure
        height, width, channels = given.picture.shape
        self.estimate = _zeros((height * scale, width * scale, channels))
        self.tiles: list[FittedTile] = []
        self.histories: list[History] = []

    def run(
        self,
        batch: Batch,
        stop: Rule,
        clock: Clock,
        backtrack: bool,
        progress: Callable[[Step], object] | None,
        noise: Callable[[np.ndarray], float | None] = lambda target: None,
    ) -> None:
        """Fits every tile to ``stop``, as many in lockstep as the batch has members.

        Args:
            batch: compiled for tiles, all members with one seed, before its first step.
            stop: the rule of every single tile. Time is the exception: see ``_tile_clock``.
            clock: seconds since the whole fit began.
            backtrack: as ``fit_steps`` takes it.
            progress: called at every look at the tiles in hand, with counts of the whole picture.
            noise: gives the variance of a tile's noise, for rules that ask for it.

        Raises:
            FitDivergedError: the message names the tile.
            KeyboardInterrupt: what the tiles came to until then has been added.
        """
        # The input is fixed and may be large (32 numbers a pixel), so it stays where it is.
        first = {key: values for key, values in batch.members[0].state().items() if key != "input"}
        while (start := len(self.tiles)) < len(self._places):
            if start > 0:
                for member in batch.members:  # also those for which no tile is left, and which idle along
                    member.load_state(first)
            members = batch.members[: len(self._places) - start]
            tile_clock = self._tile_clock(clock, len(members))
            fittings = []
            for index, member in enumerate(members, start):
                rows, columns = self._places[index]
                target, mask = self._given.prepare(member, (rows, columns))
                fitting = Fitting(
                    member,
                    stop,
                    clock=tile_clock,
                    backtrack=backtrack,
                    known=1.0 if mask is None else float(mask.mean()),
                    noise=partial(noise, target),
                    name=self._grid.name(index),
                )
                fittings.append(fitting)
            self._follow(batch, fittings, clock, progress)

    def _follow(
        self,
        batch: Batch,
        fittings: list[Fitting],
        clock: Clock,
        progress: Callable[[Step], object] | None,
    ) -> None:
        """Consumes the loop of the tiles in hand and adds what they came to, in their order."""
        start, began = len(self.tiles), clock()
        numbers = range(start, start + len(fittings))
        courses = [Course(self._measure(self._places[one], self._answer_places[one])) for one in numbers]
        ended: dict[int, tuple[np.ndarray, float]] = {}
        try:
            for seen in fit_together(batch, fittings):
                for which, step in seen:
                    courses[which].take(step)
                for which, _ in seen:
                    courses[which].look(batch.members[which])
                if progress is not None:
                    progress(self._of_whole(step, courses, clock()))
                for which, step in seen:
                    if step.reason is not None:  # now, for the others will step on
                        ended[which] = courses[which].estimate(batch.members[which]), clock() - began
            for which, course in enumerate(courses):
                self._join(*ended[which], course, course.last.reason)
        except KeyboardInterrupt:
            for which in range(len(self.tiles) - start, len(courses)):
                course = courses[which]
                if course.last is None:
                    break
                reason = course.last.reason if which in ended else StopReason.INTERRUPTED
                if which not in ended:
                    ended[which] = course.estimate(batch.members[which]), clock() - began
                self._join(*ended[which], course, reason)
            raise

    def _tile_clock(self, clock: Clock, together: int) -> Clock:
        """The time a stopping rule sees in the next tiles: as if all still to come took as long as they.

        A deadline is meant for the picture. With this clock each tile ends when its share of what is left is
        used up, and a tile that ends earlier leaves its time to the others (to later fits' tiles too).

        Args:
            clock: seconds since the whole fit began.
            together: how many tiles are fitted in lockstep.
        """
        left = (1 + self._later) * len(self._places) - len(self.tiles)
        return shared(clock, -(-left // together))

    def _of_whole(self, step: Step, courses: list[Course], seconds: float) -> Step:
        """The latest step of the last of the tiles in hand, as a step of the whole picture."""
        earlier, left = self._steps(), len(self._places) - len(self.tiles)
        begun = [course.last for course in courses if course.last is not None]
        ended = sum(last.reason is not None for last in begun)
        return replace(
            step,
            index=earlier + sum(last.index for last in begun),
            seconds=seconds,
            limit=None if step.limit is None else earlier + left * step.limit,
            reason=step.reason if ended == left else None,
            tile=len(self.tiles) + 1,
            tiles=len(self._places),
            earlier=earlier,
        )

    def _join(self, estimate: np.ndarray, seconds: float, course: Course | None, reason: StopReason) -> None:
        """Adds the next tile's estimate to the answer; without a course it is a tile that was not reached."""
        (rows, columns), (down, across) = (
            which[len(self.tiles)] for which in (self._answer_places, self._weights)
        )
        place = rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
        went = (0, 0.0, 0, None) if course is None else _figures(course, seconds)
        tile = FittedTile(*place, *went, reason)
        seen = []
        if course is not None:
            course.measured(estimate)
            seen = [course.history]
        part, window = estimate * (down * across), self.estimate[rows, columns]
        # Nothing is called between these lines, so Ctrl-C finds the tile joined and noted, or neither.
        window += part
        self.histories += seen
        self.tiles.append(tile)

    def _steps(self) -> int:
        return sum(tile.steps for tile in self.tiles)

    def fill(self) -> None:
        """Shows the picture that went in where no tile has been fitted (enlarged, for super-resolution)."""
        for index in range(len(self.tiles), len(self._places)):
            rows, columns = self._answer_places[index]
            pixels = self._picture.window(*self._places[index])
            shown = arrays.enlarged(pixels, rows.stop - rows.start, columns.stop - columns.start)
            self._join(shown, 0.0, None, StopReason.INTERRUPTED)

    def result(self, seconds: float, engine: str, device: dict[str, str]) -> FitResult:
        """What ``FitResult`` says of all tiles together."""
        begun = [tile for tile in self.tiles if tile.steps > 0]
        interrupted = any(tile.reason is StopReason.INTERRUPTED for tile in self.tiles)
        image, parts = self._given.answer(self.estimate)
        return FitResult(
            image=image,
            parts=parts,
            reason=StopReason.INTERRUPTED if interrupted else commonest(tile.reason for tile in begun),
            steps=self._steps(),
            seconds=seconds,
            loss=statistics.fmean(tile.loss for tile in begun),
            history=History.joined(self.histories),
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
