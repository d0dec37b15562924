"""Upsampling by 2, crop, concatenation and batch norm in plain PyTorch: the specification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dipedge.kernels.conv_norm_act.reference import batch_norm


def upsample(deep: Tensor, mode: str) -> Tensor:
    """deep [1, D, h, w] -> [1, D, 2h, 2w] by "bilinear" (half-pixel centres) or "nearest"."""
    if mode == "bilinear":
        return F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
    return F.interpolate(deep, scale_factor=2, mode="nearest")


def upsample_crop(deep: Tensor, height: int, width: int, mode: str) -> Tensor:
    """``deep`` doubled and cropped at the end to height x width."""
    return upsample(deep, mode)[:, :, :height, :width]


def upsample_merge(
    skip: Tensor | None,
    deep: Tensor,
    gamma: Tensor,
    beta: Tensor,
    *,
    size: tuple[int, int],
    mode: str = "bilinear",
    eps: float = 1e-5,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
) -> Tensor:
    """BN of the skip's channels followed by those of the enlarged deep branch.

    Args:
        skip: [1, S, H, W] (sampled: [1, S, n, m]), or None for a level without skip.
        deep: [1, D, ceil(H/2), ceil(W/2)].
        gamma: [S + D], BN's scale.
        beta: [S + D], BN's shift.
        size: (H, W).
        mode: "bilinear" or "nearest".
        eps: added to the variance.
        rows, columns: positions [n] and [m] of the pixels that are wanted, or None for all.
    """
    enlarged = upsample_crop(deep, *size, mode)
    if rows is not None:
        enlarged = enlarged[:, :, rows][:, :, :, columns]
    merged = enlarged if skip is None else torch.cat((skip, enlarged), dim=1)
    return batch_norm(merged, gamma, beta, eps)
