"""Joining: the answers of segments become one clip, cross-faded where segments share frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dipedge.clips.segments import ClipFrame, Segment


@dataclass(frozen=True)
class Finished:
    """One frame of the answer.

    Args:
        pixels: in the kind of the source's frames.
        time: when it is shown, in seconds.
        duration: for how long.
        own: whether the source has this frame; else it lies between two of its.
    """

    pixels: Any
    time: Fraction
    duration: Fraction
    own: bool


class Joining:
    """Takes segments in order and holds back what the next one shares.

    Args:
        times: answers for one frame of the source.
        keep: whether known pixels come back as they were, where frames have masks.

    Attributes:
        tail: answers [H, W, C] that were held back.
    """

    def __init__(self, times: int, keep: bool) -> None:
        self._times, self._keep = times, keep
        self.tail: list[np.ndarray] = []

    def add(self, segment: Segment, answers: list[np.ndarray]) -> Iterator[Finished]:
        """What is finished with this segment.

        Args:
            segment: the next one.
            answers: float32 [H, W, C], ``times`` * (frames - 1) + 1 of them; they are changed.
        """
        weights = _fade(len(self.tail))
        for before, answer, weight in zip(self.tail, answers, weights, strict=False):
            answer *= weight
            answer += (1 - weight) * before
        held = self._times * (segment.kept - 1) + 1 if segment.kept else 0
        self.tail = answers[len(answers) - held :]
        ready = answers[: len(answers) - held]
        if not segment.kept and not segment.last:  # nothing lies between two scenes: the last frame stands
            ready = ready + [ready[-1]] * (self._times - 1)
        for place, answer in enumerate(ready):
            yield self._finished(segment.frames, place, answer)

    def _finished(self, frames: list[ClipFrame], place: int, answer: np.ndarray) -> Finished:
        number, part = divmod(place, self._times)
        frame = frames[number]
        time, duration = frame.shown
        if number + 1 < len(frames):  # durations of files are not always those until the next frame
            duration = frames[number + 1].shown[0] - time
        return Finished(
            frame.picture.give_back(answer, frame.mask if self._keep and not part else None),
            time + duration * Fraction(part, self._times),
            frame.shown[1] / self._times,
            not part,
        )


def _fade(shared: int) -> np.ndarray:
    """Weights [shared] of a segment's own answers where the one before has answers, too."""
    return (np.arange(shared, dtype=np.float32) + 1) / (shared + 1)
