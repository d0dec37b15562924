"""``dipedge.kernels.conv_norm_act`` as a differentiable torch operator.

The raw output of the convolution and its statistics are results of the forward operator, kept for the way
back as the engines keep them. From the reference they are empty.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dipedge.kernels.conv_norm_act import reference
from dipedge.kernels.gpu.pictures import empty_cells, empty_picture, floats
from dipedge.kernels.operators import (
    by_reference,
    check_beside,
    check_choice,
    check_picture,
    check_weight,
    define,
    each_picture,
    runs_kernels,
)

KERNELS = "dipedge.kernels.conv_norm_act.triton_operator"


def _function(stride: int, reflect: bool, eps: float, slope: float) -> Any:
    """The reference of a batch, as a function of the four tensors."""
    padding = "reflection" if reflect else "zero"

    def chain(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        options = {"stride": stride, "padding": padding, "eps": eps, "slope": slope}
        return each_picture(lambda one: reference.conv_norm_act(one, weight, None, gamma, beta, **options), x)

    return chain


def _forward(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, *settings: Any) -> tuple[Tensor, ...]:
    result = by_reference(_function(*settings), x, weight, gamma, beta)
    return result, x.new_empty(0), floats(x, 0)


def _fake_forward(
    x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, stride: int, *settings: Any
) -> tuple[Tensor, ...]:
    fits, out, height, width = x.shape[0], weight.shape[0], *(-(-side // stride) for side in x.shape[2:])
    if runs_kernels(x):
        raw = empty_cells(x, fits, height, width, out)
        return empty_picture(x, (fits, out, height, width)), raw, floats(x, fits, 4, out)
    return x.new_empty((fits, out, height, width)), x.new_empty(0), floats(x, 0)


def _fake_backward(
    x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, raw: Tensor, norm: Tensor, gradient: Tensor,
    by_input: bool, *settings: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    dx = empty_picture(x, x.shape) if by_input else x.new_empty(0)
    return dx, *(given.new_empty(given.shape) for given in (weight, gamma, beta))


forward = define(
    "conv_norm_act(Tensor x, Tensor weight, Tensor gamma, Tensor beta, int stride, bool reflect, float eps, "
    "float slope) -> (Tensor, Tensor, Tensor)",
    f"{KERNELS}.forward", _fake_forward, _forward,
)  # fmt: skip
backward = define(
    "conv_norm_act_backward(Tensor x, Tensor weight, Tensor gamma, Tensor beta, Tensor raw, Tensor norm, "
    "Tensor gradient, bool by_input, int stride, bool reflect, float eps, float slope) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    f"{KERNELS}.backward", _fake_backward, None,
)  # fmt: skip


class _ConvNormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, gamma: Tensor, beta: Tensor, *settings: Any
    ) -> Tensor:
        result, raw, norm = forward(x, weight, gamma, beta, *settings)
        ctx.save_for_backward(x, weight, bias, gamma, beta, raw, norm)
        ctx.settings = settings
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, weight, bias, *rest = ctx.saved_tensors
        by_input = ctx.needs_input_grad[0]
        dx, dweight, dgamma, dbeta = backward(x, weight, *rest, gradient, by_input, *ctx.settings)
        # What is added to a channel the norm takes off again: exactly nothing comes back.
        dbias = None if bias is None else torch.zeros_like(bias)
        return dx if by_input else None, dweight, dbias, dgamma, dbeta, *(None for _ in ctx.settings)


def conv_norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    *,
    stride: int = 1,
    padding: str = "reflection",
    eps: float = 1e-5,
    slope: float = 0.2,
) -> Tensor:
    """Padded convolution, batch norm with each picture's own statistics, LeakyReLU.

    Args:
        x: [B, I, H, W]: B pictures, float32, bfloat16 or float64.
        weight: [O, I, k, k], k odd; of x's dtype, or float32 beside bfloat16, as the vectors.
        bias: [O] or None; the norm takes it off again, so it is not used, and its gradient is 0.
        gamma, beta: [O], the norm's scale and shift.
        stride: 1 or 2.
        padding: "reflection" or "zero".
        eps: added to the variance.
        slope: of LeakyReLU for negative values.

    Returns:
        [B, O, ceil(H / stride), ceil(W / stride)].
    """
    check_picture("x", x)
    check_weight("weight", weight, x)
    out = weight.shape[0]
    for name, vector in (("bias", bias), ("gamma", gamma), ("beta", beta)):
        if name != "bias" or vector is not None:
            check_beside(name, vector, (out,), x)
    check_choice("stride", stride, (1, 2))
    check_choice("padding", padding, ("reflection", "zero"))
    settings = (stride, padding == "reflection", eps, slope)
    if runs_kernels(x):
        return _ConvNormAct.apply(x, weight, bias, gamma, beta, *settings)
    if bias is not None:
        gamma = gamma + 0 * bias  # so that the bias gets its gradient: 0
    return by_reference(_function(*settings), x, weight, gamma, beta)
