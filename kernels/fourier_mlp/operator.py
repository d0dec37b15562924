"""``dipedge.kernels.fourier_mlp`` as a differentiable torch operator: the first 1x1 layer of the features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dipedge.errors import InputError
from dipedge.kernels.fourier_mlp import reference
from dipedge.kernels.gpu.pictures import empty_picture, floats
from dipedge.kernels.operators import (
    DTYPES,
    by_reference,
    check_beside,
    check_choice,
    check_whole,
    define,
    runs_kernels,
)

KERNELS = "dipedge.kernels.fourier_mlp.triton_operator"


def _function(*settings: int) -> Any:
    """The reference with the tensor first that decides the result's dtype."""
    return lambda weight, bias, frequencies: reference.first_layer(frequencies, weight, bias, *settings)


def _forward(weight: Tensor, bias: Tensor, frequencies: Tensor, *settings: int) -> tuple[Tensor, ...]:
    result = by_reference(_function(*settings), weight, bias, frequencies)
    return result, *(floats(weight, 0) for _ in range(3))


def _fake_forward(
    weight: Tensor, bias: Tensor, frequencies: Tensor, height: int, width: int, stride: int
) -> tuple[Tensor, ...]:
    out, (down, across) = weight.shape[0], (-(-side // stride) for side in (height, width))
    if not runs_kernels(weight):
        return weight.new_empty((1, out, down, across)), *(floats(weight, 0) for _ in range(3))
    half = 2 * frequencies.shape[0] + 2
    tables = floats(weight, 1, width, half), floats(weight, 1, height, half)
    return empty_picture(weight, (1, out, down, across)), floats(weight, 1, across + down + 2, out), *tables


def _fake_backward(weight: Tensor, bias: Tensor, frequencies: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return tuple(given.new_empty(given.shape) for given in (weight, bias, frequencies))


forward = define(
    "fourier_mlp(Tensor weight, Tensor bias, Tensor frequencies, SymInt height, SymInt width, int stride) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    f"{KERNELS}.forward", _fake_forward, _forward,
)  # fmt: skip
backward = define(
    "fourier_mlp_backward(Tensor weight, Tensor bias, Tensor frequencies, Tensor parts, Tensor of_columns, "
    "Tensor of_rows, Tensor gradient, SymInt height, SymInt width, int stride) -> (Tensor, Tensor, Tensor)",
    f"{KERNELS}.backward", _fake_backward, None,
)  # fmt: skip


class _FirstLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, frequencies: Tensor, weight: Tensor, bias: Tensor, *settings: int) -> Tensor:
        result, *kept = forward(weight, bias, frequencies, *settings)
        ctx.save_for_backward(weight, bias, frequencies, *kept)
        ctx.settings = settings
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        by_weight, by_bias, by_frequencies = backward(*ctx.saved_tensors, gradient, *ctx.settings)
        return by_frequencies, by_weight, by_bias, None, None, None


def fourier_mlp(
    frequencies: Tensor, weight: Tensor, bias: Tensor, height: int, width: int, stride: int = 1
) -> Tensor:
    """The 1x1 convolution of the Fourier features of a picture's pixels.

    Args:
        frequencies: [n], radians per unit coordinate, float32 or float64.
        weight: [O, 4n, 1, 1]; its dtype is the result's.
        bias: [O].
        height, width: of the features.
        stride: 1 or 2; pixels 0, stride, 2 stride, ... of each side are kept.

    Returns:
        [1, O, ceil(height / stride), ceil(width / stride)].
    """
    if not isinstance(weight, Tensor) or weight.dtype not in DTYPES:
        raise InputError("weight: a torch tensor of float32, bfloat16 or float64 is needed")
    count = frequencies.shape[0]
    exact = (torch.float32, torch.float64)
    check_beside("frequencies", frequencies, (count,), weight, "weight", exact)
    check_beside("weight", weight, (weight.shape[0], 4 * count, 1, 1), weight)
    check_beside("bias", bias, (weight.shape[0],), weight, "weight")
    check_whole("height", height, 1)
    check_whole("width", width, 1)
    check_choice("stride", stride, (1, 2))
    if not runs_kernels(weight):
        return by_reference(_function(height, width, stride), weight, bias, frequencies)
    return _FirstLayer.apply(frequencies, weight, bias, height, width, stride)
