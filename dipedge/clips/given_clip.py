"""A clip as a user hands it over: a path, an array, a list of frames; and what kind its answer is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dipedge import arrays
from dipedge.errors import InputError
from dipedge.video import Frame, VideoReader, open_video
from dipedge.video.source import USUAL_RATE, Looks


class GivenFrames(VideoReader):
    """Frames in memory, or an iterator that makes them, with the face of a video file.

    Args:
        frames: each as ``arrays.read`` takes it.
        count: how many there are, or None.
        first: the first of them, checked.
    """

    path = ""
    rate = USUAL_RATE
    time_base = 1 / USUAL_RATE
    looks = Looks()

    def __init__(self, frames: Iterable[Any], count: int | None, first: arrays.Picture) -> None:
        super().__init__()
        self._given = frames
        self.frames = count
        self.height, self.width, self.channels = first.shape
        self.channels = 4 if first.alpha is not None else self.channels
        self.bit_depth = 16 if first.dtype.name == "uint16" else 8

    def __iter__(self) -> Iterator[Frame]:
        for index, pixels in enumerate(self._given):
            yield Frame(pixels, index / self.rate, 1 / self.rate, index)


class GivenClip:
    """A clip that is to be restored.

    Args:
        source: the path of a video, a folder or a glob of pictures, or an open ``VideoReader``; an array or
            tensor [N, H, W, C] or [N, H, W]; a list, or any other iterable, of pictures.

    Attributes:
        reader: gives its frames.
        shape: [H, W, C] of a frame, without alpha.
        name: what messages call it.

    Raises:
        FileError: the path cannot be read.
        InputError: anything else, an empty clip, or a first frame that cannot be used.
    """

    def __init__(self, source: Any) -> None:
        self.gather: Callable[[list[Any]], Any] = list
        if isinstance(source, str | os.PathLike):
            source = open_video(source)
        if isinstance(source, VideoReader):
            self.name, self.reader = source.path, source
            height, width, channels = self.reader.shape
            self.shape = (height, width, 3 if channels == 4 else channels)
            if min(height, width) < arrays.SMALLEST_SIDE:
                raise InputError(
                    f"{self.name} is {width} x {height}; both sides must be {arrays.SMALLEST_SIDE} or more"
                )
            return
        self.name = "source"
        frames, count = self._in_memory(source)
        first = next(frames, None)
        if first is None:
            raise InputError("source has no frame; it must have one or more")
        picture = arrays.read(first, "frame 0 of source")
        self.shape = picture.shape
        self.reader = GivenFrames(_chain(first, frames), count, picture)

    def _in_memory(self, source: Any) -> tuple[Iterator[Any], int | None]:
        """Its frames and how many they are, if it says; ``gather`` then makes such a clip of frames."""
        torch = sys.modules.get("torch")
        tensor = torch is not None and isinstance(source, torch.Tensor)
        if isinstance(source, np.ndarray) or tensor:
            if source.ndim not in (3, 4):
                raise InputError(f"source is {tuple(source.shape)}; a clip is N x H x W or N x H x W x C")
            self.gather = torch.stack if tensor else np.stack
            return (frame for frame in source), len(source)
        if not isinstance(source, Iterable):
            wanted = "a path, an array [N, H, W, C], or pictures in a list or another iterable"
            raise InputError(f"source is a {type(source).__name__}; it must be {wanted}")
        return iter(source), len(source) if hasattr(source, "__len__") else None

    def read(self, pixels: Any, number: int) -> arrays.Picture:
        """Frame ``number``, checked.

        Raises:
            InputError: it cannot be used, or is of another size than the first.
        """
        name = f"frame {number} of {self.name}"
        picture = arrays.read(pixels, name)
        if picture.shape != self.shape:
            now, before = (" x ".join(map(str, sides)) for sides in (picture.shape, self.shape))
            raise InputError(f"{name} is {now}; those before it are {before}")
        return picture


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def as_written(frame: Any, writer_dtype: np.dtype) -> np.ndarray:
    """A restored frame as a file takes it: [H, W, C] in 8 or 16 bits."""
    array = np.asarray(frame)
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype == writer_dtype:
        return array
    white = np.iinfo(writer_dtype).max
    return np.rint(array.astype(np.float32) * white).astype(writer_dtype)
