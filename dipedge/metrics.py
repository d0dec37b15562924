"""How close two pictures are: PSNR and SSIM, with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from dipedge.errors import InputError

WINDOW_RADIUS = 5  # 11 x 11, as Wang et al. 2004
WINDOW_SIGMA = 1.5


def _pair(image: Any, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 in units where 1 is white; integers are divided by their type's maximum."""
    arrays = []
    for name, value in (("image", image), ("reference", reference)):
        array = np.asarray(value)
        if array.dtype.kind == "u":
            array = array / float(np.iinfo(array.dtype).max)
        elif array.dtype.kind != "f":
            raise InputError(
                f"{name} has dtype {array.dtype}; metrics take uint8, uint16 or floats in [0, 1]"
            )
        arrays.append(np.asarray(array, dtype=np.float64))
    first, second = arrays
    if first.shape != second.shape:
        raise InputError(f"image is {first.shape} and reference {second.shape}; they must have one shape")
    if first.size == 0:
        raise InputError("image has no pixels")
    return first, second


def psnr(image: Any, reference: Any) -> float:
    """Peak signal-to-noise ratio, ``-10 log10 mean((image - reference)^2)`` with white = 1, in dB.

    Args:
        image, reference: arrays of one shape; uint8, uint16, or floats in [0, 1].

    Returns:
        dB; infinity for equal pictures.

    Raises:
        InputError: shapes differ, or another dtype.
    """
    first, second = _pair(image, reference)
    error = float(np.mean((first - second) ** 2))
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))


def _blur(plane: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Separable weighted mean of [H, W] over the window, only where it lies wholly inside."""
    rows = np.lib.stride_tricks.sliding_window_view(plane, weights.size, axis=0) @ weights
    return np.lib.stride_tricks.sliding_window_view(rows, weights.size, axis=1) @ weights


def ssim(image: Any, reference: Any) -> float:
    """Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004), mean over pixels and channels.

    The paper's settings: Gaussian window 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, white = 1,
    windows that lie wholly inside the picture.

    Args:
        image, reference: [H, W] or [H, W, C] arrays of one shape, sides of 11 or more; uint8, uint16,
            or floats in [0, 1].

    Raises:
        InputError: shapes differ, a side under 11, or another dtype.
    """
    first, second = _pair(image, reference)
    if first.ndim not in (2, 3) or min(first.shape[:2]) < 2 * WINDOW_RADIUS + 1:
        raise InputError(f"image is {first.shape}; SSIM needs H x W (x C) with sides of 11 or more")
    if first.ndim == 2:
        first, second = first[..., None], second[..., None]
    offsets = np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    weights /= weights.sum()
    c1, c2 = 0.01**2, 0.03**2
    means = []
    for channel in range(first.shape[2]):  # one at a time: five planes instead of fifteen in memory
        x, y = first[..., channel], second[..., channel]
        mean_x, mean_y = _blur(x, weights), _blur(y, weights)
        var_x = _blur(x * x, weights) - mean_x**2
        var_y = _blur(y * y, weights) - mean_y**2
        covariance = _blur(x * y, weights) - mean_x * mean_y
        above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        below = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
        means.append(np.mean(above / below))
    return float(np.mean(means))
