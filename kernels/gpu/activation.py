"""What every reader of a layer does while it loads: normalise and activate, and the way back."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def activated(y, scale, shift, slope):
    """act(scale y + shift) of a tile [M, C] float32; scale and shift are [C]."""
    n = y * scale[None, :] + shift[None, :]
    return tl.where(n > 0, n, slope * n)


@triton.jit
def by_normalised(gradient, y, scale, shift, slope):
    """From the gradient by act(n) to that by n = scale y + shift; the slope counts at n = 0."""
    n = y * scale[None, :] + shift[None, :]
    return tl.where(n > 0, gradient, slope * gradient)


@triton.jit
def by_output(g, y, mean, rstd, scale, mean_g, mean_gh):
    """From g to the gradient by y: scale (g - mean g - h mean gh), h = (y - mean) rstd."""
    h = (y - mean[None, :]) * rstd[None, :]
    return scale[None, :] * (g - mean_g[None, :] - h * mean_gh[None, :])
