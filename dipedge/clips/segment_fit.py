"""SegmentFits: the fits of a clip's segments, all on one program."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from dipedge.clips.batches import epochs, in_order
from dipedge.clips.between import blended
from dipedge.clips.clip_presets import ClipPreset
from dipedge.clips.clip_program import ClipProgram
from dipedge.clips.pieces import Cutting, Piece
from dipedge.clips.segments import Segment
from dipedge.clips.video_result import FittedSegment
from dipedge.course import Course, commonest
from dipedge.engines.base import Engine, Program, Settings, State
from dipedge.fit import fit_steps
from dipedge.history import History
from dipedge.noise import noise_of
from dipedge.optimisers import Muon
from dipedge.result import Step
from dipedge.stopwatch import Clock, since
from dipedge.tasks import Task

ROUNDS = 8  # outputs averaged for what lies between frames
FLEETING = ("average", "output", "loss", "views")  # of a program's state


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
        cutting: how frames are cut into tiles.
        times: frames that one becomes.
        between: what lies between frames, "blend" or "query"; see ``restore_video``.
        progress: called with a ``Step`` after each.
        count: how many segments there will be, or None.
    """

    def __init__(
        self,
        engine: Engine,
        task: Task,
        preset: ClipPreset,
        settings: Settings,
        cutting: Cutting,
        times: int = 1,
        between: str = "blend",
        progress: Callable[[Step], object] | None = None,
        count: int | None = None,
    ) -> None:
        self._engine, self._task, self._preset, self._settings = engine, task, preset, settings
        self._cutting, self._times, self._between = cutting, times, between
        self._progress, self._count = progress, count
        self._program: Program | None = None
        self._first: State = {}
        self._states: dict[int, State] = {}  # of each tile, after the segment before
        self._batch = 0  # frames of a step
        self._steps = 0  # that the optimiser's rate is laid out for

    def fit(self, segment: Segment, clock: Clock) -> Fitted:
        """Fits a segment, from new weights or from those of the one before; tile by tile where it is cut.

        Args:
            segment: its frames and their views.
            clock: seconds since anything.

        Raises:
            InputError: a tile without a known pixel.
            OutOfMemoryError, EngineError, FitDivergedError: as ``Session.fit``.
        """
        clock = since(clock)
        if self._program is None:
            self._compile(segment)
        answers: list[np.ndarray] = []
        courses: list[Course] = []
        for number in range(len(self._cutting.places)):
            piece = self._cutting.piece(segment, number)
            steps = self._prepare(segment, number)
            count = len(piece.frames)
            program = ClipProgram(
                self._program, self._task, piece, self._preset.timed, self._batch,
                in_order(count, self._batch) if self._preset.whole
                else epochs(count, self._batch, (self._settings.seed, segment.number)),
                self._preset.weight(steps, count, self._batch),
            )  # fmt: skip
            course = self._follow(program, piece, steps, clock, segment.number, courses)
            courses.append(course)
            if course.kept is not None:  # a rule for single pictures found this step's the best
                own = program.split(course.kept.kept)
            else:
                own = _woven(program, piece, self._times, self._between)
            self._states[number] = self._lasting()
            answers = self._cutting.join(answers, number, own)
        return Fitted(answers, _told(segment, courses, clock()))

    def _follow(
        self, program: ClipProgram, piece: Piece, steps: int, clock: Clock, segment: int, before: list[Course]
    ) -> Course:
        """Consumes the loop of one tile's fit; ``before``: those of the tiles before it."""
        course, frames, tiles = Course(), len(piece.frames), len(self._cutting.places)
        earlier = sum(one.last.index for one in before)
        for step in fit_steps(
            program,
            self._preset.stop(steps, frames, self._batch),
            clock=since(clock),
            backtrack=self._preset.backtrack,
            known=piece.known,
            noise=lambda: self._noise(piece),
        ):
            course.take(step)
            if self._progress is not None:
                told = replace(
                    step, index=earlier + step.index, limit=earlier + step.limit * (tiles - len(before)),
                    tile=len(before) + 1, tiles=tiles, earlier=earlier, fit=segment + 1,
                    fits=max(segment + 1, self._count or 0),
                )  # fmt: skip
                self._progress(told)
        return course

    def _prepare(self, segment: Segment, number: int) -> int:
        """The program, with the weights to begin from; how many steps are planned."""
        steps = self._preset.steps(len(segment.frames), self._batch, segment.fresh)
        self._program.load_state(self._first if segment.fresh else self._states[number])
        # A warm fit needs no time at the full rate: it enters where so many steps of the fall are left.
        self._program.load_state({"step": np.array(max(0, self._steps - steps), np.int64)})
        return steps

    def _compile(self, segment: Segment) -> None:
        """One program for all segments: its batch is as large as memory allows and the first one needs."""
        preset, count = self._preset, len(segment.frames)
        height, width, channels = self._cutting.shape
        if not self._batch:
            most = count if segment.last or preset.segment is None else max(count, preset.segment)
            self._batch = preset.batch(self._task.estimate_shape((height, width, channels)), most)
            self._steps = preset.steps(most, self._batch)
        optimiser = preset.optimiser
        if isinstance(optimiser, Muon):
            optimiser = optimiser.over(self._steps)
        settings = replace(
            self._settings, optimiser=optimiser, subsample=preset.subsample, frames=self._batch
        )
        if preset.timed:  # frames have averages of their own
            settings = replace(settings, average=0.0, warped=preset.motion == "affine")
        else:
            settings = replace(settings, average=preset.average)
        shape = self._task.estimate_shape((self._batch * height, width, channels))
        self._program = self._engine.compile(preset.prior, self._task, shape, settings)
        self._first = self._lasting()

    def _lasting(self) -> State:
        """What of the program's state the next segment begins from: outputs are of frames that are gone."""
        state = self._program.state()
        return {key: value for key, value in state.items() if key not in FLEETING}

    def _noise(self, piece: Piece) -> float | None:
        """Mean variance of the frames' noise; None where there is no knowing."""
        found = [noise_of(self._task, piece.pixels(frame)) for frame in range(len(piece.frames))]
        return None if None in found else statistics.fmean(found)

    def state(self) -> State:
        """All that the next segment's fit depends on, of every tile: ``TILE/KEY``."""
        return {
            f"{number}/{key}": value for number, held in self._states.items() for key, value in held.items()
        }

    @property
    def layout(self) -> tuple[int, int]:
        """Frames of a step, and the steps that the optimiser's rate is laid out for: of the first segment."""
        return self._batch, self._steps

    def resume(self, state: State, batch: int, steps: int) -> None:
        """Goes on from what ``state`` and ``layout`` gave."""
        self._batch, self._steps = int(batch), int(steps)
        for key, value in state.items():
            number, name = key.split("/", 1)
            self._states.setdefault(int(number), {})[name] = value

    def close(self) -> None:
        """Gives all memory back."""
        if self._program is not None:
            self._program.close()


def _woven(program: ClipProgram, piece: Piece, times: int, between: str) -> list[np.ndarray]:
    """The frames' answers with those between them; what lies between is ``between``."""
    if times == 1:
        return program.estimates()
    asked = program.between(times, ROUNDS) if between == "query" else None
    own, parts = program.estimates(), [part / times for part in range(1, times)]
    woven = [own[0]]
    for number, pair in enumerate(pairwise(own)):
        if asked is not None:
            woven += asked[number]
        else:
            views = piece.views[number], piece.views[number + 1]
            woven += [blended(*pair, views, part) for part in parts]
        woven.append(pair[1])
    return woven


def _told(segment: Segment, courses: list[Course], seconds: float) -> FittedSegment:
    return FittedSegment(
        first=segment.first,
        frames=len(segment.frames),
        fresh=segment.fresh,
        steps=sum(course.last.index for course in courses),
        seconds=seconds,
        loss=statistics.fmean(course.last.loss for course in courses),
        reason=commonest(course.last.reason for course in courses),
        history=History.joined([course.history for course in courses]),
    )
