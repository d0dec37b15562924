"""What the outputs of a stream are averaged over: after a beginning, and when the camera moves.

The engines' running average forgets slowly and starts from the first output. Both are right for a fit of
hundreds of steps, and wrong twice in a stream. A frame that gets three steps would be the grey first output
still: ``YoungAverage`` forgets in proportion to its age instead, until the engine's own weight is reached.
And when the camera moves, earlier outputs show other places: ``moved`` brings them along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dipedge.course import Course
from dipedge.engines.base import Engine, Program, State
from dipedge.errors import InputError
from dipedge.result import FIRST_VIEW, FitResult
from dipedge.streaming.resampling import shifted
from dipedge.views import View

if TYPE_CHECKING:
    from dipedge.given import Given
    from dipedge.streaming.scene_memory import SceneMemory

# The weight of output n is (1 + GROWTH) / (n + GROWTH): the later ones count more, since each is better than
# those before ("polynomial-decay averaging", Shamir and Zhang 2013).
GROWTH = 7.0


class YoungAverage:
    """The average of outputs of a fit that has just begun, and may be asked for its answer at any step.

    Args:
        weight: of the past, a step, in the engine's own average, in [0, 1).
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._mean: np.ndarray | None = None
        self._count = self._steps = 0
        self.grown_up = weight == 0  # the raw output is its own average

    def look(self, program: Program) -> None:
        """Takes in the last output; hands over to the engine's average when that forgets as slowly.

        Outputs that are not whole, too (``Settings.subsample``): where a pixel was not computed it is three
        steps old at most, which is newer than the last whole one.
        """
        if self.grown_up:
            return
        gained, self._steps = program.steps_done - self._steps, program.steps_done
        self._count += 1
        share = (1 + GROWTH) / (self._count + GROWTH)
        output = program.estimate(averaged=False)
        if self._mean is None:
            self._mean = output
        else:
            self._mean += np.float32(share) * (output - self._mean)
        if share <= 1 - self._weight**gained:
            self.settle(program)
            self.grown_up, self._mean = True, None

    def settle(self, program: Program) -> None:
        """Makes it the program's average."""
        if self._mean is not None:
            program.load_state({"average": self._mean})

    def state(self) -> State:
        """What it is; ``load_state`` goes on from there."""
        counts = np.array([self._count, self._steps], np.int64)
        return {"stream/counts": counts} | ({} if self._mean is None else {"stream/mean": self._mean})

    def load_state(self, state: State, shape: tuple[int, int, int]) -> None:
        """Goes on from what ``state`` gave.

        Raises:
            InputError: arrays of another shape.
        """
        mean, counts = state["stream/mean"], state.get("stream/counts", np.empty(0))
        if mean.shape != shape or counts.shape != (2,) or counts.min() < 1:
            raise InputError(f"stream/mean is an array of {mean.shape} after {counts} outputs and steps")
        self._mean, (self._count, self._steps) = mean.astype(np.float32), counts.tolist()

    def move(self, motion: View) -> None:
        """Brings it along with the camera."""
        if self._mean is not None:
            self._mean = moved(self._mean, motion)


@dataclass
class StreamCourse(Course):
    """The steps of one frame; the answer is taken from the young average while there is one.

    Attributes:
        young: that average.
        view: where the frame lies in the scene.
        cut: whether another scene begins with it.
        memory: what else is known of the scene; None where the network's own output is the answer.
    """

    young: YoungAverage | None = None
    view: View = FIRST_VIEW
    cut: bool = False
    memory: SceneMemory | None = None

    def look(self, program: Program) -> None:
        super().look(program)
        if self.young is not None:
            self.young.look(program)

    def estimate(self, program: Program, as_tensor: bool = False) -> Any:
        if self.young is not None:
            self.young.settle(program)
        if self.memory is None:
            return super().estimate(program, as_tensor)
        return self.memory.answer(super().estimate(program))

    def result(
        self, given: Given, estimate: np.ndarray, seconds: float, engine: Engine, state: State | None
    ) -> FitResult:
        found = super().result(given, estimate, seconds, engine, state)
        return replace(found, view=self.view, scene_cut=self.cut)


def moved(picture: np.ndarray, motion: View) -> np.ndarray:
    """The last frame's picture as the next frame sees it; beyond its edges the edge is repeated.

    Lanczos for shifts (``resampling``) and bilinear for other maps; whole shifts keep every bit.

    Args:
        picture: [H, W, C] float32.
        motion: the next frame's pixels to this one's.
    """
    if motion.is_shift:
        _, _, dx, _, _, dy = motion.matrix
        return np.clip(shifted(picture, dx, dy), 0, 1)
    height, width = picture.shape[:2]
    a, b, c, d, e, f = motion.matrix
    rows, columns = np.mgrid[:height, :width]
    x = np.clip(a * columns + b * rows + c, 0, width - 1)
    y = np.clip(d * columns + e * rows + f, 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    x, y = (x - left).astype(np.float32)[..., None], (y - top).astype(np.float32)[..., None]
    upper = picture[top, left] * (1 - x) + picture[top, left + 1] * x
    lower = picture[top + 1, left] * (1 - x) + picture[top + 1, left + 1] * x
    return upper * (1 - y) + lower * y
