"""KeptFit: the inside of a session - a fit whose program stays, so that the next frame can go on from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dipedge.course import Course
from dipedge.engines.base import Engine, Program, Settings
from dipedge.errors import InputError, OutOfMemoryError
from dipedge.fit import FitDivergedError, fit_steps
from dipedge.given import Given, read_given
from dipedge.noise import noise_of
from dipedge.presets import Preset
from dipedge.priors import HazePriors, Prior
from dipedge.result import FitResult, Step, StopReason
from dipedge.stopping import Rule
from dipedge.stopwatch import Stopwatch
from dipedge.streaming.following import Following
from dipedge.streaming.pace import Paced
from dipedge.streaming.pushing import Pusher
from dipedge.streaming.stream import Fitter
from dipedge.tasks import Task
from dipedge.tensors import on_host
from dipedge.tiles import Tiles
from dipedge.together import FitsTogether
from dipedge.views import View


class KeptFit:
    """What ``Session`` is made of; its arguments and promises stand there."""

    task: Task
    prior: Prior | HazePriors
    _engine: Engine
    _preset: Preset
    _settings: Settings
    _ensemble: int
    _measure_every: int | None
    _progress: Callable[[Step], object] | None
    _motion: str | None
    _remembers: bool

    def __init__(self) -> None:
        """Nothing has been fitted yet; what stands above is there."""
        self.result: FitResult | list[FitResult | None] | None = None
        self._program: Program | None = None
        self._mask: np.ndarray | None = None
        self._not_kept: str | None = None  # why the last fit left no weights to go on from, if it did not
        self._following = Following(self._motion, getattr(self.task, "scale", 1))
        self._pusher = Pusher(self)
        self._fitter: Fitter | None = None  # of the session's stream
        self._closed = False

    def _fit(
        self,
        image: Any,
        stop: Rule,
        clock: Stopwatch,
        tiles: Tiles | str | None,
        reference: Any = None,
        whole: bool = True,
    ) -> FitResult:
        """One picture from scratch. Of a single fit in one piece the program is kept, to go on from.

        ``whole``: see ``Pusher.begin``.
        """
        given = read_given(self.task, image, "image", tiles, reference)
        if given.grid is not None or self._ensemble > 1:
            why = "was of an ensemble, each with weights of its own, and none are kept; use ensemble=1"
            if self._ensemble == 1:
                why = (
                    "was in tiles, each with weights of its own, and none are kept; open the session with "
                    "tiles=None to fit such pictures in one piece"
                )
            return self._fit_together([given], stop, clock, why, lambda results: results[0])
        self._drop_program()  # before the next one: two at a time need not fit into memory
        self._not_kept = None
        try:
            shape = self.task.estimate_shape(given.piece)
            self._program = self._engine.compile(self.prior, self.task, shape, self._settings)
        except OutOfMemoryError as error:
            raise OutOfMemoryError(f"{error}; smaller tiles need less", error.needed) from error
        self._mask = given.mask
        self._following.begin(self._program)
        self._following.take(given.hold() if self._following.is_on else None, View())
        self._pusher.begin(whole)
        course = self._pusher.course(whole, given.measure(self._measure_every, clock))
        return self._run(given, stop, clock, course, with_state=not isinstance(stop, Paced))

    def _fit_together(
        self,
        pictures: list[Given],
        stop: Rule,
        clock: Stopwatch,
        why: str,
        answer: Callable[[list[FitResult | None]], Any],
    ) -> Any:
        """Several fits, of which none is kept: ``why`` says so to whoever wants to go on from them."""
        self._drop_program()
        self.result = self._not_kept = None
        fits = FitsTogether(self, pictures, self._ensemble, stop, clock)
        try:
            fits.run()
        finally:  # an error leaves what was done before it
            results = fits.results()
            if any(result is not None for result in results):
                self.result, self._not_kept = answer(results), why
        return self.result

    def _run(self, given: Given, stop: Rule, clock: Stopwatch, course: Course, with_state: bool) -> FitResult:
        """Consumes the loop; ``self.result`` is the answer, or the best so far when interrupted."""
        target, _ = given.prepare(self._program)
        target = self._pusher.remember(target)
        self.result = None
        try:
            for step in fit_steps(
                self._program,
                stop,
                clock=clock,
                backtrack=self._preset.backtrack,
                known=given.known,
                noise=lambda: self._noise(target),
            ):
                course.take(step)
                course.look(self._program)
                if self._progress is not None:
                    self._progress(step)
        except KeyboardInterrupt:
            if course.last is not None:
                course.last = replace(course.last, reason=StopReason.INTERRUPTED)
                self.result = self._result(given, course, clock(), with_state)
            raise
        except (FitDivergedError, OutOfMemoryError):
            self._drop_program()
            raise
        self.result = self._result(given, course, clock(), with_state)
        return self.result

    def _result(self, given: Given, course: Course, seconds: float, with_state: bool) -> FitResult:
        state = self._program.state() if with_state else None
        return course.result(given, given.estimate(course, self._program), seconds, self._engine, state)

    def _noise(self, target: np.ndarray) -> float | None:
        return noise_of(self.task, on_host(target))

    def _drop_program(self) -> None:
        if self._program is not None:
            self._program.close()
            self._program = None

    def _check_kept(self, what: str) -> None:
        if self._not_kept is not None:
            raise InputError(f"{what}: the last fit {self._not_kept}")
