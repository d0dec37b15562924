"""Sessions of the C API by themselves: options, errors, layouts in memory, ends of fits, threads."""

from __future__ import annotations

import ctypes
import threading
import time

import numpy as np
import pytest

pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge import Denoise, Session, StopReason, __version__
from tests.c_library import (
    DIVERGED,
    ENGINE_ERROR,
    INPUT_ERROR,
    OK,
    OUT_OF_MEMORY,
    REASONS,
    CError,
    CSession,
    Options,
    Result,
    library,
    options,
)
from tests.test_c_api import stream


def status_and_text(filled: Options) -> tuple[int, str]:
    """What dipedge_create says of options that it must refuse."""
    handle = ctypes.c_void_p(1)
    status = library().dipedge_create(filled, ctypes.byref(handle))
    assert handle.value is None
    return status, library().dipedge_error_text(None).decode()


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"height": 15}, INPUT_ERROR, "15 x 16; both sides must be 16"),
        ({"width": -3}, INPUT_ERROR, "16 x -3; both sides"),
        ({"width": 2**31 - 1}, INPUT_ERROR, "sides may have 65535 pixels"),
        ({"height": 30000, "width": 30000}, OUT_OF_MEMORY, "MiB"),
        ({"channels": 2}, INPUT_ERROR, "channels is 2; it must be 1, 3 or 4"),
        ({"channels": 4, "task": "superresolve"}, INPUT_ERROR, "no alpha: 1 or 3"),
        ({"task": 4}, INPUT_ERROR, "task is 4; it must be 0 to 3"),
        ({"prior": -1}, INPUT_ERROR, "prior is -1; it must be 0 to 1"),
        ({"quality": 3}, INPUT_ERROR, "quality is 3; it must be 0 to 2"),
        ({"precision": 9}, INPUT_ERROR, "precision is 9; it must be 0 to 2"),
        ({"scale": 5, "task": "superresolve"}, INPUT_ERROR, "scale is 5; it must be one of 2, 3, 4, 8"),
        ({"threads": 1025}, INPUT_ERROR, "threads is 1025; it must be 1 to 1024"),
        ({"steps": -1}, INPUT_ERROR, "steps is -1; it must be 1 to 1000000000"),
        ({"seed": 2**63}, INPUT_ERROR, "seed is 9223372036854775808; it must be below 2^63"),
        ({"sigma": 256.0}, INPUT_ERROR, "sigma is 256; it must be above 0 and at most 255"),
        ({"sigma": float("nan")}, INPUT_ERROR, "sigma is nan"),
        ({"learning_rate": -0.5}, INPUT_ERROR, "learning_rate is -0.5; it must be above 0"),
        ({"average": 1.0}, INPUT_ERROR, r"average is 1; it must be in [0, 1)"),
        ({"preset": "half"}, INPUT_ERROR, "preset is 'half'; denoise takes none"),
        ({"preset": "x4", "task": "superresolve"}, INPUT_ERROR, "its scale decides"),
        ({"preset": "hole", "task": "inpaint"}, INPUT_ERROR, "there are: text, large-hole, large"),
        ({"preset": "large-hole-2", "task": "inpaint"}, INPUT_ERROR, "with prior 'pip' has no such row"),
        ({"isa": "pentium"}, ENGINE_ERROR, "isa is 'pentium'; this processor runs generic"),
        ({"isa": "generic", "precision": "bf16"}, ENGINE_ERROR, "'generic' does not"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_a_sentence(given, status, words):
    found, text = status_and_text(options(**({"height": 16, "width": 16} | given)))
    assert found == status and words in text, text


def test_an_unusable_environment_is_refused_with_a_sentence(monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", "pentium")
    status, text = status_and_text(options(16, 16))
    assert status == ENGINE_ERROR and text.startswith("DIPEDGE_ISA is 'pentium'")


def test_options_of_another_size_are_taken_where_nothing_is_lost():
    class Newer(ctypes.Structure):
        _fields_ = (("known", Options), ("later", ctypes.c_int64))

    newer, lib, handle = Newer(later=0), library(), ctypes.c_void_p()
    lib.dipedge_options_init(newer.known, ctypes.sizeof(Newer))
    newer.known.height = newer.known.width = 16
    assert newer.known.size == ctypes.sizeof(Newer) and newer.known.average == -1
    assert lib.dipedge_create(newer.known, ctypes.byref(handle)) == OK
    lib.dipedge_destroy(handle)
    newer.later = 1
    assert status_and_text(newer.known) == (
        INPUT_ERROR, "options has a member that this library does not know"
    )  # fmt: skip
    short = options(16, 16)
    short.size = 8
    assert status_and_text(short) == (
        INPUT_ERROR, "options has size 8; call dipedge_options_init first"
    )  # fmt: skip


def test_null_pointers_are_errors_and_not_crashes():
    lib, none = library(), None
    assert lib.dipedge_create(none, none) == INPUT_ERROR
    assert lib.dipedge_push(none, none, 0, 0) == INPUT_ERROR
    assert lib.dipedge_error_text(none) == b"session is NULL"
    assert lib.dipedge_isa(none) == b"" and lib.dipedge_memory_bytes(none) == 0
    lib.dipedge_options_init(none, 8)
    lib.dipedge_interrupt(none)
    lib.dipedge_destroy(none)
    with CSession(16, 16, task="inpaint") as session:
        for call in (lib.dipedge_push, lib.dipedge_read):
            assert call(session.handle, none, 0, 0) == INPUT_ERROR
        assert lib.dipedge_set_mask(session.handle, none, 0) == INPUT_ERROR
        assert lib.dipedge_error_text(session.handle) == b"mask is NULL"
        assert lib.dipedge_error_text(none) == b"session is NULL"  # each has its own


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "NaN or infinite"),
        (-np.inf, "NaN or infinite"),
        (255.0, "values from 0 to 255; floats must be in"),
        (-0.5, "values from -0.5 to"),
    ],
)
def test_a_frame_that_cannot_be_used_leaves_the_stream_as_it_was(value, words):
    first, second = stream(2, "float32")
    with CSession(*first.shape, steps=3, threads=1) as session:
        session.push(first)
        before = session.result
        bad = second.copy()
        bad[3, 4, 1] = value
        with pytest.raises(CError, match=words) as caught:
            session.push(bad)
        assert caught.value.status == INPUT_ERROR
        assert bytes(session.result) == bytes(before)
        after = session.restored(second)
    with CSession(*first.shape, steps=3, threads=1) as session:
        session.push(first)
        np.testing.assert_array_equal(session.restored(second), after)


def test_calls_that_come_too_early_or_do_not_fit_say_so():
    [frame] = stream(1)
    with CSession(*frame.shape, threads=1) as session:
        assert session.result.reason == 0
        with pytest.raises(CError, match="no frame has been restored yet"):
            session.read(np.uint8)
        with pytest.raises(CError, match="task 'denoise' takes none"):
            session.set_mask(np.ones(frame.shape[:2]))
        with pytest.raises(CError, match="deadline_ms is -1; it must be above 0"):
            session.set_stop(ms=-1)
        with pytest.raises(CError, match="steps is -2; it must be 1"):
            session.set_stop(steps=-2)
        for code, row_bytes, words in ((7, 0, "type is 7"), (0, 65, "row_bytes is 65; a row has 66 bytes")):
            with pytest.raises(CError, match=words):
                session.check(library().dipedge_push(session.handle, frame.ctypes.data, code, row_bytes))
        small = Result(size=8)
        with pytest.raises(CError, match="result has size 8"):
            session.check(library().dipedge_last_result(session.handle, small))


def test_a_motion_must_be_finite_and_have_coordinates_to_move():
    [frame] = stream(1)
    for prior, motion, words in (("pip", (np.nan, 0.0), "motion is .nan, 0.; both numbers must be finite"),
                                 ("dip", (1.0, 0.0), "no function of coordinates, take pip")):  # fmt: skip
        with CSession(*frame.shape, prior=prior, threads=1) as session:
            with pytest.raises(CError, match=words) as caught:
                session.push_moved(frame, *motion)
            assert caught.value.status == INPUT_ERROR


def test_holes_need_a_mask_that_knows_a_pixel():
    [frame] = stream(1)
    with CSession(*frame.shape, task="inpaint", threads=1) as session:
        with pytest.raises(CError, match="no mask was given"):
            session.push(frame)
        with pytest.raises(CError, match="marks every pixel as a hole"):
            session.set_mask(np.zeros(frame.shape[:2]))


def test_rows_may_have_gaps_on_the_way_in_and_out():
    [frame] = stream(1, "uint16")
    height, width, channels = frame.shape
    with CSession(*frame.shape, steps=2, threads=1) as session:
        expected = session.restored(frame)
        session.check(library().dipedge_restart(session.handle))
        wide = np.full((height, width * channels * 2 + 5), 99, np.uint8)  # rows at odd addresses
        wide[:, : width * channels * 2] = frame.reshape(height, -1).view(np.uint8)
        session.check(library().dipedge_push(session.handle, wide.ctypes.data, 1, wide.shape[1]))
        session.check(library().dipedge_read(session.handle, wide.ctypes.data, 1, wide.shape[1]))
    np.testing.assert_array_equal(wide[:, :-5].copy().view(np.uint16).reshape(frame.shape), expected)
    assert (wide[:, -5:] == 99).all()


def test_an_answer_is_read_in_any_type_as_often_as_wanted():
    [frame] = stream(1, channels=4)
    with CSession(*frame.shape, steps=2, threads=1) as session:
        session.push(frame)
        values = session.read(np.float32)
        for dtype in (np.uint8, np.uint16, np.uint8):
            rounded = np.rint(values * np.float32(np.iinfo(dtype).max))
            np.testing.assert_array_equal(session.read(dtype), rounded)
        np.testing.assert_array_equal(session.read(np.uint8)[..., 3], frame[..., 3])


def test_a_restarted_session_is_a_new_one_to_the_bit():
    first, second = stream(2)
    for prior in ("pip", "dip"):
        with CSession(*first.shape, prior=prior, steps=3, threads=1) as session:
            session.set_stop(steps=2)
            session.push(first)
            if prior == "pip":
                session.push_moved(second, 3.5, 1.0)
            session.set_stop()
            session.check(library().dipedge_restart(session.handle))
            after = session.restored(second)
        with CSession(*first.shape, prior=prior, steps=3, threads=1) as session:
            np.testing.assert_array_equal(session.restored(second), after)


def test_a_fit_that_diverged_has_no_answer_and_the_next_begins_anew():
    frame, other = stream(2)
    with CSession(*frame.shape, learning_rate=1e30, steps=20, threads=1) as session:
        session.set_stop(steps=1)
        expected = session.restored(other)
        for _ in range(2):
            session.check(library().dipedge_restart(session.handle))
            session.set_stop(steps=20)
            with pytest.raises(CError, match=r"the loss is -?nan after step 2; a smaller") as caught:
                session.push(frame)
            assert caught.value.status == DIVERGED
            with pytest.raises(CError, match="no frame has been restored"):
                session.read(np.uint8)
        session.set_stop(steps=1)
        np.testing.assert_array_equal(session.restored(other), expected)


def test_a_deadline_ends_the_fit_before_it_passes():
    [frame] = stream(1)
    with CSession(*frame.shape, threads=1) as session:
        session.set_stop(steps=3)
        session.push(frame)
        step = session.result.seconds / 3
        session.set_stop(ms=1000 * 20 * step)
        session.push(frame)
        assert REASONS[session.result.reason] == "deadline" and session.result.steps > 1
        session.set_stop(ms=1e-6)
        session.push(frame)
        assert REASONS[session.result.reason] == "deadline" and session.result.steps == 1
        session.set_stop(steps=2, ms=1e9)
        session.push(frame)
        assert REASONS[session.result.reason] == "steps" and session.result.steps == 2


def test_an_interrupted_fit_gives_the_best_so_far():
    [frame] = stream(1)
    with CSession(*frame.shape, steps=10**9, threads=1) as session:
        library().dipedge_interrupt(session.handle)  # nothing runs yet, so nothing happens
        pushing = threading.Thread(target=session.push, args=(frame,))
        pushing.start()
        time.sleep(0.1)  # some steps
        while pushing.is_alive():
            library().dipedge_interrupt(session.handle)
            time.sleep(0.02)
        result = session.result
        assert REASONS[result.reason] == "interrupted" and result.steps >= 1
        expected = session.read(np.uint8)
    # Of the same kind, a whole fit: `set_stop` would make it a short one, which averages by age.
    with CSession(*frame.shape, steps=result.steps, threads=1) as session:
        np.testing.assert_array_equal(session.restored(frame), expected)


def test_sessions_in_several_threads_do_not_disturb_each_other():
    frames, answers = stream(3), [None] * 3

    def restore(number: int) -> None:
        with CSession(*frames[0].shape, steps=6, threads=2, seed=number) as session:
            answers[number] = session.restored(frames[number])

    threads = [threading.Thread(target=restore, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, together in enumerate(answers):
        with CSession(*frames[0].shape, steps=6, threads=1, seed=number) as session:
            np.testing.assert_array_equal(session.restored(frames[number]), together)


def test_the_library_tells_its_version_memory_and_reasons():
    assert library().dipedge_version().decode() == __version__
    for number, word in enumerate(REASONS[1:], 1):
        assert library().dipedge_reason_text(number).decode() == StopReason(word).sentence
    assert library().dipedge_reason_text(77) == b""
    [frame] = stream(1)
    with Session(Denoise(), engine="native", threads=1, steps=1) as python, CSession(*frame.shape) as session:
        python.push(frame)
        one = CSession(*frame.shape, threads=1, steps=1)
        assert library().dipedge_memory_bytes(one.handle) == python._program.memory_bytes
        assert library().dipedge_memory_bytes(session.handle) >= python._program.memory_bytes
        library().dipedge_destroy(one.handle)
