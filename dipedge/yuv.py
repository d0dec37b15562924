"""Luma and chroma to colours and back, by the definitions: ITU-R BT.601-7 and BT.709-6.

In float32, band by band; what comes out is within a thousandth of a step of float64 before it is rounded.
"""

from __future__ import annotations

import numpy as np

from dipedge.errors import InputError

# Red's and blue's share of luma.
LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
BAND = 2**15  # pixels converted at a time, so that the steps of the arithmetic stay in the cache


def check_matrix(matrix: str) -> None:
    """Raises InputError for another matrix than those of LUMA."""
    if matrix not in LUMA:
        raise InputError(f"matrix is {matrix!r}; it must be one of {', '.join(LUMA)}")


def _ranges(full_range: bool) -> tuple[float, float, float]:
    """Black, and the steps from black to white and from the least chroma to the greatest."""
    return (0.0, 255.0, 255.0) if full_range else (16.0, 219.0, 224.0)


def _bands(rows: int, width: int) -> list[slice]:
    """An even number of rows at a time."""
    count = max(2, BAND // width // 2 * 2)
    return [slice(first, min(first + count, rows)) for first in range(0, rows, count)]


def rgb_of(
    y: np.ndarray, u: np.ndarray, v: np.ndarray, width: int, height: int, matrix: str, full_range: bool
) -> np.ndarray:
    """Colours uint8 [H, W, 3] of luma and chroma.

    Args:
        y: [H, W] uint8.
        u, v: [H, W / 2] or [H / 2, W / 2], halves rounded up; repeated over the pixels they belong to.
        width, height: W and H.
        matrix: of LUMA.
        full_range: whether black and white are 0 and 255, rather than 16 and 235.
    """
    red, blue = LUMA[matrix]
    green = 1 - red - blue
    black, luma, chroma = _ranges(full_range)
    # What a step of U and of V adds to each colour; 255 is white.
    shares = (
        (0.0, 2 * (1 - red)),
        (-2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green),
        (2 * (1 - blue), 0.0),
    )
    weights = np.float32(shares) * np.float32(255 / chroma)
    tall = 1 if len(u) == height and height > 1 else 2  # rows that share their chroma
    result = np.empty((height, width, 3), np.uint8)
    for rows in _bands(height, width):
        shared = slice(rows.start // tall, -(-rows.stop // tall))
        u_part, v_part = np.float32(u[shared]) - np.float32(128), np.float32(v[shared]) - np.float32(128)
        bright = (np.float32(y[rows]) - np.float32(black)) * np.float32(255 / luma)
        whole = np.empty((len(u_part), tall, u_part.shape[1], 2), np.float32)
        for colour, (u_weight, v_weight) in enumerate(weights):
            whole[:] = (u_weight * u_part + v_weight * v_part)[:, None, :, None]
            value = whole.reshape(len(u_part) * tall, -1)[: len(bright), :width] + bright
            np.clip(value, 0, 255, out=value)
            result[rows, :, colour] = np.rint(value, out=value)
    return result


def fill(
    pixels: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, matrix: str, full_range: bool
) -> None:
    """Writes luma and chroma of ``pixels`` [H, W, 3] into ``y``, ``u`` and ``v``; see ``rgb_of``.

    Chroma is [H / 2, W / 2], and the mean of the 2 x 2 pixels it belongs to.
    """
    red, blue = LUMA[matrix]
    black, luma, chroma = _ranges(full_range)
    shares = np.float32((red, 1 - red - blue, blue))
    for rows in _bands(len(y), y.shape[1]):
        planes = [np.float32(pixels[rows, :, colour]) for colour in range(3)]
        bright = sum(share * plane for share, plane in zip(shares, planes, strict=True))
        y[rows] = np.rint(bright * np.float32(luma / 255) + np.float32(black))
        half = slice(rows.start // 2, -(-rows.stop // 2))
        mean = _halved(bright)  # of a weighted sum the mean is the weighted sum of the means
        for target, colour, share in ((u, 2, blue), (v, 0, red)):
            difference = (_halved(planes[colour]) - mean) * np.float32(chroma / 255 / 2 / (1 - share))
            target[half] = np.rint(np.clip(difference + np.float32(128), 0, 255))


def _halved(plane: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 values; an odd last row or column counts twice."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = plane[0::2] + plane[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) / np.float32(4)
