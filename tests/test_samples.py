"""Samples of a prior: where a fit with the same seed begins."""

from __future__ import annotations

import numpy as np
import pytest

import dipedge as de


def roughness(image):
    """Mean difference of neighbours, beside the picture's own deviation."""
    return np.abs(np.diff(image, axis=1)).mean() / image.std()


def test_a_sample_is_a_picture_that_its_seed_decides(engine, tiny_prior):
    drawn = [de.sample_prior(tiny_prior, (17, 20, 3), seed, engine) for seed in (0, 0, 1)]
    assert drawn[0].shape == (17, 20, 3) and drawn[0].dtype == np.float32
    assert 0 <= drawn[0].min() < drawn[0].max() <= 1
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_a_sample_is_the_first_output_of_a_fit(engine, tiny_pip):
    drawn = de.sample_prior(tiny_pip, (16, 20, 3), 3, engine)
    image = np.full((16, 20, 3), 0.5, np.float32)
    options = {"steps": 1, "average": 0.0, "precision": "fp32", "seed": 3, "threads": 1}
    result = de.restore(image, de.Denoise(), prior=tiny_pip, engine=engine, quality="paper", **options)
    assert np.array_equal(result.image, drawn)


def test_engines_draw_the_same_picture(tiny_prior):
    pytest.importorskip("torch")
    pytest.importorskip("dipedge._native")
    drawn = [de.sample_prior(tiny_prior, (32, 24, 3), 5, engine) for engine in ("native", "torch")]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=2e-5)


@pytest.mark.parametrize("prior", [de.unet(), de.resnet(), de.pixels()], ids=lambda prior: prior.name)
def test_other_networks_are_drawn_by_torch(prior):
    pytest.importorskip("torch")
    drawn = de.sample_prior(prior, (17, 16, 1), engine="torch")
    assert drawn.shape == (17, 16, 1)
    assert 0 <= drawn.min() < drawn.max() <= 1


def test_deeper_hourglasses_draw_larger_structures(engine):
    """What the paper's figure of samples shows: the scale grows with the depth."""
    levels, drawn = (de.Level(16, 16, 0),) * 4, []
    for depth in (1, 2, 4):
        prior = de.Prior(de.Noise(4), de.Hourglass(levels[:depth]))
        drawn.append(np.mean([roughness(de.sample_prior(prior, (64, 64, 3), s, engine)) for s in range(3)]))
    assert drawn[0] > 1.3 * drawn[1] > 1.3 * 1.3 * drawn[2]


@pytest.mark.parametrize("shape", [(16, 16), (0, 16, 3), (16.0, 16, 3)])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(de.InputError, match="shape is"):
        de.sample_prior(de.pip(), shape)


def test_a_prior_that_waits_for_a_picture_has_no_samples():
    with pytest.raises(de.InputError, match="given image"):
        de.sample_prior(de.Prior(de.GivenImage(), de.Hourglass()), (16, 16, 3))
