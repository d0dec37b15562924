"""How close two pictures are: PSNR and SSIM, with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from dipedge.errors import InputError

WINDOW_RADIUS = 5  # 11 x 11, as Wang et al. 2004
WINDOW_SIGMA = 1.5
# Rows taken at a time: as float64, a picture of 24 megapixels is 576 MB, and SSIM needs ten such planes.
BAND_ROWS = 256


def _pair(image: Any, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of one shape, checked, in the type they came in."""
    arrays = []
    for name, value in (("image", image), ("reference", reference)):
        array = np.asarray(value)
        if array.dtype.kind not in "uf":
            raise InputError(
                f"{name} has dtype {array.dtype}; metrics take uint8, uint16 or floats in [0, 1]"
            )
        arrays.append(array)
    first, second = arrays
    if first.shape != second.shape:
        raise InputError(f"image is {first.shape} and reference {second.shape}; they must have one shape")
    if first.size == 0:
        raise InputError("image has no pixels")
    return first, second


def _unit(part: np.ndarray) -> np.ndarray:
    """Float64 in units where 1 is white; integers are divided by their type's maximum."""
    white = float(np.iinfo(part.dtype).max) if part.dtype.kind == "u" else 1.0
    return part.astype(np.float64) / white


def psnr(image: Any, reference: Any) -> float:
    """Peak signal-to-noise ratio, ``-10 log10 mean((image - reference)^2)`` with white = 1, in dB.

    Args:
        image, reference: arrays of one shape; uint8, uint16, or floats in [0, 1].

    Returns:
        dB; infinity for equal pictures.

    Raises:
        InputError: shapes differ, or another dtype.
    """
    first, second = (np.atleast_1d(array) for array in _pair(image, reference))
    bands = (slice(row, row + BAND_ROWS) for row in range(0, len(first), BAND_ROWS))
    error = sum(float(np.sum((_unit(first[rows]) - _unit(second[rows])) ** 2)) for rows in bands) / first.size
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
    total, count = 0.0, 0
    radius, height = WINDOW_RADIUS, first.shape[0]
    for channel in range(first.shape[2]):
        for top in range(0, height - 2 * radius, BAND_ROWS):  # rows of windows; each reads 2 * radius more
            rows = slice(top, top + BAND_ROWS + 2 * radius)
            x, y = _unit(first[rows, :, channel]), _unit(second[rows, :, channel])
            mean_x, mean_y = _blur(x, weights), _blur(y, weights)
            var_x = _blur(x * x, weights) - mean_x**2
            var_y = _blur(y * y, weights) - mean_y**2
            covariance = _blur(x * y, weights) - mean_x * mean_y
            above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
            below = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
            total += float(np.sum(above / below))
            count += above.size
    return total / count
