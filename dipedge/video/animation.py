"""Animated GIF, WebP and PNG, read by Pillow as a video.

Their frames are patches on what was shown before; Pillow lays them on top of each other. Whether anything
shines through is only known when all frames have been laid, so such a file is gone through once when it is
opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dipedge.errors import FileError
from dipedge.images import MAX_PIXELS, check_is_file
from dipedge.video.faults import why
from dipedge.video.source import Frame, Looks, VideoReader

FORMATS = {"GIF": "gif", "WEBP": "webp", "PNG": "apng"}
UNSAID = Fraction(1, 10)  # how long browsers show a frame that says nothing, or next to nothing
SHORTEST = Fraction(1, 100)


def is_animation_format(path: Path) -> bool:
    """Whether a file begins as a GIF, WebP or PNG does."""
    check_is_file(path, "video")
    with open(path, "rb") as file:
        head = file.read(12)
    return (
        head[:4] == b"GIF8" or head[:8] == b"\x89PNG\r\n\x1a\n" or (head[:4], head[8:]) == (b"RIFF", b"WEBP")
    )


class AnimationReader(VideoReader):
    """An animated picture.

    Args:
        path: of a GIF, WebP or PNG file.

    Raises:
        FileError: it is damaged at its first frame, or no animation.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = str(path)
        self.time_base = Fraction(1, 1000)
        self.bit_depth = 8
        self.channels = 3
        count, end = 0, Fraction(0)
        try:
            for image in self._images():
                count, end = count + 1, end + _duration(image)
                if count == 1:
                    self.width, self.height = image.size
                    self.looks = Looks(FORMATS[image.format], loop=image.info.get("loop"))
                if self.channels == 3 and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                    self.channels = 4
        except FileError:
            if not count:  # else the damage is found again, after the frames before it
                raise
        if count == 1:
            raise FileError(f"{path}: a single picture, no video")
        self.frames = count
        self.rate = (count / end).limit_denominator(1001)

    def _images(self) -> Iterator[Any]:
        """Frame after frame as a PIL image; valid until the next."""
        from PIL import Image

        count = 0
        try:
            with Image.open(self.path, formats=tuple(FORMATS)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise FileError(f"{self.path}: claims {image.width} x {image.height} pixels; too many")
                for count in range(getattr(image, "n_frames", 1)):
                    image.seek(count)
                    image.load()
                    yield image
        except (FileError, MemoryError):
            raise
        except Exception as error:  # decoders raise whatever they like
            after = f"is damaged after {count} frames" if count else "a damaged picture"
            raise FileError(f"{self.path}: {after} ({why(error)})") from error

    def __iter__(self) -> Iterator[Frame]:
        """The frames from the beginning.

        Raises:
            FileError: damage; all frames before it have come.
        """
        time = Fraction(0)
        for index, image in enumerate(self._images()):
            pixels = np.asarray(image.convert("RGBA" if self.channels == 4 else "RGB"))
            duration = _duration(image)
            self.handed_out = index + 1
            yield Frame(pixels, time, duration, index)
            time += duration


def _duration(image: Any) -> Fraction:
    """How long a frame is shown, in seconds; files have milliseconds, or hundredths."""
    said = Fraction(image.info.get("duration") or 0).limit_denominator(1000) / 1000
    return said if said > SHORTEST else UNSAID
