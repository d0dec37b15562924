"""The noise a picture is estimated to have, and the rule that ends a fit there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dipedge as de
from dipedge.noise import noise_of, noise_variance
from dipedge.result import StopReason
from dipedge.stopping import NoiseFloor, Observation
from tests.conftest import smooth_picture


def noisy(sigma: float, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    clean = smooth_picture(*shape).astype(np.float32)
    clean = clean / 255 if clean.max() > 1 else clean
    return clean * 0.4 + 0.3 + np.random.default_rng(0).normal(0, sigma / 255, clean.shape).astype(np.float32)


@pytest.mark.parametrize("sigma", [5, 15, 25])
def test_the_noise_of_a_smooth_picture_is_found_within_a_tenth(sigma):
    assert noise_variance(noisy(sigma)) == pytest.approx((sigma / 255) ** 2, rel=0.1)


def test_edges_hardly_count():
    picture = noisy(15)
    plain = noise_variance(picture)
    picture[:, 40:] += 0.3
    picture[30:] -= 0.2
    assert noise_variance(picture) == pytest.approx(plain, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 1), (2, 2, 4), (7, 5, 3)])
def test_any_size_has_an_estimate_and_a_flat_picture_has_none(shape):
    assert noise_variance(np.full(shape, 0.5, np.float32)) == 0.0
    assert np.isfinite(noise_variance(np.random.default_rng(0).random(shape, np.float32)))


def test_a_given_sigma_bounds_the_estimate_and_holes_and_small_pictures_have_none():
    picture = noisy(25)
    assert noise_of(de.Denoise(), picture) == noise_variance(picture)
    assert noise_of(de.Denoise(sigma=5), picture) == (5 / 255) ** 2
    assert noise_of(de.Denoise(sigma=90), picture) == noise_variance(picture)
    assert noise_of(de.Inpaint(np.ones((96, 128))), picture) is None
    assert noise_of(de.SuperResolve(2), picture) is None


def run(rule: NoiseFloor, residuals: list[float], noise: float | None) -> list[StopReason | None]:
    watcher = rule.start()
    shown = (
        Observation(i + 1, 0.0, value, (4, 4, 3), lambda pixels: np.zeros(3), noise=lambda: noise)
        for i, value in enumerate(residuals)
    )
    return [watcher.update(observation) for observation in shown]


def test_the_mean_of_the_last_residuals_decides():
    found = run(NoiseFloor(share=0.5, window=2), [4.0, 0.9, 1.2, 0.8, 0.1], 2.0)
    assert found == [None, None, None, StopReason.DISCREPANCY, StopReason.DISCREPANCY]


def test_nothing_ends_before_the_floor():
    found = run(NoiseFloor(window=1, floor=3), [0.1] * 4, 1.0)
    assert found == [None, None, StopReason.DISCREPANCY, StopReason.DISCREPANCY]


def test_nothing_ends_before_a_whole_window_nor_without_noise():
    assert run(NoiseFloor(window=3), [0.0, 0.0], 1.0) == [None, None]
    assert run(NoiseFloor(window=1), [1e-9] * 3, 0.0) == [None] * 3
    assert run(NoiseFloor(window=1), [1e-9] * 3, None) == [None] * 3


def test_weights_taken_back_start_the_window_anew():
    watcher = NoiseFloor(share=1.0, window=2).start()
    low = Observation(1, 0.0, 0.5, (4, 4, 3), lambda pixels: np.zeros(3), noise=lambda: 1.0)
    assert watcher.update(low) is None
    watcher.rewind()
    assert watcher.update(low) is None
    assert watcher.update(low) is StopReason.DISCREPANCY


@pytest.mark.parametrize(
    "wrong", [{"share": 0.0}, {"share": -1.0}, {"window": 0}, {"window": 1.5}, {"floor": -1}]
)
def test_values_outside_their_range_are_refused(wrong):
    with pytest.raises(de.InputError, match=next(iter(wrong))):
        NoiseFloor(**wrong)


def test_fast_ends_at_the_noise_and_sooner_the_more_there_is():
    pytest.importorskip("dipedge._native", reason="the native engine is not built")
    small = replace(de.pip(), network=de.Hourglass((de.Level(32, 32, 4, 1, 1),) * 3))
    steps = {}
    for sigma in (5, 60):
        picture = np.clip(noisy(sigma, (64, 64)), 0, 1)
        result = de.restore(picture, de.Denoise(), prior=small, quality="fast", threads=1)
        assert result.reason is StopReason.DISCREPANCY
        steps[sigma] = result.steps
    assert 176 <= steps[60] < steps[5] < 640
