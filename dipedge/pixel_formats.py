"""Frames as cameras give them: YUV, gray and Bayer to the arrays that dipedge takes, and RGB back to YUV.

``to_rgb`` takes the bytes of a frame, with padded rows and planes anywhere, and gives uint8 or uint16 pixels.
Gray and packed RGB are not copied: the answer is a view of the same bytes. YUV is computed in float32 from
the definitions (ITU-R BT.601-7 and BT.709-6), within a thousandth of a step of them before it is rounded.
OpenCV would be faster there and is not exact enough: it takes all luma below black as black, which is half of
the noise in dark places, and is off by up to 19 steps of 255 where such pixels have colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dipedge import bayer, yuv
from dipedge.errors import InputError

# Where U and V lie: planes with 2 x 2 pixels a value, or bytes of pairs of pixels.
YUV_PLANES = {"NV12": "UV", "NV21": "VU", "I420": "UV", "YV12": "VU"}
YUV_PACKED = {"YUYV": (0, 1, 3), "YUY2": (0, 1, 3), "YVYU": (0, 3, 1), "UYVY": (1, 0, 2)}  # first Y, U, V
PACKED = {  # bytes a pixel, and where the colours (and alpha) are among them
    "RGB": (3, slice(None)),
    "BGR": (3, slice(None, None, -1)),
    "RGBA": (4, slice(None)),
    "BGRA": (4, [2, 1, 0, 3]),
    "RGBx": (4, slice(3)),
    "BGRx": (4, slice(2, None, -1)),
}
BAYER = bayer.PATTERNS
FORMATS = (
    *YUV_PLANES,
    *YUV_PACKED,
    "GRAY8",
    "GRAY16",
    *PACKED,
    *(pattern + depth for pattern in BAYER for depth in bayer.DEPTHS),
)


@dataclass(frozen=True)
class _Plane:
    """Rows of bytes: how many, and how many bytes of each belong to the picture."""

    rows: int
    row_bytes: int


def frame_bytes(format: str, width: int, height: int) -> int:
    """Bytes of a frame without padding, whose planes follow one another.

    Raises:
        InputError: an unknown format, or a side under 1.
    """
    return sum(plane.rows * plane.row_bytes for plane in _planes_of(format, width, height))


def to_rgb(
    data: Any,
    format: str,
    width: int,
    height: int,
    *,
    strides: int | Sequence[int] | None = None,
    offsets: Sequence[int] | None = None,
    matrix: str = "bt601",
    full_range: bool = False,
) -> np.ndarray:
    """The pixels of a camera's frame.

    Chroma is repeated over the pixels it belongs to; Bayer is interpolated linearly, with mirrored edges.

    Args:
        data: the frame's bytes: anything with Python's buffer protocol (bytes, a mapped buffer, a
            C-contiguous array), or a list or tuple with one of them for each plane.
        format: one of ``FORMATS``. "GRAY16" and Bayer of 10, 12 and 16 bits are little-endian, their value
            in the low bits; "RGGB10P" and the like are packed, four pixels in five bytes or two in three.
        width, height: in pixels, from 1 (Bayer: 2) up.
        strides: bytes from a row to the next, for each plane, or of the first one: then planes with half as
            many bytes a row have half of it. None: no padding.
        offsets: where each plane begins, in bytes; None: one after another.
        matrix: "bt601" or "bt709" (of YUV; cameras up to 576 lines mean the first).
        full_range: whether black and white are 0 and 255, as in JPEG, rather than 16 and 235.

    Returns:
        uint8 [H, W, 3]; [H, W, 4] for RGBA and BGRA; [H, W] for gray; uint16 (white = 65535) for more than
        8 bits.

    Raises:
        InputError: an unknown format or matrix, sides, strides or offsets that cannot be, too few bytes; or
            too many, where neither strides nor offsets say why; Bayer values above what its bits hold.
    """
    yuv.check_matrix(matrix)
    planes = _views(data, format, width, height, strides, offsets)
    if format in YUV_PLANES or format in YUV_PACKED:
        y, u, v = _yuv_views(planes, format, width)
        return yuv.rgb_of(y, u, v, width, height, matrix, full_range)
    if format == "GRAY8":
        return planes[0]
    if format == "GRAY16":
        return bayer.words(planes[0])
    if format in PACKED:
        channels, colours = PACKED[format]
        return planes[0].reshape(height, width, channels)[..., colours]
    return bayer.interpolated(bayer.values(planes[0], format[4:], width), format[:4])


def from_rgb(
    pixels: np.ndarray, format: str = "NV12", *, matrix: str = "bt601", full_range: bool = False
) -> np.ndarray:
    """A frame in planes for an encoder, a display or a virtual camera: ``to_rgb`` backwards.

    Chroma is the mean of the 2 x 2 pixels it belongs to.

    Args:
        pixels: uint8 [H, W, 3], or [H, W] and [H, W, 1] for gray.
        format: "NV12", "NV21", "I420" or "YV12".
        matrix, full_range: as ``to_rgb`` takes them.

    Returns:
        uint8 [``frame_bytes``], without padding. Of even sides ``.reshape(H * 3 // 2, W)`` suits OpenCV.

    Raises:
        InputError: another dtype, shape or format.
    """
    yuv.check_matrix(matrix)
    pixels = np.asarray(pixels)
    if format not in YUV_PLANES:
        raise InputError(f"format is {format!r}; RGB is turned into {', '.join(YUV_PLANES)}")
    if (
        pixels.dtype != np.uint8
        or pixels.ndim not in (2, 3)
        or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3))
    ):
        found = f"{' x '.join(map(str, pixels.shape))} of {pixels.dtype}"
        raise InputError(f"pixels are {found}; they must be H x W, H x W x 1 or H x W x 3 of uint8")
    height, width = pixels.shape[:2]
    frame = np.zeros(frame_bytes(format, width, height), np.uint8)
    y, u, v = _yuv_views(_views(frame, format, width, height, None, None), format, width)
    yuv.fill(np.broadcast_to(np.atleast_3d(pixels), (height, width, 3)), y, u, v, matrix, full_range)
    return frame


# Where the bytes lie --------------------------------------------------------------------------------


def _planes_of(format: str, width: int, height: int) -> list[_Plane]:
    if format not in FORMATS:
        raise InputError(f"format is {format!r}; it must be one of {', '.join(FORMATS)}")
    least = 2 if format[:4] in BAYER else 1
    if min(width, height) < least:
        raise InputError(f"a frame of {width} x {height} in {format}; both sides must be {least} or more")
    half_width, half_height = -(-width // 2), -(-height // 2)
    if format in ("NV12", "NV21"):
        return [_Plane(height, width), _Plane(half_height, 2 * half_width)]
    if format in YUV_PLANES:
        return [_Plane(height, width), *2 * [_Plane(half_height, half_width)]]
    if format in YUV_PACKED:
        return [_Plane(height, 4 * half_width)]
    if format in PACKED:
        return [_Plane(height, PACKED[format][0] * width)]
    depth = format[4:] if format[:4] in BAYER else format.removeprefix("GRAY")
    return [_Plane(height, bayer.row_bytes(depth, width))]


def _views(
    data: Any, format: str, width: int, height: int, strides: int | Sequence[int] | None, offsets: Any
) -> list[np.ndarray]:
    """The planes of a frame, uint8 [rows, bytes of a row]; views of ``data``."""
    planes = _planes_of(format, width, height)
    steps = _steps(planes, strides)
    if isinstance(data, list | tuple):
        buffers = [_flat(part) for part in data]
        if len(buffers) != len(planes) or offsets is not None:
            raise InputError(
                f"data is a list of {len(buffers)}; {format} has {len(planes)} planes without offsets"
            )
        starts = [0] * len(planes)
    else:
        buffers = [_flat(data)] * len(planes)
        starts = [int(start) for start in offsets] if offsets is not None else [0]
        for plane, step in list(zip(planes, steps, strict=True))[: -1 if offsets is None else 0]:
            starts.append(starts[-1] + plane.rows * step)
    if len(starts) != len(planes) or min(starts) < 0:
        raise InputError(
            f"offsets are {offsets}; {format} has {len(planes)} planes, and none begins before 0"
        )
    tight = strides is None and offsets is None
    for number, (plane, step, start, buffer) in enumerate(
        zip(planes, steps, starts, buffers, strict=True), 1
    ):
        needed = start + (plane.rows - 1) * step + plane.row_bytes
        exact = tight and (number == len(planes) or isinstance(data, list | tuple))
        if len(buffer) < needed or (exact and len(buffer) != needed):
            size = f"{width} x {height} in {format}" + (f", plane {number}" if len(planes) > 1 else "")
            hint = "; give strides if rows are padded" if exact else ""
            raise InputError(f"data has {len(buffer)} bytes; {size} ends at byte {needed}{hint}")
    return [
        np.ndarray((plane.rows, plane.row_bytes), np.uint8, buffer, start, (step, 1))
        for plane, step, start, buffer in zip(planes, steps, starts, buffers, strict=True)
    ]


def _steps(planes: list[_Plane], strides: int | Sequence[int] | None) -> list[int]:
    """Bytes from row to row of each plane."""
    widths = [plane.row_bytes for plane in planes]
    if strides is None:
        return widths
    if isinstance(strides, int | np.integer):
        # A plane of half as many values has half the stride; NV12's second has as many bytes as the first.
        strides = [int(strides) // (2 if 2 * wide <= widths[0] + 1 else 1) for wide in widths]
    steps = [int(step) for step in strides]
    if len(steps) != len(planes) or any(step < wide for step, wide in zip(steps, widths, strict=False)):
        raise InputError(f"strides are {steps}; the rows of this frame's planes have {widths} bytes")
    return steps


def _flat(data: Any) -> np.ndarray:
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        kind = type(data).__name__
        raise InputError(f"data is a {kind}; it must be bytes or a C-contiguous array: {error}") from error


def _yuv_views(planes: list[np.ndarray], format: str, width: int) -> list[np.ndarray]:
    """Y [H, W], U and V, as they are halved in both directions or in one."""
    if format in YUV_PACKED:
        luma, u, v = YUV_PACKED[format]
        return [planes[0][:, luma::2][:, :width], planes[0][:, u::4], planes[0][:, v::4]]
    first, second = (planes[1][:, 0::2], planes[1][:, 1::2]) if len(planes) == 2 else planes[1:]
    return [planes[0], first, second] if YUV_PLANES[format] == "UV" else [planes[0], second, first]
