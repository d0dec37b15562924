"""Head, data term and running average in plain PyTorch: the specification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dipedge.kernels.lanczos_conv.reference import decimate


def head(activations: Tensor, weight: Tensor, bias: Tensor, sigmoid: bool = True) -> Tensor:
    """The 1x1 convolution to image channels: [1, I, H, W] and [O, I, 1, 1] -> x [1, O, H, W]."""
    logits = F.conv2d(activations, weight, bias)
    return torch.sigmoid(logits) if sigmoid else logits


def data_term(
    x: Tensor,
    target: Tensor,
    kind: str = "identity",
    mask: Tensor | None = None,
    scale: int = 1,
    lobes: int = 2,
) -> Tensor:
    """E(x; x0), a scalar.

    Args:
        x: the estimate [F, O, H, W], of one frame or several.
        target: x0, of x's shape; for "lanczos" [F, O, ceil(H/scale), ceil(W/scale)].
        kind: "identity", "mask" or "lanczos".
        mask: [H, W] or [F, 1, H, W], 1 = known; for "mask" only.
        scale: t of d_t; for "lanczos" only.
        lobes: of the Lanczos window.
    """
    if kind == "mask":
        return F.mse_loss(x * mask, target * mask)
    if kind == "lanczos":
        return F.mse_loss(decimate(x, scale, lobes), target)
    return F.mse_loss(x, target)


def running_average(average: Tensor | None, x: Tensor, weight: float) -> Tensor:
    """average * weight + x * (1 - weight); the first x, where there is no average yet."""
    if average is None:
        return x.clone()
    return average * weight + x * (1 - weight)
