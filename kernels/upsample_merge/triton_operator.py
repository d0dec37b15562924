"""One call of ``upsample_merge`` by the Triton kernels, on the route of wider convolutions without a margin:
four launches forward (two tables, statistics, the picture) and five back.

The kernels know the deep channels first and a norm with an activation on both inputs. So channels change
places on the way in and out (one copy each), and the inputs' norms are ones that change nothing. Their mean
is the pictures' own: around it the kernels add up squares.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.pictures import (
    cells_of,
    empty_cells,
    floats,
    picture_of,
    plain_norm,
    scratch_for,
    vectors_of,
)
from dipedge.kernels.upsample_merge.triton import gather, merge_backward_deep, merge_backward_skip
from dipedge.kernels.upsample_merge.triton_axis import Axis, fill_axis
from dipedge.kernels.upsample_merge.triton_padded import merge_padded
from dipedge.kernels.upsample_merge.triton_statistics import merge_statistics


def _axis(fits: int, count: int, mode: str, device: torch.device) -> Axis:
    """The table of a whole side of ``count`` pixels."""
    axis = Axis.empty(fits, count, -(-count // 2), False, device)
    positions = torch.arange(count, dtype=torch.int32, device=device).expand(fits, count).contiguous()
    fill_axis(positions, axis, mode == "nearest")
    return axis


def _layer(x: Tensor | None, centred: bool = False) -> Layer | None:
    """A picture as a layer that is its own activation; None as None."""
    if x is None:
        return None
    cells, (fits, channels) = cells_of(x), x.shape[:2]
    norm = plain_norm(x, fits, channels)
    if centred:
        norm[:, 0] = cells[..., :channels].mean((1, 2), dtype=torch.float32)
    return Layer(cells, channels, norm, 1.0)


def _turned(values: Tensor, first: int) -> Tensor:
    """Vectors [.., C] with their first ``first`` channels behind the others."""
    return torch.cat((values[..., first:], values[..., :first]), -1)


def _turned_cells(given: Tensor, first: int, like: Tensor) -> Tensor:
    """The same of pictures [B, H, W, C], as cells of the dtype of ``like``."""
    fits, height, width, channels = given.shape
    cells = empty_cells(like, fits, height, width, channels)
    cells[..., : channels - first] = given[..., first:]
    cells[..., channels - first : channels] = given[..., :first]
    return cells


def forward(
    deep: Tensor, gamma: Tensor, beta: Tensor, skip: Tensor | None, height: int, width: int, mode: str,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The normalised merged picture, and its norm [B, 4, D + S], deep channels first, for the way back."""
    fits, channels, skips = deep.shape[0], gamma.shape[0], 0 if skip is None else skip.shape[1]
    below, beside = _layer(deep, True), _layer(skip, True)
    axes = [_axis(fits, count, mode, deep.device) for count in (height, width)]
    scales, shifts = (vectors_of(_turned(vector, skips), fits) for vector in (gamma, beta))
    norm = floats(deep, fits, 4, channels)
    merge_statistics(beside, below, *axes, scales, shifts, eps, norm, scratch_for(deep, fits, channels))
    merged = empty_cells(deep, fits, height, width, channels)
    merge_padded(beside, below, norm, *axes, merged, 0, False)
    if skips:
        merged = _turned_cells(merged[..., :channels], channels - skips, deep)
    return picture_of(merged, channels), norm


def backward(
    deep: Tensor, gamma: Tensor, beta: Tensor, skip: Tensor | None, norm: Tensor, gradient: Tensor,
    height: int, width: int, mode: str, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients by deep, gamma, beta and skip (empty where there is none)."""
    fits, below_channels, channels = *deep.shape[:2], gamma.shape[0]
    skips = channels - below_channels
    below, beside = _layer(deep), _layer(skip)
    axes = [_axis(fits, count, mode, deep.device) for count in (height, width)]
    scratch = scratch_for(deep, fits, channels)
    if skips:
        d = _turned_cells(gradient.permute(0, 2, 3, 1), skips, deep)
    else:
        d = cells_of(gradient, deep.dtype)
    u = empty_cells(deep, fits, *deep.shape[2:], below_channels)
    means, skip_means = floats(deep, fits, 2, below_channels), floats(deep, fits, 2, max(1, skips))
    sums = floats(deep, fits, channels), floats(deep, fits, channels)
    gather(d, beside, below, norm, *axes, u, means, skip_means if skips else None, *sums, scratch)
    unused = floats(deep, fits, channels)  # what a norm ahead of the merge would get
    of_deep = Gradient(torch.empty_like(u), floats(deep, fits, 2, below_channels))
    merge_backward_deep(u, below, norm, means, *axes, of_deep, unused, unused, scratch)
    dgamma, dbeta = (
        _turned(vector.sum(0), below_channels).to(given.dtype, copy=True)
        for vector, given in zip(sums, (gamma, beta), strict=True)
    )
    by_deep = picture_of(of_deep.values, below_channels)
    if beside is None:
        return by_deep, dgamma, dbeta, deep.new_empty(0)
    of_skip = Gradient(torch.empty_like(beside.values), floats(deep, fits, 2, skips))
    merge_backward_skip(d, below_channels, beside, norm, skip_means, of_skip, unused, unused, scratch)
    return by_deep, dgamma, dbeta, picture_of(of_skip.values, skips)
