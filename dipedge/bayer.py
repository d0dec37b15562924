"""Raw frames of a colour sensor: unpacked, and interpolated to three colours.

A sensor has one colour a pixel. What is missing is the mean of the neighbours that have it, the oldest and
simplest way: it invents nothing that a fit would then take for the picture. Edges are mirrored, which keeps
the pattern. OpenCV gives the same bits inside a frame, and is taken where it is installed; at the edge it
repeats inner pixels, so frames are mirrored before it sees them.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType

import numpy as np

from dipedge.errors import InputError

PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")  # colours of the first two rows' first two pixels
DEPTHS = ("8", "10", "12", "16", "10P", "12P")  # bits; P: packed without gaps as MIPI CSI-2 sends them
# Of packed values: how many share their low bits' byte, and how many low bits each has there.
GROUPS = {"10P": (4, 2), "12P": (2, 4)}


def row_bytes(depth: str, width: int) -> int:
    """Bytes of a row of ``width`` values."""
    if depth in GROUPS:
        group, _ = GROUPS[depth]
        return -(-width // group) * (group + 1)
    return width if depth == "8" else 2 * width


def words(rows: np.ndarray) -> np.ndarray:
    """Little-endian 16-bit values [H, W] of rows of bytes [H, 2 W]; a view where the machine is so too."""
    found = rows.view("<u2")
    return found if sys.byteorder == "little" else found.astype(np.uint16)


def values(rows: np.ndarray, depth: str, width: int) -> np.ndarray:
    """Values [H, W] of rows of bytes: uint8, or uint16 with white = 65535.

    Raises:
        InputError: a value above what ``depth`` bits hold.
    """
    if depth == "8":
        return rows
    if depth == "16":
        return words(rows)
    found = _unpacked(rows, *GROUPS[depth])[:, :width] if depth in GROUPS else words(rows)
    white = 2 ** int(depth.removesuffix("P")) - 1
    if (largest := int(found.max())) > white:
        raise InputError(
            f"a value of {largest} in a frame of {depth} bits, which hold {white}; if they are the upper "
            "bits of 16, the format ends with 16"
        )
    return ((found.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)


def _unpacked(rows: np.ndarray, group: int, low_bits: int) -> np.ndarray:
    """Values of packed rows: a group's upper 8 bits, a byte each, then one byte with all their low bits."""
    parts = rows.reshape(len(rows), -1, group + 1)
    shifts = np.arange(group, dtype=np.uint16) * low_bits  # the first value's low bits are the lowest
    low = (parts[..., group:] >> shifts) & (2**low_bits - 1)
    return ((parts[..., :group].astype(np.uint16) << low_bits) | low).reshape(len(rows), -1)


def interpolated(mosaic: np.ndarray, pattern: str, opencv: bool = True) -> np.ndarray:
    """Three colours [H, W, 3] of one a pixel.

    Args:
        mosaic: uint8 or uint16 [H, W], sides of 2 or more.
        pattern: one of ``PATTERNS``.
        opencv: whether to use OpenCV where it is installed; the bits are the same.
    """
    padded = np.pad(mosaic, 2, mode="reflect")
    cv2 = _opencv() if opencv else None
    code = getattr(cv2, f"COLOR_Bayer{pattern}2RGB", None)
    return _means(padded, pattern) if code is None else cv2.demosaicing(padded, code)[2:-2, 2:-2]


def _means(padded: np.ndarray, pattern: str) -> np.ndarray:
    """What is inside a border of two pixels, interpolated; halves are rounded up."""
    height, width = padded.shape[0] - 4, padded.shape[1] - 4
    result = np.empty((height, width, 3), padded.dtype)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        own = pattern[2 * row + column]
        beside, above = pattern[2 * row + 1 - column], pattern[2 * (1 - row) + column]
        opposite = pattern[2 * (1 - row) + 1 - column]

        def mean(*places: tuple[int, int], row: int = row, column: int = column) -> np.ndarray:
            total = np.uint32(len(places) // 2)
            for down, right in places:
                rows = slice(2 + row + down, 2 + height + down, 2)
                total = total + padded[rows, 2 + column + right : 2 + width + right : 2]
            return total // np.uint32(len(places))

        found = {own: mean((0, 0))}
        if own == "G":
            found[beside], found[above] = mean((0, -1), (0, 1)), mean((-1, 0), (1, 0))
        else:
            found["G"] = mean((0, -1), (0, 1), (-1, 0), (1, 0))
            found[opposite] = mean((-1, -1), (-1, 1), (1, -1), (1, 1))
        for colour, plane in found.items():
            result[row::2, column::2, "RGB".index(colour)] = plane
    return result


@cache
def _opencv() -> ModuleType | None:
    """OpenCV, imported when the first frame needs it, or None."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2
