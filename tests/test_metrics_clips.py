"""3D-SSIM against scikit-image, and flicker against what its formula says of known clips."""

import numpy as np
import pytest

from dipedge.errors import InputError
from dipedge.metrics import flicker, ssim3d

# A scene that pans: every frame is a window into one picture, two columns further.
SCENE = np.random.default_rng(5).random((24, 60, 3))
PAN = np.stack([SCENE[:, 2 * t : 2 * t + 30] for t in range(9)])


def pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.random(shape)
    return np.clip(reference + rng.normal(0, 0.1, shape), 0, 1), reference


@pytest.mark.parametrize("shape", [(7, 16, 16), (9, 21, 14, 3), (12, 7, 7, 1), (7, 7, 30, 2)])
def test_ssim3d_equals_scikit_image(shape):
    from skimage.metrics import structural_similarity

    clip, reference = pair(shape)
    channels = -1 if len(shape) == 4 else None
    expected = structural_similarity(reference, clip, win_size=7, data_range=1.0, channel_axis=channels)
    assert ssim3d(clip, reference) == pytest.approx(expected, abs=1e-9)


def test_ssim3d_of_a_clip_and_itself_is_one_and_falls_when_its_frames_change_places():
    still = np.repeat(SCENE[None, :, :30], 9, axis=0)
    assert ssim3d(still, still) == pytest.approx(1.0, abs=1e-12)
    assert ssim3d(still[::-1], still) == pytest.approx(1.0, abs=1e-12)
    assert ssim3d(PAN[::-1], PAN) < 0.5


def test_flicker_of_fresh_noise_is_sigma_times_the_root_of_two():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 25 / 255, (12, 40, 40, 3))
    reference = np.full(noise.shape, 0.5)
    assert flicker(reference + noise, reference) == pytest.approx(np.sqrt(2) * 25, rel=0.02)


def test_flicker_does_not_count_what_moves_in_the_reference_too():
    assert flicker(PAN, PAN) == 0
    assert flicker(PAN) > 50
    shaken = PAN + 0.1 * (-1.0) ** np.arange(9)[:, None, None, None]
    assert flicker(np.clip(shaken, -1, 2), PAN) == pytest.approx(255 * 0.2, rel=1e-9)


def test_flicker_does_not_count_an_error_that_stays():
    wrong = np.random.default_rng(2).normal(0, 0.1, PAN.shape[1:])
    assert flicker(PAN + wrong, PAN) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("metric", [ssim3d, flicker])
def test_integers_generators_and_floats_of_one_clip_give_one_number(metric):
    clip, reference = (np.round(array * 255).astype(np.uint8) for array in pair((8, 12, 13, 3)))
    expected = metric(clip / 255, reference / 255)
    assert metric(clip, reference) == pytest.approx(expected, abs=1e-9)
    assert metric((f for f in clip), (f for f in reference)) == pytest.approx(expected, abs=1e-9)
    assert metric(list(clip.astype(np.uint16) * 257), reference) == pytest.approx(expected, abs=1e-9)


def test_flicker_without_a_reference_takes_a_generator_too():
    assert flicker(frame for frame in PAN) == pytest.approx(flicker(PAN), abs=0)


@pytest.mark.parametrize("metric", [ssim3d, flicker])
def test_clips_of_different_lengths_are_refused_and_the_shorter_is_named(metric):
    with pytest.raises(InputError, match="reference ends after 8 frames"):
        metric(PAN, PAN[:8])
    with pytest.raises(InputError, match="clip ends after 7 frames"):
        metric(iter(PAN[:7]), PAN)


@pytest.mark.parametrize("metric", [ssim3d, flicker])
def test_a_frame_of_another_size_is_refused_with_its_number(metric):
    frames = [*PAN[:3], PAN[3][:, :20]]
    with pytest.raises(InputError, match="frame 3 is"):
        metric(frames, frames)


def test_too_short_and_too_small_clips_are_refused():
    with pytest.raises(InputError, match="6 frames"):
        ssim3d(PAN[:6], PAN[:6])
    with pytest.raises(InputError, match="0 frames"):
        ssim3d([], [])
    with pytest.raises(InputError, match="sides of 7"):
        ssim3d(PAN[:, :6], PAN[:, :6])
    with pytest.raises(InputError, match="fewer than two frames"):
        flicker(PAN[:1], PAN[:1])
    with pytest.raises(InputError, match="one shape"):
        flicker(PAN, PAN[:, :10])
