"""Comparison: a restored clip beside the true one, frame by frame as it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from dipedge import arrays, metrics
from dipedge.errors import InputError

WINDOW = 7  # frames that a window of ``metrics.ssim3d`` reaches over


class Comparison:
    """PSNR and 3D-SSIM of all frames it was shown; it keeps no more of them than a window needs.

    Args:
        reference: the true frames, in order.
    """

    def __init__(self, reference: Iterator[Any]) -> None:
        self._reference = reference
        self._recent: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=WINDOW)
        self._error = self._similar = 0.0
        self._frames = self._windows = 0

    def add(self, frame: Any) -> None:
        """Takes the next restored frame.

        Raises:
            InputError: the reference has ended, or its frame is of another size.
        """
        true = next(self._reference, None)
        if true is None:
            raise InputError(f"reference ends after {self._frames} frames and the clip goes on")
        pair = tuple(arrays.read(one, "frame").values for one in (frame, true))  # alpha left aside
        if pair[0].shape != pair[1].shape:
            found, wanted = (" x ".join(map(str, one.shape)) for one in reversed(pair))
            raise InputError(f"frame {self._frames} of reference is {found}; the restored one is {wanted}")
        self._error += 10 ** (-metrics.psnr(*pair) / 10)
        self._frames += 1
        self._recent.append(pair)
        if len(self._recent) == WINDOW and min(pair[0].shape[:2]) >= WINDOW:
            # Every window ends with one frame, and all have as many cubes: their mean is that of the clip.
            self._similar += metrics.ssim3d(*zip(*self._recent, strict=True))
            self._windows += 1

    @property
    def psnr(self) -> float | None:
        """Of all frames together, in dB."""
        if not self._frames:
            return None
        error = self._error / self._frames
        return float("inf") if error == 0 else -10 * float(np.log10(error))

    @property
    def ssim3d(self) -> float | None:
        """Over all windows; None where there were too few frames for one."""
        return self._similar / self._windows if self._windows else None
