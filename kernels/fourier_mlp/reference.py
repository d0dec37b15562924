"""Fourier features and the 1x1 layer on them, in plain PyTorch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor


def coordinates(size: int, like: Tensor) -> Tensor:
    """``size`` coordinates j/(size-1) in [0, 1], of the dtype and device of ``like``; [0] for one."""
    # The division is done in float64 and rounded once, as the published code does it in numpy.
    steps = torch.arange(size, dtype=torch.float64) / max(size - 1, 1)
    return steps.to(device=like.device, dtype=like.dtype)


def table(positions: Tensor, frequencies: Tensor) -> Tensor:
    """[cos(p f_k) for all k, sin(p f_k) for all k] of positions [...] and frequencies [n] -> [..., 2n]."""
    angles = frequencies * positions[..., None]
    return torch.cat((torch.cos(angles), torch.sin(angles)), dim=-1)


def tables(frequencies: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The column table [W, 2n] (of u) and the row table [H, 2n] (of v)."""
    return (
        table(coordinates(width, frequencies), frequencies),
        table(coordinates(height, frequencies), frequencies),
    )


def features(frequencies: Tensor, height: int, width: int) -> Tensor:
    """The features of every pixel, [1, 4n, H, W]: cos u, sin u, cos v, sin v.

    Args:
        frequencies: [n], radians per unit coordinate; gradients flow to them.
        height: H, 1 or more.
        width: W, 1 or more.
    """
    u, v = coordinates(width, frequencies)[None], coordinates(height, frequencies)[:, None]
    return features_at(frequencies, u, v)


def features_at(frequencies: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """``features`` of pixels that stand anywhere.

    Args:
        frequencies: [n].
        u: coordinates that broadcast to [H, W] with ``v``: [1, W] where they belong to columns.
        v: as ``u``; [H, 1] where they belong to rows.
    """
    size = torch.broadcast_shapes(u.shape, v.shape)
    parts = [table(side, frequencies).permute(2, 0, 1).expand(-1, *size) for side in (u, v)]
    return torch.cat(parts)[None]


def first_layer(
    frequencies: Tensor, weight: Tensor, bias: Tensor, height: int, width: int, stride: int = 1
) -> Tensor:
    """The 1x1 convolution of ``features`` as a sum of a column part and a row part.

    Args:
        frequencies: [n].
        weight: [O, 4n, 1, 1].
        bias: [O].
        height: H of the features.
        width: W of the features.
        stride: 1 or 2; pixels 0, stride, 2 stride, ... of each side are kept.

    Returns:
        [1, O, ceil(H / stride), ceil(W / stride)], equal to the dense convolution.
    """
    columns, rows = (side[::stride] for side in tables(frequencies, height, width))
    matrix = weight[:, :, 0, 0]
    half = columns.shape[1]
    column_part = matrix[:, :half] @ columns.t()
    row_part = matrix[:, half:] @ rows.t() + bias[:, None]
    return (row_part[:, :, None] + column_part[:, None, :])[None]
