"""Between PyTorch's pictures [B, C, H, W] and the kernels' cells [B, H, W, S], and what a single call needs.

An engine has all its memory before the first launch; an operator is called once and takes it from PyTorch's
allocator. A picture in channels-last order whose channels are a multiple of 8 is used in place, and such are
all results: chains of operators copy nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dipedge.kernels.gpu import launch as gpu


def empty_cells(like: Tensor, fits: int, height: int, width: int, channels: int) -> Tensor:
    """Room for a picture, [B, H, W, S], of the dtype of ``like``.

    A surplus is 0: operators hand such cells out, and equal calls must give equal results.
    """
    shape = (fits, height, width, gpu.channel_stride(channels))
    return like.new_empty(shape) if shape[3] == channels else like.new_zeros(shape)


def cells_of(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A picture [B, C, H, W] as cells; its own memory, where it lies as cells do."""
    fits, channels, height, width = x.shape
    dtype = dtype or x.dtype
    rows = x.permute(0, 2, 3, 1)
    # Asked of the strides themselves: ``is_contiguous`` passes over sides of one pixel.
    plain = (height * width * channels, width * channels, channels, 1)
    if rows.stride() == plain and channels == gpu.channel_stride(channels) and x.dtype == dtype:
        return rows
    cells = x.new_empty((fits, height, width, gpu.channel_stride(channels)), dtype=dtype)
    cells[..., :channels] = rows
    return cells


def floats_of(x: Tensor) -> Tensor:
    """A picture [B, C, H, W] as contiguous float32 [B, H, W, C]; head and filters work on such."""
    return x.permute(0, 2, 3, 1).contiguous().float()


def picture_of(cells: Tensor, channels: int) -> Tensor:
    """Cells as a picture [B, C, H, W], a view: channels-last, pixels S apart."""
    return cells[..., :channels].permute(0, 3, 1, 2)


def empty_picture(like: Tensor, shape: Sequence[int]) -> Tensor:
    """What ``picture_of`` gives, for operators' fake versions."""
    fits, channels, height, width = shape
    return picture_of(empty_cells(like, fits, height, width, channels), channels)


def weights_of(weight: Tensor, fits: int, dtype: torch.dtype) -> Tensor:
    """Weights [O, I, k, k] as [B, O, k, k, I] of cells; one copy serves all fits (stride 0)."""
    return weight.to(dtype).permute(0, 2, 3, 1).contiguous()[None].expand(fits, -1, -1, -1, -1)


def vectors_of(vector: Tensor, fits: int) -> Tensor:
    """A vector [C] as float32 [B, C], shared by all fits."""
    return vector.float().contiguous()[None].expand(fits, -1)


def plain_norm(like: Tensor, fits: int, channels: int) -> Tensor:
    """``Layer.norm`` of a layer that is its own normalised value: mean 0, rstd 1, scale 1, shift 0."""
    norm = like.new_zeros((fits, 4, channels), dtype=torch.float32)
    norm[:, 1:3] = 1
    return norm


def no_means(like: Tensor, fits: int, channels: int) -> Tensor:
    """``Gradient.means`` of a gradient from which no norm takes anything: zeros."""
    return like.new_zeros((fits, 2, channels), dtype=torch.float32)


def floats(like: Tensor, *shape: int) -> Tensor:
    """Room for float32 values."""
    return like.new_empty(shape, dtype=torch.float32)


def scratch_for(like: Tensor, fits: int, channels: int, more: int = 0) -> gpu.Scratch:
    """Scratch memory of one call: enough for three sums per program and channel, or ``more`` floats."""
    count = max(fits * gpu.MAX_PROGRAMS * (3 * channels + 1), more)
    counters = like.new_zeros((fits * gpu.COUNTERS,), dtype=torch.int32)
    return gpu.Scratch(floats(like, count), counters)
