"""Initial weights, z and frequencies: PyTorch's bits without PyTorch, and the published formulas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dipedge.engines.initial import (
    fourier_features,
    initial_frequencies,
    initial_input,
    initial_parameters,
    initial_time_frequencies,
    time_features,
    view_features,
)
from dipedge.priors import Fourier, GivenImage, Hourglass, Level, Meshgrid, Noise, Prior, SpaceTime, dip, pip
from dipedge.views import View

MIXED = Prior(
    Noise(3),
    Hourglass(levels=(Level(6, 7, 0, 5, 3), Level(9, 5, 4, 7, 1, 3)), need1x1_up=False),
)


def torch_parameters(prior: Prior, seed: int) -> dict[str, np.ndarray]:
    """The same parameters made by torch.nn in the published order of construction."""
    torch = pytest.importorskip("torch")
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this processor has no fused multiply-add, and PyTorch rounds twice on it")
    torch.manual_seed(seed)
    found = {}
    shapes = prior.parameter_shapes(3)
    for name, shape in shapes.items():
        module = None
        if name.endswith("conv.weight"):
            module = torch.nn.Conv2d(shape[1], shape[0], shape[2])
        elif name.endswith("bn.weight"):
            module = torch.nn.BatchNorm2d(shape[0])
        if module is not None:
            for part, values in module.named_parameters():
                found[name.removesuffix("weight") + part] = values.detach().numpy()
    return found


@pytest.mark.parametrize("prior", [dip(), pip(), MIXED], ids=lambda prior: prior.name)
@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32 + 5, 2**63 - 1])
def test_weights_are_those_of_torch_to_the_bit(prior, seed):
    wanted = torch_parameters(prior, seed)
    found = initial_parameters(prior, 3, seed)
    assert list(found) == list(prior.parameter_shapes(3)) == list(wanted)
    for name, values in wanted.items():
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], values), name


def test_another_seed_gives_other_weights():
    first, second = (initial_parameters(pip(), 3, seed)["head.conv.weight"] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_frequencies_are_the_published_float32_powers():
    torch = pytest.importorskip("torch")
    encoding = Fourier(count=8, highest=256.0)
    published = (2 ** (8 / 7)) ** torch.linspace(0.0, 7.0, 8)
    found = initial_frequencies(encoding)
    assert np.array_equal(found, published.numpy())
    np.testing.assert_allclose(found, encoding.frequencies(), rtol=2e-7)


def test_learned_frequencies_are_a_parameter_that_starts_as_the_fixed_ones():
    prior = Prior(Fourier(learned=True), pip().network)
    found = initial_parameters(prior, 3, seed=4)
    assert np.array_equal(found["encoding.frequencies"], initial_frequencies(prior.encoding))
    fixed = initial_parameters(pip(), 3, seed=4)
    assert all(np.array_equal(found[name], values) for name, values in fixed.items())


def test_noise_fills_its_range_evenly_and_depends_on_all_bits_of_the_seed():
    z = initial_input(Noise(32, scale=0.1), (40, 30, 3), seed=7)
    assert z.shape == (40, 30, 32) and z.dtype == np.float32
    assert z.min() >= 0 and z.max() < 0.1
    # 38,400 values: the mean of U(0, 0.1) is known to 0.0289 / sqrt(38400) = 1.5e-4.
    assert abs(z.mean() - 0.05) < 5 * 1.5e-4
    assert np.array_equal(z, initial_input(Noise(32, scale=0.1), (40, 30), seed=7))
    for other in (8, 7 + 2**32):
        assert not np.array_equal(z, initial_input(Noise(32, scale=0.1), (40, 30), seed=other))


def test_noise_is_not_the_stream_the_weights_came_from():
    prior = Prior(Noise(4, scale=1.0), Hourglass(levels=(Level(8, 8, 256),)))
    weights = initial_parameters(prior, 3, seed=0)["level0.skip.conv.weight"].ravel()
    z = initial_input(prior.encoding, (16, 16), seed=0).ravel()
    assert weights.size == z.size == 1024
    assert abs(np.corrcoef(weights, z)[0, 1]) < 5 / np.sqrt(1024)


def test_meshgrid_holds_column_then_row_from_zero_to_one():
    z = initial_input(Meshgrid(), (3, 5, 3), seed=0)
    assert z.shape == (3, 5, 2)
    assert np.array_equal(z[1], [[0, 0.5], [0.25, 0.5], [0.5, 0.5], [0.75, 0.5], [1, 0.5]])


def test_a_given_image_is_not_made_here():
    assert initial_input(GivenImage(3), (4, 4, 3), seed=0) is None


@pytest.mark.parametrize(("height", "width"), [(6, 9), (1, 4), (5, 1), (1, 1)])
def test_fourier_features_follow_their_formula_pixel_by_pixel(height, width):
    encoding = Fourier(count=3, highest=64.0)
    z = initial_input(encoding, (height, width, 3), seed=0)
    frequencies = initial_frequencies(encoding).astype(np.float64)
    for i in range(height):
        for j in range(width):
            u = j / (width - 1) if width > 1 else 0.0
            v = i / (height - 1) if height > 1 else 0.0
            parts = (
                np.cos(u * frequencies),
                np.sin(u * frequencies),
                np.cos(v * frequencies),
                np.sin(v * frequencies),
            )
            assert np.array_equal(z[i, j], np.concatenate(parts).astype(np.float32))


def test_features_of_a_view_are_those_of_the_places_it_says():
    frequencies = np.array([1.0, 3.5, 20.0])
    turned = View((0.9, -0.2, 3.25, 0.3, 1.1, -1.5))
    for view in (View(), View.shift(2.5, -1), turned):
        features = fourier_features(frequencies, 4, 7, view)
        a, b, c, d, e, f = view.matrix
        u, v = (a * 5 + b * 2 + c) / 6, (d * 5 + e * 2 + f) / 3
        wanted = [wave(at * frequencies) for at in (u, v) for wave in (np.cos, np.sin)]
        np.testing.assert_allclose(features[2, 5], np.concatenate(wanted), atol=1e-6)


def test_features_of_time_are_the_published_ones(shared):
    golden = np.load(shared / "golden" / "fourier.npz")
    encoding = SpaceTime()
    published = golden["temporal/frequencies"]
    np.testing.assert_allclose(initial_time_frequencies(encoding), published, rtol=2e-7)
    np.testing.assert_allclose(encoding.time_frequencies(), published, rtol=1e-6)
    for index, wanted in enumerate(golden["temporal/frames6"]):
        found = time_features(encoding, (index + 1) / 6)
        np.testing.assert_allclose(found, wanted, atol=5e-7)
        z = view_features(encoding, View(time=(index + 1) / 6), 3, 4)
        assert z.shape == (3, 4, 48) and (z[:, :, 32:] == found).all()
        of_space = fourier_features(initial_frequencies(encoding), 3, 4)
        assert np.array_equal(z[:, :, :32], of_space)


def test_a_shift_by_whole_pixels_moves_the_features_to_the_bit():
    frequencies = np.array([1.0, 3.5, 256.0])
    here, there = (fourier_features(frequencies, 9, 12, view) for view in (View(), View.shift(4, -2)))
    assert np.array_equal(there[2:, :-4], here[:-2, 4:])
    one_row = fourier_features(frequencies, 1, 12, View.shift(4, -2))
    assert np.array_equal(one_row[0, :, 6:], np.tile([1, 1, 1, 0, 0, 0], (12, 1)))


def test_initial_values_need_no_torch():
    code = (
        "import sys; from dipedge.engines.initial import initial_parameters; from dipedge.priors import pip;"
        "initial_parameters(pip(), 3, 0); print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
