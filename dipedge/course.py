"""Course: what one run of the loop came to so far, so that an interruption loses nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dipedge.engines.base import Program
from dipedge.result import Step


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
