"""Folders and globs of numbered pictures, read as a video."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from dipedge.errors import FileError, InputError
from dipedge.video.pictures import PICTURES, profile_of, read_picture
from dipedge.video.source import USUAL_RATE, Frame, Looks, VideoReader


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which frame9 comes before frame10."""
    pieces = re.split(r"([0-9]+)", name)
    return tuple((0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in pieces)


def pictures_of(path: str) -> list[Path]:
    """The pictures a folder or glob means, in natural order.

    Raises:
        FileError: none.
    """
    if os.path.isdir(path):
        found = [file for file in Path(path).iterdir() if file.suffix.lower() in PICTURES and file.is_file()]
        nothing = "no picture in this folder"
    else:
        found = [Path(name) for name in glob.glob(path) if os.path.isfile(name)]
        nothing = "no file matches"
    if not found:
        raise FileError(f"{path}: {nothing}")
    return sorted(found, key=lambda file: natural(str(file)))


class FrameFolder(VideoReader):
    """Pictures as the frames of a video.

    Args:
        path: a folder or a glob; the pictures come in natural order (frame9 before frame10).
        rate: frames a second, above 0; 25 where nothing is said.
        pictures: the files, where it is known already.

    Raises:
        FileError: no picture, or the first cannot be read.
        InputError: a rate that is none.
    """

    def __init__(
        self, path: str | Path, rate: Fraction | float | None = None, pictures: Sequence[Path] | None = None
    ) -> None:
        super().__init__()
        self.path = str(path)
        self.rate = USUAL_RATE if rate is None else Fraction(rate).limit_denominator(1001)
        if self.rate <= 0:
            raise InputError(f"rate is {rate}; it must be above 0 (frames a second)")
        self.pictures = list(pictures) if pictures is not None else pictures_of(self.path)
        first = read_picture(self.pictures[0])
        self.height, self.width, self.channels = first.shape
        self.bit_depth = 8 * first.dtype.itemsize
        self.time_base = 1 / self.rate
        self.frames = len(self.pictures)
        self.looks = Looks()
        self.profile = profile_of(self.pictures[0])

    def __iter__(self) -> Iterator[Frame]:
        """The frames from the beginning.

        Raises:
            FileError: a picture that cannot be read, or is of another kind than the first.
        """
        return self.frames_from(0)

    def frames_from(self, index: int) -> Iterator[Frame]:
        """The frames without the first ``index``; those are not read."""
        for number in range(index, len(self.pictures)):
            pixels = self._like_the_first(read_picture(self.pictures[number]), self.pictures[number])
            self.handed_out = number + 1
            yield Frame(pixels, number / self.rate, 1 / self.rate, number)

    def _like_the_first(self, pixels: np.ndarray, file: Path) -> np.ndarray:
        if pixels.shape[2] == 1 and self.channels == 3 and pixels.dtype == self.dtype:
            pixels = np.repeat(pixels, 3, axis=2)  # writers store a gray picture of a colour film as gray
        if pixels.shape != self.shape or pixels.dtype != self.dtype:
            found, wanted = (" x ".join(map(str, shape)) for shape in (pixels.shape, self.shape))
            raise FileError(f"{file}: is {found} {pixels.dtype}; the first frame is {wanted} {self.dtype}")
        return pixels
