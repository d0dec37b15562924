"""Pixel values in [0, 1]: float32 of what users give, and what users get of float32.

Band by band, so that what a conversion needs for a moment is small beside a picture and stays in the cache:
that made the way back of a frame of 640 x 480 bytes 10 ms and is 0.6 ms now (docs/cameras.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

BAND = 2**16  # values converted at a time


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an array of ``shape``, about BAND values at a time."""
    count = max(1, BAND * shape[0] // max(1, math.prod(shape)))
    yield from (slice(first, first + count) for first in range(0, shape[0], count))


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    """``target[...] = source``, both [rows, W, C], by channels where those of one of them lie apart.

    Numpy's inner loop runs over the last axis that the two do not share. Three of four channels, or planes
    one behind another, make that a loop of three values a pixel: twice as slow as one pass for each channel.
    """
    packed = all(
        array.strides[1:] == (array.shape[2] * array.itemsize, array.itemsize) for array in (source, target)
    )
    if packed:
        target[...] = source
        return
    for channel in range(source.shape[2]):
        target[..., channel] = source[..., channel]


def to_unit(channels: np.ndarray) -> np.ndarray:
    """Float32 in [0, 1] of an array [H, W, C] of uint8, uint16 or floats; always a new array."""
    result = np.empty(channels.shape, np.float32)
    for rows in _bands(channels.shape):
        _copy(channels[rows], result[rows])
        if channels.dtype.kind == "u":
            result[rows] /= np.float32(np.iinfo(channels.dtype).max)
        else:
            np.clip(result[rows], 0, 1, out=result[rows])
    return result


def from_unit(values: np.ndarray, dtype: np.dtype, result: np.ndarray | None = None) -> np.ndarray:
    """Values [H, W, C] clipped to [0, 1], and for an integer ``dtype`` scaled and rounded.

    Args:
        values: float32 or float64.
        dtype: uint8, uint16 or a float.
        result: where the answer goes, [H, W, C] of ``dtype``; None for a new array.

    In float32, as the values are: of values that lie within a millionth of the middle between two integers it
    may take the other one than float64, which is three times as slow.
    """
    result = np.empty(values.shape, dtype) if result is None else result
    for rows in _bands(values.shape):
        band = np.clip(values[rows], 0, 1)
        if dtype.kind == "u":
            band *= np.float32(np.iinfo(dtype).max)
            np.rint(band, out=band)
        _copy(band, result[rows])
    return result
