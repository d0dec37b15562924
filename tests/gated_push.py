"""Streams whose push is under the test's control, and waits for what another thread does."""

import threading

import numpy as np
import pytest

import dipedge as de
from dipedge.result import FitResult, StopReason
from dipedge.streaming.stream import Stream

WAIT = 60  # seconds after which something is taken to hang


def result(frame, cut=False):
    """A result whose picture is the frame itself."""
    history = de.History(np.zeros(1))
    return FitResult(frame, StopReason.STEPS, 1, 0.0, 0.0, history, "none", {}, 1, scene_cut=cut)


class Gate:
    """A push that waits until the test lets a frame through, and notes what it was given."""

    def __init__(self, is_open=True):
        self.seen, self.motions = [], []
        self.began = threading.Semaphore(0)
        self._free = threading.Event()
        if is_open:
            self._free.set()

    def __call__(self, frame, motion, unwanted):
        self.seen.append(frame)
        self.motions.append(motion)
        self.began.release()
        assert self._free.wait(WAIT)
        if isinstance(frame, Exception):
            raise frame
        return result(frame)

    def wait_until_it_fits(self):
        assert self.began.acquire(timeout=WAIT)

    def open(self):
        self._free.set()


def stream_of(frames, push=None, depth=2, drops=False, keeps_errors=False):
    return Stream(frames, push or Gate(), depth=depth, drops=drops, keeps_errors=keeps_errors)


def eventually(is_so):
    """Waits for what another thread does next; fails when it does not."""
    pause = threading.Event()
    for _ in range(WAIT * 100):
        if is_so():
            return
        pause.wait(0.01)
    pytest.fail("it never happened")


def images(stream):
    return [found.image for found in stream]


def endless():
    index = 0
    while True:
        yield index
        index += 1


def ended(stream):
    """Whether the thread that fits is gone, which a stream's end is about."""
    return not stream.fitter._thread.is_alive()
