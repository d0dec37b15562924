"""``dipedge.kernels.upsample_merge`` as a differentiable torch operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dipedge.kernels.gpu.pictures import empty_picture, floats
from dipedge.kernels.operators import (
    by_reference,
    check_beside,
    check_choice,
    check_picture,
    check_whole,
    define,
    runs_kernels,
)
from dipedge.kernels.upsample_merge import reference

KERNELS = "dipedge.kernels.upsample_merge.triton_operator"


def _function(height: int, width: int, mode: str, eps: float) -> Any:
    """The reference of a batch, as a function of deep, gamma, beta and, where there is one, the skip."""

    def merged(deep: Tensor, gamma: Tensor, beta: Tensor, skip: Tensor | None = None) -> Tensor:
        pairs = zip([None] * len(deep) if skip is None else skip.split(1), deep.split(1), strict=True)
        options = {"size": (height, width), "mode": mode, "eps": eps}
        return torch.cat(
            [reference.upsample_merge(one, below, gamma, beta, **options) for one, below in pairs]
        )

    return merged


def _given(deep: Tensor, gamma: Tensor, beta: Tensor, skip: Tensor | None) -> tuple[Tensor, ...]:
    return (deep, gamma, beta) if skip is None else (deep, gamma, beta, skip)


def _forward(
    deep: Tensor, gamma: Tensor, beta: Tensor, skip: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor]:
    return by_reference(_function(*settings), *_given(deep, gamma, beta, skip)), floats(deep, 0)


def _fake_forward(
    deep: Tensor, gamma: Tensor, beta: Tensor, skip: Tensor | None, height: int, width: int, *settings: Any
) -> tuple[Tensor, Tensor]:
    fits, channels = deep.shape[0], gamma.shape[0]
    if runs_kernels(deep):
        return empty_picture(deep, (fits, channels, height, width)), floats(deep, fits, 4, channels)
    return deep.new_empty((fits, channels, height, width)), floats(deep, 0)


def _fake_backward(
    deep: Tensor, gamma: Tensor, beta: Tensor, skip: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    of_skip = deep.new_empty(0) if skip is None else empty_picture(skip, skip.shape)
    return empty_picture(deep, deep.shape), gamma.new_empty(gamma.shape), beta.new_empty(beta.shape), of_skip


forward = define(
    "upsample_merge(Tensor deep, Tensor gamma, Tensor beta, Tensor? skip, SymInt height, SymInt width, "
    "str mode, float eps) -> (Tensor, Tensor)",
    f"{KERNELS}.forward", _fake_forward, _forward,
)  # fmt: skip
backward = define(
    "upsample_merge_backward(Tensor deep, Tensor gamma, Tensor beta, Tensor? skip, Tensor norm, "
    "Tensor gradient, SymInt height, SymInt width, str mode, float eps) -> (Tensor, Tensor, Tensor, Tensor)",
    f"{KERNELS}.backward", _fake_backward, None,
)  # fmt: skip


class _UpsampleMerge(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, skip: Tensor | None, deep: Tensor, gamma: Tensor, beta: Tensor, *settings: Any
    ) -> Tensor:
        result, norm = forward(deep, gamma, beta, skip, *settings)
        ctx.save_for_backward(deep, gamma, beta, skip, norm)
        ctx.settings = settings
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        skip = ctx.saved_tensors[3]
        by_deep, dgamma, dbeta, by_skip = backward(*ctx.saved_tensors, gradient, *ctx.settings)
        rest = (None for _ in ctx.settings)
        return None if skip is None else by_skip, by_deep, dgamma, dbeta, *rest


def upsample_merge(
    skip: Tensor | None,
    deep: Tensor,
    gamma: Tensor,
    beta: Tensor,
    *,
    size: tuple[int, int],
    mode: str = "bilinear",
    eps: float = 1e-5,
) -> Tensor:
    """The deep picture doubled and cropped, behind the skip's channels, normalised by its own statistics.

    Args:
        skip: [B, S, H, W], or None.
        deep: [B, D, ceil(H / 2), ceil(W / 2)], float32, bfloat16 or float64.
        gamma, beta: [S + D], the norm's scale and shift; of deep's dtype, or float32 beside bfloat16.
        size: (H, W).
        mode: "bilinear" or "nearest".
        eps: added to the variance.

    Returns:
        [B, S + D, H, W]. The engines' kernels can also leave pixels out (``rows``, ``columns``); here all are
        made.
    """
    check_picture("deep", deep)
    height, width = size
    check_whole("size[0]", height, 1)
    check_whole("size[1]", width, 1)
    half = (-(-height // 2), -(-width // 2))
    check_beside("deep", deep, (*deep.shape[:2], *half), deep)
    channels = deep.shape[1]
    if skip is not None:
        check_picture("skip", skip)
        check_beside("skip", skip, (deep.shape[0], skip.shape[1], height, width), deep, "deep", (deep.dtype,))
        channels = channels + skip.shape[1]
    check_beside("gamma", gamma, (channels,), deep, "deep")
    check_beside("beta", beta, (channels,), deep, "deep")
    check_choice("mode", mode, ("bilinear", "nearest"))
    if runs_kernels(deep):
        return _UpsampleMerge.apply(skip, deep, gamma, beta, height, width, mode, eps)
    return _forward(deep, gamma, beta, skip, height, width, mode, eps)[0]
