"""The way back through the merge's norm to the two layers it merged, each with a norm of its own behind.

The deep one at low resolution: T^T h of the normalised values h is a stencil of 3 x 3 of the activation
itself (``Axis.gram``), of which a program that walks down a strip keeps two rows.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.activation import activated, by_normalised
from dipedge.kernels.gpu.launch import COUNTERS, ROWS_AT_ONCE, Scratch, block, launch, programs
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.moments import finish_gradient, store_sums
from dipedge.kernels.upsample_merge.triton_axis import Axis
from dipedge.kernels.upsample_merge.triton_blend import skip_numbers, skip_rstd
from dipedge.kernels.upsample_merge.triton_strips import pieces, strip_rows


@triton.jit
def _across(y, i, j, low_h, low_w, column_gram, c, inside, scale, shift, slope, mean, S: tl.constexpr):
    """C's product with row i (clamped) of the centred activation, and the row's y: both float32 [M, BC]."""
    row = y + tl.minimum(tl.maximum(i, 0), low_h - 1) * low_w * S
    value = tl.zeros_like(j[:, None] + c[None, :]).to(tl.float32)
    centre = value
    for k in tl.static_range(3):
        at = j + k - 1
        there = (at >= 0) & (at < low_w) & (j < low_w)
        found = tl.load(row + at[:, None] * S + c[None, :], mask=there[:, None] & inside[None, :], other=0.0)
        found = found.to(tl.float32)
        diagonal = 1 if k == 1 else 2
        entry = j - 1 if k == 0 else j
        weight = tl.load(column_gram + diagonal * low_w + entry, mask=there, other=0.0)
        value += weight[:, None] * (activated(found, scale, shift, slope) - mean[None, :])
        if k == 1:
            centre = found
    return value, centre


@triton.jit
def _deep_piece(
    u, y, g, norm, deep_norm, means, slope, row_gram, column_gram, low_h, low_w, j, begin, end, c, inside,
    sums, with_h, D: tl.constexpr, C: tl.constexpr, S: tl.constexpr, M: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Writes g of rows begin ... end - 1 of columns j [M] and goes on with the sums [M, BC] of g and g h."""
    own_mean = tl.load(deep_norm + c, mask=inside, other=0.0)
    own_rstd = tl.load(deep_norm + D + c, mask=inside, other=0.0)
    scale = tl.load(deep_norm + 2 * D + c, mask=inside, other=0.0)
    shift = tl.load(deep_norm + 3 * D + c, mask=inside, other=0.0)
    mean = tl.load(norm + c, mask=inside, other=0.0)
    factor = tl.load(norm + 2 * C + c, mask=inside, other=0.0)
    of_ones = -tl.load(means + c, mask=inside, other=0.0)
    of_h = -tl.load(norm + C + c, mask=inside, other=0.0) * tl.load(means + D + c, mask=inside, other=0.0)
    ones = tl.load(column_gram + j, mask=j < low_w, other=0.0)
    before, value = _across(
        y, begin - 1, j, low_h, low_w, column_gram, c, inside, scale, shift, slope, mean, S
    )
    here, value = _across(y, begin, j, low_h, low_w, column_gram, c, inside, scale, shift, slope, mean, S)
    valid = (j < low_w)[:, None] & inside[None, :]
    for i in range(begin, end):
        after, next_value = _across(
            y, i + 1, j, low_h, low_w, column_gram, c, inside, scale, shift, slope, mean, S
        )
        stencil = tl.load(row_gram + 2 * low_h + i - 1, mask=i > 0, other=0.0) * before
        stencil += tl.load(row_gram + low_h + i) * here + tl.load(row_gram + 2 * low_h + i) * after
        at = (i * low_w + j)[:, None] * S + c[None, :]
        fresh = tl.load(u + at, mask=valid, other=0.0).to(tl.float32)
        fresh += (tl.load(row_gram + i) * ones)[:, None] * of_ones[None, :] + of_h[None, :] * stencil
        fresh = by_normalised(factor[None, :] * fresh, value, scale, shift, slope)
        stored = fresh.to(g.dtype.element_ty)
        tl.store(g + at, stored, mask=valid)
        own = tl.where(valid, stored.to(tl.float32), 0.0)
        sums += own
        with_h += own * ((value - own_mean[None, :]) * own_rstd[None, :])
        before, here, value = here, after, next_value
    return sums, with_h


@triton.jit
def _backward_deep(
    u, y, g, norm, deep_norm, means, slope, row_gram, column_gram, low_h, low_w, strips, length, g_means,
    dgamma, dgamma_fit, dbeta, dbeta_fit, partials, counters,
    D: tl.constexpr, C: tl.constexpr, S: tl.constexpr, M: tl.constexpr, BC: tl.constexpr, P: tl.constexpr,
    PER_FIT: tl.constexpr,
):  # fmt: skip
    p, part, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    program_count = tl.num_programs(0)
    fit = b.to(tl.int64)
    c = part * BC + tl.arange(0, BC)
    inside = c < D
    picture = fit * low_h * low_w * S
    sums = tl.zeros([M, BC], tl.float32)
    with_h = tl.zeros([M, BC], tl.float32)
    for piece in range(p, strips * tl.cdiv(low_h, length), program_count):
        begin = piece // strips * length
        sums, with_h = _deep_piece(
            u + picture, y + picture, g + picture, norm + b * 4 * C, deep_norm + b * 4 * D, means + b * 2 * D,
            slope, row_gram + b * 3 * low_h, column_gram + b * 3 * low_w, low_h, low_w,
            piece % strips * M + tl.arange(0, M), begin, tl.minimum(begin + length, low_h), c, inside, sums,
            with_h, D, C, S, M, BC,
        )  # fmt: skip
    rows = partials + fit * program_count * 2 * D
    store_sums(rows + p * 2 * D, c, inside, tl.sum(sums, axis=0), tl.sum(with_h, axis=0), D)
    finish_gradient(
        rows, counters + b * PER_FIT + part, program_count, g_means + b * 2 * D, dgamma + b * dgamma_fit,
        dbeta + b * dbeta_fit, c, inside, low_h * low_w, D, P,
    )  # fmt: skip


def merge_backward_deep(
    u: Any, deep: Layer, norm: Any, means: Any, rows: Axis, columns: Axis, out: Gradient, dgamma: Any,
    dbeta: Any, scratch: Scratch,
) -> None:  # fmt: skip
    """The deep layer's gradient.

    Args:
        u: cells [B, h, w, S]: the normalised merge's gradient d, taken back through the enlarging: T^T d.
        deep: [B, h, w].
        norm: of the merge, float32 [B, 4, D + S].
        means: float32 [B, 2, D]: the mean over the enlarged pixels of d, and of d h. They are sums over the
            lower pixels: of u, and of u h with h of the layer's own activation.
        rows, columns: filled tables.
        out: the gradient's values and means are written.
        dgamma, dbeta: [B, D] float32 of the deep layer's norm; stride(0) free; written.
        scratch: 2 D numbers a program.
    """
    fits, low_h, low_w = deep.shape
    wide, tile = block(deep.channels, 64), 16
    strips = pieces(low_w, tile)
    length = strip_rows(low_h, strips)
    grid = (programs(strips * pieces(low_h, length)), pieces(deep.channels, wide), fits)
    launch(
        _backward_deep, grid, u, deep.values, out.values, norm, deep.norm, means, deep.slope, rows.gram,
        columns.gram, low_h, low_w, strips, length, out.means, dgamma, dgamma.stride(0), dbeta,
        dbeta.stride(0), scratch.partials, scratch.counters, warps=8,
        D=deep.channels, C=norm.shape[2], S=deep.values.shape[3], M=tile, BC=wide, P=ROWS_AT_ONCE,
        PER_FIT=COUNTERS,
    )  # fmt: skip


@triton.jit
def _backward_skip(
    d, y, g, norm, skip_norm, means, slope, pixels, g_means, dgamma, dgamma_fit, dbeta, dbeta_fit, partials,
    counters,
    D: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, DS: tl.constexpr, OFFSET: tl.constexpr,
    M: tl.constexpr, BC: tl.constexpr, P: tl.constexpr, PER_FIT: tl.constexpr,
):  # fmt: skip
    p, part, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    program_count = tl.num_programs(0)
    fit = b.to(tl.int64)
    s = part * BC + tl.arange(0, BC)
    inside = s < S
    skip_norm, norm, means = skip_norm + b * 4 * S, norm + b * 4 * (D + S), means + b * 2 * S
    own_mean = tl.load(skip_norm + s, mask=inside, other=0.0)
    own_rstd = tl.load(skip_norm + S + s, mask=inside, other=0.0)
    scale, shift, centre, factor = skip_numbers(skip_norm, norm, s, D, S)
    of_h = skip_rstd(norm, s, D, S) * tl.load(means + S + s, mask=inside, other=0.0)
    mean = tl.load(means + s, mask=inside, other=0.0)
    sums = tl.zeros([M, BC], tl.float32)
    with_h = tl.zeros([M, BC], tl.float32)
    for tile in range(p, tl.cdiv(pixels, M), program_count):
        at = tile * M + tl.arange(0, M)
        valid = (at < pixels)[:, None] & inside[None, :]
        picture = y + fit * pixels * SS
        value = tl.load(picture + at[:, None] * SS + s[None, :], mask=valid, other=0.0).to(tl.float32)
        centred = activated(value, scale, shift, slope) - centre[None, :]
        place = fit * pixels * DS + at[:, None] * DS + OFFSET + s[None, :]
        fresh = (
            tl.load(d + place, mask=valid, other=0.0).to(tl.float32) - mean[None, :] - of_h[None, :] * centred
        )
        fresh = by_normalised(factor[None, :] * fresh, value, scale, shift, slope)
        stored = fresh.to(g.dtype.element_ty)
        tl.store(g + fit * pixels * SS + at[:, None] * SS + s[None, :], stored, mask=valid)
        own = tl.where(valid, stored.to(tl.float32), 0.0)
        sums += own
        with_h += own * ((value - own_mean[None, :]) * own_rstd[None, :])
    rows = partials + fit * program_count * 2 * S
    store_sums(rows + p * 2 * S, s, inside, tl.sum(sums, axis=0), tl.sum(with_h, axis=0), S)
    finish_gradient(
        rows, counters + b * PER_FIT + part, program_count, g_means + b * 2 * S, dgamma + b * dgamma_fit,
        dbeta + b * dbeta_fit, s, inside, pixels, S, P,
    )  # fmt: skip


def merge_backward_skip(
    dskip: Any, offset: int, skip: Layer, norm: Any, means: Any, out: Gradient, dgamma: Any, dbeta: Any,
    scratch: Scratch,
) -> None:  # fmt: skip
    """The skip layer's gradient.

    Args:
        dskip: cells [B, n, m, any]: the gradient by the normalised merge.
        offset: where the skip's channels begin in ``dskip``: 0 in what ``blend_backward`` wrote, D in the
            gradient of a whole merged picture.
        skip: [B, n, m].
        norm: of the merge, float32 [B, 4, D + S].
        means: float32 [B, 2, S]: the mean of dskip, and of dskip h.
        out: the gradient's values and means are written.
        dgamma, dbeta: [B, S] float32 of the skip layer's norm; stride(0) free; written.
        scratch: 2 S numbers a program.
    """
    fits, height, width = skip.shape
    wide = block(skip.channels, 64)
    tile = 1024 // wide
    grid = (programs(pieces(height * width, tile)), pieces(skip.channels, wide), fits)
    launch(
        _backward_skip, grid, dskip, skip.values, out.values, norm, skip.norm, means, skip.slope,
        height * width, out.means, dgamma, dgamma.stride(0), dbeta, dbeta.stride(0), scratch.partials,
        scratch.counters,
        D=norm.shape[2] - skip.channels, S=skip.channels, SS=skip.values.shape[3], DS=dskip.shape[3],
        OFFSET=offset, M=tile, BC=wide, P=ROWS_AT_ONCE, PER_FIT=COUNTERS,
    )  # fmt: skip
