"""The gradient by a whole merged picture: taken back through the enlarging, and the sums its norm needs.

Over all pixels d h adds up to what u h adds up to over the lower ones, u = T^T d: so of the deep channels
only u is needed, and the sums are made while it is written. The skip's channels have programs of their own.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.activation import activated
from dipedge.kernels.gpu.launch import COUNTERS, ROWS_AT_ONCE, Scratch, block, launch, programs
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import finish_gradient, store_sums
from dipedge.kernels.upsample_merge.triton_axis import Axis
from dipedge.kernels.upsample_merge.triton_blend import centred_skip, skip_numbers, skip_rstd
from dipedge.kernels.upsample_merge.triton_strips import (
    LOWER,
    gathering_columns,
    gathering_row,
    pieces,
    strip_rows,
    used_lower_columns,
)


@triton.jit
def _deep_piece(
    d, y, norm, deep_norm, slope, row_back, column_back, u, low_h, low_w, height, width, start, begin, end, c,
    D: tl.constexpr, S: tl.constexpr, C: tl.constexpr, CS: tl.constexpr, BC: tl.constexpr, MINE: tl.constexpr,
    STEP: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Writes u of lower rows begin ... end - 1 of a strip; the sums [16, BC] of u and u h."""
    inside = c < D
    scale = tl.load(deep_norm + 2 * D + c, mask=inside, other=0.0)
    shift = tl.load(deep_norm + 3 * D + c, mask=inside, other=0.0)
    mean = tl.load(norm + c, mask=inside, other=0.0)
    gathering = gathering_columns(column_back, start, low_w, MINE, STEP, DEPTH)
    column = STEP * start - 1 + tl.arange(0, LOWER * STEP)
    j = tl.arange(0, LOWER)
    done = tl.zeros([LOWER, BC], tl.float32)
    after = tl.zeros([LOWER, BC], tl.float32)
    later = tl.zeros([LOWER, BC], tl.float32)
    sums = tl.zeros([LOWER, BC], tl.float32)
    with_h = tl.zeros([LOWER, BC], tl.float32)
    first = begin + STEP - 3
    for taken in range(0, STEP * (end - first)):
        i = first + taken // STEP
        row = STEP * first + taken + 1
        there = (column >= 0) & (column < tl.where(row >= 0, tl.where(row < height, width, 0), 0))
        at = (row * width + column)[:, None] * CS + c[None, :]
        fresh = tl.load(d + at, mask=there[:, None] & inside[None, :], other=0.0)
        weights = gathering * gathering_row(row_back, i, begin, end, row, STEP, DEPTH)
        done = tl.dot(weights.to(fresh.dtype), fresh, done, input_precision="ieee")
        weights = gathering * gathering_row(row_back, i + 1, begin, end, row, STEP, DEPTH)
        after = tl.dot(weights.to(fresh.dtype), fresh, after, input_precision="ieee")
        if STEP == 1:
            weights = gathering * gathering_row(row_back, i + 2, begin, end, row, STEP, DEPTH)
            later = tl.dot(weights.to(fresh.dtype), fresh, later, input_precision="ieee")
        complete = taken % STEP == STEP - 1
        at = (i * low_w + start + j)[:, None] * S + c[None, :]
        mine = (j < MINE) & (start + j < tl.where(i >= begin, tl.where(complete, low_w, 0), 0))
        valid = mine[:, None] & inside[None, :]
        stored = done.to(fresh.dtype)
        tl.store(u + at, stored, mask=valid)
        own = tl.where(valid, stored.to(tl.float32), 0.0)
        value = activated(tl.load(y + at, mask=valid, other=0.0).to(tl.float32), scale, shift, slope)
        sums += own
        with_h += own * (value - mean[None, :])
        done = tl.where(complete, after, done)
        after = tl.where(complete, later, after)
        if STEP == 1:
            later = tl.zeros([LOWER, BC], tl.float32)
    rstd = tl.load(norm + C + c, mask=inside, other=0.0)
    return tl.sum(sums, axis=0), tl.sum(with_h, axis=0) * rstd


@triton.jit
def _skip_sums(
    d, skip, skip_norm, norm, slope, pixels, program, programs_all, s,
    D: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, CS: tl.constexpr, M: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The sums [BC] of d and d h of the skip's channels s, by this program's tiles."""
    numbers = skip_numbers(skip_norm, norm, s, D, S)
    sums = tl.zeros([M, BC], tl.float32)
    with_h = tl.zeros([M, BC], tl.float32)
    for tile in range(program, tl.cdiv(pixels, M), programs_all):
        at = tile * M + tl.arange(0, M)
        valid = (at < pixels)[:, None] & (s < S)[None, :]
        fresh = tl.load(d + at[:, None] * CS + D + s[None, :], mask=valid, other=0.0).to(tl.float32)
        centred = centred_skip(skip, at, valid, s, numbers[0], numbers[1], numbers[2], slope, SS)
        sums += fresh
        with_h += fresh * centred
    return tl.sum(sums, axis=0), tl.sum(with_h, axis=0) * skip_rstd(norm, s, D, S)


@triton.jit
def _gather(
    d, skip, skip_norm, skip_slope, deep, deep_norm, deep_slope, norm, row_back, column_back, u, low_h, low_w,
    height, width, strips, length, means, skip_means, dgamma, dgamma_fit, dbeta, dbeta_fit, partials,
    counters, D: tl.constexpr, DS: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, CS: tl.constexpr,
    DEEP_BLOCKS: tl.constexpr, MINE: tl.constexpr, STEP: tl.constexpr, DEPTH: tl.constexpr, M: tl.constexpr,
    BC: tl.constexpr, P: tl.constexpr, PER_FIT: tl.constexpr,
):  # fmt: skip
    C: tl.constexpr = D + S
    p, part, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    program_count = tl.num_programs(0)
    fit = b.to(tl.int64)
    counter = counters + b * PER_FIT + part
    large, small = fit * height * width, fit * low_h * low_w
    rows = partials + fit * program_count * 2 * C
    norm += b * 4 * C
    dgamma += fit * dgamma_fit
    dbeta += fit * dbeta_fit
    if part < DEEP_BLOCKS:
        c = part * BC + tl.arange(0, BC)
        sums = tl.zeros([BC], tl.float32)
        with_h = tl.zeros([BC], tl.float32)
        for piece in range(p, strips * tl.cdiv(low_h, length), program_count):
            begin = piece // strips * length
            first, second = _deep_piece(
                d + large * CS, deep + small * DS, norm, deep_norm + b * 4 * D, deep_slope,
                row_back + b * low_h * DEPTH, column_back + b * low_w * DEPTH, u + small * DS, low_h, low_w,
                height, width, piece % strips * MINE, begin, tl.minimum(begin + length, low_h), c, D, DS, C,
                CS, BC, MINE, STEP, DEPTH,
            )  # fmt: skip
            sums += first
            with_h += second
        store_sums(rows + p * 2 * D, c, c < D, sums, with_h, D)
        finish_gradient(
            rows, counter, program_count, means + b * 2 * D, dgamma, dbeta, c, c < D, height * width, D, P
        )
    else:
        s = (part - DEEP_BLOCKS) * BC + tl.arange(0, BC)
        first, second = _skip_sums(
            d + large * CS, skip + large * SS, skip_norm + b * 4 * S, norm, skip_slope, height * width, p,
            program_count, s, D, S, SS, CS, M, BC,
        )  # fmt: skip
        rows += program_count * 2 * D
        store_sums(rows + p * 2 * S, s, s < S, first, second, S)
        finish_gradient(
            rows, counter, program_count, skip_means + b * 2 * S, dgamma + D, dbeta + D, s, s < S,
            height * width, S, P,
        )  # fmt: skip


def gather(
    d: Any, skip: Layer | None, deep: Layer, norm: Any, rows: Axis, columns: Axis, u: Any, means: Any,
    skip_means: Any, dgamma: Any, dbeta: Any, scratch: Scratch,
) -> None:  # fmt: skip
    """u = T^T d for ``merge_backward_deep``, and what it and ``merge_backward_skip`` take for means.

    Args:
        d: cells [B, n, m, >= D + S]: the gradient by the normalised merged picture, deep channels first.
        skip: [B, n, m], or None.
        deep: [B, h, w].
        norm: of the merge, float32 [B, 4, D + S].
        rows, columns: filled tables.
        u: cells [B, h, w, S], written.
        means: float32 [B, 2, D], written: the mean of d, and of d h, of the deep channels.
        skip_means: the same of the skip's, float32 [B, 2, S]; None without skip.
        dgamma, dbeta: [B, D + S] float32 of the merge's norm; stride(0) free; written.
        scratch: 2 (D + S) numbers a program.
    """
    fits, low_h, low_w = deep.shape
    step, mine, wide = rows.step, used_lower_columns(rows.step), block(deep.channels, 64)
    skips = skip.channels if skip else 0
    other, tile = skip or deep, 64
    deep_blocks, strips = pieces(deep.channels, wide), pieces(low_w, mine)
    length = strip_rows(low_h, strips)
    work = max(strips * pieces(low_h, length), pieces(rows.count * columns.count, tile) if skip else 0)
    launch(
        _gather, (programs(work), deep_blocks + pieces(skips, wide), fits), d, other.values, other.norm,
        other.slope, deep.values, deep.norm, deep.slope, norm, rows.back, columns.back, u, low_h, low_w,
        rows.count, columns.count, strips, length, means, means if skip is None else skip_means, dgamma,
        dgamma.stride(0), dbeta, dbeta.stride(0), scratch.partials, scratch.counters, warps=8, stages=3,
        D=deep.channels, DS=deep.values.shape[3], S=skips, SS=other.values.shape[3], CS=d.shape[3],
        DEEP_BLOCKS=deep_blocks, MINE=mine, STEP=step, DEPTH=rows.back.shape[2], M=tile, BC=wide,
        P=ROWS_AT_ONCE, PER_FIT=COUNTERS,
    )  # fmt: skip
