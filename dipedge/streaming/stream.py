"""Stream: the results of frames that a thread fits while the caller captures, shows or sends."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Iterator
from functools import cache, partial
from types import TracebackType
from typing import Any

from dipedge.errors import DipedgeError, InputError
from dipedge.result import FitResult
from dipedge.streaming.exchange import Exchange, FailedFrame
from dipedge.streaming.sides import Push, changed, fit_frames, is_asynchronous, read_frames, read_frames_async
from dipedge.streaming.statistics import StreamStatistics

# How long a closed stream waits for its source, which cannot be interrupted: three frames of a slow camera.
PATIENCE = 0.5

_running: set[Fitter] = set()


class Fitter:
    """The thread that fits, and the exchange it works for: what a session knows of its stream.

    Args:
        exchange: where frames come from and results go.
        push: makes a result of a frame.
    """

    def __init__(self, exchange: Exchange, push: Push) -> None:
        self.exchange = exchange
        # A daemon: Python's end does not wait for a source that never ends. _close_at_exit is there for it.
        self._thread = threading.Thread(target=self._run, args=(push,), name="dipedge fitting", daemon=True)
        _close_at_exit()
        _running.add(self)
        self._thread.start()

    def _run(self, push: Push) -> None:
        fit_frames(self.exchange, push)
        _running.discard(self)

    @property
    def is_me(self) -> bool:
        """Whether the thread that asks is this one."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """Ends it, with its next step at the latest, and waits for that."""
        self.exchange.abandon()
        self.wait()

    def wait(self) -> None:
        """Waits for its end."""
        if not self.is_me:
            self._thread.join()


@cache
def _close_at_exit() -> None:
    """A thread inside native code while Python is taken down would end the process with an error."""
    atexit.register(lambda: [fitter.close() for fitter in list(_running)])


class Stream:
    """Results in the order of their frames; see ``Session.stream``, which makes it.

    An iterator (``for result in stream``), an asynchronous one (``async for``), and a context manager of both
    kinds. Leaving it early in any way - ``break``, an exception, Ctrl-C, ``close``, or nobody holding it any
    more - ends its threads and leaves the session to go on from the last frame.
    """

    def __init__(self, frames: Any, push: Push, *, depth: int, drops: bool, keeps_errors: bool) -> None:
        self._exchange = Exchange(depth, drops, time.perf_counter)
        self._keeps_errors = keeps_errors
        self._reader: threading.Thread | None = None
        self._source = self._task = None
        if is_asynchronous(frames):
            self._source = frames  # read on the event loop, which runs when a result is first waited for
        else:
            reading = (self._exchange, _iterator(frames))
            self._reader = threading.Thread(
                target=read_frames, args=reading, name="dipedge reading", daemon=True
            )
        self.fitter = Fitter(self._exchange, push)
        if self._reader is not None:
            self._reader.start()
        weakref.finalize(self, self._exchange.abandon_soon).atexit = False

    @property
    def statistics(self) -> StreamStatistics:
        """The counters now; they may be read at any time, from any thread, and after the end."""
        return self._exchange.statistics

    def close(self) -> None:
        """Ends the stream with the next step, and drops the frames that wait; nothing if it has ended.

        Returns when the session is free again. A source that is asked for a frame at that moment is given
        half a second to give it, then it is left to itself, and that frame to nobody.
        """
        self.fitter.close()
        if self._reader is not None and threading.current_thread() is not self._reader:
            self._reader.join(PATIENCE)

    # Iteration --------------------------------------------------------------------------------------

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> FitResult | FailedFrame:
        if self._source is not None:
            raise InputError("frames come from an asynchronous source; read this stream with `async for`")
        try:
            self._exchange.wait_for_news()
        except BaseException:  # Ctrl-C; its traceback holds this stream, so nothing else would end it
            self.close()
            raise
        outcome = self._collect()
        if outcome is None:
            raise StopIteration
        return outcome

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> FitResult | FailedFrame:
        if self._source is not None and self._task is None:
            self._read_here()
        await changed(self._exchange.has_news)
        outcome = self._collect()
        if outcome is None:
            raise StopAsyncIteration
        return outcome

    def _read_here(self) -> None:
        """Reads an asynchronous source on the event loop that runs now."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(read_frames_async(self._exchange, self._source))
        cancel = partial(_cancel, loop, self._task)
        self._exchange.when_abandoned = cancel
        if self._exchange.abandoned:
            cancel()

    def _collect(self) -> FitResult | FailedFrame | None:
        """What there is; None at the end, when the session is free again."""
        outcome = self._exchange.collect()
        if outcome is None:
            self.fitter.wait()
        elif isinstance(outcome, FailedFrame) and not (
            self._keeps_errors and isinstance(outcome.error, DipedgeError)
        ):
            raise outcome.error
        return outcome

    # Context ----------------------------------------------------------------------------------------

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)  # it may take a step, and the loop has other things to do


def _iterator(frames: Any) -> Iterator[Any]:
    """``iter(frames)``; what is no source is said here and not in a thread."""
    wanted = "an iterable of frames, such as a list, a generator or an open video"
    if isinstance(frames, str | bytes | os.PathLike):
        raise InputError(f"frames is {frames!r}; it must be {wanted}")
    try:
        return iter(frames)
    except TypeError as error:
        raise InputError(f"frames is a {type(frames).__name__}; it must be {wanted}") from error


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)
