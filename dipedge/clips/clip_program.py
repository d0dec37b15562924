"""ClipProgram: a segment of a clip on one program, as fit_steps wants a program to be.

A step takes the next batch of frames: their pixels as the target, their views as coordinates, one update. A
program's own average knows one picture; here every frame has the average of its own outputs, of those steps
that saw it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dipedge.engines.base import Program, State
from dipedge.tasks import Task
from dipedge.views import View


class ClipProgram:
    """The fit of one segment; steps and stopping rules are those of a single picture.

    Args:
        program: compiled for ``size`` stacked frames.
        task: what degraded them.
        frames: gives frame k's pixels, float32 [H, W, C] in [0, 1].
        masks: bool [H, W] of each frame, True = known; None without holes.
        views: of each frame.
        batches: frame numbers of each step, ``size`` of them.
        average: weight of the past in a frame's average, in [0, 1).
    """

    look_every = 1  # the average needs every output

    def __init__(
        self,
        program: Program,
        task: Task,
        frames: Sequence[np.ndarray],
        masks: Sequence[np.ndarray] | None,
        views: Sequence[View],
        batches: Iterator[np.ndarray],
        average: float,
    ) -> None:
        self._program, self._task = program, task
        self._frames, self._masks, self._views = frames, masks, views
        self._batches, self._average = batches, average
        self._estimates: list[np.ndarray | None] = [None] * len(frames)
        self._last = np.arange(0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the estimate of one step: the frames of a batch, one below another."""
        return self._program.shape

    @property
    def steps_done(self) -> int:
        return self._program.steps_done

    @property
    def complete(self) -> bool:
        return self._program.complete

    def step(self, count: int = 1) -> None:
        """Runs ``count`` steps, each with the next batch, and averages their outputs frame by frame."""
        for _ in range(count):
            self._last = next(self._batches)
            self._show(self._last)
            self._program.step(1)
            self._take(self._last, self._program.estimate(averaged=False), self._average)

    def _show(self, batch: np.ndarray) -> None:
        target = np.concatenate([self._task.target(self._frames[frame]) for frame in batch])
        mask = None if self._masks is None else np.concatenate([self._masks[frame] for frame in batch])
        self._program.set_target(target, mask)
        self._program.set_views([self._views[frame] for frame in batch])

    def _take(self, batch: np.ndarray, output: np.ndarray, weight: float) -> None:
        """Into the averages of the frames of ``batch``; the first output of a frame starts its own."""
        for frame, own in zip(batch, np.split(output, len(batch)), strict=True):
            before = self._estimates[frame]
            if before is None:
                self._estimates[frame] = own.copy()
            else:  # in place: a segment's averages are most of the memory that is not the program's
                before *= weight
                before += (1 - weight) * own

    def estimates(self) -> list[np.ndarray | None]:
        """The average of each frame, [H, W, C]; None for a frame no step has seen yet."""
        return self._estimates

    def losses(self, count: int) -> list[float]:
        """The last step's alone, which is all that is looked at."""
        return [self._program.loss()]

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """Of the last batch, [size * H, W, C]."""
        if not averaged:
            return self._program.estimate(averaged=False)
        return np.concatenate([self._estimates[frame] for frame in self._last])

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        """The last raw output at flat pixel indices [n] -> [n, C]."""
        return self._program.sample(pixels)

    def state(self, prefix: str = "") -> State:
        """The program's."""
        return self._program.state(prefix)

    def load_state(self, state: State) -> None:
        """Into the program; the averages stay as they are."""
        self._program.load_state(state)
