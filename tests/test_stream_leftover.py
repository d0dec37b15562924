"""What the network has not taken up yet is put back from the frame, and nothing else."""

import numpy as np
import pytest

import dipedge as de
from dipedge.streaming.leftover import with_leftover

NOISE = (25 / 255) ** 2


def gap(one, other):
    return float(np.mean((one - other) ** 2))


def test_where_all_is_taken_up_nothing_is_put_back(noisy):
    frame, clean = noisy(64, 64)
    found = with_leftover(clean, frame, NOISE)
    assert found.dtype == np.float32 and found.shape == clean.shape
    assert gap(found, clean) < 0.01 * NOISE


def test_where_nothing_is_taken_up_the_frame_comes_back(noisy):
    frame, clean = noisy(64, 64)
    grey = np.full_like(clean, 0.5)
    found = with_leftover(grey, frame, NOISE)
    assert gap(found, clean) < min(gap(frame, clean), gap(grey, clean))


def test_what_is_missing_in_one_place_is_put_back_there_alone(noisy):
    frame, clean = noisy(64, 64)
    behind = clean.copy()
    behind[20:40, 20:40] = 1 - clean[20:40, 20:40]
    found = with_leftover(behind, frame, NOISE)
    assert gap(found[22:38, 22:38], clean[22:38, 22:38]) < 0.5 * gap(
        behind[22:38, 22:38], clean[22:38, 22:38]
    )
    assert gap(found[50:, 50:], clean[50:, 50:]) < 0.02 * NOISE


@pytest.mark.parametrize("shape", [(16, 17, 1), (3, 5, 3), (1, 1, 3)])
def test_any_size_has_its_leftover(shape):
    values = np.random.default_rng(0).random(shape, np.float32)
    np.testing.assert_allclose(with_leftover(values, values, 0.01), values, atol=1e-6)


@pytest.fixture
def images(tiny_pip, noisy):
    """``images(put, **options)``: answers of three steps to two frames, with or without putting back."""
    pytest.importorskip("dipedge._native")

    def make(put, monkeypatch, task=None, whole=False, **options):
        if not put:
            monkeypatch.setattr("dipedge.streaming.averaging.with_leftover", lambda estimate, *_: estimate)
        options = {"prior": tiny_pip, "engine": "native", "threads": 1, "stop": de.MaxSteps(3)} | options
        with de.Session(task or de.Denoise(sigma=25), **options) as session:
            steps = None if whole else 3
            return [session.push(noisy(32, 32, seed=seed)[0], steps=steps).image for seed in (0, 1)]

    return make


def test_frames_of_few_steps_are_nearer_to_the_truth_with_it(images, noisy, monkeypatch):
    clean = noisy(32, 32)[1]
    with_it = images(True, monkeypatch)
    without = images(False, monkeypatch)
    for one, other in zip(with_it, without, strict=True):
        assert gap(one, clean) < 0.8 * gap(other, clean)


@pytest.mark.parametrize(
    "options", [{"task": de.RemoveJpeg()}, {"task": de.Enhance()}, {"average": 0.0}], ids=str
)
def test_other_tasks_and_raw_outputs_stay_as_they_are(images, monkeypatch, options):
    with_it = images(True, monkeypatch, **options)
    without = images(False, monkeypatch, **options)
    np.testing.assert_array_equal(with_it, without)


def test_a_whole_first_fit_stays_as_it_is_and_its_followers_do_not(images, monkeypatch):
    with_it = images(True, monkeypatch, whole=True)
    without = images(False, monkeypatch, whole=True)
    np.testing.assert_array_equal(with_it[0], without[0])
    assert gap(with_it[1], without[1]) > 0
