"""FitsTogether: the fits of one call, where there are several: a list's pictures, an ensemble's seeds, tiles.

One fit of a small net leaves a large GPU mostly idle, so engines may make the steps of several fits of one
shape together (``Engine.most_together``); on others the same fits are made one after another. Either way each
is the fit it would have been alone, with the same seed, and ends when its own rule says so.

No program is kept: a session has one set of weights to go on from, and here there are many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dipedge.course import Course
from dipedge.engines.base import Batch, Program, Settings
from dipedge.errors import OutOfMemoryError
from dipedge.fit import Alone, FitDivergedError, Fitting, fit_together
from dipedge.given import Given, Job
from dipedge.result import FitResult, Step, StopReason
from dipedge.stopping import Rule
from dipedge.stopwatch import Stopwatch, shared, since
from dipedge.tiled_fit import TiledFit

if TYPE_CHECKING:
    from dipedge.session import Session


class FitsTogether:
    """All fits of one call of a session.

    Args:
        session: whose engine, prior, task and settings they share.
        pictures: one or several.
        ensemble: seeds for each, from the session's upwards.
        stop: the rule of every single fit. Of one picture they share a deadline: see ``Session``.
        clock: seconds since the call.
    """

    def __init__(
        self, session: Session, pictures: Sequence[Given], ensemble: int, stop: Rule, clock: Stopwatch
    ) -> None:
        self._session, self._stop, self._clock = session, stop, clock
        self._pictures = pictures
        settings, self._jobs = session._settings, []
        for which, given in enumerate(pictures, 1):
            for seed in range(settings.seed, settings.seed + ensemble):
                words = [f"image {which} of {len(pictures)}"] if len(pictures) > 1 else []
                words += [f"seed {seed}"] if ensemble > 1 else []
                job = Job(given, replace(settings, seed=seed), len(self._jobs) + 1, ", ".join(words))
                job.course.measure = given.measure(session._measure_every, clock)
                given.jobs.append(job)
                self._jobs.append(job)

    def results(self) -> list[FitResult | None]:
        """One for each picture; None for those that were not begun."""
        return [given.result() for given in self._pictures]

    def run(self) -> None:
        """Makes all fits.

        Raises:
            FitDivergedError: the message names the fit; those that ended before have their results.
            OutOfMemoryError: with the bytes needed; as above.
            KeyboardInterrupt: those that were begun have theirs, too.
        """
        waiting = list(self._jobs)
        while waiting:
            first = waiting[0].given
            if first.grid is not None:
                self._start_clock(first)
                self._run_tiled(waiting.pop(0))
                continue
            alike = [job for job in waiting if job.given.grid is None and job.given.piece == first.piece]
            alike = alike[: self._together(first.piece, len(alike))]
            waiting = [job for job in waiting if job not in alike]
            self._run(alike)

    def _together(self, piece: tuple[int, int, int], wanted: int) -> int:
        """How many of ``wanted`` fits to make at a time: no more than the engine likes, evenly spread."""
        session = self._session
        shape = session.task.estimate_shape(piece)
        most = session._engine.most_together(session.prior, session.task, shape, session._settings)
        rounds = -(-wanted // max(1, min(most, wanted)))
        return -(-wanted // rounds)

    def _compiled(self, piece: tuple[int, int, int], settings: list[Settings]) -> Batch:
        session = self._session
        what = session.prior, session.task, session.task.estimate_shape(piece)
        try:
            if len(settings) == 1:
                return Alone(session._engine.compile(*what, settings[0]))
            return session._engine.compile_together(*what, settings)
        except OutOfMemoryError as error:
            raise OutOfMemoryError(f"{error}; smaller tiles need less", error.needed) from error

    def _start_clock(self, given: Given) -> None:
        """A picture's time begins with its first fit; that of the only picture began with the call."""
        if given.clock is None:
            given.clock = self._clock if len(self._pictures) == 1 else since(self._clock)

    def _run(self, jobs: list[Job]) -> None:
        """Fits of one shape in lockstep."""
        for job in jobs:
            self._start_clock(job.given)
        began = since(self._clock)
        batch = self._compiled(jobs[0].given.piece, [job.settings for job in jobs])
        try:
            fittings = [self._fitting(*pair, jobs) for pair in zip(jobs, batch.members, strict=True)]
            for seen in fit_together(batch, fittings):
                for which, step in seen:  # all before the first is shown, where Ctrl-C may come in
                    jobs[which].course.take(step)
                for which, _ in seen:
                    jobs[which].course.look(batch.members[which])
                for which, step in seen:
                    self._show(jobs[which], replace(step, seconds=jobs[which].given.clock()))
                    if step.reason is not None:  # now, for the others will step on
                        self._end(jobs[which], batch.members[which], began())
        except KeyboardInterrupt:
            for job, member in zip(jobs, batch.members, strict=True):
                if job.result is None and job.course.last is not None:
                    job.course.last = replace(job.course.last, reason=StopReason.INTERRUPTED)
                    self._end(job, member, began())
            raise
        finally:
            batch.close()

    def _fitting(self, job: Job, member: Program, jobs: list[Job]) -> Fitting:
        """A job's part in the loop, with its target set; ``jobs`` are those that go in lockstep."""
        given = job.given
        target, _ = given.prepare(member)
        left = sum(other.result is None for other in given.jobs)
        rounds = -(-left // sum(other.given is given for other in jobs))
        return Fitting(
            member,
            self._stop,
            clock=shared(given.clock, rounds),
            backtrack=self._session._preset.backtrack,
            known=given.known,
            noise=partial(self._session._noise, target),
            name=job.name,
        )

    def _end(self, job: Job, member: Program, seconds: float) -> None:
        """Takes what a fit came to from its program."""
        given, alone = job.given, len(job.given.jobs) == 1
        state = member.state() if alone else None
        estimate = job.course.estimate(member)
        result = job.course.result(given, estimate, seconds, self._session._engine, state)
        self._note(job, result, estimate)

    def _run_tiled(self, job: Job) -> None:
        """A fit in tiles."""
        given, session = job.given, self._session
        together = self._together(given.piece, len(list(given.grid.places())))
        batch = self._compiled(given.piece, [job.settings] * together)
        later = len(given.jobs) - given.jobs.index(job) - 1
        began, fit = since(self._clock), None
        try:
            measure = partial(given.measure, session._measure_every, self._clock)
            fit = TiledFit(given, later, measure)
            progress, noise = partial(self._show, job), session._noise
            fit.run(batch, self._stop, given.clock, session._preset.backtrack, progress, noise)
            self._end_tiled(job, fit, began())
        except KeyboardInterrupt:
            if fit is not None and fit.tiles and job.result is None:
                fit.fill()
                self._end_tiled(job, fit, began())
            raise
        except FitDivergedError as error:
            raise FitDivergedError(f"{job.name}, {error}" if job.name else str(error)) from error
        finally:
            batch.close()

    def _end_tiled(self, job: Job, fit: TiledFit, seconds: float) -> None:
        """Takes what a fit in tiles came to."""
        given, alone = job.given, len(job.given.jobs) == 1
        result = fit.result(given.clock() if alone else seconds, self._session.engine, self._session.device())
        if alone:  # of an ensemble the average is measured
            psnr, ssim = given.measured(fit.estimate)
            result = replace(result, psnr=psnr, ssim=ssim)
        self._note(job, result, fit.estimate)

    def _note(self, job: Job, result: FitResult, estimate: np.ndarray) -> None:
        """Keeps of a fit what the answer will be made of, and nothing else: there may be many."""
        given, job.course = job.given, Course()
        given.seconds = given.clock()
        if len(given.jobs) == 1:
            job.result = result
        else:
            job.result, job.estimate = replace(result, image=None), estimate
            given.settle()

    def _show(self, job: Job, step: Step) -> None:
        if self._session._progress is not None:
            self._session._progress(replace(step, fit=job.number, fits=len(self._jobs)))
