"""restore_video: a clip in, the restored clip out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dipedge import __version__, arguments
from dipedge.clips.clip_answer import ClipAnswer, finish
from dipedge.clips.clip_presets import ClipPreset, clip_preset
from dipedge.clips.clip_run import ClipRun
from dipedge.clips.given_clip import GivenClip
from dipedge.clips.joining import Joining
from dipedge.clips.masks import masks_of
from dipedge.clips.pieces import Cutting
from dipedge.clips.progress_folder import ProgressFolder
from dipedge.clips.segment_fit import SegmentFits
from dipedge.clips.video_result import VideoResult
from dipedge.descriptions import to_plain
from dipedge.engines import engine_for
from dipedge.engines.base import Settings
from dipedge.errors import InputError
from dipedge.motion import MotionEstimator
from dipedge.priors import Prior
from dipedge.result import Step
from dipedge.stopwatch import Stopwatch
from dipedge.tasks import Inpaint, Task
from dipedge.tiles import Tiles

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
    tiles: Tiles | str | bool | None = "auto",
    times: int = 1,
    between: str = "blend",
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
            "dip" or another prior of single pictures fits frame by frame, "dip3d" (3D-DIP) whole segments:
            baselines.
        quality: "paper", "balanced" or "fast"; see ``clips.clip_presets.clip_preset``.
        engine: "auto", "native", "torch" or another; see ``engines.get_engine``.
        steps: how many steps see each frame, exactly; None ends by the quality's own rule.
        segment: most frames that are fitted together, 1 to 10,000; None takes the quality's ("paper": all).
        overlap: frames that two segments share and cross-fade, fewer than ``segment``; None likewise.
        motion: how coordinates follow the camera: "shift", "affine", None for not at all, or "auto" for what
            the quality has been measured with. It also finds the cuts between scenes, which None does not.
        tiles: how large frames are cut, as for ``Session``; each tile of a segment is a fit of its own.
        times: 2 adds a frame between each two (between 2 and 8: as many less one); only with ``SpaceTime``.
            N frames become ``times`` * (N - 1) + 1.
        between: what these are: "blend", the mean of the two frames' answers, each moved as the camera went;
            or "query", as published, what the network puts out at the times between, which was farther from
            the truth in every clip it was measured on (``docs/video.md``).
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
    preset = replace(preset, motion=_checked_motion(motion, preset))
    times = _checked_times(times, between, preset)
    if resume and output is None:
        raise InputError("resume is True; that needs an output, beside which an unfinished run is kept")
    settings = _settings(seed, precision, threads)
    clip, tiles = GivenClip(source), arguments.tiles(tiles)
    chosen, cutting = engine_for(engine, preset.prior, task), Cutting(task, clip.shape, tiles)
    fits = SegmentFits(
        chosen, task, preset, settings, cutting, times, between, progress, _segments(clip, preset)
    )
    answer = ClipAnswer(clip, task, output, times, reference, writing)
    run = _run(clip, task, preset, times, fits, answer, watch)
    description = {
        "task": to_plain(task), "prior": to_plain(preset.prior), "quality": quality, "steps": steps,
        "segment": preset.segment, "overlap": preset.overlap, "motion": preset.motion, "times": times,
        "between": between, "tiles": to_plain(tiles), "seed": seed, "engine": chosen.name,
        "precision": precision, "version": __version__,
        "clip": [*clip.shape, clip.reader.has_alpha, clip.reader.bit_depth],
    }  # fmt: skip
    return finish(run, answer, chosen, watch, lambda: run.run(description, resume))


def _settings(seed: Any, precision: str, threads: Any) -> Settings:
    return Settings(
        seed=arguments.whole("seed", seed, 0, 2**63 - 1),
        precision=precision,
        threads=None if threads is None else arguments.whole("threads", threads, 1, 4096),
    )


def _run(
    clip: GivenClip,
    task: Task,
    preset: ClipPreset,
    times: int,
    fits: SegmentFits,
    answer: ClipAnswer,
    watch: Stopwatch,
) -> ClipRun:
    holes = isinstance(task, Inpaint)
    return ClipRun(
        clip=clip,
        masks=masks_of(task.mask, clip.shape) if holes else None,
        fits=fits,
        follower=None if preset.motion is None else MotionEstimator(preset.motion),
        joining=Joining(times, holes and task.keep),
        take=answer.take,
        folder=None if answer.path is None else ProgressFolder(answer.path),
        length=preset.segment or LONGEST,
        overlap=preset.overlap,
        tempo=preset.tempo or 1 / (preset.segment or clip.reader.frames or LONGEST),
        clock=watch,
    )


def _cut(preset: ClipPreset, segment: int | None, overlap: int | None) -> ClipPreset:
    """The preset with the user's segments.

    Those of single pictures are one frame long whatever he says, and those of 3D-DIP share none.
    """
    if preset.whole and segment is not None:
        preset = replace(preset, segment=arguments.whole("segment", segment, 1, LONGEST))
    if not preset.timed:
        return preset
    if segment is not None:
        segment = arguments.whole("segment", segment, 1, LONGEST)
        preset = replace(preset, segment=segment, overlap=min(preset.overlap, segment - 1))
    if overlap is not None:
        most = (preset.segment or LONGEST) - 1
        preset = replace(preset, overlap=arguments.whole("overlap", overlap, 0, most))
    return preset


def _checked_times(times: Any, between: Any, preset: ClipPreset) -> int:
    times = arguments.whole("times", times, 1, 8)
    if between not in ("blend", "query"):
        raise InputError(f'between is {between!r}; it must be "blend" or "query"')
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
