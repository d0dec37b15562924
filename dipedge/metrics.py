"""How close two pictures or clips are: PSNR, SSIM, 3D-SSIM and flicker, with numpy alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import tee, zip_longest
from typing import Any

import numpy as np

from dipedge.errors import InputError

WINDOW_RADIUS = 5  # 11 x 11, as Wang et al. 2004
WINDOW_SIGMA = 1.5
# Rows taken at a time: as float64, a picture of 24 megapixels is 576 MB, and SSIM needs ten such planes.
BAND_ROWS = 256
SIDE_3D = 7  # of 3D-SSIM's window: frames, rows and columns
C1, C2 = 0.01**2, 0.03**2  # of SSIM, with white = 1


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
            similar = _similarity(mean_x, mean_y, var_x, var_y, covariance)
            total += float(np.sum(similar))
            count += similar.size
    return total / count


def _similarity(
    mean_x: np.ndarray, mean_y: np.ndarray, var_x: np.ndarray, var_y: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """SSIM of every window from its moments."""
    above = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return above / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))


# Clips ----------------------------------------------------------------------------------------------


def _frames(clip: Iterable[Any], reference: Iterable[Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of frames [H, W, C] in the types they came in, all of one shape; one pair at a time.

    Raises:
        InputError: clips of different lengths, frames of different shapes, or what ``_pair`` refuses.
    """
    shape, end = None, object()
    for count, (first, second) in enumerate(zip_longest(clip, reference, fillvalue=end)):
        if first is end or second is end:
            shorter = "clip" if first is end else "reference"
            raise InputError(
                f"{shorter} ends after {count} frames and the other goes on; both must be as long"
            )
        first, second = _pair(first, second)
        shape = first.shape if shape is None else shape
        if first.ndim not in (2, 3) or first.shape != shape:
            raise InputError(f"frame {count} is {first.shape}; all must be H x W (x C) and of one size")
        yield (first, second) if first.ndim == 3 else (first[..., None], second[..., None])


def _boxes(plane: np.ndarray) -> np.ndarray:
    """Sums over every square of SIDE_3D that lies wholly inside: [H, W] -> [H - 6, W - 6]."""
    height, width = (side - SIDE_3D + 1 for side in plane.shape)
    rows = sum(plane[start : start + height] for start in range(SIDE_3D))
    return sum(rows[:, start : start + width] for start in range(SIDE_3D))


def _cubes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Similarity of every cube of two blocks [SIDE_3D, H, W], with unbiased variances; [H - 6, W - 6]."""
    size = SIDE_3D**3
    mean_x, mean_y = _boxes(x.sum(axis=0)) / size, _boxes(y.sum(axis=0)) / size
    var_x, var_y, covariance = (
        (_boxes(np.einsum("thw,thw->hw", a, b)) - size * mean_a * mean_b) / (size - 1)
        for a, b, mean_a, mean_b in ((x, x, mean_x, mean_x), (y, y, mean_y, mean_y), (x, y, mean_x, mean_y))
    )
    return _similarity(mean_x, mean_y, var_x, var_y, covariance)


def ssim3d(clip: Iterable[Any], reference: Iterable[Any]) -> float:
    """Structural similarity over frames, rows and columns, mean over all windows and channels.

    SSIM (Wang, Bovik, Sheikh, Simoncelli 2004) of cubes instead of squares, as Zeng and Wang have it
    ("3D-SSIM for video quality assessment", ICIP 2012), without their weighting of cubes. A window is 7
    frames x 7 rows x 7 columns, all of it weighted alike, with unbiased variances, and lies wholly inside:
    what scikit-image's ``structural_similarity`` of [T, H, W] gives as it comes. Which "SSIM-3D" PIP's paper
    took is not published; numbers compare only where one definition was taken.

    Frames are read one pair after another and seven are kept, so a clip may be of any length, and either may
    be a generator.

    Args:
        clip, reference: [T, H, W] or [T, H, W, C], T >= 7, or as many frames [H, W] or [H, W, C], all of one
            shape with sides of 7 or more; uint8, uint16, or floats in [0, 1].

    Raises:
        InputError: lengths or shapes differ, there is too little of it, or another dtype.
    """
    window: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=SIDE_3D)
    total, count, frames = 0.0, 0, 0
    for pair in _frames(clip, reference):
        shape = pair[0].shape
        if min(shape[:2]) < SIDE_3D:
            raise InputError(f"frames are {shape[:2]}; 3D-SSIM needs sides of {SIDE_3D} or more")
        frames += 1
        window.append(pair)
        if len(window) < SIDE_3D:
            continue
        for channel in range(shape[2]):
            x, y = (np.stack([_unit(one[which][..., channel]) for one in window]) for which in (0, 1))
            similar = _cubes(x, y)
            total += float(np.sum(similar))
            count += similar.size
    if count == 0:
        raise InputError(f"clip has {frames} frames; 3D-SSIM needs {SIDE_3D} or more")
    return total / count


def flicker(clip: Iterable[Any], reference: Iterable[Any] | None = None) -> float:
    """How much a clip changes from frame to frame beyond what its reference does.

    ``255 sqrt(mean(((x_t - x_{t-1}) - (r_t - r_{t-1}))^2))`` over all pixels, channels and pairs of frames
    that follow each other: the root mean square of the *change of the error* x - r. What moves in the scene
    moves in the reference too and cancels, so no optical flow is needed, and none of its mistakes count. An
    error that stays where it is, such as the blur of what stands still, does not count; noise of ``sigma``
    drawn anew in every frame counts as ``sqrt(2) sigma``. The measures of flicker in video coding compare the
    frame differences of a coded clip with those of its original in the same way, over blocks that stand still
    (X. Fan, W. Gao, Y. Lu, D. Zhao, "Flicking reduction in all intra frame coding", JVT-E070, 2002).

    Without a reference the clip's own frame differences are measured, its motion included: fit to compare
    restorations of one clip of a scene that stands still, and little else.

    Args:
        clip: [T, H, W] or [T, H, W, C], T >= 2, or as many frames; uint8, uint16, or floats in [0, 1].
        reference: the true clip, of the same shape, or None.

    Returns:
        0 or more, in units of 1/255 of white, as ``Denoise.sigma``.

    Raises:
        InputError: lengths or shapes differ, fewer than two frames, or another dtype.
    """
    if reference is None:
        errors = (_unit(frame) for frame, _ in _frames(*tee(clip)))
    else:
        errors = (_unit(frame) - _unit(true) for frame, true in _frames(clip, reference))
    before, total, count = None, 0.0, 0
    for error in errors:
        if before is not None:
            total += float(np.sum((error - before) ** 2))
            count += error.size
        before = error
    if count == 0:
        raise InputError("clip has fewer than two frames; flicker is what changes between them")
    return 255 * float(np.sqrt(total / count))
