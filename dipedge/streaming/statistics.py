"""Counters of a stream: what came in, what became of it, and how long it took."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

REMEMBERED = 10_000  # latencies that percentiles are taken of: five minutes at 33 frames/s, 80 kB


@dataclass(frozen=True)
class StreamStatistics:
    """A stream's counters at one moment; ``Stream.statistics`` gives them anew.

    received = restored + dropped + failed + waiting + fitting (0 or 1), but for frames that were still
    waiting when a stream was closed: those are neither.

    Args:
        received: frames that the source has given.
        restored: frames that have a result.
        dropped: frames that were left out because newer ones came (``drop="oldest"``).
        failed: frames that an error came of.
        waiting: frames in the queue now.
        scene_cuts: restored frames with which another scene began.
        latency_p50, latency_p99: milliseconds from a frame's arrival to its result, percentiles of the last
            10,000 restored frames; None before the first.
        latency_max: the longest of all.
        frames_per_second: restored frames by time, from the first result to the last: what comes before it,
            a fit from scratch, says nothing about a stream. None before the second.
        held_back: seconds for which the source was not asked because the queue was full (``drop="block"``):
            the back-pressure. A source that runs by itself, such as a camera, has to wait or to leave out
            frames for so long.
    """

    received: int = 0
    restored: int = 0
    dropped: int = 0
    failed: int = 0
    waiting: int = 0
    scene_cuts: int = 0
    latency_p50: float | None = None
    latency_p99: float | None = None
    latency_max: float | None = None
    frames_per_second: float | None = None
    held_back: float = 0.0


@dataclass
class Counters:
    """The mutable side of ``StreamStatistics``; of constant size however long a stream runs."""

    received: int = 0
    restored: int = 0
    dropped: int = 0
    failed: int = 0
    scene_cuts: int = 0
    held_back: float = 0.0
    longest: float = 0.0
    first_result: float = 0.0
    last_result: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def restore(self, arrived: float, now: float, cut: bool) -> None:
        """Counts a result; it is there at ``now``, its frame came at ``arrived``; seconds of one clock."""
        self.first_result = now if self.restored == 0 else self.first_result
        self.last_result = now
        self.restored += 1
        self.scene_cuts += cut
        self.longest = max(self.longest, now - arrived)
        self.latencies.append(now - arrived)

    def snapshot(self, waiting: int) -> StreamStatistics:
        """What they say now."""
        half = nearly_all = longest = rate = None
        if self.restored:
            half, nearly_all = (float(value) for value in np.percentile(self.latencies, (50, 99)) * 1000)
            longest = self.longest * 1000
        lasted = self.last_result - self.first_result
        if self.restored > 1 and lasted > 0:
            rate = (self.restored - 1) / lasted
        return StreamStatistics(
            self.received,
            self.restored,
            self.dropped,
            self.failed,
            waiting,
            self.scene_cuts,
            half,
            nearly_all,
            longest,
            rate,
            self.held_back,
        )
