"""``dipedge.kernels.pool`` as a differentiable torch operator: maxima or averages of 2x2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dipedge.kernels.gpu.pictures import empty_picture
from dipedge.kernels.lanczos_conv.operator import decimated
from dipedge.kernels.operators import (
    by_reference,
    check_choice,
    check_picture,
    define,
    runs_kernels,
)
from dipedge.kernels.pool import reference

KERNELS = "dipedge.kernels.pool.triton_operator"


def _forward(x: Tensor) -> Tensor:
    return by_reference(reference.largest, x)


def _fake_forward(x: Tensor) -> Tensor:
    shape = (*x.shape[:2], *(-(-side // 2) for side in x.shape[2:]))
    return empty_picture(x, shape) if runs_kernels(x) else x.new_empty(shape)


def _fake_backward(x: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
    return empty_picture(x, x.shape)


forward = define("pool(Tensor x) -> Tensor", f"{KERNELS}.forward", _fake_forward, _forward)
backward = define(
    "pool_backward(Tensor x, Tensor result, Tensor gradient) -> Tensor",
    f"{KERNELS}.backward", _fake_backward, None,
)  # fmt: skip


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = forward(x)
        ctx.save_for_backward(x, result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return backward(*ctx.saved_tensors, gradient)


def pool(x: Tensor, mode: str = "largest") -> Tensor:
    """Decimation by 2: of each 2x2 window the largest of the existing values, or their average.

    Args:
        x: [B, C, H, W], float32, bfloat16 or float64.
        mode: "largest" or "average".

    Returns:
        [B, C, ceil(H / 2), ceil(W / 2)].
    """
    check_picture("x", x)
    check_choice("mode", mode, ("largest", "average"))
    if mode == "average":
        return decimated(x, 2, 0)
    return _Largest.apply(x) if runs_kernels(x) else _forward(x)
