"""SegmentFits: the fits of a clip's segments, all on one program."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dipedge.clips.batches import epochs
from dipedge.clips.clip_presets import ClipPreset
from dipedge.clips.clip_program import ClipProgram
from dipedge.clips.segments import Segment
from dipedge.clips.video_result import FittedSegment
from dipedge.course import Course
from dipedge.engines.base import Engine, Program, Settings, State
from dipedge.fit import fit_steps
from dipedge.noise import noise_of
from dipedge.optimisers import Muon
from dipedge.result import Step
from dipedge.stopwatch import Clock, since
from dipedge.tasks import Task

ROUNDS = 8  # outputs averaged for what lies between frames


@dataclass(frozen=True)
class Fitted:
    """A segment's answers, with what lies between its frames.

    Args:
        estimates: float32 [H, W, C], ``times`` * (frames - 1) + 1 of them.
        segment: what became of its fit.
    """

    estimates: list[np.ndarray]
    segment: FittedSegment


class SegmentFits:
    """Fits one segment after the other.

    Args:
        engine: that compiles the program.
        task: what degraded the clip.
        preset: how it is fitted.
        settings: seed, precision and threads; the rest is the preset's.
        times: frames that one becomes.
        progress: called with a ``Step`` after each.
        count: how many segments there will be, or None.
    """

    def __init__(
        self,
        engine: Engine,
        task: Task,
        preset: ClipPreset,
        settings: Settings,
        times: int = 1,
        progress: Callable[[Step], object] | None = None,
        count: int | None = None,
    ) -> None:
        self._engine, self._task, self._preset, self._settings = engine, task, preset, settings
        self._times, self._progress, self._count = times, progress, count
        self._program: Program | None = None
        self._first: State = {}
        self._waiting: State | None = None
        self._batch = 0  # frames of a step
        self._steps = 0  # that the optimiser's rate is laid out for

    def fit(self, segment: Segment, masks: Sequence[np.ndarray] | None, clock: Clock) -> Fitted:
        """Fits a segment, from new weights or from those of the one before.

        Args:
            segment: its frames and their views.
            masks: bool [H, W] of each frame, or None.
            clock: seconds since anything.

        Raises:
            OutOfMemoryError, EngineError, FitDivergedError: as ``Session.fit``.
        """
        clock = since(clock)
        steps = self._prepare(segment)
        frames = [frame.picture for frame in segment.frames]
        program = ClipProgram(
            self._program, self._task, frames, masks,
            segment.views if self._preset.timed else None, self._batch,
            epochs(len(frames), self._batch, (self._settings.seed, segment.number)), self._preset.average,
        )  # fmt: skip
        course = Course()
        for step in fit_steps(
            program,
            self._preset.stop(steps, len(frames), self._batch),
            clock=clock,
            backtrack=self._preset.backtrack,
            known=1.0 if masks is None else statistics.fmean(float(mask.mean()) for mask in masks),
            noise=lambda: self._noise(frames),
        ):
            course.take(step)
            self._tell(step, segment.number)
        if course.kept is not None:  # a rule for single pictures found this step's the best
            estimates = [course.kept.kept]
        else:
            estimates = _woven(program, self._times)
        told = FittedSegment(
            segment.first, len(frames), segment.fresh, course.last.index, clock(), course.last.loss,
            course.last.reason, course.history,
        )  # fmt: skip
        return Fitted(estimates, told)

    def _prepare(self, segment: Segment) -> int:
        """The program, with the weights to begin from; how many steps the fit may take."""
        if self._program is None:
            self._compile(segment)
        steps = self._preset.steps(len(segment.frames), self._batch, segment.fresh)
        if segment.fresh:
            self._program.load_state(self._first)
        # A warm fit needs no time at the full rate: it enters where so many steps of the fall are left.
        self._program.load_state({"step": np.array(max(0, self._steps - steps), np.int64)})
        return steps

    def _compile(self, segment: Segment) -> None:
        """One program for all segments: its batch is as large as memory allows and the first one needs."""
        preset, count = self._preset, len(segment.frames)
        height, width, channels = segment.frames[0].picture.shape
        if not self._batch:
            most = count if segment.last or preset.segment is None else max(count, preset.segment)
            self._batch = preset.batch(self._task.estimate_shape((height, width, channels)), most)
            self._steps = preset.steps(most, self._batch)
        optimiser = preset.optimiser
        if isinstance(optimiser, Muon):
            optimiser = optimiser.over(self._steps)
        settings = replace(
            self._settings, optimiser=optimiser, average=0.0, subsample=preset.subsample,
            frames=self._batch, warped=preset.motion == "affine",
        )  # fmt: skip
        shape = self._task.estimate_shape((self._batch * height, width, channels))
        self._program = self._engine.compile(preset.prior, self._task, shape, settings)
        self._first = self._program.state()
        if self._waiting is not None:
            self._program.load_state(self._waiting)
            self._waiting = None

    def _noise(self, frames: Sequence) -> float | None:
        """Mean variance of the frames' noise; None where there is no knowing."""
        found = [noise_of(self._task, frame.pixels) for frame in frames]
        return None if None in found else statistics.fmean(found)

    def _tell(self, step: Step, number: int) -> None:
        if self._progress is not None:
            count = max(number + 1, self._count or 0)
            self._progress(replace(step, fit=number + 1, fits=count))

    def state(self) -> State:
        """All that the next segment's fit depends on."""
        return self._program.state()

    @property
    def layout(self) -> tuple[int, int]:
        """Frames of a step, and the steps that the optimiser's rate is laid out for: of the first segment."""
        return self._batch, self._steps

    def resume(self, state: State, batch: int, steps: int) -> None:
        """Goes on from what ``state`` and ``layout`` gave."""
        self._waiting, self._batch, self._steps = state, int(batch), int(steps)

    def close(self) -> None:
        """Gives all memory back."""
        if self._program is not None:
            self._program.close()


def _woven(program: ClipProgram, times: int) -> list[np.ndarray]:
    """The frames' answers with those between them."""
    own = program.estimates()
    if times == 1:
        return own
    between = program.between(times, ROUNDS)
    own = program.estimates()
    woven = [answer for frame, after in zip(own, between, strict=False) for answer in (frame, *after)]
    return [*woven, own[-1]]
