"""Sessions on the triton engine, without a GPU in the interpreter: what a user calls, from end to end."""

from __future__ import annotations

import numpy as np
import pytest

import tests.triton_kernels  # skips this file where Triton cannot run

# isort: split
from dipedge.errors import InputError
from dipedge.priors import Fourier, Hourglass, Level, Prior
from dipedge.session import Session, restore
from dipedge.stopping import MaxSteps, NoiseFloor
from dipedge.tasks import Denoise, Inpaint, SuperResolve

pytestmark = pytest.mark.triton_interpret
assert tests.triton_kernels.DEVICE

PRIOR = Prior(Fourier(2, 4.0), Hourglass((Level(8, 8, 2, 1, 1),)), name="one level")
OPTIONS = {"prior": PRIOR, "engine": "triton", "precision": "fp32"}


def native(**changes):
    return {**OPTIONS, "engine": "native", **changes}


def test_a_fit_is_that_of_the_native_engine(noisy):
    picture, _ = noisy(16, 18)
    ours = restore(picture, Denoise(), steps=3, **OPTIONS)
    theirs = restore(picture, Denoise(), steps=3, **native())
    assert ours.engine == "triton" and ours.steps == 3 and len(ours.history) == 3
    np.testing.assert_allclose(ours.history, theirs.history, rtol=1e-4)
    np.testing.assert_allclose(ours.image, theirs.image, atol=2e-4)
    assert ours.image.dtype == picture.dtype


def test_bfloat16_is_what_auto_takes(noisy):
    picture, _ = noisy(16, 16)
    auto = restore(picture, Denoise(), steps=1, **{**OPTIONS, "precision": "auto"})
    bf16 = restore(picture, Denoise(), steps=1, **{**OPTIONS, "precision": "bf16"})
    fp32 = restore(picture, Denoise(), steps=1, **OPTIONS)
    assert np.array_equal(auto.image, bf16.image) and not np.array_equal(auto.image, fp32.image)
    np.testing.assert_allclose(bf16.image, fp32.image, atol=0.02)


def test_pictures_of_a_list_are_fitted_together_as_they_would_be_alone(noisy):
    pictures = [noisy(16, 16, seed=seed)[0] for seed in (1, 2)] + [noisy(17, 16, seed=3)[0]]
    with Session(Denoise(), steps=2, **OPTIONS) as session:
        together = session.fit(pictures)
    for picture, found in zip(pictures, together, strict=True):
        alone = restore(picture, Denoise(), steps=2, **OPTIONS)
        assert np.array_equal(found.image, alone.image) and list(found.history) == list(alone.history)


def test_an_ensemble_averages_the_fits_of_its_seeds(noisy):
    picture, _ = noisy(16, 16)
    both = restore(picture, Denoise(), steps=1, ensemble=2, seed=7, **OPTIONS)
    alone = [restore(picture, Denoise(), steps=1, seed=seed, **OPTIONS).image for seed in (7, 8)]
    np.testing.assert_allclose(both.image, (alone[0] + alone[1]) / 2, atol=1e-6)
    assert not np.array_equal(alone[0], alone[1])


def test_a_stream_goes_on_from_frame_to_frame_and_from_a_file(noisy, tmp_path):
    frames = [noisy(16, 16, seed=seed)[0] for seed in range(3)]
    with Session(Denoise(), steps=2, **OPTIONS) as session:
        session.fit(frames[0])
        session.push(frames[1], steps=1)
        session.save(tmp_path / "scene.npz")
        wanted = session.push(frames[2], steps=1)
    with Session.load(tmp_path / "scene.npz", engine="triton") as loaded:
        found = loaded.push(frames[2], steps=1)
    assert np.array_equal(found.image, wanted.image)


def test_the_quality_fast_runs_with_its_sampled_steps_and_its_stopping_rule(noisy):
    """Muon, a quarter of the pixels a step, looked at in strides: the preset's settings on a small prior."""
    picture, _ = noisy(16, 16)
    stop = NoiseFloor(share=100.0, window=2, floor=4) | MaxSteps(16)
    ours, theirs = (
        restore(picture, Denoise(), quality="fast", stop=stop, **{**OPTIONS, "engine": engine})
        for engine in ("triton", "native")
    )
    assert theirs.steps <= ours.steps < theirs.steps + 8
    np.testing.assert_allclose(ours.history[: theirs.steps], theirs.history, rtol=2e-2)


def test_other_tasks_run(noisy):
    picture, _ = noisy(16, 16)
    mask = np.random.default_rng(0).random((16, 16)) > 0.3
    filled = restore(picture, Inpaint(mask), steps=1, **OPTIONS)
    enlarged = restore(picture, SuperResolve(2), steps=1, **OPTIONS)
    assert filled.image.shape == (16, 16, 3) and enlarged.image.shape == (32, 32, 3)
    assert np.isfinite(filled.loss) and np.isfinite(enlarged.loss)


def test_a_bad_frame_leaves_the_session_usable(noisy):
    picture, _ = noisy(16, 16)
    with Session(Denoise(), steps=2, **OPTIONS) as session:
        session.fit(picture)
        with pytest.raises(InputError):
            session.push(np.full((16, 16, 3), np.nan, np.float32))
        with pytest.raises(InputError, match="use fit for a new size"):
            session.push(noisy(18, 16)[0])
        assert session.push(picture, steps=1).steps == 1
