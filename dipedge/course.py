"""Course: what one run of the loop came to so far, so that an interruption loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dipedge.engines.base import Engine, Program, State
from dipedge.history import History
from dipedge.measure import Measure
from dipedge.result import FitResult, Step, StopReason

if TYPE_CHECKING:
    from dipedge.given import Given


@dataclass
class Course:
    """The steps of one run.

    Attributes:
        measure: compares estimates with the true picture, if there is one.
        last: the latest step; None before the first.
        kept: the latest step that a stopping rule marked as the best so far, if any.
        losses: that of every step.
    """

    measure: Measure | None = None
    last: Step | None = None
    kept: Step | None = None
    losses: list[float] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Adds the next step."""
        self.last = step
        self.losses.extend(step.losses)
        if step.kept is not None:
            self.kept = step

    def look(self, program: Program) -> None:
        """Has the latest step's estimate measured, if that is due."""
        if self.measure is not None:
            self.measure.look(self.last, program)

    @property
    def chosen_step(self) -> int:
        """The step whose estimate is the answer."""
        return (self.kept or self.last).index

    def estimate(self, program: Program, as_tensor: bool = False) -> Any:
        """The answer [H, W, C]: the marked step's, or where none was marked that of ``program`` now.

        ``as_tensor``: as ``Program.estimate_tensor`` gives it; a marked step's is an array all the same.
        """
        if self.kept is not None:
            return self.kept.kept
        return program.estimate_tensor() if as_tensor else program.estimate()

    def measured(self, estimate: np.ndarray) -> tuple[float | None, float | None]:
        """PSNR and SSIM of the answer ``estimate``, in the history from then on; None without a measure."""
        if self.measure is None:
            return None, None
        return self.measure.note(self.chosen_step, estimate)

    @property
    def history(self) -> History:
        """What has been seen of the run so far."""
        losses = np.array(self.losses)
        return History(losses) if self.measure is None else self.measure.history(losses)

    def result(
        self, given: Given, estimate: np.ndarray, seconds: float, engine: Engine, state: State | None
    ) -> FitResult:
        """What ``FitResult`` says of it; its last step has the reason."""
        last, (image, parts) = self.last, given.answer(estimate)
        psnr, ssim = self.measured(estimate)
        return FitResult(
            image=image,
            reason=last.reason,
            steps=last.index,
            seconds=seconds,
            loss=last.loss,
            history=self.history,
            engine=engine.name,
            device=engine.device(),
            chosen_step=self.chosen_step,
            psnr=psnr,
            ssim=ssim,
            state=state,
            parts=parts,
        )


def commonest(reasons: Iterable[StopReason]) -> StopReason:
    """The reason most of several fits ended for; of equally many, the first."""
    return Counter(reasons).most_common(1)[0][0]
