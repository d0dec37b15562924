"""Restores the video of one command, and reports on it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipedge import images
from dipedge.cli.inputs import check_not_an_input
from dipedge.cli.report import write_json
from dipedge.cli.restoring import INTERRUPTED, tiles_of
from dipedge.cli.video_progress import film_progress
from dipedge.errors import DipedgeError, FileError, InputError
from dipedge.tasks import Task
from dipedge.video import FrameFolder, VideoReader, open_video
from dipedge.video.pictures import PICTURES

if TYPE_CHECKING:
    from dipedge.clips import VideoResult


@dataclass(frozen=True)
class Filming:
    """What every command for videos can be told; see the command line's help for each."""

    output: str
    prior: str | None = None
    engine: str = "auto"
    quality: str = "balanced"
    steps: int | None = None
    seed: int = 0
    threads: int | None = None
    precision: str = "auto"
    json: str | None = None
    history: bool = False
    tiles: str = "auto"
    segment: int | None = None
    overlap: int | None = None
    motion: str = "auto"
    times: int = 1
    resume: bool = False
    rate: float | None = None
    codec: str | None = None
    crf: int | None = None
    audio: bool = True
    reference: str | None = None

    def arguments(self) -> dict[str, Any]:
        """What of it ``restore_video`` takes by the same name."""
        names = ("prior", "engine", "quality", "steps", "seed", "threads", "precision", "segment", "overlap")
        names += ("times", "resume", "codec", "crf", "audio", "reference")
        given = {name: getattr(self, name) for name in names}
        motion = None if self.motion == "none" else self.motion
        return given | {"tiles": tiles_of(self.tiles), "motion": motion}


def restore_clip(task: Task, inputs: Sequence[str], options: Filming, read: Sequence[str] = ()) -> int:
    """Restores a video; the exit code.

    Args:
        task: what degraded it.
        inputs: a video, a folder, a glob, or the pictures themselves (as a shell makes them of a glob).
        options: everything else.
        read: files that the task itself reads.

    Raises:
        DipedgeError: bad input, or damage on the way; its line names what was finished until then.
    """
    # Not at the top: other commands need neither, and start sooner without.
    from dipedge.cli.video_report import figures_of, record, summary
    from dipedge.clips import VideoInterrupted, restore_video

    reader = opened(inputs, options.rate)
    _check(reader, task, options, read)
    notes: list[str] = []

    def tell(sentence: str) -> None:
        if sentence not in notes:
            notes.append(sentence)
            print(f"dipedge: {reader.path}: note: {sentence}", file=sys.stderr)

    for sentence in reader.notes:
        tell(sentence)
    code, figures = 0, {}
    try:
        with film_progress(reader) as shown:
            result = restore_video(
                reader, task, options.output, progress=shown, tell=tell, **options.arguments()
            )
        if options.reference is not None:
            figures = figures_of(reader, result, options.reference, options.rate)
        print(summary(reader, result, figures), flush=True)
    except VideoInterrupted as stopped:
        code, result = INTERRUPTED, stopped.result
        _say_interrupted(reader, result)
    except DipedgeError as error:
        if options.json is not None:
            write_json(Path(options.json), {"input": reader.path, "error": str(error), "notes": notes})
        raise
    if options.json is not None:
        write_json(Path(options.json), record(reader, task, options, result, figures, notes))
    return code


def opened(inputs: Sequence[str], rate: float | None) -> VideoReader:
    """The video that a command's arguments mean.

    Raises:
        InputError: several that are not frames.
    """
    if len(inputs) == 1:
        reader = open_video(inputs[0], rate)
        if rate is not None and not isinstance(reader, FrameFolder):
            raise InputError(f"rate is {rate:g}; that is for folders of frames, {inputs[0]} has its own")
        return reader
    odd = next((name for name in inputs if Path(name).suffix.lower() not in PICTURES), None)
    if odd is not None:
        raise InputError(f"{len(inputs)} inputs and {odd} is no picture; videos are restored one at a time")
    return FrameFolder(Path(inputs[0]).parent, rate, [Path(name) for name in inputs])


def _check(reader: VideoReader, task: Task, options: Filming, read: Sequence[str]) -> None:
    """Everything beside the video itself that can be known before the first fit."""
    if options.history and options.json is None:
        raise InputError("history goes into the JSON file, and there is none; add --json FILE")
    files = [Path(name) for name in (*read, options.reference) if name is not None]
    check_not_an_input(Path(options.output), files)
    if options.json is not None:
        path = Path(options.json)
        if path == Path(options.output):
            raise FileError(f"{path}: two outputs would be written there")
        check_not_an_input(path, [Path(reader.path), *files])
        images.check_place(path)
    if options.reference is not None:
        truth = open_video(options.reference, options.rate if Path(options.reference).is_dir() else None)
        shape = (reader.height, reader.width, min(reader.channels, 3))
        height, width, _ = task.answer_shape(shape)
        if (truth.height, truth.width) != (height, width):
            raise InputError(
                f"{options.reference} is {truth.width} x {truth.height}; the restored video to compare with "
                f"it is {width} x {height}"
            )


def _say_interrupted(reader: VideoReader, result: VideoResult) -> None:
    kept = f"; the {result.restored} frames before are in {result.path}" if result.path else ""
    again = " (--resume goes on from there)" if result.path else ""
    print(f"dipedge: {reader.path}: interrupted{kept}{again}", file=sys.stderr)
