"""Single pictures as frames: read and written by Pillow, and by PyAV where a picture has 16 bits a colour
channel.

Pillow reads such a PNG as 8 bits and cannot read such a TIFF; a film from a camera that stores 16 bits would
lose half of them on its way in and the rest on its way out.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dipedge import arrays, images
from dipedge.errors import FileError, InputError
from dipedge.video.faults import load_av, named

PICTURES = (*images.WRITABLE, ".ppm", ".pgm", ".jp2", ".avif")
DEEP_CODECS = {".png": "png", ".tif": "tiff", ".tiff": "tiff"}  # what FFmpeg writes with 16 bits a channel
DEEP_FORMATS = {  # FFmpeg's layout in the file -> ours in memory
    "rgb48be": "rgb48le", "rgb48le": "rgb48le", "rgba64be": "rgba64le", "rgba64le": "rgba64le",
    "ya16be": "rgba64le", "ya16le": "rgba64le",
}  # fmt: skip


def read_picture(path: Path) -> np.ndarray:
    """A picture file as [H, W, C], uint8 or uint16.

    Raises:
        FileError: it cannot be read, or a side is below 16 pixels.
    """
    deep = _deep(path)
    if deep is not None:
        return deep
    try:
        picture = arrays.read(images.open_image(path), str(path))
    except FileError:
        raise
    except InputError as error:
        raise FileError(str(error)) from error
    values = picture.values
    if values.dtype.kind == "f":
        values = np.rint(picture.pixels * 65535).astype(np.uint16)
    if picture.alpha is None:
        return np.ascontiguousarray(values)
    alpha = picture.alpha[..., None]
    colours = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values
    return np.concatenate([colours, alpha.astype(values.dtype)], axis=2)


def _deep(path: Path) -> np.ndarray | None:
    """A picture with 16 bits a colour channel, by PyAV; None for every other, and where PyAV is not there."""
    if path.suffix.lower() not in DEEP_CODECS or not _is_deep(path):
        return None
    try:
        av = load_av()
    except InputError:
        return None
    from dipedge.video.colour import FULL, Colour, Converter

    with named(path, "a damaged picture"), av.open(f"file:{path}") as container:
        frame = next(container.decode(video=0))
        memory = DEEP_FORMATS.get(frame.format.name)
        if memory is None:
            return None
        return Converter(Colour(range=FULL), frame.height).to_pixels(frame, memory)


def _is_deep(path: Path) -> bool:
    """Whether its header says colour of 16 bits a channel: in PNG at a fixed place, in TIFF in tag 258."""
    try:
        with open(path, "rb") as file:
            head = file.read(26)
    except OSError:
        return False  # whoever reads it next will say so
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return head[24] == 16 and head[25] in (2, 4, 6)
    if head[:4] in (b"II*\0", b"MM\0*"):
        from PIL import TiffImagePlugin

        try:
            with open(path, "rb") as file:
                directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
                file.seek(directory.next)
                directory.load(file)
            bits = directory.get(258, (1,))
        except Exception:  # not the place to say what is wrong with it
            return False
        return len(bits) > 1 and bits[0] == 16
    return False


def profile_of(path: Path) -> bytes | None:
    """The picture's colour profile."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.info.get("icc_profile")
    except (OSError, ValueError, SyntaxError):
        return None


def encoded(pixels: np.ndarray, extension: str) -> bytes | None:
    """A picture [H, W, 3 or 4] of uint16 as PNG or TIFF; None where Pillow is the right one to write it."""
    codec = DEEP_CODECS.get(extension)
    if codec is None or pixels.dtype != np.uint16 or pixels.shape[2] == 1:
        return None
    from av.codec import CodecContext
    from av.video.frame import VideoFrame

    wanted = {("png", 3): "rgb48be", ("png", 4): "rgba64be", ("tiff", 3): "rgb48le", ("tiff", 4): "rgba64le"}
    context: Any = CodecContext.create(codec, "w")
    context.height, context.width = pixels.shape[:2]
    context.pix_fmt = wanted[codec, pixels.shape[2]]
    context.time_base = Fraction(1, 25)
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=context.pix_fmt)
    packets = [*context.encode(frame), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def write_picture(pixels: np.ndarray, path: Path, profile: bytes | None = None) -> None:
    """Writes a frame [H, W, C] of uint8 or uint16, by the extension of ``path``, beside it and renamed.

    What the format cannot hold is rounded to 8 bits, or its alpha left out; ``what_is_lost`` says so
    beforehand.

    Raises:
        FileError: the disk refused.
    """
    data = encoded(pixels, path.suffix.lower())
    if data is not None:
        with images.written_beside(path) as file:
            file.write(data)
        return
    from PIL import Image

    modes = images.WRITABLE[path.suffix.lower()][1]
    if pixels.dtype == np.uint16 and not (pixels.shape[2] == 1 and "I;16" in modes):
        pixels = np.rint(pixels / 257).astype(np.uint8)
    if pixels.shape[2] == 4 and "RGBA" not in modes:
        pixels = pixels[..., :3]
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    if profile is not None:
        image.info["icc_profile"] = profile
    images.save_image(image, path)


def what_is_lost(extension: str, channels: int, bit_depth: int) -> list[str]:
    """Sentences about what pictures of this extension cannot hold."""
    name, modes, _ = images.WRITABLE[extension]
    lost = []
    if bit_depth > 8 and extension not in DEEP_CODECS:
        lost.append(f"{name} holds 8 bits a channel; the frames' {bit_depth} are rounded")
    if channels == 4 and "RGBA" not in modes:
        lost.append(f"{name} holds no transparency; it is left out")
    return lost
