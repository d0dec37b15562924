"""Session.stream on every engine that is here: real fits, by the thread that a stream has."""

import asyncio
import os
import signal
import threading

import numpy as np
import pytest

import dipedge as de

FRAMES = 4


@pytest.fixture
def frames(noisy):
    """Frames of one still scene, each with noise of its own."""
    return [noisy(seed=seed)[0] for seed in range(FRAMES)]


def test_a_stream_gives_what_pushing_the_frames_gives(engine, tiny_prior, frames):
    options = {"prior": tiny_prior, "engine": engine, "steps": 4, "threads": 1}
    with de.Session(de.Denoise(), **options) as session:
        wanted = [session.push(frame) for frame in frames]
    with de.Session(de.Denoise(), **options) as session:
        found = list(session.stream(frames))
    assert [one.steps for one in found] == [4, 30, 30, 30]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.history, other.history)
        assert one.state is None


def test_steps_and_stop_hold_for_every_frame(session, frames):
    assert [one.steps for one in session.stream(frames, steps=2)] == [2] * FRAMES
    found = list(session.stream(frames, stop=de.MaxSteps(3)))
    assert [one.steps for one in found] == [3] * FRAMES
    assert session.state()["step"] == 5 * FRAMES  # the second stream went on from the first


def test_a_stream_can_be_read_on_an_event_loop(session, frames):
    async def run():
        async def camera():
            for frame in frames:
                await asyncio.sleep(0)
                yield frame

        return [one.frame async for one in session.stream(camera(), steps=2)]

    assert asyncio.run(run()) == list(range(FRAMES))


def test_python_runs_while_a_step_is_made(noisy):
    """The native engine lets go of the interpreter for each single step."""
    pytest.importorskip("dipedge._native")
    frame, counted, over = noisy(96, 96)[0], [], threading.Event()

    def count():
        while not over.is_set():
            counted.append(None)

    # PIP at this size makes a step of several milliseconds; a thread that has to wait for one hardly counts.
    with de.Session(de.Denoise(), engine="native", threads=1) as session:
        session.push(frame, steps=1)
        counting = threading.Thread(target=count)
        counting.start()
        before = len(counted)
        session._program.step(1)
        during = len(counted) - before
        over.set()
        counting.join()
    assert during > 1000


# Bad frames -------------------------------------------------------------------------------------------


def test_a_frame_of_another_size_fails_alone(session, frames, picture):
    mixed = [frames[0], picture(24, 20), frames[1], np.full((16, 20, 3), np.nan), "missing.png", frames[2]]
    found = list(session.stream(mixed, steps=2, errors="yield"))
    failed = {one.frame: str(one.error) for one in found if isinstance(one, de.FailedFrame)}
    assert sorted(failed) == [1, 3, 4]
    assert "24 x 20 x 3, the last was 16 x 20 x 3" in failed[1]
    assert "NaN" in failed[3] and "missing.png" in failed[4]
    assert [one.frame for one in found if isinstance(one, de.FitResult)] == [0, 2, 5]
    assert session.state()["step"] == 6


def test_a_stream_survives_the_error_it_raises(session, frames, picture):
    stream = session.stream([frames[0], picture(24, 20), frames[1]], steps=2)
    assert next(stream).frame == 0
    with pytest.raises(de.InputError, match="use fit for a new size"):
        next(stream)
    assert [one.frame for one in stream] == [2]
    assert (stream.statistics.failed, stream.statistics.restored) == (1, 2)


def test_a_diverged_frame_is_followed_by_a_fit_from_scratch(engine, tiny_pip, frames):
    with de.Session(
        de.Denoise(), prior=tiny_pip, engine=engine, learning_rate=1e30, steps=3, threads=1
    ) as session:
        found = list(session.stream(frames, errors="yield"))
        assert all(isinstance(one.error, de.FitDivergedError) for one in found)
        assert session.push(frames[0], steps=1).steps == 1  # before the weights are touched by the rate


# Who has the session ----------------------------------------------------------------------------------


def source_that_waits(frames, go_on):
    yield frames[0]
    go_on.wait(120)


def test_a_session_does_nothing_else_while_it_has_a_stream(session, frames, tmp_path):
    go_on = threading.Event()
    stream = session.stream(source_that_waits(frames, go_on), steps=2)
    next(stream)
    for act in (
        lambda: session.push(frames[0]),
        lambda: session.fit(frames[0]),
        lambda: session.stream(frames),
        lambda: session.state(),
        lambda: session.save(tmp_path / "a.npz"),
    ):
        with pytest.raises(de.InputError, match="has a stream; close that"):
            act()
    go_on.set()
    assert list(stream) == []
    assert session.push(frames[1], steps=1).steps == 1


@pytest.mark.parametrize("leave", ["break", "error", "close", "forget"])
def test_a_stream_that_is_left_early_leaves_the_session_to_go_on(session, frames, leave):
    endless = (frames[k % FRAMES] for k in range(10**6))
    if leave == "break":
        for _ in session.stream(endless, steps=2):
            break
    elif leave == "error":

        def consume():
            for _ in session.stream(endless, steps=2):
                raise RuntimeError("consumer")

        with pytest.raises(RuntimeError):
            consume()
    elif leave == "close":
        with session.stream(endless, steps=2) as stream:
            next(stream)
    else:
        next(session.stream(endless, steps=2))
    before = int(session.state()["step"])
    assert session.push(frames[1], steps=5).steps == 5
    assert session.state()["step"] == before + 5  # nobody else makes steps any more


def test_after_ctrl_c_the_session_can_be_saved_at_once(session, frames, tmp_path):
    def camera():
        yield from frames
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.4)

    seen = 0
    try:
        for _ in session.stream(camera(), steps=2):
            seen += 1
    except KeyboardInterrupt:
        session.save(tmp_path / "a.npz")
    assert seen <= FRAMES
    assert (tmp_path / "a.npz").exists()


def test_closing_ends_a_long_fit_with_its_next_step(session, frames):
    begun = threading.Event()
    session._progress = lambda step: begun.set()
    stream = session.stream(frames, steps=10**9)
    assert begun.wait(120)
    stream.close()
    assert 1 <= session.state()["step"] < 10**9
    session._progress = None
    assert session.push(frames[0], steps=2).steps == 2


def test_closing_a_session_closes_its_stream(engine, tiny_pip, frames):
    session = de.Session(de.Denoise(), prior=tiny_pip, engine=engine, threads=1)
    stream = session.stream((frames[k % FRAMES] for k in range(10**6)), steps=2)
    next(stream)
    session.close()
    assert list(stream) == []
    with pytest.raises(de.InputError, match="closed"):
        session.stream(frames)


def test_an_error_in_the_progress_function_is_seen(session, frames):
    def fail(step):
        raise ZeroDivisionError("progress")

    session._progress = fail
    stream = session.stream(frames, errors="yield")
    with stream, pytest.raises(ZeroDivisionError, match="progress"):
        next(stream)
    session._progress = None
    assert session.push(frames[0], steps=1).steps == 1


# Arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": "newest"}, "drop is 'newest'; it must be one of block, oldest"),
        ({"drop": None}, "drop is None"),
        ({"depth": 0}, "depth is 0; it must be a whole number from 1 to 1000"),
        ({"depth": 1.5}, "depth is 1.5"),
        ({"errors": "ignore"}, "errors is 'ignore'; it must be one of raise, yield"),
        ({"steps": 3, "stop": de.MaxSteps(3)}, "give one of them"),
        ({"stop": 33}, "stop is 33"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_arguments_are_checked_before_anything_begins(session, frames, options, message):
    with pytest.raises(de.InputError, match=message):
        session.stream(frames, **options)
    assert session.push(frames[0]).steps == 4
