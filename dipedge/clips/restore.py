"""restore_video: a clip in, the restored clip out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dipedge import arguments
from dipedge.clips.clip_presets import ClipPreset, clip_preset
from dipedge.clips.clip_run import ClipRun
from dipedge.clips.comparison import Comparison
from dipedge.clips.given_clip import GivenClip, as_written
from dipedge.clips.joining import Finished, Joining
from dipedge.clips.masks import masks_of
from dipedge.clips.progress_folder import ProgressFolder
from dipedge.clips.segment_fit import SegmentFits
from dipedge.clips.video_result import VideoInterrupted, VideoResult
from dipedge.course import commonest
from dipedge.descriptions import to_plain
from dipedge.engines import engine_for
from dipedge.engines.base import Engine, Settings
from dipedge.errors import DipedgeError, InputError
from dipedge.motion import MotionEstimator
from dipedge.priors import Prior
from dipedge.result import Step, StopReason
from dipedge.stopwatch import Stopwatch
from dipedge.tasks import Inpaint, Task
from dipedge.video import VideoWriter

MOTIONS = ("auto", "shift", "affine", None)
LONGEST = 10_000  # frames of a segment


def restore_video(
    source: Any,
    task: Task,
    output: str | os.PathLike | None = None,
    *,
    prior: Prior | str | None = None,
    quality: str = "balanced",
    engine: str = "auto",
    steps: int | None = None,
    segment: int | None = None,
    overlap: int | None = None,
    motion: str | None = "auto",
    times: int = 1,
    resume: bool = False,
    reference: Any = None,
    progress: Callable[[Step], object] | None = None,
    precision: str = "auto",
    seed: int = 0,
    threads: int | None = None,
    **writing: Any,
) -> VideoResult:
    """Restores a clip: one network of coordinates and time is fitted to many frames at once.

    Args:
        source: the path of a video, a folder or a glob of pictures; an array or tensor [N, H, W, C] or
            [N, H, W]; a list or another iterable of pictures, each as ``Session.fit`` takes it.
        task: ``Denoise``, ``RemoveJpeg``, ``SuperResolve`` or ``Inpaint``. The mask of the last may be one
            for all frames, or a list, an array [N, H, W], a video or a folder with one for each.
        output: path of the video or folder to write; frames then go there as they are finished, and
            memory does not grow with the clip. None keeps them for the result.
        prior: None for PIP's network of coordinates and time; a ``Prior`` with ``SpaceTime`` features; "pip",
            "dip" or another prior of single pictures fits frame by frame, as a baseline.
        quality: "paper", "balanced" or "fast"; see ``clips.clip_presets.clip_preset``.
        engine: "auto", "native", "torch" or another; see ``engines.get_engine``.
        steps: how many steps see each frame, exactly; None ends by the quality's own rule.
        segment: most frames that are fitted together, 1 to 10,000; None takes the quality's ("paper": all).
        overlap: frames that two segments share and cross-fade, fewer than ``segment``; None likewise.
        motion: how coordinates follow the camera: "shift", "affine", None for not at all, or "auto" for what
            the quality has been measured with. It also finds the cuts between scenes, which None does not.
        times: 2 adds a frame between each two (between 2 and 8: as many less one); only with ``SpaceTime``.
            N frames become ``times`` * (N - 1) + 1.
        resume: whether to go on from what an earlier run of the same arguments left beside ``output``; where
            there is nothing it begins anew. See ``docs/video.md``.
        reference: the true clip, as long and as large as the answer, in any form that ``source`` may have.
        progress: called with a ``Step`` after each; ``fit`` and ``fits`` say which segment of how many.
        precision, seed, threads: as for ``Session``. One seed gives the same frames, also after a kill.
        writing: ``codec``, ``crf`` and ``audio``, as ``video.VideoWriter`` takes them.

    Returns:
        A ``VideoResult``.

    Raises:
        InputError: an argument that cannot be used, or ``resume`` after a run with other arguments or of
            another clip.
        FileError: a source that is missing or damaged, an output that cannot be written. The frames before
            the damage are restored and the message names the file they are in.
        EngineError, OutOfMemoryError, FitDivergedError: see ``Session``.
        VideoInterrupted: for Ctrl-C, a KeyboardInterrupt with the result so far.
    """
    watch = Stopwatch()
    arguments.check_task(task)
    steps = None if steps is None else arguments.whole("steps", steps, 1, 10**9)
    preset = _cut(clip_preset(task, prior, quality, steps), segment, overlap)
    times, motion = _checked_times(times, preset), _checked_motion(motion, preset)
    if resume and output is None:
        raise InputError("resume is True; that needs an output, beside which an unfinished run is kept")
    settings = Settings(
        seed=arguments.whole("seed", seed, 0, 2**63 - 1),
        precision=precision,
        threads=None if threads is None else arguments.whole("threads", threads, 1, 4096),
    )
    clip = GivenClip(source)
    chosen = engine_for(engine, preset.prior, task)
    holes = isinstance(task, Inpaint)
    answer = _Answer(clip, task, output, times, reference, writing)
    run = ClipRun(
        clip=clip,
        masks=masks_of(task.mask, clip.shape) if holes else None,
        fits=SegmentFits(
            chosen, task, preset, settings, motion == "affine", times, progress, _segments(clip, preset)
        ),
        follower=None if motion is None else MotionEstimator(motion),
        joining=Joining(times, holes and task.keep),
        take=answer.take,
        folder=None if output is None else ProgressFolder(answer.path),
        length=preset.segment or LONGEST,
        overlap=preset.overlap,
        tempo=preset.tempo,
        clock=watch,
    )
    description = {
        "task": to_plain(task), "prior": to_plain(preset.prior), "quality": quality, "steps": steps,
        "segment": preset.segment, "overlap": preset.overlap, "motion": motion, "times": times, "seed": seed,
        "engine": chosen.name, "device": chosen.device(), "precision": precision,
        "clip": [*clip.shape, clip.reader.has_alpha, clip.reader.bit_depth],
    }  # fmt: skip
    return _Restoring(run, answer, chosen, watch).go(description, resume)


def _cut(preset: ClipPreset, segment: int | None, overlap: int | None) -> ClipPreset:
    """The preset with the user's segments; those of single pictures are one frame long whatever he says."""
    if not preset.timed:
        return preset
    if segment is not None:
        segment = arguments.whole("segment", segment, 1, LONGEST)
        preset = replace(preset, segment=segment, overlap=min(preset.overlap, segment - 1))
    if overlap is not None:
        most = (preset.segment or LONGEST) - 1
        preset = replace(preset, overlap=arguments.whole("overlap", overlap, 0, most))
    return preset


def _checked_times(times: Any, preset: ClipPreset) -> int:
    times = arguments.whole("times", times, 1, 8)
    if times > 1 and not preset.timed:
        raise InputError(f"times is {times}; a prior of single pictures knows nothing between them")
    return times


def _checked_motion(motion: Any, preset: ClipPreset) -> str | None:
    if motion not in MOTIONS:
        raise InputError(f'motion is {motion!r}; it must be "auto", "shift", "affine" or None')
    if not preset.timed:
        return None
    return preset.motion if motion == "auto" else motion


def _segments(clip: GivenClip, preset: ClipPreset) -> int | None:
    """How many segments there will be, where the source says how long it is and no scene ends."""
    count = clip.reader.frames
    if count is None or preset.segment is None or count <= preset.segment:
        return None if count is None else 1
    return 1 - (preset.segment - count) // (preset.segment - preset.overlap)


class _Answer:
    """Where finished frames go: into a list or a file, and beside the reference.

    Args:
        clip, task, output, times, reference, writing: as ``restore_video`` has them.
    """

    def __init__(
        self, clip: GivenClip, task: Task, output: Any, times: int, reference: Any, writing: dict[str, Any]
    ) -> None:
        self._clip = clip
        self._frames: list[Any] = []
        self.comparison = None if reference is None else Comparison(_frames_of(reference))
        self._writer: VideoWriter | None = None
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


def _frames_of(reference: Any) -> Iterator[Any]:
    return (frame.pixels for frame in GivenClip(reference).reader)


class _Restoring:
    """A run, and what becomes of it when it ends early.

    Args:
        run, answer, engine, watch: of this call.
    """

    def __init__(self, run: ClipRun, answer: _Answer, engine: Engine, watch: Stopwatch) -> None:
        self._run, self._answer, self._engine, self._watch = run, answer, engine, watch

    def go(self, description: dict[str, Any], resume: bool) -> VideoResult:
        run, answer = self._run, self._answer
        try:
            run.run(description, resume)
            path = answer.finish()
        except KeyboardInterrupt as stop:
            result = self._result(self._left(), StopReason.INTERRUPTED)
            raise VideoInterrupted(result) from stop
        except DipedgeError as error:
            partial = self._left()
            if partial is None or not isinstance(error, InputError):
                raise
            raise type(error)(f"{error}; the {run.restored} frames before it are in {partial}") from error
        finally:
            run.fits.close()
        if run.folder is not None:
            run.folder.remove()
        return self._result(path, commonest(one.reason for one in run.segments))

    def _left(self) -> str | None:
        """The partial file; a disk that is full refuses to finish even that."""
        with suppress(DipedgeError):
            return self._answer.stop()
        return None

    def _result(self, path: str | None, reason: StopReason) -> VideoResult:
        run, comparison = self._run, self._answer.comparison
        own = [one for one in run.segments if one.first >= run.resumed]
        return VideoResult(
            frames=self._answer.frames,
            path=path,
            reason=reason,
            restored=run.restored,
            resumed=run.resumed,
            steps=sum(one.steps for one in own),
            seconds=self._watch(),
            segments=tuple(run.segments),
            engine=self._engine.name,
            device=self._engine.device(),
            psnr=None if comparison is None else comparison.psnr,
            ssim3d=None if comparison is None else comparison.ssim3d,
        )
