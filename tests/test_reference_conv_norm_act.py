"""The references of conv_norm_act, pool and upsample_merge against loops written from the contracts."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dipedge.kernels import conv_norm_act as conv_contract  # noqa: E402
from dipedge.kernels import pool as pool_contract  # noqa: E402
from dipedge.kernels import upsample_merge as merge_contract  # noqa: E402
from dipedge.kernels.conv_norm_act import reference as conv  # noqa: E402
from dipedge.kernels.pool import reference as pool  # noqa: E402
from dipedge.kernels.upsample_merge import reference as merge  # noqa: E402

# float64 rounding of sums of a few hundred terms of size one.
CLOSE = {"rtol": 1e-11, "atol": 1e-12}


def reflect(index: int, size: int) -> int:
    """Walks back and forth between the edges, one pixel at a time."""
    if size == 1:
        return 0
    position, direction = 0, 1
    for _ in range(abs(index)):  # the walk from 0 is the same in both directions
        if not 0 <= position + direction < size:
            direction = -direction
        position += direction
    return position


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in arrays]


def convolve_by_loops(x, weight, bias, stride, padding):
    """x [I, H, W] -> [O, ceil(H/s), ceil(W/s)], one output value at a time."""
    out, into, k, _ = weight.shape
    height, width = x.shape[1:]
    margin = (k - 1) // 2
    y = np.zeros((out, -(-height // stride), -(-width // stride)))
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            window = np.zeros((into, k, k))
            for a in range(k):
                for b in range(k):
                    row, column = stride * i + a - margin, stride * j + b - margin
                    inside = 0 <= row < height and 0 <= column < width
                    if padding == "reflection" or inside:
                        window[:, a, b] = x[:, reflect(row, height), reflect(column, width)]
            y[:, i, j] = bias + np.tensordot(weight, window, 3)
    return y


def norm_act_by_formula(c, gamma, beta, eps, slope):
    mean = c.mean((1, 2), keepdims=True)
    variance = ((c - mean) ** 2).mean((1, 2), keepdims=True)
    y = gamma[:, None, None] * (c - mean) / np.sqrt(variance + eps) + beta[:, None, None]
    return np.where(y > 0, y, slope * y)


def conv_arguments(case):
    return (
        draw(1, case.into, case.height, case.width),
        draw(case.out, case.into, case.kernel, case.kernel, seed=1),
        draw(case.out, seed=2),
        draw(case.out, seed=3),
        draw(case.out, seed=4),
    )


@pytest.mark.parametrize("case", conv_contract.CASES, ids=str)
def test_conv_norm_act_equals_the_loops(case):
    x, weight, bias, gamma, beta = conv_arguments(case)
    found = conv.conv_norm_act(
        *tensors(x, weight, bias, gamma, beta), stride=case.stride, padding=case.padding
    )
    wanted = convolve_by_loops(x[0], weight, bias, case.stride, case.padding)
    np.testing.assert_allclose(
        found[0].detach().numpy(), norm_act_by_formula(wanted, gamma, beta, 1e-5, 0.2), **CLOSE
    )


@pytest.mark.parametrize(("height", "width"), [(6, 5), (2, 3), (1, 4), (1, 1)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, "reflection"), (5, 2, "zero"), (7, 2, "reflection")]
)
def test_gradients_of_conv_norm_act_match_finite_differences(height, width, kernel, stride, padding):
    # The values are far from LeakyReLU's corner and the variances from 0 with these seeds.
    arguments = tensors(
        draw(1, 2, height, width),
        draw(3, 2, kernel, kernel, seed=1),
        draw(3),
        1 + draw(3) ** 2,
        draw(3, seed=5),
    )
    assert torch.autograd.gradcheck(
        lambda *a: conv.conv_norm_act(*a, stride=stride, padding=padding, eps=0.1), arguments
    )


@pytest.mark.parametrize("margin", [0, 1, 3, 11])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_reflection_is_defined_for_any_margin(size, margin):
    found = conv.reflected_indices(size, margin).tolist()
    assert found == [reflect(abs(p) if p < 0 else p, size) for p in range(-margin, size + margin)]


def test_batch_norm_of_a_single_pixel_is_its_shift():
    x, gamma, beta = tensors(draw(1, 4, 1, 1), draw(4, seed=1), draw(4, seed=2))
    y = conv.batch_norm(x, gamma, beta, 1e-5)
    assert torch.equal(y.flatten(), beta)
    y.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x)) and torch.equal(gamma.grad, torch.zeros(4).double())
    assert torch.equal(beta.grad, torch.ones(4).double())


def test_leaky_relu_passes_its_slope_at_zero():
    (x,) = tensors(np.zeros((1, 1, 1, 2)))
    gamma, beta = torch.ones(1).double(), torch.zeros(1).double().requires_grad_()
    conv.norm_act(x, gamma, beta, 1e-5, 0.2).sum().backward()
    assert beta.grad.item() == pytest.approx(2 * 0.2, rel=1e-15)


@pytest.mark.parametrize("case", pool_contract.CASES, ids=str)
def test_pools_use_the_values_their_windows_have(case):
    x = draw(1, case.channels, case.height, case.width)
    (tensor,) = tensors(x)
    averages, maxima = pool.avg(tensor)[0].detach().numpy(), pool.largest(tensor)[0].detach().numpy()
    assert averages.shape == maxima.shape == (case.channels, -(-case.height // 2), -(-case.width // 2))
    for i in range(averages.shape[1]):
        for j in range(averages.shape[2]):
            window = x[0, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            np.testing.assert_allclose(averages[:, i, j], window.mean((1, 2)), **CLOSE)
            assert np.array_equal(maxima[:, i, j], window.max((1, 2)))


def test_max_pool_gives_the_gradient_of_a_tie_to_the_first_value():
    (x,) = tensors(np.ones((1, 1, 3, 3)))
    pool.largest(x).sum().backward()
    assert x.grad[0, 0].tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]


@pytest.mark.parametrize("function", [pool.avg, pool.largest])
def test_gradients_of_pools_match_finite_differences(function):
    assert torch.autograd.gradcheck(function, tensors(draw(1, 2, 5, 4)))


def upsampled_by_loops(deep, height, width, mode):
    """[D, h, w] -> [D, H, W] from the contract's two formulas, one side after the other."""

    def side(x, size):
        rows = []
        for j in range(size):
            i = j // 2
            near = i - 1 if j % 2 == 0 else i + 1
            near = min(max(near, 0), len(x) - 1)
            rows.append(x[i] if mode == "nearest" else 0.75 * x[i] + 0.25 * x[near])
        return np.stack(rows)

    tall = side(np.moveaxis(deep, 1, 0), height)
    return np.moveaxis(side(np.moveaxis(tall, 2, 0), width), (0, 1, 2), (2, 1, 0))


@pytest.mark.parametrize("case", merge_contract.CASES, ids=str)
def test_upsample_merge_equals_the_loops(case):
    deep = draw(1, case.deep, -(-case.height // 2), -(-case.width // 2))
    skip = draw(1, case.skip, case.height, case.width, seed=1) if case.skip else None
    gamma, beta = draw(case.skip + case.deep, seed=2), draw(case.skip + case.deep, seed=3)
    found = merge.upsample_merge(
        None if skip is None else torch.tensor(skip),
        *tensors(deep, gamma, beta),
        size=(case.height, case.width),
        mode=case.mode,
    )
    enlarged = upsampled_by_loops(deep[0], case.height, case.width, case.mode)
    merged = enlarged if skip is None else np.concatenate((skip[0], enlarged))
    wanted = norm_act_by_formula(merged, gamma, beta, 1e-5, slope=1.0)
    np.testing.assert_allclose(found[0].detach().numpy(), wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("height", "width"), [(4, 6), (3, 5), (1, 2)])
def test_gradients_of_upsample_merge_match_finite_differences(mode, height, width):
    arguments = tensors(
        draw(1, 1, height, width),
        draw(1, 2, -(-height // 2), -(-width // 2), seed=1),
        draw(3),
        draw(3, seed=4),
    )
    assert torch.autograd.gradcheck(
        lambda *a: merge.upsample_merge(*a, size=(height, width), mode=mode, eps=0.1), arguments
    )
