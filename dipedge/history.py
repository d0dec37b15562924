"""History: what was seen of a fit on its way, one loss a step and, beside a reference, PSNR and SSIM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LOSS_DIGITS = 6  # significant ones in JSON; beyond them engines differ by the order of their sums


@dataclass(frozen=True, eq=False)
class History:
    """The course of a fit. As a sequence it is its losses: ``len``, iteration, indices, ``np.asarray``.

    Args:
        loss: float64 [steps], the data term of every step's output, before that step's update.
        steps_measured: int64 [measured], the steps whose estimate was compared with the reference, counted
            from 1 and rising: ``loss[steps_measured - 1]`` are their losses. Empty without a reference.
        psnr: float64 [measured], in dB, of the answer that the fit would have given had it ended there with
            this step's own estimate; infinite for equal pictures.
        ssim: float64 [measured], likewise.
        lengths: steps of each of the fits that stand here one after the other: the tiles of a large picture,
            the members of an ensemble, or the only one. See ``parts``.
    """

    loss: np.ndarray = field(repr=False)
    steps_measured: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    psnr: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    ssim: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.lengths:
            object.__setattr__(self, "lengths", (len(self.loss),))

    def __len__(self) -> int:
        return len(self.loss)

    def __iter__(self) -> Iterator[float]:
        return iter(self.loss.tolist())

    def __getitem__(self, which: Any) -> Any:
        return self.loss[which]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        # A copy unless told otherwise: what is written into it should not change the history.
        return self.loss.astype(self.loss.dtype if dtype is None else dtype, copy=copy is not False)

    @staticmethod
    def joined(histories: Sequence[History]) -> History:
        """Several fits' histories as one, in their order; steps are counted on from fit to fit."""
        starts = np.cumsum([0, *(len(one) for one in histories)])
        shifted = [one.steps_measured + start for one, start in zip(histories, starts, strict=False)]
        return History(
            np.concatenate([one.loss for one in histories]),
            np.concatenate(shifted),
            np.concatenate([one.psnr for one in histories]),
            np.concatenate([one.ssim for one in histories]),
            tuple(length for one in histories for length in one.lengths),
        )

    def parts(self) -> list[History]:
        """The history of each fit alone, its steps counted from 1; one of a single fit in one piece."""
        ends = np.cumsum(self.lengths)
        found = []
        for start, end in zip(ends - np.array(self.lengths), ends, strict=True):
            here = (self.steps_measured > start) & (self.steps_measured <= end)
            measured = self.steps_measured[here] - start
            found.append(History(self.loss[start:end], measured, self.psnr[here], self.ssim[here]))
        return found

    def plain(self) -> dict[str, list]:
        """Lists for ``json.dumps``, rounded to what means something; an infinite PSNR becomes None."""
        told = {"loss": [float(f"{loss:.{LOSS_DIGITS}g}") for loss in self]}
        if len(self.lengths) > 1:
            told["lengths"] = list(self.lengths)
        if len(self.steps_measured):
            told["steps_measured"] = self.steps_measured.tolist()
            told["psnr"] = [round(one, 3) if math.isfinite(one) else None for one in self.psnr.tolist()]
            told["ssim"] = [round(one, 5) for one in self.ssim.tolist()]
        return told
