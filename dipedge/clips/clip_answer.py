"""ClipAnswer: where a clip's frames go; and what a call hands back, however it ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dipedge.clips.clip_run import ClipRun
from dipedge.clips.comparison import Comparison
from dipedge.clips.given_clip import GivenClip, as_written
from dipedge.clips.joining import Finished
from dipedge.clips.video_result import VideoInterrupted, VideoResult
from dipedge.course import commonest
from dipedge.engines.base import Engine
from dipedge.errors import DipedgeError, InputError
from dipedge.result import StopReason
from dipedge.stopwatch import Clock
from dipedge.tasks import Task
from dipedge.video import VideoWriter


class ClipAnswer:
    """Where finished frames go: into a list or a file, and beside the reference.

    Args:
        clip, task, output, times, reference, writing: as ``restore_video`` has them.

    Attributes:
        comparison: with the reference, or None.
        path: of the file, when it is finished; None for a list.
    """

    def __init__(
        self, clip: GivenClip, task: Task, output: Any, times: int, reference: Any, writing: dict[str, Any]
    ) -> None:
        self._clip = clip
        self._frames: list[Any] = []
        self.comparison = None if reference is None else Comparison(_frames_of(reference))
        self._writer: VideoWriter | None = None
        self.path: Path | None = None
        if output is None:
            if writing:
                raise InputError(f"{', '.join(writing)} given, but no output to write")
            return
        height, width, _ = task.answer_shape(clip.shape)
        self._writer = VideoWriter(output, clip.reader, width, height, times=times, **writing)
        self.path = Path(self._writer.path)

    def take(self, one: Finished) -> None:
        if self.comparison is not None:
            self.comparison.add(one.pixels)
        if self._writer is None:
            self._frames.append(one.pixels)
            return
        self._writer.write(as_written(one.pixels, self._clip.reader.dtype), one.time, one.duration)

    def finish(self) -> str | None:
        """Puts a file in its place."""
        return None if self._writer is None else os.fspath(self._writer.close())

    def stop(self) -> str | None:
        """Leaves a file as the partial one it is; its path, if it has a frame."""
        partial = None if self._writer is None else self._writer.stop()
        return None if partial is None else os.fspath(partial)

    @property
    def frames(self) -> Any:
        if self._writer is not None:
            return None
        return self._clip.gather(self._frames) if self._frames else []

    def left(self) -> str | None:
        """As ``stop``, after a fault: a disk that is full refuses to finish even that."""
        with suppress(DipedgeError):
            return self.stop()
        return None


def _frames_of(reference: Any) -> Iterator[Any]:
    return (frame.pixels for frame in GivenClip(reference).reader)


def finish(
    run: ClipRun, answer: ClipAnswer, engine: Engine, clock: Clock, restore: Callable[[], None]
) -> VideoResult:
    """Runs ``restore``, and makes of ``run`` and ``answer`` what is handed back.

    Raises:
        VideoInterrupted: for Ctrl-C.
        DipedgeError: what ``restore`` raises; an input's fault names the file of the frames before it.
    """
    try:
        restore()
        path = answer.finish()
    except KeyboardInterrupt as stop:
        result = _result(run, answer, engine, clock(), answer.left(), StopReason.INTERRUPTED)
        raise VideoInterrupted(result) from stop
    except DipedgeError as error:
        partial = answer.left()
        if partial is None or not isinstance(error, InputError):
            raise
        raise type(error)(f"{error}; the {run.restored} frames before it are in {partial}") from error
    finally:
        run.fits.close()
    if run.folder is not None:
        run.folder.remove()
    return _result(run, answer, engine, clock(), path, commonest(one.reason for one in run.segments))


def _result(
    run: ClipRun, answer: ClipAnswer, engine: Engine, seconds: float, path: str | None, reason: StopReason
) -> VideoResult:
    comparison = answer.comparison
    return VideoResult(
        frames=answer.frames,
        path=path,
        reason=reason,
        restored=run.restored,
        resumed=run.resumed,
        steps=sum(one.steps for one in run.segments if one.first >= run.resumed),
        seconds=seconds,
        segments=tuple(run.segments),
        engine=engine.name,
        device=engine.device(),
        psnr=None if comparison is None else comparison.psnr,
        ssim3d=None if comparison is None else comparison.ssim3d,
    )
