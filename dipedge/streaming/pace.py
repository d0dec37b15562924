"""Pace: what steps and the end of a frame cost, so that a deadline can be kept from the first step on.

``Deadline`` learns what a step costs from the steps of its own fit, after two of them. A camera's frame may
have time for one alone. So what the frames before have taken is handed on: the step after the first is then
made only if it will end in time, and what comes after the last step (the answer in the frame's own kind) is
taken off the time allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dipedge.result import StopReason
from dipedge.stopping import Observation, Rule, Watcher
from dipedge.stopwatch import Clock

# Weight of the newest frame. One that was slow by chance shall not cost the next ones many steps.
NEWEST = 0.25


@dataclass
class Pace:
    """Seconds that things have taken, in one program; None for what has not been seen.

    Attributes:
        step: an optimiser step after a frame's first (which may see more pixels than others). Until it is
            known a second step is made if the first has left any time at all.
        end: from the last step to the result.
    """

    step: float | None = None
    end: float | None = None
    _last: float = 0.0  # when the last step of the frame in hand was done

    def forget(self) -> None:
        """Another program has another pace."""
        self.step = self.end = None

    def note_steps(self, mean: float | None, last: float) -> None:
        """Takes in the steps of a frame: the mean of those after the first, and when they ended."""
        self._last = last
        if mean is not None:
            self.step = _smoothed(self.step, mean)

    def note_end(self, now: float) -> None:
        """Takes in the end of a frame: it has its result ``now``."""
        self.end = _smoothed(self.end, now - self._last)


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else before + NEWEST * (now - before)


@dataclass(frozen=True)
class Paced(Rule):
    """A rule for one frame of a stream, which knows the pace and when nobody wants the result any more.

    Args:
        rule: what the user, or the session, wants.
        pace: of the frames before; it takes in this one.
        clock: seconds since the frame was pushed.
        unwanted: whether the stream was closed; the frame then ends with its next step.
    """

    rule: Rule
    pace: Pace
    clock: Clock
    unwanted: Callable[[], bool] = lambda: False

    @property
    def limit(self) -> int | None:
        return self.rule.limit

    @property
    def ends(self) -> bool:
        return self.rule.ends

    def start(self) -> Watcher:
        return _PacedWatcher(self)


class _PacedWatcher:
    """Times the steps of one frame, and hands on what is known of them."""

    def __init__(self, paced: Paced) -> None:
        self._paced, self._watcher = paced, paced.rule.start()
        self._began = paced.clock()
        self._first: Observation | None = None

    @property
    def marks(self) -> bool:
        return self._watcher.marks

    @property
    def keep(self) -> bool:
        return self._watcher.keep

    @property
    def most(self) -> int | None:
        return self._watcher.most

    def update(self, seen: Observation) -> StopReason | None:
        pace = self._paced.pace
        if self._first is None:
            self._first = seen
        ours = seen.index - self._first.index
        # The first step sees at least as much as others: what was slow by chance in a frame before is over.
        first = (self._first.seconds - self._began) / self._first.index
        step = 0.0 if pace.step is None else min(pace.step, first)
        reason = self._watcher.update(replace(seen, step_seconds=step, end_seconds=pace.end or 0.0))
        if self._paced.unwanted():
            reason = reason or StopReason.INTERRUPTED
        if reason is not None:
            pace.note_steps((seen.seconds - self._first.seconds) / ours if ours else None, seen.seconds)
        return reason

    def rewind(self) -> None:
        self._watcher.rewind()
