"""ClipRun: one clip's way from its source to its answer, segment by segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from dipedge.clips.given_clip import GivenClip
from dipedge.clips.joining import Finished, Joining
from dipedge.clips.progress_folder import ProgressFolder
from dipedge.clips.segment_fit import SegmentFits
from dipedge.clips.segments import ClipFrame, Follower, Segment, Start, frames_of, segments_of
from dipedge.clips.video_result import FittedSegment
from dipedge.errors import FileError, InputError
from dipedge.stopwatch import Clock
from dipedge.views import View

PROGRAM = "program/"  # before the keys of the program's state, among what is kept


@dataclass
class ClipRun:
    """What happens between a clip and its answer.

    Args:
        clip: the source.
        masks: of its frames, or None.
        fits: makes the segments' fits.
        follower: estimates how the camera moved, or None.
        joining: makes one clip of the segments' answers.
        take: is given each finished frame, in order.
        folder: keeps finished segments, or None.
        length, overlap, tempo: see ``segments_of``.
        clock: seconds since anything.

    Attributes:
        restored: frames of the source whose answers were given to ``take``.
        resumed: how many of them an earlier run had restored.
        segments: what became of the fits.
    """

    clip: GivenClip
    masks: Iterator[np.ndarray] | None
    fits: SegmentFits
    follower: Follower | None
    joining: Joining
    take: Callable[[Finished], object]
    folder: ProgressFolder | None
    length: int
    overlap: int
    tempo: float
    clock: Clock
    restored: int = 0
    resumed: int = 0
    segments: list[FittedSegment] = field(default_factory=list)

    def run(self, description: dict[str, Any], resume: bool) -> None:
        """Restores the clip, or what an earlier run left of it.

        Args:
            description: see ``ProgressFolder.begin``.
            resume: likewise.

        Raises:
            InputError: the earlier run was of another clip or had other settings.
            DipedgeError: what reading, fitting or writing raises. Of a fault in the source all frames before
                it have been finished then.
        """
        finished = 0 if self.folder is None else self.folder.begin(description, resume)
        start, known = self._taken_up(finished) if finished else (Start(), (0, ""))
        frames = frames_of(iter(self.clip.reader), self.clip.read, self.masks)
        frames = islice(self._checked(frames, *known), start.first, None)
        for segment in segments_of(frames, self.length, self.overlap, start, self.tempo, self.follower):
            self._restore(segment)
            if segment.fault is not None:
                raise segment.fault

    def _restore(self, segment: Segment) -> None:
        fitted = self.fits.fit(segment, self.clock)
        finished = list(self.joining.add(segment, fitted.estimates))
        self._hand_on(finished, fitted.segment)
        if self.folder is not None and not segment.last:
            self._keep(segment, finished, fitted.segment)

    def _hand_on(self, finished: list[Finished], told: FittedSegment) -> None:
        self.segments.append(told)
        for one in finished:
            self.take(one)
            self.restored += one.own

    # Kept between runs -----------------------------------------------------------------------------------

    def _keep(self, segment: Segment, finished: list[Finished], told: FittedSegment) -> None:
        start = segment.next_start()
        state = {PROGRAM + key: value for key, value in self.fits.state().items()}
        if start.views:
            state["views"] = np.stack([view.numbers() for view in start.views])
        if self.joining.tail:
            state["tail"] = np.stack(self.joining.tail)
        about = {
            "first": start.first, "fresh": start.fresh, "began": start.began,
            "digest": segment.frames[-1].digest.hex(), "layout": list(self.fits.layout),
        }  # fmt: skip
        self.folder.keep(segment.number, finished, told, state, about)

    def _taken_up(self, finished: int) -> tuple[Start, tuple[int, str]]:
        """Hands on what an earlier run finished; where to go on, and the digest of so many frames."""
        state, about = self.folder.load(finished - 1)
        try:
            program = {key[len(PROGRAM) :]: state[key] for key in state if key.startswith(PROGRAM)}
            self.fits.resume(program, *about["layout"])
            views = [View.of_numbers(numbers) for numbers in state.get("views", ())]
            start = Start(finished, about["first"], views, about["fresh"], about["began"])
            known = start.first + len(views), about["digest"]
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{self.folder.path}: damaged; run again without resuming") from error
        self.joining.tail = list(state.get("tail", ()))
        for number in range(finished):
            self._hand_on(*self.folder.segment(number))
        self.resumed = self.restored
        return start, known

    def _checked(self, frames: Iterator[ClipFrame], count: int, digest: str) -> Iterator[ClipFrame]:
        """The same frames, if the first ``count`` are those that an earlier run saw."""
        seen = 0
        for seen, frame in enumerate(frames, 1):
            if seen == count and frame.digest.hex() != digest:
                break
            yield frame
        else:
            if seen >= count:
                return
        raise InputError(
            f"{self.folder.path} was made from another clip than {self.clip.name}; resume with the same, or "
            "run again without resuming"
        )
