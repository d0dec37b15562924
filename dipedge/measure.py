"""Measure: a fit's estimates beside the true picture, while the fit goes on.

A look costs a copy of the estimate, PSNR and SSIM: for a 512 x 512 picture 42 ms, a fifth of a step on two
cores (a third with quality "fast"), but as long as many steps on a large GPU. So by default a fit is looked
at about a hundred times, as often as a curve on a page can show, which adds a twentieth to its time or less.
That is taken out of the fit's clock: a ``Deadline`` ends after as many seconds of fitting as without it.

Nothing of a program changes when its estimate is read, so the fit has the same bits with a reference.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dipedge.engines.base import Program
from dipedge.history import History
from dipedge.metrics import psnr, ssim
from dipedge.result import Step
from dipedge.stopwatch import Stopwatch

LOOKS = 100
MOST = 20  # steps between looks: limits are often far beyond the step at which a rule ends the fit


class Measure:
    """What one fit's estimates came to.

    Args:
        answer: makes of an estimate [H, W, C] what the user would get of it, [H', W', C] in any dtype.
        reference: [H', W', C], the true picture.
        every: steps between two looks, 1 or more; None for a hundredth of the limit, 20 at most.
        watch: the fit's clock, which stands still meanwhile.
    """

    def __init__(
        self,
        answer: Callable[[np.ndarray], np.ndarray],
        reference: np.ndarray,
        every: int | None,
        watch: Stopwatch,
    ) -> None:
        self._answer, self._reference = answer, reference
        self._every, self._watch = every, watch
        self._seen: dict[int, tuple[float, float]] = {}
        self._due = 0

    def look(self, step: Step, program: Program) -> None:
        """Compares the estimate after ``step`` if it is due: the first one, then every so many, and the last.

        Where an engine runs several steps between two looks, what is due is looked at with the next of them.
        """
        if step.index < self._due and step.reason is None:
            return
        every = self._every or min(MOST, max(1, (step.limit or MOST * LOOKS) // LOOKS))
        self._due = (step.index // every + 1) * every
        with self._watch.paused():
            self.note(step.index, program.estimate())

    def note(self, index: int, estimate: np.ndarray) -> tuple[float, float]:
        """PSNR and SSIM of the estimate of step ``index``, kept for the history."""
        if index not in self._seen:
            with self._watch.paused():
                self._seen[index] = figures(self._answer(estimate), self._reference)
        return self._seen[index]

    def history(self, losses: np.ndarray) -> History:
        """All that was seen, beside the losses [steps] of all steps."""
        seen = sorted(self._seen)
        values = np.array([self._seen[index] for index in seen], np.float64).reshape(-1, 2)
        steps = np.array(seen, np.int64)
        return History(losses, steps, values[:, 0].copy(), values[:, 1].copy())


def figures(answer: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """PSNR in dB and SSIM of a picture beside the true one, both [H, W, C]."""
    return psnr(answer, reference), ssim(answer, reference)
