"""The normalised merged picture as a tensor with a margin, for an up convolution that is not pointwise.

Such a convolution reads every pixel k x k times, so there the picture is written once: enlarged, normalised,
and with the reflection in the margin, which leaves the convolution no index to think about.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.activation import activated
from dipedge.kernels.gpu.launch import block, launch, programs
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.upsample_merge.triton_axis import Axis
from dipedge.kernels.upsample_merge.triton_strips import pieces


@triton.jit
def reflected(position, count):
    """The pixel of ``count`` that stands at ``position``, however far outside; the edge is not repeated."""
    period = tl.maximum(2 * (count - 1), 1)
    wrapped = (position % period + period) % period
    return tl.minimum(tl.where(wrapped < count, wrapped, period - wrapped), count - 1)


@triton.jit
def _corner(y, row, columns, valid, c, scale, shift, slope, S: tl.constexpr):
    """act of lower pixels (row, columns [M]), float32 [M, BC]."""
    at = row + columns[:, None] * S + c[None, :]
    return activated(tl.load(y + at, mask=valid, other=0.0).to(tl.float32), scale, shift, slope)


@triton.jit
def _enlarged(
    y, norm, slope, row, column, valid, c, inside, row_first, row_weight, column_first, column_weight, low_h,
    low_w, D: tl.constexpr, S: tl.constexpr,
):  # fmt: skip
    """Pixels (row, column [M]) of the enlarged act(y), float32 [M, BC]."""
    scale = tl.load(norm + 2 * D + c, mask=inside, other=0.0)
    shift = tl.load(norm + 3 * D + c, mask=inside, other=0.0)
    first = tl.load(row_first + row)
    upper = first * low_w * S
    lower = tl.minimum(first + 1, low_h - 1) * low_w * S
    left = tl.load(column_first + column)
    right = tl.minimum(left + 1, low_w - 1)
    down = tl.load(row_weight + row)
    along = tl.load(column_weight + column)[:, None]
    a = _corner(y, upper, left, valid, c, scale, shift, slope, S)
    b = _corner(y, lower, left, valid, c, scale, shift, slope, S)
    first_column = a + down * (b - a)
    a = _corner(y, upper, right, valid, c, scale, shift, slope, S)
    b = _corner(y, lower, right, valid, c, scale, shift, slope, S)
    return first_column + along * (a + down * (b - a) - first_column)


@triton.jit
def _merge_padded(
    skip, skip_norm, skip_slope, deep, deep_norm, deep_slope, norm, row_first, row_weight, column_first,
    column_weight, out, low_h, low_w, height, width, margin,
    D: tl.constexpr, DS: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, OS: tl.constexpr,
    DEEP_BLOCKS: tl.constexpr, REFLECT: tl.constexpr, M: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    C: tl.constexpr = D + S
    part = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    across = width + 2 * margin
    tiles = tl.cdiv(across, M)
    norm += b * 4 * C
    channel = tl.arange(0, BC)
    for tile in range(tl.program_id(0), tiles * (height + 2 * margin), tl.num_programs(0)):
        line = tile // tiles
        place = tile % tiles * M + tl.arange(0, M)
        row = reflected(line - margin, height)
        column = reflected(place - margin, width)
        there = place < across
        if part < DEEP_BLOCKS:
            c = part * BC + channel
            inside = c < D
            value = _enlarged(
                deep + b * low_h * low_w * DS, deep_norm + b * 4 * D, deep_slope, row, column,
                there[:, None] & inside[None, :], c, inside, row_first + b * height, row_weight + b * height,
                column_first + b * width, column_weight + b * width, low_h, low_w, D, DS,
            )  # fmt: skip
        else:
            s = (part - DEEP_BLOCKS) * BC + channel
            c = D + s
            inside = s < S
            scale = tl.load(skip_norm + b * 4 * S + 2 * S + s, mask=inside, other=0.0)
            shift = tl.load(skip_norm + b * 4 * S + 3 * S + s, mask=inside, other=0.0)
            value = _corner(
                skip + b * height * width * SS, row * width * SS, column, there[:, None] & inside[None, :], s,
                scale, shift, skip_slope, SS,
            )  # fmt: skip
        merge_scale = tl.load(norm + 2 * C + c, mask=inside, other=0.0)
        merge_shift = tl.load(norm + 3 * C + c, mask=inside, other=0.0)
        value = value * merge_scale[None, :] + merge_shift[None, :]
        if not REFLECT:
            bottom = tl.where(line >= margin, tl.where(line < height + margin, width + margin, 0), 0)
            value = tl.where(((place >= margin) & (place < bottom))[:, None], value, 0.0)
        at = b * (height + 2 * margin) * across * OS + (line * across + place)[:, None] * OS + c[None, :]
        tl.store(out + at, value.to(out.dtype.element_ty), mask=there[:, None] & inside[None, :])


def merge_padded(
    skip: Layer | None,
    deep: Layer,
    norm: Any,
    rows: Axis,
    columns: Axis,
    out: Any,
    margin: int,
    reflect: bool,
) -> None:
    """The normalised merged picture, deep channels first, with a margin on all sides.

    Args:
        skip: [B, n, m], or None.
        deep: [B, h, w].
        norm: of the merge, float32 [B, 4, D + S].
        rows, columns: filled tables.
        out: cells [B, n + 2 margin, m + 2 margin, >= D + S], written.
        margin: any number of pixels, 0 too.
        reflect: what stands in the margin; False for 0.
    """
    fits, low_h, low_w = deep.shape
    skips = skip.channels if skip else 0
    other, wide = skip or deep, block(deep.channels, 64)
    tile = 32
    deep_blocks = pieces(deep.channels, wide)
    tiles = pieces(columns.count + 2 * margin, tile) * (rows.count + 2 * margin)
    launch(
        _merge_padded, (programs(tiles), deep_blocks + pieces(skips, wide), fits), other.values, other.norm,
        other.slope, deep.values, deep.norm, deep.slope, norm, rows.first, rows.weight, columns.first,
        columns.weight, out, low_h, low_w, rows.count, columns.count, margin, warps=8,
        D=deep.channels, DS=deep.values.shape[3], S=skips, SS=other.values.shape[3], OS=out.shape[3],
        DEEP_BLOCKS=deep_blocks, REFLECT=reflect, M=tile, BC=wide,
    )  # fmt: skip
