"""From a video's pixel formats to RGB and back, with the same matrix and the same range both ways.

A wrong matrix or range does not fail, it tints: reds turn orange, black turns gray. So nothing is left to
defaults: FFmpeg's scaler is told both sides of every conversion. Chroma that is stored at half size is
interpolated in full (the scaler's usual shortcut repeats it, which moves edges by half a pixel each way);
there and back is then the same to one step of the file's depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

UNSPECIFIED = 2  # of matrix, transfer and primaries, as the codecs' tables (ITU-T H.273) number it
LIMITED, FULL = 1, 2  # range: 16..235 of 255, or all of it; 0 is unknown
BT709, BT601 = 1, 6
# H.273's number of a matrix -> the scaler's. What is not here (YCgCo, ICtCp) is taken for BT.601 both ways.
SCALER_MATRIX = {BT709: 1, 4: 4, 5: 5, BT601: 5, 7: 7, 9: 9, 10: 9}
# libswscale's flags: bicubic, chroma interpolated in full on both sides, accurate rounding, bit-exact. By
# number, since only PyAV 18 has names for all of them.
CAREFUL = 0x4 | 0x2000 | 0x4000 | 0x40000 | 0x80000
HIGH_DEFINITION = 720  # lines from which on players take an unspecified matrix for BT.709


@dataclass(frozen=True)
class Colour:
    """A video's colour tags, numbered as H.273 and FFmpeg number them.

    Args:
        matrix: from YUV to RGB.
        range: 0 unknown (taken as limited), 1 limited, 2 full.
        transfer, primaries: not converted, but written as they were.
    """

    matrix: int = UNSPECIFIED
    range: int = 0
    transfer: int = UNSPECIFIED
    primaries: int = UNSPECIFIED

    def meant(self, height: int) -> int:
        """The matrix of a picture so high: as tagged, else as players guess it."""
        if self.matrix in (UNSPECIFIED, 0):
            return BT709 if height >= HIGH_DEFINITION else BT601
        return self.matrix


def of_frame(frame: Any, pixel_format: str) -> Colour:
    """The tags of a decoded frame."""
    full = pixel_format.startswith("yuvj")  # an old way to say full range
    return Colour(
        int(frame.colorspace), FULL if full else int(frame.color_range),
        int(getattr(frame, "color_trc", UNSPECIFIED)), int(getattr(frame, "color_primaries", UNSPECIFIED)),
    )  # fmt: skip


def layout(pixel_format: str) -> tuple[int, int]:
    """(channels, bits a channel) of the pixels that frames of this format are handed over as."""
    from av.video.format import VideoFormat

    described = VideoFormat(pixel_format)
    components = described.components
    bits = max(component.bits for component in components)
    if described.has_palette:
        return 4, 8
    if any(component.is_alpha for component in components):
        return 4, min(max(bits, 8), 16)
    gray = len(components) == 1 and not described.is_bayer
    return (1 if gray else 3), min(max(bits, 8), 16)


def memory_format(channels: int, bit_depth: int) -> str:
    """FFmpeg's name of the layout of [H, W, C] pixels in memory, in this machine's order of bytes."""
    names = {1: ("gray", "gray16le"), 3: ("rgb24", "rgb48le"), 4: ("rgba", "rgba64le")}
    return names[channels][bit_depth > 8]


class Converter:
    """One direction of conversion, its tables kept from frame to frame.

    Args:
        colour: of the video.
        height: of the video's pictures, for the guess where the matrix is not tagged.
    """

    def __init__(self, colour: Colour, height: int) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()
        self._matrix = SCALER_MATRIX.get(colour.meant(height), 5)
        self._range = colour.range or LIMITED
        self._gray_range = colour.range or FULL  # a single channel without a tag is a picture's

    def to_pixels(self, frame: Any, memory: str) -> np.ndarray:
        """A decoded frame as pixels [H, W, C]; ``memory``: see ``memory_format``."""
        own_range = self._gray_range if frame.format.name.startswith("gray") else self._range
        frame = self._scaled(frame, memory, own_range, FULL)
        array = frame.to_ndarray()
        return array[..., None] if array.ndim == 2 else array

    def to_frame(self, pixels: np.ndarray, memory: str, pixel_format: str) -> Any:
        """Pixels [H, W, C] as a frame in the encoder's format."""
        from av.video.frame import VideoFrame

        if pixel_format == "pal8":
            return _with_palette(pixels)
        flat = np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        frame = VideoFrame.from_ndarray(flat, format=memory)
        own_range = self._gray_range if pixel_format.startswith("gray") else self._range
        return self._scaled(frame, pixel_format, FULL, own_range)

    def _scaled(self, frame: Any, wanted: str, from_range: int, to_range: int) -> Any:
        """A frame in another format; RGB has no range, and is passed on as it is."""
        if frame.format.name == wanted and (frame.format.is_rgb or from_range == to_range):
            return frame
        return self._scaler.reformat(
            frame, format=wanted, interpolation=CAREFUL, src_colorspace=self._matrix,
            dst_colorspace=self._matrix, src_color_range=from_range, dst_color_range=to_range,
        )  # fmt: skip


def _with_palette(pixels: np.ndarray) -> Any:
    """A frame of 256 colours of its own, by Pillow, which chooses better ones than the scaler's fixed set."""
    from av.video.frame import VideoFrame
    from PIL import Image

    pixels = pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8)
    colours = np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
    clear = pixels[..., 3] < 128 if pixels.shape[2] == 4 else np.zeros(pixels.shape[:2], bool)
    chosen = Image.fromarray(np.ascontiguousarray(colours)).quantize(255, Image.Quantize.MEDIANCUT)
    numbers = np.where(clear, 255, np.asarray(chosen)).astype(np.uint8)
    palette = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue; the last is what shines through
    known = np.array(chosen.getpalette("RGB"), np.uint8).reshape(-1, 3)[:255]
    palette[: len(known), 1:] = known
    palette[:255, 0] = 255
    return VideoFrame.from_ndarray((numbers, palette), format="pal8")
