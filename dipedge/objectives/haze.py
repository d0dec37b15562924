"""The loss of dehazing in plain numpy, with gradients by hand, so that no engine needs PyTorch for it.

    MSE(t*J + (1-t)*A, I) + .005*smooth(t) [+ .1*smooth(A) + MSE(A, A0) in the first 1000 steps]
    smooth(x) = MSE(g, m),  g = mean of x's channels,  m = mean of g over 5 x 5 pixels

What stands in brackets counts while A is learned. Weights and steps are those of the published Double-DIP
(Gandelsman, Shocher, Irani, 2019); as there, smooth() looks at pixels whose 5 x 5 square lies inside.
"""

from __future__ import annotations

import numpy as np

from dipedge.tasks.haze import Dehaze

SMOOTH_TRANSMISSION = 0.005
SMOOTH_AIRLIGHT = 0.1
ANCHOR_STEPS = 1000  # so long a learned airlight is held near the one it starts from
REACH = 2  # of smooth()'s square: 5 x 5


def smoothness(values: np.ndarray) -> tuple[float, np.ndarray]:
    """smooth(x) of x [H, W, C], and its gradient by x."""
    height, width, channels = values.shape
    gradient = np.zeros_like(values)
    if min(height, width) <= 2 * REACH:
        return 0.0, gradient
    gray = values.mean(axis=2)
    inner = gray[REACH:-REACH, REACH:-REACH] - _squares(gray) / (2 * REACH + 1) ** 2
    loss = float(np.mean(np.square(inner, dtype=np.float64)))
    # A pixel of the picture counts in its own difference and, through the means, in those around it.
    slope = inner * (2 / inner.size)
    spread = _squares(np.pad(slope, 2 * REACH)) / -((2 * REACH + 1) ** 2)
    spread[REACH:-REACH, REACH:-REACH] += slope
    gradient += spread[..., None] / channels
    return loss, gradient


def _squares(values: np.ndarray) -> np.ndarray:
    """Sums over the 5 x 5 squares that lie inside [H, W]: [H-4, W-4]."""
    for axis in (0, 1):
        size = values.shape[axis] - 2 * REACH
        parts = [values.take(range(start, start + size), axis) for start in range(2 * REACH + 1)]
        values = sum(parts[1:], start=parts[0])
    return values


class HazeObjective:
    """The loss over the stacked estimate [H, W, C + 1 + C]: picture J, transmission t, airlight A.

    Args:
        task: the description; its airlight, if it gives one, stands in for the one seen in the target.
        seed: not used, nothing here is random.

    Attributes:
        airlight: A0, [C] or [H, W, C]; whoever drives several passes may replace it.
        learned: whether A is learned, or A0 held.
    """

    def __init__(self, task: Dehaze, seed: int = 0) -> None:
        self._task = task
        self._target: np.ndarray | None = None
        self.airlight: np.ndarray | None = None
        self.learned = True

    def set_target(self, target: np.ndarray) -> None:
        """Takes the hazy picture [H, W, C]; A0 is the task's, or where it gives none seen in the picture."""
        self._target = target
        self.airlight = self._task.airlight_of(target)

    def __call__(self, estimate: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        """The loss, and its gradient [H, W, C + 1 + C] by the estimate; where A is held, its part is zero."""
        target = self._target
        channels = target.shape[2]
        clear, share, light = np.split(estimate, (channels, channels + 1), axis=2)
        residual = share * clear + (1 - share) * light - target
        loss = float(np.mean(np.square(residual, dtype=np.float64)))
        slope = residual * (2 / residual.size)
        gradient = np.empty_like(estimate)
        by_clear, by_share, by_light = np.split(gradient, (channels, channels + 1), axis=2)
        by_clear[:] = share * slope
        by_share[:] = (slope * (clear - light)).sum(axis=2, keepdims=True)
        rough, by_rough = smoothness(share)
        loss += SMOOTH_TRANSMISSION * rough
        by_share += SMOOTH_TRANSMISSION * by_rough
        if not self.learned:
            by_light[:] = 0
            return loss, gradient
        by_light[:] = (1 - share) * slope
        rough, by_rough = smoothness(light)
        loss += SMOOTH_AIRLIGHT * rough
        by_light += SMOOTH_AIRLIGHT * by_rough
        if step < ANCHOR_STEPS:
            away = light - self.airlight.astype(light.dtype)
            loss += float(np.mean(np.square(away, dtype=np.float64)))
            by_light += away * (2 / away.size)
        return loss, gradient
