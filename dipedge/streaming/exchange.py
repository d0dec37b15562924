"""Exchange: where the three sides of a stream meet - who reads frames, who fits them, who takes the results.

One lock guards everything, and every change wakes whoever waits: nobody looks at a clock to see whether there
is something to do. Nothing here knows what a frame is or how it is fitted, so all of it is tested without.

The garbage collector may close a stream from any thread, even one that is inside a method of this class:
``abandon_soon`` is for that, and never waits for the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dipedge.result import FitResult
from dipedge.stopwatch import Clock
from dipedge.streaming.statistics import Counters, StreamStatistics

Waker = Callable[[], object]  # called once, from any thread, when something has changed
# Results that may wait for whoever takes them. With one, the next frame is fitted meanwhile; with more, a
# consumer that is too slow would only get older pictures.
FINISHED = 1


@dataclass(frozen=True)
class Arrived:
    """A frame that waits: the how many-th of the source, from 0, and when it came by the exchange's clock."""

    frame: Any
    index: int
    at: float


@dataclass(frozen=True)
class FailedFrame:
    """Stands for the result of a frame that none could be made of (``Session.stream(errors="yield")``).

    Args:
        frame: which one of the source, from 0.
        error: what ``Session.push`` raised.
    """

    frame: int
    error: Exception


class Exchange:
    """A bounded queue of frames, a slot for results, and the counters of both.

    Args:
        depth: frames that may wait, 1 or more.
        drops: whether a frame that comes while the queue is full replaces the oldest one; else the source
            has to wait for room.
        clock: seconds since any moment.
    """

    def __init__(self, depth: int, drops: bool, clock: Clock) -> None:
        self._depth, self._drops, self._clock = depth, drops, clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._wakers: list[Waker] = []
        self._frames: deque[Arrived] = deque()
        self._results: deque[FitResult | FailedFrame] = deque()
        self._counters = Counters()
        self._fault: BaseException | None = None  # of the source, or of the fitting as a whole
        self._source_ended = self._fitting_ended = False
        self.abandoned = False  # whether nobody wants results any more; read without the lock, too
        self.when_abandoned: Waker | None = None  # for a source that waits for something else

    def _notify(self) -> None:
        self._changed.notify_all()
        wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    # The source's side ------------------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        return self._drops or self.abandoned or len(self._frames) < self._depth

    def wait_for_room(self) -> bool:
        """Waits until a frame can be put; False if the stream was closed, and none will be taken."""
        with self._changed:
            if not self._has_room:
                began = self._clock()
                self._changed.wait_for(lambda: self._has_room)
                self._counters.held_back += self._clock() - began
            return not self.abandoned

    def has_room(self, waker: Waker | None = None) -> bool:
        """Whether a frame can be put (or the stream was closed); if not, ``waker`` is called at a change."""
        with self._changed:
            if not self._has_room and waker is not None:
                self._wakers.append(waker)
            return self._has_room

    def hold_back(self, seconds: float) -> None:
        """Counts time for which a source waited that does so by itself."""
        with self._changed:
            self._counters.held_back += seconds

    def put(self, frame: Any) -> bool:
        """Takes a frame, for which there must be room; False if the stream was closed."""
        with self._changed:
            if self.abandoned:
                return False
            if len(self._frames) >= self._depth:
                self._frames.popleft()
                self._counters.dropped += 1
            self._frames.append(Arrived(frame, self._counters.received, self._clock()))
            self._counters.received += 1
            self._notify()
            return True

    def end(self, fault: BaseException | None = None) -> None:
        """No frame will come any more: the source has none, or ``fault`` came of it."""
        with self._changed:
            self._source_ended, self._fault = True, self._fault or fault
            self._notify()

    # The fitting side -------------------------------------------------------------------------------

    def take(self) -> Arrived | None:
        """Waits for the oldest frame that waits; None when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._source_ended or self.abandoned)
            if self.abandoned or not self._frames:
                return None
            arrived = self._frames.popleft()
            self._notify()
            return arrived

    def restored(self, arrived: Arrived) -> float:
        """Seconds from a frame's arrival until now, when it has a result."""
        return self._clock() - arrived.at

    def give(self, arrived: Arrived, outcome: FitResult | FailedFrame) -> bool:
        """Counts what became of a frame and waits until it can be handed out; False if nobody wants it."""
        with self._changed:
            if isinstance(outcome, FailedFrame):
                self._counters.failed += 1
            elif not self.abandoned:  # else its fit was cut short
                now = arrived.at + (outcome.latency or 0.0)
                self._counters.restore(arrived.at, now, outcome.scene_cut)
            self._changed.wait_for(lambda: len(self._results) < FINISHED or self.abandoned)
            if self.abandoned:
                return False
            self._results.append(outcome)
            self._notify()
            return True

    def finish(self, fault: BaseException | None = None) -> None:
        """No result will come any more."""
        with self._changed:
            self._fitting_ended, self._fault = True, self._fault or fault
            self._frames.clear()
            self._notify()

    # Who takes the results --------------------------------------------------------------------------

    @property
    def _has_news(self) -> bool:
        return bool(self._results) or self._fitting_ended or self.abandoned

    def wait_for_news(self) -> None:
        """Waits until ``collect`` has something to say."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_news)

    def has_news(self, waker: Waker) -> bool:
        """Whether ``collect`` has something to say; if not, ``waker`` is called at a change."""
        with self._changed:
            if not self._has_news:
                self._wakers.append(waker)
            return self._has_news

    def collect(self) -> FitResult | FailedFrame | None:
        """The next result; None when there is none.

        Raises:
            the source's error, once, after the results of all frames that came before it.
        """
        with self._changed:
            if self._results:
                outcome = self._results.popleft()
                self._notify()
                return outcome
            if self._fitting_ended and self._fault is not None and not self.abandoned:
                fault, self._fault = self._fault, None
                raise fault
            return None

    def abandon(self) -> None:
        """Nobody wants results any more: whoever waits goes home, and a fit ends with its next step."""
        with self._changed:
            self._abandon()

    def abandon_soon(self) -> None:
        """``abandon`` for finalizers, which may run inside any method of this class."""
        if self._lock.acquire(blocking=False):  # so this thread is in none of them
            try:
                self._abandon()
            finally:
                self._lock.release()
        else:
            threading.Thread(target=self.abandon, name="dipedge closing", daemon=True).start()

    def _abandon(self) -> None:
        self.abandoned = True
        self._results.clear()
        self._notify()
        if self.when_abandoned is not None:
            self.when_abandoned()

    @property
    def is_over(self) -> bool:
        """Whether whoever fits does so no more, or for one step at the most."""
        return self.abandoned or self._fitting_ended

    @property
    def statistics(self) -> StreamStatistics:
        """The counters now."""
        with self._changed:
            return self._counters.snapshot(len(self._frames))
