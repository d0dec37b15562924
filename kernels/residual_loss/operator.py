"""``dipedge.kernels.residual_loss`` as a differentiable torch operator: head, sigmoid and data term."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dipedge.errors import InputError
from dipedge.kernels.gpu.pictures import empty_picture, floats
from dipedge.kernels.lanczos_conv.operator import decimated
from dipedge.kernels.operators import (
    check_beside,
    check_choice,
    check_picture,
    check_whole,
    define,
    runs_kernels,
    wide,
)
from dipedge.kernels.residual_loss import reference

KERNELS = "dipedge.kernels.residual_loss.triton_operator"
MOST = 16  # outputs of the head


def _function(target: Tensor, mask: Tensor | None, kind: str, scale: int, lobes: int, sigmoid: bool) -> Any:
    """The reference of a batch as a function of activations, weight and bias: losses [B] and outputs."""

    def losses(activations: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        x = reference.head(activations, weight, bias, sigmoid)
        wanted = target.to(x.dtype)
        masks = [None] * len(x) if mask is None else mask.to(x.dtype).expand(len(x), *x.shape[2:])
        found = [
            reference.data_term(one, of, kind, known, scale, lobes)
            for one, of, known in zip(x.split(1), wanted.split(1), masks, strict=True)
        ]
        return torch.stack(found), x

    return losses


def _forward(
    activations: Tensor, weight: Tensor, bias: Tensor, target: Tensor, mask: Tensor | None, *settings: Any
) -> tuple[Tensor, ...]:
    tensors = (wide(given) for given in (activations, weight, bias))
    loss, output = _function(target, mask, *settings)(*tensors)
    return loss, output.contiguous(), floats(activations, 0)


def _fake_forward(
    activations: Tensor, weight: Tensor, bias: Tensor, target: Tensor, mask: Tensor | None, *settings: Any
) -> tuple[Tensor, ...]:
    fits, out, (height, width) = activations.shape[0], weight.shape[0], activations.shape[2:]
    if runs_kernels(activations):
        output = floats(activations, fits, height, width, out).permute(0, 3, 1, 2)
        return floats(activations, fits), output, floats(activations, fits, height, width, out)
    dtype = wide(activations.new_empty(0)).dtype
    output = activations.new_empty((fits, out, height, width), dtype=dtype)
    return activations.new_empty((fits,), dtype=dtype), output, floats(activations, 0)


def _fake_backward(activations: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    dx = empty_picture(activations, activations.shape)
    return dx, weight.new_empty(weight.shape), bias.new_empty(bias.shape)


forward = define(
    "residual_loss(Tensor activations, Tensor weight, Tensor bias, Tensor target, Tensor? mask, str kind, "
    "int scale, int lobes, bool sigmoid) -> (Tensor, Tensor, Tensor)",
    f"{KERNELS}.forward", _fake_forward, _forward,
)  # fmt: skip
backward = define(
    "residual_loss_backward(Tensor activations, Tensor weight, Tensor bias, Tensor target, Tensor? mask, "
    "Tensor output, Tensor dlogit, Tensor by_loss, Tensor by_output, str kind, int scale, int lobes, "
    "bool sigmoid) -> (Tensor, Tensor, Tensor)",
    f"{KERNELS}.backward", _fake_backward, None,
)  # fmt: skip


class _ResidualLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, activations: Tensor, weight: Tensor, bias: Tensor, target: Tensor, mask: Tensor | None,
        *settings: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        loss, output, dlogit = forward(activations, weight, bias, target, mask, *settings)
        ctx.save_for_backward(activations, weight, bias, target, mask, output, dlogit)
        ctx.settings = settings
        return loss, output

    @staticmethod
    def backward(ctx: Any, by_loss: Tensor, by_output: Tensor) -> tuple[Any, ...]:
        found = backward(*ctx.saved_tensors, by_loss, by_output, *ctx.settings)
        by_target = None
        if ctx.needs_input_grad[3]:
            _, _, _, target, mask, output, _ = ctx.saved_tensors
            by_target = _by_target(output, target, mask, by_loss, *ctx.settings[:3])
        return *found, by_target, None, *(None for _ in ctx.settings)


def _by_target(
    output: Tensor, target: Tensor, mask: Tensor | None, by_loss: Tensor, kind: str, scale: int, lobes: int
) -> Tensor:
    """2 (x0 - d(x)) / N, where known; plain PyTorch, since fits never ask for it."""
    seen = decimated(output, scale, lobes) if kind == "lanczos" else output
    apart = target.to(seen.dtype) - seen
    if mask is not None:
        known = mask.to(seen.dtype).expand(len(apart), *apart.shape[2:])[:, None]
        apart = apart * known * known
    count = target[0].numel()
    return (apart * (2 / count) * by_loss[:, None, None, None]).to(target.dtype)


def residual_loss(
    activations: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    kind: str = "identity",
    mask: Tensor | None = None,
    scale: int = 1,
    lobes: int = 2,
    sigmoid: bool = True,
) -> tuple[Tensor, Tensor]:
    """The 1x1 convolution to image channels, its sigmoid, and the mean squared residual.

    Args:
        activations: [B, I, H, W], float32, bfloat16 or float64.
        weight: [O, I, 1, 1], O at most 16; of the activations' dtype, or float32 beside bfloat16.
        bias: [O].
        target: [B, O, H, W]; for "lanczos" [B, O, ceil(H / scale), ceil(W / scale)].
        kind: "identity", "mask" or "lanczos".
        mask: [H, W] or [B, H, W], 1 = known; for "mask" only. It has no gradient.
        scale: the decimation, 2 or more; for "lanczos" only.
        lobes: of its window, 2 or 3.
        sigmoid: whether the output is one.

    Returns:
        The losses [B], one for each picture, and the outputs [B, O, H, W]; float32 for bfloat16 activations.
    """
    check_picture("activations", activations)
    out, (height, width), of = weight.shape[0], activations.shape[2:], "activations"
    check_beside("weight", weight, (out, activations.shape[1], 1, 1), activations, of)
    if out > MOST:
        raise InputError(f"weight: {out} outputs; at most {MOST}")
    check_beside("bias", bias, (out,), activations, of)
    check_choice("kind", kind, ("identity", "mask", "lanczos"))
    if kind == "lanczos":
        check_whole("scale", scale, 2)
        check_choice("lobes", lobes, (2, 3))
        height, width = -(-height // scale), -(-width // scale)
    check_beside("target", target, (activations.shape[0], out, height, width), activations, of)
    _check_mask(mask, kind, activations)
    given = (activations, weight, bias, target, mask, kind, scale, lobes, sigmoid)
    return _ResidualLoss.apply(*given) if runs_kernels(activations) else _forward(*given)[:2]


def _check_mask(mask: Tensor | None, kind: str, activations: Tensor) -> None:
    if (mask is None) == (kind == "mask"):
        raise InputError(f"mask: kind={kind!r} " + ("needs one" if mask is None else "takes none"))
    if mask is None:
        return
    batch = activations.shape[:1] if mask.dim() == 3 else ()
    check_beside("mask", mask, (*batch, *activations.shape[2:]), activations, "activations")
    if mask.requires_grad:
        raise InputError("mask: requires a gradient, and none is made by it")
