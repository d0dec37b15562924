"""The sides of a stream that work by themselves: reading the source, and fitting its frames.

None of them holds the ``Stream``, so a stream that nobody holds any more is collected, and they end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterator
from dataclasses import replace
from typing import Any

from dipedge.result import FitResult
from dipedge.streaming.exchange import Arrived, Exchange, FailedFrame, Waker
from dipedge.views import View

# Makes a result of a frame and its motion, if the source knows that, and of what says when nobody wants it.
Push = Callable[[Any, "View | None", Callable[[], bool]], FitResult]


def read_frames(exchange: Exchange, source: Iterator[Any]) -> None:
    """Puts what an iterator gives, until it ends, fails, or the stream is closed.

    There is room before it is asked, so that nothing it gave is lost if the stream is closed meanwhile.
    """
    try:
        while exchange.wait_for_room():
            try:
                frame = next(source)
            except StopIteration:
                break
            if not exchange.put(frame):
                return
            del frame  # it may be large, and the next one may be long in coming
    except BaseException as error:  # whatever it is, whoever takes the results is to see it
        exchange.end(error)
    else:
        exchange.end()


async def read_frames_async(exchange: Exchange, frames: AsyncIterable[Any]) -> None:
    """``read_frames`` for an asynchronous source, on its own event loop."""
    try:
        source = aiter(frames)
        while await _room(exchange) and exchange.put(await anext(source)):
            pass
    except (StopAsyncIteration, asyncio.CancelledError):
        exchange.end()
    except BaseException as error:
        exchange.end(error)
    else:
        exchange.end()


async def _room(exchange: Exchange) -> bool:
    if not exchange.has_room():
        loop = asyncio.get_running_loop()
        began = loop.time()
        await changed(exchange.has_room)
        exchange.hold_back(loop.time() - began)
    return not exchange.abandoned


async def changed(is_there: Callable[[Waker], bool]) -> None:
    """Waits, on the event loop, until ``is_there`` says so; it takes whom to wake."""
    loop = asyncio.get_running_loop()
    while True:
        woken = loop.create_future()

        def wake(woken: asyncio.Future = woken) -> None:
            if not loop.is_closed():  # nobody is left to be told
                loop.call_soon_threadsafe(lambda: woken.done() or woken.set_result(None))

        if is_there(wake):
            return
        await woken


def fit_frames(exchange: Exchange, push: Push) -> None:
    """Fits frames in the order they came, until there are no more or the stream is closed."""
    try:
        while (arrived := exchange.take()) is not None:
            outcome: FitResult | FailedFrame
            try:
                outcome = push(*_parts(arrived), lambda: exchange.abandoned)
                outcome = replace(outcome, frame=arrived.index, latency=exchange.restored(arrived))
            except Exception as error:
                outcome = FailedFrame(arrived.index, error)
            if not exchange.give(arrived, outcome):
                break
            del arrived, outcome
    except BaseException as error:
        exchange.finish(error)
    else:
        exchange.finish()


def _parts(arrived: Arrived) -> tuple[Any, View | None]:
    """The frame, and its motion where the source gives pairs."""
    frame = arrived.frame
    if isinstance(frame, tuple) and len(frame) == 2 and isinstance(frame[1], View | None):
        return frame
    return frame, None


def is_asynchronous(frames: Any) -> bool:
    """Whether ``frames`` are read with ``async for``."""
    return isinstance(frames, AsyncIterable)
