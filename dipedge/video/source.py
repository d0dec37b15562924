"""What every source of frames has in common: a video file, a folder of pictures, an animation.

A reader knows the size, the depth and the rate of its frames before the first is read, can be iterated as
often as one likes (every time from the beginning), and holds one frame at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from types import TracebackType
from typing import Any

import numpy as np

from dipedge.video.colour import Colour

USUAL_RATE = Fraction(25)  # frames a second, where nothing says how many: a folder of pictures


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Args:
        pixels: [H, W, C], C = 1 (gray), 3 (RGB) or 4 (RGB and alpha); uint8, or uint16 with white = 65535
            where the file has more than 8 bits a channel.
        time: when it is shown, in seconds from the beginning of the file; exact.
        duration: for how long, in seconds.
        index: how many frames come before it.
    """

    pixels: np.ndarray
    time: Fraction
    duration: Fraction
    index: int = 0


@dataclass(frozen=True)
class Looks:
    """How a video's frames are stored and shown, for a writer that is to do the same.

    Args:
        codec: name of the codec, as FFmpeg calls it; "" where the frames come as single pictures.
        pixel_format: as FFmpeg calls it; "" likewise.
        colour: matrix, range and the rest.
        aspect: width of a pixel by its height; None for square or unknown.
        matrix: nine numbers that say how the picture is turned and mirrored for showing; None for not at all.
        loop: how often an animation is shown, 0 for without end; None for once, or for no animation.
    """

    codec: str = ""
    pixel_format: str = ""
    colour: Colour = field(default_factory=Colour)
    aspect: Fraction | None = None
    matrix: tuple[int, ...] | None = None
    loop: int | None = None


class VideoReader:
    """Frames of a video, one after the other; ``open_video`` makes the right kind.

    Attributes:
        path: of the file or folder, or the glob, as it was given.
        width, height: of a frame as it is stored, in pixels.
        channels: 1, 3 or 4.
        bit_depth: of a channel in the file, 8 to 16; above 8 the pixels are uint16.
        rate: frames a second, on average.
        time_base: the unit of the file's timestamps, in seconds.
        frames: how many there are, as far as that is known without reading them all; None where it is not.
        audio: whether there is sound.
        looks: how they are stored.
        notes: sentences about what of the file is not handed over.
        handed_out: how many frames the latest iteration has come to.
    """

    path: str
    width: int
    height: int
    channels: int
    bit_depth: int
    rate: Fraction
    time_base: Fraction
    frames: int | None
    audio: bool = False
    looks: Looks

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.handed_out = 0

    @property
    def has_alpha(self) -> bool:
        return self.channels == 4

    @property
    def dtype(self) -> np.dtype:
        """Of the pixels: uint8 or uint16."""
        return np.dtype(np.uint8 if self.bit_depth == 8 else np.uint16)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[H, W, C] of every frame."""
        return self.height, self.width, self.channels

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError

    def frames_from(self, index: int) -> Iterator[Frame]:
        """The frames without the first ``index``, as a run that is taken up again needs them."""
        return islice(iter(self), index, None)

    def note(self, sentence: str) -> None:
        """Keeps a sentence for the user, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def close(self) -> None:
        """Nothing is held open between iterations; here so that every reader can be used with ``with``."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
