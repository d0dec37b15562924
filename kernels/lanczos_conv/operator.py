"""``dipedge.kernels.lanczos_conv`` as a differentiable torch operator, and ``decimate``, its filter alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dipedge.errors import InputError
from dipedge.kernels.gpu.pictures import empty_picture
from dipedge.kernels.lanczos_conv import reference
from dipedge.kernels.operators import (
    by_reference,
    check_beside,
    check_choice,
    check_picture,
    check_weight,
    check_whole,
    define,
    runs_kernels,
)
from dipedge.kernels.pool import reference as pool

KERNELS = "dipedge.kernels.lanczos_conv.triton_operator"


def _filter(factor: int, lobes: int) -> Any:
    """The reference's filter of a batch; it knows no statistics, so pictures need not be parted."""
    return (lambda x: reference.decimate(x, factor, lobes)) if lobes else pool.avg


def _decimate(x: Tensor, factor: int, lobes: int) -> Tensor:
    return by_reference(_filter(factor, lobes), x)


def _shape_of(x: Tensor, channels: int, factor: int) -> tuple[int, ...]:
    return (x.shape[0], channels, *(-(-side // factor) for side in x.shape[2:]))


def _empty(x: Tensor, shape: Any) -> Tensor:
    return empty_picture(x, shape) if runs_kernels(x) else x.new_empty(shape)


def _fake_decimate(x: Tensor, factor: int, lobes: int) -> Tensor:
    return _empty(x, _shape_of(x, x.shape[1], factor))


def _fake_decimate_backward(gradient: Tensor, height: int, width: int, factor: int, lobes: int) -> Tensor:
    return _empty(gradient, (*gradient.shape[:2], height, width))


decimate_forward = define(
    "decimate(Tensor x, int factor, int lobes) -> Tensor", f"{KERNELS}.decimated", _fake_decimate, _decimate
)
decimate_backward = define(
    "decimate_backward(Tensor gradient, SymInt height, SymInt width, int factor, int lobes) -> Tensor",
    f"{KERNELS}.decimated_backward", _fake_decimate_backward, None,
)  # fmt: skip


class _Decimate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: int, lobes: int) -> Tensor:
        ctx.settings = (*x.shape[2:], factor, lobes)
        return decimate_forward(x, factor, lobes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return decimate_backward(gradient, *ctx.settings), None, None


def decimated(x: Tensor, factor: int, lobes: int) -> Tensor:
    """``decimate`` without its checks; ``lobes`` 0 are averages of 2x2."""
    return _Decimate.apply(x, factor, lobes) if runs_kernels(x) else _decimate(x, factor, lobes)


def decimate(x: Tensor, factor: int, lobes: int = 2) -> Tensor:
    """Every picture filtered by a Lanczos window and decimated.

    Args:
        x: [B, C, H, W], float32, bfloat16 or float64.
        factor: 2 or more.
        lobes: of the window, 2 or 3.

    Returns:
        [B, C, ceil(H / factor), ceil(W / factor)].
    """
    check_picture("x", x)
    check_whole("factor", factor, 2)
    check_choice("lobes", lobes, (2, 3))
    return decimated(x, factor, lobes)


def _function(factor: int, lobes: int, reflect: bool) -> Any:
    """The reference as a function of x and weight; the bias passes the filter unchanged and comes later."""
    padding = "reflection" if reflect else "zero"
    return lambda x, weight: reference.conv_decimate(x, weight, None, factor, lobes, padding)


def _forward(x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
    return by_reference(_function(*settings), x, weight)


def _fake_forward(x: Tensor, weight: Tensor, factor: int, lobes: int, reflect: bool) -> Tensor:
    return _empty(x, _shape_of(x, weight.shape[0], factor))


def _fake_backward(x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return _empty(x, x.shape), weight.new_empty(weight.shape)


forward = define(
    "lanczos_conv(Tensor x, Tensor weight, int factor, int lobes, bool reflect) -> Tensor",
    f"{KERNELS}.forward", _fake_forward, _forward,
)  # fmt: skip
backward = define(
    "lanczos_conv_backward(Tensor x, Tensor weight, Tensor gradient, int factor, int lobes, bool reflect) "
    "-> (Tensor, Tensor)",
    f"{KERNELS}.backward", _fake_backward, None,
)  # fmt: skip


class _LanczosConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = settings
        return forward(x, weight, *settings)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return *backward(*ctx.saved_tensors, gradient, *ctx.settings), None, None, None


def lanczos_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, factor: int, lobes: int, padding: str = "reflection"
) -> Tensor:
    """A size-keeping convolution followed by a decimation.

    Args:
        x: [B, I, H, W], float32, bfloat16 or float64.
        weight: [O, I, k, k], k odd; of x's dtype, or float32 beside bfloat16.
        bias: [O] or None.
        factor: 2 or more; 2 with averages.
        lobes: 2 or 3 of the Lanczos window, 0 for averages of 2x2.
        padding: of the convolution, "reflection" or "zero".

    Returns:
        [B, O, ceil(H / factor), ceil(W / factor)].
    """
    check_picture("x", x)
    check_weight("weight", weight, x)
    out = weight.shape[0]
    check_whole("factor", factor, 2)
    check_choice("lobes", lobes, (0, 2, 3))
    if lobes == 0 and factor != 2:
        raise InputError(f"factor={factor}: averages (lobes=0) decimate by 2")
    check_choice("padding", padding, ("reflection", "zero"))
    chosen = _LanczosConv.apply if runs_kernels(x) else _forward
    result = chosen(x, weight, factor, lobes, padding == "reflection")
    if bias is None:
        return result
    check_beside("bias", bias, (out,), x)
    # The filter's weights add up to 1, so what a bias adds before it, it adds behind it.
    return result + bias.to(x.dtype)[:, None, None]
