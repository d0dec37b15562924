"""How the tests of native kernels run them, and how they get a float64 reference in numpy's layout.

Pictures are [H, W, C] on the native side and [1, C, H, W] on PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest

try:
    from dipedge import _native
except ImportError:  # tests of Triton kernels draw their pictures here, too, on machines without a compiler
    _native = None
torch = pytest.importorskip("torch", reason="the references need PyTorch")

from dipedge.kernels.conv_norm_act import reference as conv_reference  # noqa: E402
from dipedge.kernels.upsample_merge import reference as merge_reference  # noqa: E402
from tests.tolerance import all_faults, size  # noqa: E402

ISAS = _native.runnable_isas().split() if _native else []
BF16_ISAS = [isa for isa in ISAS if _native.multiplies_bf16(isa)]
with_bf16 = pytest.mark.parametrize(
    "isa", BF16_ISAS or [pytest.param("", marks=pytest.mark.skip(reason="this processor multiplies no bf16"))]
)
THREADS = (2, 3, 8)  # compared with one thread
Arrays = dict[str, np.ndarray]


def run(name: str, arrays: Arrays, options: dict, isa: str = "", threads: int = 1) -> Arrays:
    """Everything a kernel computes, forward and backward, by name."""
    if _native is None:
        pytest.skip("the native engine is not built")
    kernel = _native.Kernel(name, arrays, options, isa, threads)
    kernel.forward()
    kernel.backward()
    return {key: np.asarray(value) for key, value in kernel.results().items()}


def assert_threads_change_nothing(name: str, arrays: Arrays, options: dict, isa: str, alone: Arrays) -> None:
    """Runs the kernel with several threads: every bit must be as it was ``alone``."""
    for threads in THREADS:
        together = run(name, arrays, options, isa, threads)
        assert [key for key in alone if not np.array_equal(alone[key], together[key])] == [], threads


def assert_right(
    name: str, arrays: Arrays, options: dict, isa: str, wanted: Arrays, allowed: float, scales: dict
) -> None:
    """Every result and gradient is ``wanted`` (``tolerance.all_faults``), with any number of threads."""
    found = run(name, arrays, options, isa)
    faults = all_faults(found, wanted, allowed, scales)
    assert faults == {}, faults
    assert_threads_change_nothing(name, arrays, options, isa, found)


def draw(seed: int, *shape: int, mean: float = 0.0) -> np.ndarray:
    """Normal values of deviation 1, float32."""
    return np.random.default_rng(seed).normal(mean, 1, shape).astype(np.float32)


def draw_layer(seed: int, *shape: int, mean: float) -> np.ndarray:
    """The same in numbers that bfloat16 holds exactly: what a layer's y is given as in either precision."""
    bits = draw(seed, *shape, mean=mean).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def draw_gamma(seed: int, channels: int) -> np.ndarray:
    """Factors of size 0.5 to 1.5; near 0 a layer would be all shift, and the next norm all rounding."""
    generator = np.random.default_rng(seed)
    return (generator.uniform(0.5, 1.5, channels) * generator.choice([1, -1], channels)).astype(np.float32)


def tensor(values: np.ndarray) -> torch.Tensor:
    """A float64 leaf; a picture [H, W, C] becomes [1, C, H, W]."""
    values = np.asarray(values, np.float64)
    if values.ndim == 3:
        # In its own layout: PyTorch 2.13 sums a batch norm's gradients wrongly over some strided pictures.
        values = np.ascontiguousarray(np.moveaxis(values, 2, 0))[None]
    return torch.tensor(values).requires_grad_()


def picture(values: torch.Tensor) -> np.ndarray:
    """The way back of ``tensor`` for a picture: [1, C, H, W] becomes [H, W, C]."""
    return np.moveaxis(values.detach().numpy()[0], 0, 2)


def away_from_corner(normalised: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """A beta [C] near the given one with which no value [H, W, C] comes near LeakyReLU's corner at 0.

    There float32 may take the other branch, and its gradient is off by a finite amount: true of any
    implementation, and nothing to be learnt from. ``normalised`` holds the values with ``beta``.
    """
    moved = beta.copy()
    for c in range(len(beta)):
        values = np.sort(normalised[..., c].ravel())
        gaps, middles = np.diff(values), (values[1:] + values[:-1]) / 2
        near = np.flatnonzero(np.abs(middles) < 1)
        best = near[gaps[near].argmax()] if len(near) else None
        if best is None or gaps[best] < 1e-4:  # one value, or all the same
            moved[c] -= values[-1] + 0.5
        else:
            moved[c] -= middles[best]
    return moved.astype(np.float32)


def with_norm(arrays: Arrays, name: str, seed: int, values: np.ndarray | None = None) -> None:
    """Adds ``name``_gamma and _beta for a layer whose y is ``values`` (or the array of that name)."""
    y = np.asarray(arrays[name] if values is None else values, np.float64)
    prefix = f"{name}_" if name else ""
    gamma, beta = draw_gamma(seed, y.shape[2]), draw(seed + 1, y.shape[2])
    normalised = (y - y.mean((0, 1))) / np.sqrt(y.var((0, 1)) + 1e-5) * gamma + beta
    arrays[f"{prefix}gamma"], arrays[f"{prefix}beta"] = gamma, away_from_corner(normalised, beta)


def gain(y: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """What batch norm multiplies each channel of y [H, W, C] by, rounding errors included; [C]."""
    return np.abs(gamma) / np.sqrt(np.asarray(y, np.float64).var((0, 1)) + 1e-5)


def before_centring(y: np.ndarray, gamma: np.ndarray) -> float:
    """The size of what batch norm's mean is taken off from, in the units of its result."""
    y = np.asarray(y, np.float64)
    return size(gain(y, gamma) * (np.abs(y) + np.abs(y.mean((0, 1)))))


# A norm's vector, and the terms that its gradient is the sum of: gradients by the output, times factors.
Parts = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


@contextmanager
def fixed_statistics(parts: Parts) -> Iterator[None]:
    """Batch norm as a plain affine map: with the picture's statistics, but no gradient through them.

    What reaches x is then the gradient before the two means are taken off: the size of what cancels.
    """

    def affine(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, eps: float) -> torch.Tensor:
        mean = x.mean((0, 2, 3), keepdim=True).detach()
        rstd = torch.rsqrt(x.var((0, 2, 3), correction=0, keepdim=True).detach() + eps)
        shifts = beta[:, None, None].expand_as(x[0]).clone()
        shifts.retain_grad()
        # The mean is taken off in rounded arithmetic, so it counts and does not cancel.
        parts.append((gamma, shifts, (x[0].detach().abs() + mean[0].abs()) * rstd[0]))
        parts.append((beta, shifts, torch.ones_like(x[0])))
        return (x - mean) * rstd * gamma[:, None, None] + shifts

    with (
        patch.object(conv_reference, "batch_norm", affine),
        patch.object(merge_reference, "batch_norm", affine),
    ):
        yield


def reference(
    compute: Callable[..., torch.Tensor], arrays: Arrays, gradient: np.ndarray | None
) -> tuple[np.ndarray, Arrays, dict[str, float]]:
    """Output, gradients ("dx" for an array "x") and the scales to judge those gradients by.

    Args:
        compute: takes float64 tensors by the arrays' names and returns the output [1, C, H, W], or a loss.
        arrays: what the gradients are wanted for.
        gradient: by the output, [H, W, C]; None of a loss.
    """

    def backward() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        leaves = {name: tensor(values) for name, values in arrays.items()}
        output = compute(**leaves)
        output.backward(None if gradient is None else tensor(gradient).detach())
        return output, leaves

    output, leaves = backward()
    gradients = {
        f"d{name}": picture(leaf.grad) if arrays[name].ndim == 3 else leaf.grad.numpy()
        for name, leaf in leaves.items()
    }
    parts: Parts = []
    with fixed_statistics(parts):
        _, leaves = backward()
    scales = {f"d{name}": size(leaf.grad.numpy()) for name, leaf in leaves.items()}
    for vector, shifts, factors in parts:
        name = next(name for name, leaf in leaves.items() if leaf is vector)
        scales[f"d{name}"] = size(((shifts.grad * factors) ** 2).sum((1, 2)).sqrt().numpy())
    return output.detach().numpy() if gradient is None else picture(output), gradients, scales


# Deliberately wrong results: each must fail the judgement that the right one passes. ---------------------


def scaled(values: np.ndarray) -> np.ndarray:
    return values * 1.001


def last_column_repeated(values: np.ndarray) -> np.ndarray:
    return np.concatenate((values[:, :-1], values[:, -2:-1]), axis=1)


def first_row_missing(values: np.ndarray) -> np.ndarray:
    return np.concatenate((0 * values[:1], values[1:]))


def one_value_off(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed.flat[values.size // 2] += 0.001 * size(values)
    return changed
