"""Writing a restored video: one face for files and for folders of frames.

What is being written stands beside its place under another name (NAME.partial.EXT) and is renamed when it is
whole. So a file under its own name is always a finished one, and what an interrupted run had finished is
still there.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from dipedge.errors import InputError
from dipedge.video.container_reader import ContainerReader
from dipedge.video.container_sink import ContainerSink, Plan
from dipedge.video.folder_sink import FolderSink, is_folder
from dipedge.video.places import check_not_the_source, check_place, partial_of, put_in_place
from dipedge.video.source import VideoReader


class VideoWriter:
    """A video that is being written.

    Args:
        path: a file, whose extension says of what kind, or a folder of frames (a name without extension, an
            existing folder, or ``FOLDER/*.png`` to name the frames' kind).
        like: the video that was restored: rate, colours, sound, subtitles, chapters and tags are taken from
            it.
        width, height: of the frames; default: those of ``like``.
        times: frames for one of ``like``'s: 2 where time was doubled, too.
        codec: as ``encoders.ENCODERS`` calls it; default: ``like``'s own, where it can be written and fits
            into the file, else what the extension usually holds.
        crf: the codec's quality scale, 0 is best; default: no visible loss.
        audio: whether the sound comes along.
        keep: how many frames of an unfinished video in the same place are taken over, at most; the next frame
            to write is number ``frames``. A killed run may have lost the last frame it wrote; a
            transport stream (ts) the last two, a program stream (mpg) all.

        tell: is given each note as soon as it is known, most of them before the first frame.

    Attributes:
        path, partial: where it will be, and where it is until it is finished.
        frames: how many are written.
        notes: sentences about what could not be carried over.

    Raises:
        FileError: the place cannot be written, the extension is unknown, the output is the input.
        InputError: a codec or a crf that does not fit.
    """

    def __init__(
        self, path: str | Path, like: VideoReader, width: int | None = None, height: int | None = None, *,
        times: int = 1, codec: str | None = None, crf: int | None = None, audio: bool = True,
        keep: int = 0, tell: Callable[[str], object] | None = None,
    ) -> None:  # fmt: skip
        self.path = Path(path)
        width, height = width or like.width, height or like.height
        self.shape = (height, width, like.channels)
        self._rate = like.rate * times
        self._dtype = like.dtype
        self._open = True
        check_not_the_source(self.path, like.path)
        plan = Plan(
            shape=self.shape, bit_depth=like.bit_depth, rate=self._rate, time_base=like.time_base / times,
            looks=like.looks, source_height=like.height,
            source=like.path if isinstance(like, ContainerReader) else None, sound=audio,
            codec=codec, crf=crf,
        )  # fmt: skip
        if is_folder(self.path):
            self._sink: ContainerSink | FolderSink = FolderSink(self.path, plan, like, keep)
            self.path, self.partial = self._sink.path, self._sink.partial
        else:
            check_place(self.path)
            self.partial = partial_of(self.path)
            self._sink = ContainerSink(self.partial, plan, keep)
        self._tell, self._told = tell, 0
        self._tell_notes()

    def _tell_notes(self) -> None:
        if self._tell is not None:
            for sentence in self.notes[self._told :]:
                self._tell(sentence)
        self._told = len(self.notes)

    @property
    def frames(self) -> int:
        return self._sink.frames

    @property
    def notes(self) -> list[str]:
        return self._sink.notes

    def write(
        self, pixels: np.ndarray, time: Fraction | None = None, duration: Fraction | None = None
    ) -> None:
        """Writes the next frame.

        Args:
            pixels: [H, W, C], uint8 or uint16 as the reader's.
            time: when it is shown, in seconds, later than the frame before; default: one frame later.
            duration: in seconds; default: one frame.

        Raises:
            InputError: another size or dtype, or a time that is not later.
            FileError: the disk refused; the frames before are in ``partial``.
        """
        if not self._open:
            raise InputError(f"{self.path}: is closed; nothing more can be written")
        if pixels.shape != self.shape or pixels.dtype != self._dtype:
            raise InputError(
                f"pixels are {pixels.shape} {pixels.dtype}; this video takes {self.shape} {self._dtype}"
            )
        usual = 1 / self._rate
        if time is None:
            time = Fraction(0) if self._sink.last is None else self._sink.last + usual
        if self._sink.last is not None and time <= self._sink.last:
            raise InputError(
                f"time is {float(time):.6g} s; it must be later than the frame before, at "
                f"{float(self._sink.last):.6g} s"
            )
        self._sink.write(pixels, time, usual if duration is None else duration)

    def close(self) -> Path:
        """Finishes the video and puts it in its place.

        Raises:
            FileError: the disk refused; what could be written is in ``partial``.
        """
        if self._open:
            self._open = False
            self._sink.finish()
            self._tell_notes()
            put_in_place(self.partial, self.path)
        return self.path

    def stop(self) -> Path | None:
        """Finishes what there is and leaves it as ``partial``, which is then whole in itself; None without a
        frame.
        """
        if self._open:
            self._open = False
            self._sink.finish()
            if not self.frames:
                self._sink.discard()
        return self.partial if self.frames else None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.stop()
