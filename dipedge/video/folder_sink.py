"""Frames written as single pictures into a folder, which has its name only when they are all there."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from dipedge.errors import FileError
from dipedge.images import WRITABLE
from dipedge.video.container_sink import Plan
from dipedge.video.faults import why
from dipedge.video.folder import FrameFolder
from dipedge.video.pictures import what_is_lost, write_picture
from dipedge.video.source import VideoReader


def is_folder(path: Path) -> bool:
    """Whether an output means a folder of frames: one that exists, a name without extension, FOLDER/*.EXT."""
    return path.is_dir() or path.suffix == "" or path.name.startswith("*.")


class FolderSink:
    """A folder of frames that is being written.

    Args:
        path: of the folder, or ``FOLDER/*.EXT``. It must not exist, or be empty.
        plan: what is written.
        like: frames that came from a folder keep their names, and their extension where that can be written.
        keep: how many frames of an unfinished folder are taken over, at most.

    Attributes:
        frames, last, notes: as those of ``ContainerSink``.

    Raises:
        FileError: the place is taken or cannot be written, or the extension is no picture's.
    """

    def __init__(self, path: Path, plan: Plan, like: VideoReader, keep: int = 0) -> None:
        asked = path.suffix.lower() if path.name.startswith("*.") else None
        self.path = path.parent if asked else path
        self.partial = self.path.with_name(f"{self.path.name}.partial")
        self._names: list[str] = []
        self._profile = None
        extension = ".png"
        if isinstance(like, FrameFolder):
            self._profile = like.profile
            if plan.rate == like.rate:
                self._names = [file.stem for file in like.pictures]
            if like.pictures[0].suffix.lower() in WRITABLE:
                extension = like.pictures[0].suffix.lower()
        self._extension = asked or extension
        if self._extension not in WRITABLE:
            raise FileError(f"{path}: {self._extension} cannot be written; use {', '.join(sorted(WRITABLE))}")
        if len(set(self._names)) < len(self._names):
            self._names = []  # a.png and a.jpg beside each other
        self.notes = what_is_lost(self._extension, plan.shape[2], plan.bit_depth)
        self.frames = 0
        self._make(keep)
        self.last = None if self.frames == 0 else (self.frames - 1) / plan.rate

    def _make(self, keep: int) -> None:
        """The unfinished folder, with the frames in it that are kept."""
        try:
            if self.path.is_dir() and any(self.path.iterdir()):
                raise FileError(f"{self.path}: a folder with something in it; name a new one")
            if self.path.exists() and not self.path.is_dir():
                raise FileError(f"{self.path}: a file; frames need a folder")
            if not self.path.parent.is_dir():
                raise FileError(f"{self.path}: there is no folder {self.path.parent}")
            self.partial.mkdir(exist_ok=True)
            while self.frames < keep and self._file(self.frames).is_file():
                self.frames += 1
            kept = {self._file(index) for index in range(self.frames)}
            for file in self.partial.iterdir():
                if file not in kept:
                    file.unlink()
        except FileError:
            raise
        except OSError as error:
            raise FileError(f"{self.path}: cannot be written ({why(error)})") from error

    def write(self, pixels: np.ndarray, time: Fraction, duration: Fraction) -> None:
        """Writes one frame [H, W, C]; its time is its place in the row."""
        write_picture(pixels, self._file(self.frames), self._profile)
        self.frames, self.last = self.frames + 1, time

    def _file(self, index: int) -> Path:
        stem = self._names[index] if index < len(self._names) else f"frame_{index + 1:06}"
        return self.partial / f"{stem}{self._extension}"

    def finish(self) -> None:
        """Nothing is held back."""

    def discard(self) -> None:
        """Takes the folder away, in which there is no frame."""
        with suppress(OSError):
            self.partial.rmdir()
