"""Lanczos decimation in plain PyTorch: the specification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dipedge.kernels.conv_norm_act.reference import convolve
from dipedge.kernels.pool import reference as pool


def phase_of(factor: int) -> float:
    """Where the centre falls: 1/2 (between two pixels) for even factors, 0 (on one) for odd ones."""
    return 0.0 if factor % 2 else 0.5


def weights(factor: int, lobes: int, phase: float) -> Tensor:
    """The 1-d kernel in float64, sum 1; the 2-d kernel is its outer product with itself.

    Args:
        factor: t, 2 or more; distances are counted in units of it.
        lobes: a of the window, 2 or 3.
        phase: 0 gives 2 a t + 1 taps around a pixel, 0.5 gives 2 a t taps around a pixel's edge.

    Source: published ``get_kernel``.
    """
    taps = 2 * lobes * factor + (1 if phase == 0 else 0)
    distances = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / factor
    values = torch.sinc(distances) * torch.sinc(distances / lobes)
    return values / values.sum()


def _decimate_side(x: Tensor, kernel: Tensor, factor: int, dim: int) -> Tensor:
    """Filters and decimates x [1, C, H, W] along ``dim`` (2 or 3), its ends replicated."""
    size, taps, channels = x.shape[dim], kernel.shape[0], x.shape[1]
    before = (taps - factor) // 2
    cells = -(-size // factor)
    after = (cells - 1) * factor + taps - before - size
    margins = (0, 0, before, after) if dim == 2 else (before, after, 0, 0)
    shape = (channels, 1, taps, 1) if dim == 2 else (channels, 1, 1, taps)
    stride = (factor, 1) if dim == 2 else (1, factor)
    depthwise = kernel.reshape(1, 1, *shape[2:]).expand(shape).contiguous()
    return F.conv2d(F.pad(x, margins, mode="replicate"), depthwise, stride=stride, groups=channels)


def decimate(x: Tensor, factor: int, lobes: int) -> Tensor:
    """d_t: [1, C, H, W] -> [1, C, ceil(H/t), ceil(W/t)], t = ``factor``, ``lobes`` 2 or 3."""
    kernel = weights(factor, lobes, phase_of(factor)).to(device=x.device, dtype=x.dtype)
    return _decimate_side(_decimate_side(x, kernel, factor, 2), kernel, factor, 3)


def conv_decimate(
    x: Tensor, weight: Tensor, bias: Tensor | None, factor: int, lobes: int, padding: str = "reflection"
) -> Tensor:
    """A size-keeping convolution followed by a decimation: the hourglass's down convolution.

    Args:
        x: [1, I, H, W].
        weight: [O, I, k, k], k odd.
        bias: [O] or None.
        factor: t; 2 with averages.
        lobes: 2 or 3 for ``decimate``; 0 for averages of 2x2 (``kernels/pool``).
        padding: of the convolution, "reflection" or "zero".

    Returns:
        [1, O, ceil(H/t), ceil(W/t)].
    """
    full = convolve(x, weight, bias, 1, padding)
    return decimate(full, factor, lobes) if lobes else pool.avg(full)
