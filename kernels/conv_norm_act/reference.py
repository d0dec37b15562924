"""Padded convolution, batch norm and LeakyReLU in plain PyTorch: the specification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reflected_indices(size: int, margin: int) -> Tensor:
    """Which of ``size`` pixels stands at -margin .. size-1+margin; the edge is not repeated.

    Walking on past the far edge walks back again, so any margin is defined: the period is
    2(size - 1), and a single pixel is all there is.
    """
    positions = torch.arange(-margin, size + margin)
    if size == 1:
        return torch.zeros_like(positions)
    period = 2 * (size - 1)
    wrapped = positions.remainder(period)
    return torch.where(wrapped < size, wrapped, period - wrapped)


def pad(x: Tensor, margin: int, padding: str) -> Tensor:
    """x [1, C, H, W] with ``margin`` pixels added on all sides by "reflection" or with "zero"."""
    if margin == 0:
        return x
    if padding == "zero":
        return F.pad(x, (margin,) * 4)
    height, width = x.shape[2:]
    if margin < min(height, width):
        return F.pad(x, (margin,) * 4, mode="reflect")
    rows = reflected_indices(height, margin).to(x.device)
    columns = reflected_indices(width, margin).to(x.device)
    return x.index_select(2, rows).index_select(3, columns)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: str) -> Tensor:
    """Convolution that keeps the size (stride 1) or gives ceil(n / 2) per side (stride 2).

    Args:
        x: [1, I, H, W].
        weight: [O, I, k, k], k odd.
        bias: [O] or None.
        stride: 1 or 2.
        padding: "reflection" or "zero".
    """
    margin = (weight.shape[2] - 1) // 2
    if padding == "zero":
        return F.conv2d(x, weight, bias, stride, padding=margin)
    return F.conv2d(pad(x, margin, padding), weight, bias, stride)


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """x [1, C, H, W] normalised per channel by its own mean and biased variance, then scaled."""
    if x.shape[0] * x.shape[2] * x.shape[3] > 1:
        return F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)
    # PyTorch refuses a single value per channel, though the formula has an answer: beta.
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    normal = (x - mean) * torch.rsqrt(variance + eps)
    return normal * gamma[:, None, None] + beta[:, None, None]


def norm_act(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, slope: float) -> Tensor:
    """Batch norm, then LeakyReLU with ``slope`` for negative values."""
    return F.leaky_relu(batch_norm(x, gamma, beta, eps), slope)


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
    """The whole chain of the contract; shapes as in ``convolve``, gamma and beta [O]."""
    return norm_act(convolve(x, weight, bias, stride, padding), gamma, beta, eps, slope)
