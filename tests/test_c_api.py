"""The C API against Python: the same settings give the same bits.

The networks are those of the presets, on pictures of some twenty pixels a side. Both run in this process, one
after the other; errors and what C alone has are in test_c_sessions.py.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge import Denoise, Inpaint, RemoveJpeg, Session, SuperResolve
from dipedge.engines.native import chosen_isa, uses_bf16
from dipedge.fit import CHECKPOINT_STEPS
from dipedge.result import FitResult
from dipedge.views import View
from tests.c_library import REASONS, CSession
from tests.conftest import smooth_picture


def stream(count: int, dtype: str = "uint8", height: int = 18, width: int = 22, channels: int = 3) -> list:
    """Noisy frames [H, W, C]: one picture, new noise in each."""
    random, clean = np.random.default_rng(1), smooth_picture(height, width, channels)
    noisy = [np.clip(clean + random.normal(0, 0.1, clean.shape), 0, 1) for _ in range(count)]
    if dtype == "float32":
        return [frame.astype(np.float32) for frame in noisy]
    return [np.rint(frame * np.iinfo(dtype).max).astype(dtype) for frame in noisy]


def in_python(task, frames: list, frame_steps: int | None = None, **settings) -> list[FitResult]:
    """The results of a session on the native engine; frames after the first get ``frame_steps``.

    The C API does not look for motion itself.
    """
    with Session(task, engine="native", threads=1, motion=None, memory=False, **settings) as session:
        return [session.push(frame, steps=frame_steps if i else None) for i, frame in enumerate(frames)]


def assert_same_stream(task, frames: list, frame_steps: int | None = 3, **settings) -> None:
    """Pushes frames through both and compares all that both report."""
    expected = in_python(task, frames, frame_steps, **settings)
    words = {"scale": task.scale} if isinstance(task, SuperResolve) else {}
    words |= {"sigma": task.sigma} if isinstance(task, Denoise) and task.sigma else {}
    words |= {"keep_known": task.keep} if isinstance(task, Inpaint) else {}
    with CSession(*frames[0].shape, task=task.name, threads=1, **words, **settings) as session:
        if isinstance(task, Inpaint):
            session.set_mask(task.mask)
        for i, (frame, answer) in enumerate(zip(frames, expected, strict=True)):
            session.set_stop(steps=(frame_steps or 0) if i else 0)
            np.testing.assert_array_equal(session.restored(frame), answer.image)
            found = session.result
            assert (found.steps, found.chosen_step) == (answer.steps, answer.chosen_step)
            assert (REASONS[found.reason], found.loss) == (answer.reason.value, answer.loss)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_stream_of_any_type_comes_back_with_the_bits_of_python(dtype):
    assert_same_stream(Denoise(), stream(3, dtype), None, steps=5)


@pytest.mark.parametrize("quality", ["balanced", "fast", "paper"])
@pytest.mark.parametrize("prior", ["pip", "dip"])
def test_every_prior_and_quality_has_the_bits_of_python(prior, quality):
    settings = {"prior": prior, "quality": quality, "steps": 5, "seed": 2**40 + 5}
    assert_same_stream(Denoise(), stream(2), **settings)


@pytest.mark.parametrize("prior", ["pip", "dip"])
@pytest.mark.parametrize("task", [RemoveJpeg(), SuperResolve(3), SuperResolve(8)], ids=str)
def test_every_task_has_the_bits_of_python(task, prior):
    assert_same_stream(task, stream(2, height=16, width=17), prior=prior, steps=2)


@pytest.mark.parametrize(
    ("preset", "prior"),
    [(None, "pip"), ("text", "dip"), ("large-hole", "pip"), ("large-hole", "dip"), ("large-hole-2", "dip"),
     ("half", "pip")],
)  # fmt: skip
def test_every_way_of_filling_holes_has_the_bits_of_python(preset, prior):
    mask = np.random.default_rng(0).random((18, 22)) > 0.3
    settings = {"prior": prior, "steps": 3} | ({"preset": preset} if preset else {})
    assert_same_stream(Inpaint(mask), stream(2), **settings)


def test_known_pixels_come_back_as_they_were_or_as_they_are_estimated():
    mask = np.random.default_rng(0).random((18, 22)) > 0.3
    frames = [frame + np.float32(0.0009) for frame in stream(2, "float32")]  # some lie a little above 1
    assert max(frame.max() for frame in frames) > 1
    assert_same_stream(Inpaint(mask), frames, steps=2)
    assert_same_stream(Inpaint(mask, keep=False), frames, steps=2)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_frames_and_alpha_have_the_bits_of_python(channels):
    assert_same_stream(Denoise(), stream(2, channels=channels), steps=3)


def test_a_rate_an_average_and_a_fast_schedule_have_the_bits_of_python():
    settings = {"quality": "fast", "learning_rate": 0.02, "average": 0.5, "steps": 13}
    assert_same_stream(Denoise(), stream(2), **settings)


def test_the_first_frame_ends_at_its_noise_as_in_python():
    """The window, floor and level of NoiseFloor."""
    frames = stream(1, height=16, width=16)
    assert_same_stream(Denoise(), frames, quality="fast")
    [found] = in_python(Denoise(), frames, quality="fast")
    assert found.reason.value == "discrepancy"


@pytest.mark.slow
def test_a_given_sigma_is_a_bound_of_the_noise_as_in_python():
    """One far below the estimate is not reached: the limit of steps ends the fit."""
    frames = stream(1, height=16, width=16)
    assert_same_stream(Denoise(3.0), frames, quality="fast")
    [found] = in_python(Denoise(3.0), frames, quality="fast")
    assert found.reason.value == "steps"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_frame_ends_at_its_variance_as_in_python():
    """The window of 200 outputs and the best step's estimate."""
    frames = stream(1, height=20, width=20)
    assert_same_stream(RemoveJpeg(), frames, prior="dip")
    [found] = in_python(RemoveJpeg(), frames, prior="dip")
    assert found.reason.value == "variance" and found.chosen_step < found.steps


def test_weights_are_taken_back_after_a_jump_as_in_python(monkeypatch):
    """A rate ten times as high as published makes losses jump, with some seeds."""
    monkeypatch.setenv("DIPEDGE_ISA", "generic")
    steps, frames, settings = CHECKPOINT_STEPS + 50, stream(1, height=16, width=16), {"prior": "dip"}
    for seed in range(20):
        settings |= {"learning_rate": 0.1, "steps": steps, "seed": seed}
        jumps = []
        in_python(RemoveJpeg(), frames, progress=lambda step, to=jumps: to.append(step.restored), **settings)
        if any(jumps):
            return assert_same_stream(RemoveJpeg(), frames, **settings)
    pytest.fail("no fit has jumped")


@pytest.mark.parametrize("steps", [1, 3, 12])
@pytest.mark.parametrize("average", [-1.0, 0.0, 0.6])
def test_a_stream_that_begins_with_few_steps_has_the_bits_of_python(steps, average):
    """Its answers are a young average's, which the engine's takes over from at some step."""
    frames = stream(3)
    settings = {"steps": 5} | ({} if average < 0 else {"average": average})
    with Session(Denoise(), engine="native", threads=1, motion=None, memory=False, **settings) as session:
        expected = [session.push(frame, steps=steps).image for frame in frames]
    with CSession(*frames[0].shape, threads=1, **settings) as session:
        session.set_stop(steps=steps)
        for frame, answer in zip(frames, expected, strict=True):
            np.testing.assert_array_equal(session.restored(frame), answer)


@pytest.mark.parametrize("first", [None, 2], ids=["whole", "short"])
@pytest.mark.parametrize("task", [Denoise(), SuperResolve(2)], ids=["denoise", "superresolve"])
def test_frames_of_a_camera_that_moves_have_the_bits_of_python(task, first):
    """Whole and broken shifts, none, and one on the first frame, which does not count."""
    motions = [(9.0, 9.0), (1.0, -2.0), (0.25, 0.7), (0.0, 0.0), (-30.5, 1e-3)]
    frames = stream(len(motions), "float32", height=16, width=17)
    scale = {"scale": 2} if task.name == "superresolve" else {}
    with (
        Session(task, engine="native", threads=1, motion=None, memory=False, steps=4) as python,
        CSession(*frames[0].shape, task=task.name, threads=1, steps=4, **scale) as session,
    ):
        for i, (frame, (dx, dy)) in enumerate(zip(frames, motions, strict=True)):
            steps = 2 if i else first
            session.set_stop(steps=steps or 0)
            session.push_moved(frame, dx, dy)
            expected = python.push(frame, steps=steps, motion=View.shift(dx, dy))
            np.testing.assert_array_equal(session.read(np.float32), expected.image)
            assert session.result.loss == expected.loss


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_either_precision_has_the_bits_of_python(precision):
    if precision == "bf16" and chosen_isa() not in ("amx", "avx512bf16"):
        pytest.skip(f"instruction set {chosen_isa()!r} does not multiply bf16")
    assert_same_stream(Denoise(), stream(2), precision=precision, steps=3)


@pytest.mark.parametrize("threads", [2, 5, 0])
def test_any_number_of_threads_gives_the_same_bits(threads):
    [frame] = stream(1)
    with CSession(*frame.shape, threads=1, steps=4) as session:
        expected = session.restored(frame)
    with CSession(*frame.shape, threads=threads, steps=4) as session:
        np.testing.assert_array_equal(session.restored(frame), expected)


def test_the_instruction_set_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", "generic")
    assert_same_stream(Denoise(), stream(2), steps=3)
    with CSession(16, 16) as session:
        assert session.isa == "generic" and not session.uses_bf16


def test_the_options_instruction_set_goes_before_the_environment(monkeypatch):
    monkeypatch.delenv("DIPEDGE_ISA", raising=False)
    with CSession(16, 16) as session:
        assert session.isa == chosen_isa() and session.uses_bf16 == uses_bf16("auto")
    monkeypatch.setenv("DIPEDGE_ISA", "pentium")
    with CSession(16, 16, isa="generic") as session:
        assert session.isa == "generic"
