"""The references of fourier_mlp and lanczos_conv against their formulas, adjoints and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dipedge.engines.initial import fourier_features  # noqa: E402
from dipedge.kernels import fourier_mlp as fourier_contract  # noqa: E402
from dipedge.kernels import lanczos_conv as lanczos_contract  # noqa: E402
from dipedge.kernels.fourier_mlp import reference as fourier  # noqa: E402
from dipedge.kernels.lanczos_conv import reference as lanczos  # noqa: E402

CLOSE = {"rtol": 1e-11, "atol": 1e-12}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=torch.float64)


# fourier_mlp ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", fourier_contract.CASES, ids=str)
def test_the_features_equal_those_of_the_initial_input(case):
    frequencies = np.geomspace(1, 256, case.count)
    found = fourier.features(torch.tensor(frequencies), case.height, case.width)[0]
    wanted = fourier_features(frequencies, case.height, case.width)
    assert np.array_equal(np.moveaxis(found.numpy(), 0, 2).astype(np.float32), wanted)


@pytest.mark.parametrize("case", fourier_contract.CASES, ids=str)
def test_the_separable_first_layer_equals_the_dense_one(case):
    frequencies = torch.tensor(np.geomspace(1, 256, case.count), requires_grad=True)
    weight = draw(case.out, 4 * case.count, 1, 1).requires_grad_()
    bias = draw(case.out, seed=1).requires_grad_()
    size = case.height, case.width
    dense = torch.nn.functional.conv2d(fourier.features(frequencies, *size), weight, bias, case.stride)
    split = fourier.first_layer(frequencies, weight, bias, *size, case.stride)
    np.testing.assert_allclose(split.detach().numpy(), dense.detach().numpy(), **CLOSE)
    sources, dy = (frequencies, weight, bias), draw(*dense.shape, seed=2)
    for one, other in zip(
        torch.autograd.grad(split, sources, dy), torch.autograd.grad(dense, sources, dy), strict=True
    ):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-9)


def test_gradients_of_the_first_layer_match_finite_differences():
    arguments = torch.tensor([1.0, 4.0]), draw(3, 8, 1, 1), draw(3, seed=1)
    arguments = [argument.double().requires_grad_() for argument in arguments]
    assert torch.autograd.gradcheck(lambda f, w, b: fourier.first_layer(f, w, b, 4, 5, 2), arguments)


def test_the_variance_of_a_separable_layer_is_the_sum_of_its_parts():
    frequencies = torch.tensor([1.0, 5.0, 30.0], dtype=torch.float64)
    weight, bias = draw(4, 12, 1, 1), torch.zeros(4).double()
    whole = fourier.first_layer(frequencies, weight, bias, 9, 7)[0]
    columns, rows = (table.t() for table in fourier.tables(frequencies, 9, 7))
    parts = weight[:, :6, 0, 0] @ columns, weight[:, 6:, 0, 0] @ rows
    wanted = sum(part.var(1, correction=0) for part in parts)
    np.testing.assert_allclose(whole.var((1, 2), correction=0).numpy(), wanted.numpy(), **CLOSE)


# lanczos_conv -----------------------------------------------------------------------------------------


def published_kernel(factor: int, lobes: int, phase: float) -> np.ndarray:
    """The 2-d kernel, value by value as the published ``get_kernel`` writes it."""
    width = 2 * lobes * factor + 1
    size = width - 1 if phase == 0.5 else width
    center = (width + 1) / 2
    kernel = np.ones((size, size))
    for i in range(1, size + 1):
        for j in range(1, size + 1):
            for n in (i, j):
                d = abs(n + phase - center) / factor
                if d != 0:
                    kernel[i - 1, j - 1] *= lobes * math.sin(math.pi * d) * math.sin(math.pi * d / lobes)
                    kernel[i - 1, j - 1] /= math.pi**2 * d * d
    return kernel / kernel.sum()


@pytest.mark.parametrize("phase", [0, 0.5])
@pytest.mark.parametrize("lobes", [2, 3])
@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_the_outer_product_of_the_weights_is_the_published_kernel(factor, lobes, phase):
    side = lanczos.weights(factor, lobes, phase).numpy()
    np.testing.assert_allclose(
        np.outer(side, side), published_kernel(factor, lobes, phase), rtol=0, atol=1e-15
    )


def decimated_by_loops(x: np.ndarray, factor: int, lobes: int) -> np.ndarray:
    """[C, H, W] -> [C, ceil(H/t), ceil(W/t)] with the dense 2-d kernel on replicated pixels."""
    phase = 0.0 if factor % 2 else 0.5
    kernel = published_kernel(factor, lobes, phase)
    taps = len(kernel)
    start = (taps - factor) // 2
    channels, height, width = x.shape
    y = np.zeros((channels, -(-height // factor), -(-width // factor)))
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            rows = np.clip(factor * i - start + np.arange(taps), 0, height - 1)
            columns = np.clip(factor * j - start + np.arange(taps), 0, width - 1)
            y[:, i, j] = (x[:, rows][:, :, columns] * kernel).sum((1, 2))
    return y


@pytest.mark.parametrize("case", lanczos_contract.CASES, ids=str)
def test_the_separable_decimation_equals_the_dense_one(case):
    x = draw(1, case.channels, case.height, case.width)
    found = lanczos.decimate(x, case.factor, case.lobes)[0].numpy()
    wanted = decimated_by_loops(x[0].numpy(), case.factor, case.lobes)
    np.testing.assert_allclose(found, wanted, **CLOSE)


@pytest.mark.parametrize("case", lanczos_contract.CASES, ids=str)
def test_the_gradient_of_decimation_is_its_adjoint(case):
    x = draw(1, case.channels, case.height, case.width).requires_grad_()
    y = lanczos.decimate(x, case.factor, case.lobes)
    g = draw(*y.shape, seed=1)
    (adjoint,) = torch.autograd.grad(y, x, g)
    assert (y * g).sum().item() == pytest.approx((x * adjoint).sum().item(), rel=1e-11)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_decimation_keeps_constants_and_does_not_shift_ramps(factor):
    size = 20 * factor
    ramp = torch.arange(size, dtype=torch.float64).expand(1, 1, size, size)
    assert torch.allclose(
        lanczos.decimate(torch.ones(1, 1, 9, 14).double(), factor, 2), torch.ones(1).double()
    )
    middle = lanczos.decimate(ramp, factor, 2)[0, 0, 10, 8:12]
    centres = factor * torch.arange(8, 12) + (factor - 1) / 2
    np.testing.assert_allclose(middle.numpy(), centres.numpy(), rtol=1e-12)


def test_gradients_of_conv_decimate_match_finite_differences():
    arguments = [a.requires_grad_() for a in (draw(1, 2, 5, 6), draw(3, 2, 3, 3, seed=1), draw(3, seed=2))]
    assert torch.autograd.gradcheck(lambda x, w, b: lanczos.conv_decimate(x, w, b, 2, 2), arguments)
