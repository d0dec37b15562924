"""Course: what one run of the loop came to so far, so that an interruption loses nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dipedge.engines.base import Engine, Program, State
from dipedge.result import FitResult, Step, StopReason

if TYPE_CHECKING:
    from dipedge.given import Given

Clock = Callable[[], float]  # seconds since something began


@dataclass
class Course:
    """The steps of one run.

    Attributes:
        last: the latest step; None before the first.
        kept: the latest step that a stopping rule marked as the best so far, if any.
        history: the loss of every step.
    """

    last: Step | None = None
    kept: Step | None = None
    history: list[float] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Adds the next step."""
        self.last = step
        self.history.extend(step.losses)
        if step.kept is not None:
            self.kept = step

    @property
    def chosen_step(self) -> int:
        """The step whose estimate is the answer."""
        return (self.kept or self.last).index

    def estimate(self, program: Program) -> np.ndarray:
        """The answer [H, W, C]: the marked step's, or where none was marked that of ``program`` now."""
        return program.estimate() if self.kept is None else self.kept.kept

    def result(
        self, given: Given, estimate: np.ndarray, seconds: float, engine: Engine, state: State | None
    ) -> FitResult:
        """What ``FitResult`` says of it; its last step has the reason."""
        last, (image, parts) = self.last, given.answer(estimate)
        return FitResult(
            image=image,
            reason=last.reason,
            steps=last.index,
            seconds=seconds,
            loss=last.loss,
            history=np.array(self.history),
            engine=engine.name,
            device=engine.device(),
            chosen_step=self.chosen_step,
            state=state,
            parts=parts,
        )


def stopwatch() -> Clock:
    """Seconds since this call, from a clock that only goes forward."""
    began = time.perf_counter()
    return lambda: time.perf_counter() - began


def since(clock: Clock) -> Clock:
    """Seconds since this call, by another clock."""
    began = clock()
    return lambda: clock() - began


def shared(clock: Clock, left: int) -> Clock:
    """The time a stopping rule sees where ``left`` fits, its own among them, share what time is left."""
    began = clock()
    return lambda: began + (clock() - began) * left


def commonest(reasons: Iterable[StopReason]) -> StopReason:
    """The reason most of several fits ended for; of equally many, the first."""
    return Counter(reasons).most_common(1)[0][0]
