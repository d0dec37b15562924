"""Pixels without a network: "no prior", total variation, and what both are without."""

from __future__ import annotations

import numpy as np
import pytest

import dipedge as de

torch = pytest.importorskip("torch")

from dipedge.engines.base import Settings  # noqa: E402
from dipedge.engines.initial import initial_parameters  # noqa: E402
from dipedge.engines.torch import TorchEngine  # noqa: E402
from dipedge.engines.torch_pixels import total_variation  # noqa: E402
from tests.continuing import check_it_continues, check_it_is_saved  # noqa: E402


def picture(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def program(prior, task=None, shape=(16, 12, 3), **settings):
    made = TorchEngine().compile(prior, task or de.Denoise(), shape, Settings(**settings))
    made.set_target(picture(*shape))
    return made


def tv_of(image):
    """The docstring's formula, pixel by pixel: [H, W, C] -> a number."""
    height, width, channels = image.shape
    total = 0.0
    for k in range(channels):
        for i in range(height):
            for j in range(width):
                down = image[i + 1, j, k] - image[i, j, k] if i + 1 < height else 0.0
                right = image[i, j + 1, k] - image[i, j, k] if j + 1 < width else 0.0
                total += np.hypot(down, right)
    return total / image.size


@pytest.mark.parametrize("size", [(6, 9), (1, 5), (4, 1), (1, 1)])
def test_total_variation_follows_its_formula(size):
    image = picture(*size, 2).astype(np.float64)
    found = total_variation(torch.tensor(image).permute(2, 0, 1)[None]).item()
    # What is added under the root moves a length by at most 1e-4.
    assert found == pytest.approx(tv_of(image), abs=1e-4)


def test_a_flat_picture_has_no_variation_and_a_finite_slope():
    flat = torch.full((1, 3, 5, 6), 0.4, dtype=torch.float64, requires_grad=True)
    value = total_variation(flat)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-15)
    assert torch.equal(flat.grad, torch.zeros_like(flat))


def test_the_first_estimate_is_noise_of_the_given_scale():
    begin = initial_parameters(de.pixels(), 3, 7, (40, 30))["pixels"]
    assert begin.shape == (3, 40, 30) and begin.dtype == np.float32
    assert begin.min() >= 0 and 0.098 < begin.max() < 0.1
    black = de.Prior(de.NoInput(), de.Pixels(scale=0.0))
    assert not initial_parameters(black, 3, 7, (40, 30))["pixels"].any()
    made = program(de.pixels(), shape=(40, 30, 3), seed=7)
    made.step()
    assert np.array_equal(made.estimate(averaged=False), np.moveaxis(begin, 0, 2))


@pytest.mark.parametrize("tv", [0.0, 0.3])
@pytest.mark.parametrize("task", [de.Denoise(), de.SuperResolve(2), de.Inpaint(None)], ids=lambda t: t.name)
def test_gradients_are_those_of_data_term_and_variation(task, tv):
    made = TorchEngine().compile(de.pixels(tv), task, (6, 8, 2), Settings(precision="fp64", seed=1))
    scale = task.data_term.scale
    mask = picture(6, 8, seed=3) > 0.4 if task.name == "inpaint" else None
    made.set_target(picture(6 // scale, 8 // scale, 2), mask)
    exact, start = made.evaluate(), made.state()["param/pixels"]
    made.step()
    output = made.estimate(averaged=False)
    # The loss that stopping rules compare with the noise is the data term alone.
    assert exact.loss - made.loss() == pytest.approx(tv * tv_of(output), abs=tv * 1e-4)
    direction = np.random.default_rng(0).standard_normal(start.shape)
    losses = []
    for sign in (-1, 1):
        made.load_state({"param/pixels": start + sign * 1e-7 * direction})
        losses.append(made.evaluate().loss)
    wanted = (exact.gradients["pixels"] * direction).sum()
    assert (losses[1] - losses[0]) / 2e-7 == pytest.approx(wanted, rel=1e-5)


def test_without_a_prior_the_fit_ends_at_the_degraded_picture():
    noisy = picture(16, 18, 3)
    result = de.restore(noisy, de.Denoise(), prior=de.pixels(), engine="torch", steps=300, average=0.0)
    assert result.engine == "torch"
    assert np.abs(result.image - noisy).max() < 0.01


def test_without_a_prior_a_hole_stays_as_it_began_and_variation_fills_it():
    image, mask = np.full((16, 18, 3), 0.6, np.float32), np.ones((16, 18), bool)
    mask[4:9, 6:12] = False
    begin = np.moveaxis(initial_parameters(de.pixels(), 3, 0, (16, 18))["pixels"], 0, 2)
    options = {"engine": "torch", "average": 0.0}
    plain = de.restore(image, de.Inpaint(mask), prior=de.pixels(), steps=300, **options)
    assert np.array_equal(plain.image[~mask], begin[~mask])
    filled = de.restore(image, de.Inpaint(mask), prior=de.pixels(tv=0.02), steps=600, **options)
    assert np.abs(filled.image - 0.6).max() < 0.02


def test_variation_removes_noise(noisy):
    image, clean = noisy(48, 48)
    result = de.restore(image, de.Denoise(), prior=de.pixels(tv=0.15), engine="torch", steps=300, average=0.0)
    assert de.psnr(result.image, clean) > de.psnr(image, clean) + 5


@pytest.mark.parametrize("prior", [de.pixels(), de.pixels(tv=0.1)], ids=["no prior", "tv"])
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_restored_state_continues_bit_for_bit(prior, precision):
    first, second = (program(prior, seed=seed, precision=precision) for seed in (3, 99))
    check_it_continues(first, second)


def test_a_saved_session_goes_on_bit_for_bit(tmp_path):
    check_it_is_saved(tmp_path / "scene.safetensors", picture(16, 18, 3), prior=de.pixels(tv=0.1))


def test_how_many_there_are_depends_on_the_picture():
    assert de.pixels().parameter_count(3, (20, 30)) == 1800
    with pytest.raises(de.InputError, match="a size"):
        de.pixels().parameter_count()


def test_a_gray_picture_has_one_channel_of_them():
    result = de.restore(
        picture(16, 17), de.SuperResolve(2), prior=de.pixels(tv=0.01), engine="torch", steps=2
    )
    assert result.image.shape == (32, 34)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: de.pixels(tv=-1), "tv is -1; it must be 0 or more"),
        (lambda: de.pixels(tv=float("nan")), "tv is nan"),
        (lambda: de.Pixels(scale=float("inf")), "scale is inf"),
        (lambda: de.Prior(de.Noise(3), de.Pixels()), "NoInput"),
        (lambda: de.Prior(de.NoInput(), de.UNet()), "NoInput"),
        (lambda: de.Prior(de.NoInput(), de.Pixels(), perturbation=0.1), "no z and no weights"),
    ],
)
def test_a_wrong_description_is_refused_in_one_sentence(make, words):
    with pytest.raises(de.InputError, match=words):
        make()


@pytest.mark.parametrize(
    "prior", [de.pixels(tv=0.3), de.Prior(de.Noise(3), de.UNet((4, 6)))], ids=["tv", "unet"]
)
def test_two_half_steps_are_a_step(prior):
    """A loss of a task's own hands its gradient in; what the prior itself adds is still minimised."""
    whole, halves = (program(prior, precision="fp64", average=0.5) for _ in range(2))
    target = picture(16, 12, 3).astype(np.float64)
    for _ in range(3):
        whole.step()
        residual = halves.forward() - target
        halves.backward(2 * residual / residual.size, float((residual**2).mean()))
    assert halves.loss() == pytest.approx(whole.loss(), rel=1e-12)
    np.testing.assert_allclose(halves.estimate(), whole.estimate(), rtol=1e-9)
