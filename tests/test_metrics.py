"""Metrics against scikit-image, an implementation that is not ours."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dipedge import metrics
from dipedge.errors import InputError
from dipedge.metrics import psnr, ssim


def pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.random(shape)
    return np.clip(reference + rng.normal(0, 0.1, shape), 0, 1), reference


@pytest.mark.parametrize("shape", [(16, 16), (31, 24), (40, 33, 3), (20, 20, 1)])
def test_psnr_equals_scikit_image(shape):
    image, reference = pair(shape)
    assert psnr(image, reference) == pytest.approx(
        peak_signal_noise_ratio(reference, image, data_range=1), abs=1e-9
    )


@pytest.mark.parametrize("shape", [(16, 16), (31, 24), (40, 33, 3), (11, 11, 3)])
def test_ssim_equals_scikit_image(shape):
    image, reference = pair(shape, seed=1)
    expected = structural_similarity(
        reference,
        image,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2 if len(shape) == 3 else None,
    )
    assert ssim(image, reference) == pytest.approx(expected, abs=1e-9)


def test_integers_and_floats_of_one_picture_give_one_number():
    image, reference = (np.round(array * 255).astype(np.uint8) for array in pair((24, 24, 3)))
    assert psnr(image, reference) == pytest.approx(psnr(image / 255, reference / 255), abs=1e-9)
    wide = (image.astype(np.uint16) * 257, reference.astype(np.uint16) * 257)
    assert psnr(*wide) == pytest.approx(psnr(image, reference), abs=1e-9)
    assert ssim(*wide) == pytest.approx(ssim(image, reference), abs=1e-9)


def test_equal_pictures_have_infinite_psnr_and_ssim_one():
    image, _ = pair((16, 20, 3))
    assert psnr(image, image) == float("inf")
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_different_shapes_are_refused_with_both_named(metric):
    with pytest.raises(InputError, match=r"\(16, 16\).*\(16, 17\)"):
        metric(np.zeros((16, 16)), np.zeros((16, 17)))


def test_signed_integers_are_refused():
    with pytest.raises(InputError, match="int32"):
        psnr(np.zeros((16, 16), np.int32), np.zeros((16, 16)))


def test_ssim_of_a_picture_smaller_than_its_window_is_refused():
    with pytest.raises(InputError, match="11"):
        ssim(np.zeros((10, 16)), np.zeros((10, 16)))


def test_bands_of_rows_change_nothing_but_rounding(monkeypatch):
    rng = np.random.default_rng(1)
    image, reference = rng.random((2, 50, 30, 3))
    expected = psnr(image, reference), ssim(image, reference)
    for rows in (1, 7, 40, 50):
        monkeypatch.setattr(metrics, "BAND_ROWS", rows)
        assert (psnr(image, reference), ssim(image, reference)) == pytest.approx(expected, rel=1e-12)
