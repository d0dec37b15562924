"""Streams on an event loop, with a push that is under the test's control."""

import asyncio

import pytest

import dipedge as de
from tests.gated_push import WAIT, Gate, ended, stream_of


@pytest.fixture
def gate():
    gate = Gate(is_open=False)
    yield gate
    gate.open()


def asynchronously(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, WAIT))


async def from_list(items, pause=0.0):
    for item in items:
        await asyncio.sleep(pause)
        if isinstance(item, OSError):
            raise item
        yield item


@pytest.mark.parametrize("source", [lambda: range(20), lambda: from_list(range(20))])
def test_results_can_be_taken_with_async_for(source):
    async def run():
        return [one.frame async for one in stream_of(source())]

    assert asynchronously(run()) == list(range(20))


def test_the_event_loop_goes_on_while_a_frame_is_fitted(gate):
    async def run():
        stream = stream_of([0], gate)
        waiting = asyncio.ensure_future(anext(stream))
        while gate.began._value == 0:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert not waiting.done()
        gate.open()
        return (await waiting).frame

    assert asynchronously(run()) == 0


def test_an_asynchronous_source_waits_for_room_too(gate):
    asked = []

    async def source():
        for index in range(6):
            asked.append(index)
            yield index

    async def run():
        stream = stream_of(source(), gate)
        waiting = asyncio.ensure_future(anext(stream))
        while stream.statistics.waiting < 2:
            await asyncio.sleep(0.001)
        assert asked == [0, 1, 2]
        gate.open()
        found = [(await waiting).frame] + [one.frame async for one in stream]
        assert stream.statistics.held_back > 0
        return found

    assert asynchronously(run()) == list(range(6))


def test_an_asynchronous_source_may_fail():
    async def run():
        found = []
        with pytest.raises(OSError, match="gone"):
            async for one in stream_of(from_list([0, 1, OSError("gone")])):
                found.append(one.frame)
        return found

    assert asynchronously(run()) == [0, 1]


def test_leaving_an_asynchronous_stream_ends_its_source():
    closed = []

    async def source():
        try:
            yield 0
            await asyncio.sleep(WAIT)
        finally:
            closed.append(True)

    async def run():
        async with stream_of(source()) as stream:
            await anext(stream)
        while not closed:
            await asyncio.sleep(0.001)
        return ended(stream)

    assert asynchronously(run())


def test_a_cancelled_wait_loses_no_result(gate):
    async def run():
        stream = stream_of([0, 1], gate)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        gate.open()
        return [one.frame async for one in stream]

    assert asynchronously(run()) == [0, 1]


def test_an_asynchronous_source_cannot_be_read_with_for():
    with stream_of(from_list([0])) as stream, pytest.raises(de.InputError, match="async for"):
        next(stream)
