"""Exchange, Stream and its threads, with a push that is under the test's control: nothing is fitted here."""

import gc
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

import dipedge as de
from dipedge.streaming.exchange import Exchange
from dipedge.streaming.stream import PATIENCE
from tests.gated_push import WAIT, Gate, ended, endless, eventually, images, result, stream_of


@pytest.fixture
def gate():
    gate = Gate(is_open=False)
    yield gate
    gate.open()


# Order and counters -----------------------------------------------------------------------------------


def test_results_come_in_the_order_of_their_frames_and_say_which_they_are_of():
    found = list(stream_of(range(50)))
    assert [one.image for one in found] == [one.frame for one in found] == list(range(50))
    assert all(one.latency >= 0 for one in found)


def test_counters_add_up_at_the_end():
    stream = stream_of([0, ValueError("x"), 2, 3], keeps_errors=True)
    with pytest.raises(ValueError, match="x"):
        list(stream)
    list(stream)
    counted = stream.statistics
    assert (counted.received, counted.restored, counted.failed, counted.dropped, counted.waiting) == (
        4,
        3,
        1,
        0,
        0,
    )
    assert 0 <= counted.latency_p50 <= counted.latency_p99 <= counted.latency_max
    assert counted.frames_per_second > 0


def test_a_stream_without_frames_ends_and_has_no_latency():
    stream = stream_of([])
    assert images(stream) == []
    assert stream.statistics == de.StreamStatistics(held_back=stream.statistics.held_back)
    assert stream.statistics.latency_p50 is None and stream.statistics.frames_per_second is None


def test_latencies_and_rate_are_those_of_the_clock():
    now = [0.0]
    exchange = Exchange(5, False, lambda: now[0])
    for moment in (0.0, 1.0, 2.0):
        now[0] = moment
        exchange.put("frame")
    for moment in (10.0, 11.0, 13.0):  # latencies 10, 10, 11 s
        arrived, now[0] = exchange.take(), moment
        latency = exchange.restored(arrived)
        exchange.give(arrived, de.FitResult(**(vars(result(0, cut=moment == 11)) | {"latency": latency})))
        assert exchange.collect() is not None
    counted = exchange.statistics
    assert counted.latency_p50 == 10_000 and counted.latency_max == 11_000
    assert counted.latency_p99 == pytest.approx(10_980)
    assert counted.frames_per_second == pytest.approx(2 / 3)  # two more in the three seconds after the first
    assert counted.scene_cuts == 1


# The queue --------------------------------------------------------------------------------------------


def test_with_block_the_source_is_not_asked_before_there_is_room(gate):
    asked = []

    def source():
        for index in range(6):
            asked.append(index)
            yield index

    stream = stream_of(source(), gate, depth=2)
    gate.wait_until_it_fits()
    eventually(lambda: stream.statistics.waiting == 2)
    assert asked == [0, 1, 2]  # one is fitted, two wait
    gate.open()
    assert images(stream) == list(range(6))
    counted = stream.statistics
    assert counted.dropped == 0
    assert counted.held_back > 0


def test_with_oldest_the_frame_that_waited_longest_is_left_out(gate):
    go_on = threading.Event()

    def source():
        yield 0
        assert go_on.wait(WAIT)
        yield from range(1, 6)

    stream = stream_of(source(), gate, depth=2, drops=True)
    gate.wait_until_it_fits()
    go_on.set()
    eventually(lambda: stream.statistics.received == 6)
    assert stream.statistics.dropped == 3
    gate.open()
    found = list(stream)
    assert [one.frame for one in found] == [0, 4, 5]
    assert stream.statistics.dropped == 3 and stream.statistics.restored == 3
    assert stream.statistics.held_back == 0


def test_a_consumer_that_takes_nothing_holds_the_fitting_back():
    push = Gate()
    stream = stream_of(iter(range(100)), push, depth=2)
    eventually(lambda: stream.statistics.waiting == 2 and len(push.seen) == 2)
    assert stream.statistics.received == 4  # one result waits, one has no room, two frames wait
    assert images(stream) == list(range(100))


def test_a_source_may_say_how_each_frame_moved():
    push, there = Gate(), de.View.shift(1, 2)
    list(stream_of([(0, there), (1, None), 2], push))
    assert push.seen == [0, 1, 2]
    assert push.motions == [there, None, None]


# Errors -----------------------------------------------------------------------------------------------


def test_an_error_of_the_source_comes_after_the_results_of_the_frames_before_it():
    def source():
        yield 0
        yield 1
        raise OSError("unplugged")

    stream, found = stream_of(source()), []
    with pytest.raises(OSError, match="unplugged"):
        for one in stream:
            found.append(one.image)
    assert found == [0, 1]
    assert images(stream) == []  # it has ended


def test_an_error_of_a_frame_is_raised_in_its_place_and_the_stream_goes_on():
    stream = stream_of([0, de.InputError("bad"), 2])
    assert next(stream).image == 0
    with pytest.raises(de.InputError, match="bad"):
        next(stream)
    assert images(stream) == [2]


def test_an_error_of_a_frame_can_stand_in_its_place():
    stream = stream_of([0, de.InputError("bad"), 2], keeps_errors=True)
    first, second, third = stream
    assert (first.image, third.image) == (0, 2)
    assert isinstance(second, de.FailedFrame)
    assert second.frame == 1 and str(second.error) == "bad"


def test_an_error_that_is_not_ours_is_always_raised():
    stream = stream_of([KeyError("defect"), 1], keeps_errors=True)
    with pytest.raises(KeyError, match="defect"):
        next(stream)
    assert images(stream) == [1]


class Unfit(BaseException):
    pass


def test_an_error_that_ends_threads_ends_the_stream_and_is_seen():
    def push(frame, motion, unwanted):
        raise Unfit

    stream = stream_of([0, 1], push)
    with pytest.raises(Unfit):
        next(stream)
    assert images(stream) == []


@pytest.mark.parametrize("frames", ["clip.mp4", b"clip", 5, None])
def test_what_is_no_source_is_refused_at_once(frames):
    with pytest.raises(de.InputError, match="it must be an iterable of frames"):
        stream_of(frames)


# Leaving early ----------------------------------------------------------------------------------------


def test_leaving_the_context_ends_the_stream_and_its_threads():
    with stream_of(endless()) as stream:
        next(stream)
    assert ended(stream) and not stream._reader.is_alive()
    assert images(stream) == []


def test_a_stream_can_be_closed_twice_and_after_its_end():
    stream = stream_of(range(3))
    list(stream)
    stream.close()
    stream.close()
    assert ended(stream)
    assert stream.statistics.restored == 3


def test_a_loop_that_breaks_lets_go_of_the_stream():
    push = Gate()
    for _ in stream_of(endless(), push):
        break
    eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("dipedge")])


def test_an_error_in_the_loop_lets_go_of_the_stream():
    def consume():
        for _ in stream_of(endless()):
            raise RuntimeError("consumer")

    with pytest.raises(RuntimeError, match="consumer"):
        consume()
    eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("dipedge")])


def test_a_stream_in_a_cycle_of_references_ends_when_it_is_collected():
    stream = stream_of(endless())
    stream.itself = stream
    gone = weakref.ref(stream)
    fitter = stream.fitter
    del stream
    gc.collect()
    assert gone() is None
    fitter._thread.join(WAIT)
    assert not fitter._thread.is_alive()


def test_a_stream_collected_inside_its_own_exchange_does_not_hang():
    """The collector may run in a thread that holds the lock: here it is this one."""
    stream = stream_of(endless())
    exchange, fitter = stream._exchange, stream.fitter
    with exchange._changed:
        exchange.abandon_soon()  # what the finalizer calls
    fitter._thread.join(WAIT)
    assert exchange.abandoned and not fitter._thread.is_alive()


def test_closing_does_not_wait_for_a_source_that_hangs(gate):
    gate.open()
    hangs = threading.Event()

    def source():
        yield 0
        hangs.wait(WAIT)
        yield 1

    stream = stream_of(source(), gate)
    assert next(stream).image == 0
    began = threading.Event()
    closing = threading.Thread(target=lambda: (stream.close(), began.set()))
    closing.start()
    assert began.wait(PATIENCE + 5)
    hangs.set()
    stream._reader.join(WAIT)
    assert gate.seen == [0]  # what it gave in the end was given to nobody


def test_ctrl_c_comes_through_while_the_caller_waits_for_a_result(gate):
    stream = stream_of(endless(), gate)
    gate.wait_until_it_fits()

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        gate.open()  # the step ends

    timer = threading.Timer(0.1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    timer.join()
    assert ended(stream)


def test_python_ends_although_a_stream_is_open():
    code = """
import numpy, dipedge as de
prior = de.Prior(de.Fourier(3), de.Hourglass((de.Level(8, 8, 2, 1, 1),)))
def source():
    while True:
        yield numpy.full((16, 16, 3), 90, numpy.uint8)
session = de.Session(de.Denoise(), prior=prior, engine="native", threads=1)
stream = session.stream(source(), steps=2)
print(next(stream).steps)
"""
    pytest.importorskip("dipedge._native")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "2", "")
