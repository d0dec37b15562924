"""ClipProgram: a segment of a clip on one program, as fit_steps wants a program to be.

A step takes the next batch of frames: their pixels as the target, their views as coordinates, one update. A
program's own average knows one picture; here every frame has the average of its own outputs, of those steps
that saw it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from dipedge.clips.pieces import Piece
from dipedge.engines.base import Program, State
from dipedge.tasks import Task
from dipedge.views import View


class ClipProgram:
    """The fit of one segment; steps and stopping rules are those of a single picture.

    Args:
        program: compiled for ``size`` stacked frames.
        task: what degraded them.
        piece: the frames.
        timed: whether the program's prior knows coordinates.
        size: frames of a step.
        batches: their numbers, step after step.
        average: weight of the past in a frame's average, in [0, 1).
    """

    look_every = 1  # the average needs every output

    def __init__(
        self,
        program: Program,
        task: Task,
        piece: Piece,
        timed: bool,
        size: int,
        batches: Iterator[np.ndarray],
        average: float,
    ) -> None:
        self._program, self._task = program, task
        self._piece, self._timed = piece, timed
        self._size, self._batches, self._average = size, batches, average
        self._estimates: list[np.ndarray | None] = [None] * len(piece.frames)
        self._shown: tuple[int, ...] | None = None  # the batch that the program has as its target
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
            if (
                self._timed
            ):  # else all frames of the segment are in every step, and the program has their average
                self._take(self._last, self._program.estimate(averaged=False), self._average)

    def _show(self, batch: np.ndarray) -> None:
        if self._shown == tuple(batch):
            return
        self._shown = tuple(batch)
        piece, mask = self._piece, None
        if piece.masks is not None:
            mask = np.concatenate([piece.masks[frame] for frame in batch])
        self._program.set_target(np.concatenate([piece.target(self._task, frame) for frame in batch]), mask)
        if self._timed:
            self._program.set_views([piece.views[frame] for frame in batch])

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
        return self._estimates if self._timed else self.split(self._program.estimate())

    def split(self, estimate: np.ndarray) -> list[np.ndarray]:
        """A whole segment's frames out of an estimate that has them all."""
        return np.split(estimate, self._size)[: len(self._piece.frames)]

    def between(self, times: int, rounds: int) -> list[list[np.ndarray]]:
        """The scene between its frames: what the network puts out at the times and places in between.

        A single output jumps about with the weights, and the average of a frame's outputs is only of frames.
        So the fit goes on for ``rounds`` epochs, and is asked in between after each.

        Args:
            times: frames that one becomes, 2 or more.
            rounds: outputs that are averaged, 1 or more.

        Returns:
            For each frame but the last ``times - 1`` answers [H, W, C] between it and the next.
        """
        size, count = self._size, len(self._piece.frames)
        asked = [
            _between(*pair, part / times) for pair in pairwise(self._piece.views) for part in range(1, times)
        ]
        sums = [0.0] * len(asked)
        for _ in range(rounds if asked else 0):
            self.step(-(-count // size))
            for begin in range(0, len(asked), size):
                chunk = asked[begin : begin + size]
                self._program.set_views([*chunk, *[chunk[-1]] * (size - len(chunk))])
                self._shown = None
                outputs = np.split(self._program.forward(), size)
                for place, own in enumerate(outputs[: len(chunk)], begin):
                    sums[place] = sums[place] + own / rounds
        return [sums[frame * (times - 1) : (frame + 1) * (times - 1)] for frame in range(count - 1)]

    def losses(self, count: int) -> list[float]:
        """The last step's alone, which is all that is looked at."""
        return [self._program.loss()]

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """Of the last batch, [size * H, W, C]."""
        if not (averaged and self._timed):
            return self._program.estimate(averaged)
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


def _between(first: View, second: View, part: float) -> View:
    """The view ``part`` of the way from one to the next."""
    mixed = (1 - part) * first.numbers() + part * second.numbers()
    return View(tuple(mixed[:-1]), float(mixed[-1]))
