"""Clocks of fits: seconds since something began, with the time taken out that is not the fit's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]  # seconds since something began


class Stopwatch:
    """Seconds since it was made, from a clock that only goes forward, without those it was paused for.

    Every clock that is made of it (``since``, ``shared``) stands still with it.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._paused_at: float | None = None

    def __call__(self) -> float:
        return (time.perf_counter() if self._paused_at is None else self._paused_at) - self._began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stands still for what happens inside; a pause within a pause changes nothing."""
        if self._paused_at is not None:
            yield
            return
        self._paused_at = time.perf_counter()
        try:
            yield
        finally:
            self._began += time.perf_counter() - self._paused_at
            self._paused_at = None


def since(clock: Clock) -> Clock:
    """Seconds since this call, by another clock."""
    began = clock()
    return lambda: clock() - began


def shared(clock: Clock, left: int) -> Clock:
    """The time a stopping rule sees where ``left`` fits, its own among them, share what time is left."""
    began = clock()
    return lambda: began + (clock() - began) * left
