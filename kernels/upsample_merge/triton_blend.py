"""The pointwise convolution of the merged picture, from its deep part at low resolution.

A program walks down a strip of columns. For a row of the result it multiplies the two lower rows that the
row lies between by a matrix of weights (``triton_strips``), adds the skip's few channels as one more product,
rounds to cells and adds up the statistics of what it stored. The products take a sixth of the time that the
memory does; blending four neighbours by hand costs 15 to 20 operations a value, as long as the memory needs.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.activation import activated
from dipedge.kernels.gpu.launch import COUNTERS, ROWS_AT_ONCE, Scratch, block, launch, programs
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import finish_norm, joined, store_moments
from dipedge.kernels.upsample_merge.triton_axis import Axis
from dipedge.kernels.upsample_merge.triton_strips import (
    LOWER,
    enlarging_columns,
    enlarging_row,
    pieces,
    strip_rows,
    used_columns,
)

SHARE = 2  # one program fills a multiprocessor


@triton.jit
def skip_numbers(norm, merge_norm, s, D: tl.constexpr, S: tl.constexpr):
    """Of skip channels s [BS]: scale and shift of their own norm, mean and scale in the merge's."""
    inside = s < S
    scale = tl.load(norm + 2 * S + s, mask=inside, other=0.0)
    shift = tl.load(norm + 3 * S + s, mask=inside, other=0.0)
    mean = tl.load(merge_norm + D + s, mask=inside, other=0.0)
    return scale, shift, mean, tl.load(merge_norm + 2 * (D + S) + D + s, mask=inside, other=0.0)


@triton.jit
def skip_rstd(merge_norm, s, D: tl.constexpr, S: tl.constexpr):
    """Of skip channels s [BS]: rstd in the merge's norm."""
    return tl.load(merge_norm + (D + S) + D + s, mask=s < S, other=0.0)


@triton.jit
def centred_skip(skip, pixels, valid, s, scale, shift, mean, slope, SS: tl.constexpr):
    """act(skip) less its mean in the merge, [M, BS] of pixels [M] and skip channels s [BS].

    What is not ``valid`` [M, BS] gives 0. The merge's shift is left out: behind the convolution it is one
    constant a channel, which the next norm takes off again, and without it the products in bfloat16 are of
    small numbers.
    """
    y = tl.load(skip + pixels[:, None] * SS + s[None, :], mask=valid, other=0.0).to(tl.float32)
    return tl.where(valid, activated(y, scale, shift, slope) - mean[None, :], 0.0)


@triton.jit
def skip_weights(weight, weight_row, s, o, D: tl.constexpr, S: tl.constexpr, O: tl.constexpr):
    """The convolution's weights [BS, BO] of skip channels s."""
    inside = (s < S)[:, None] & (o < O)[None, :]
    return tl.load(weight + o[None, :] * weight_row + s[:, None], mask=inside, other=0.0)


@triton.jit
def _with_skip(
    value,
    skip,
    pixels,
    there,
    s,
    scale,
    shift,
    mean,
    factor,
    slope,
    weights,
    S: tl.constexpr,
    SS: tl.constexpr,
):
    """``value`` [16 STEP, BO] and the share of skip channels s, whose ``weights`` are [BS, BO]."""
    valid = there[:, None] & (s < S)[None, :]
    centred = centred_skip(skip, pixels, valid, s, scale, shift, mean, slope, SS)
    return tl.dot((centred * factor[None, :]).to(weights.dtype), weights, value, input_precision="ieee")


@triton.jit
def _moments(count, centre, sums, squares):
    """Count, mean and squared deviations [BO] from sums [M, BO] of values less ``centre`` and of their
    squares."""
    share = tl.maximum(count, 1.0)
    moved = tl.sum(sums, axis=0) / share
    return count, centre + moved, tl.maximum(tl.sum(squares, axis=0) - moved * moved * share, 0.0)


@triton.jit
def _more_skip(
    value, skip, skip_norm, norm, slope, pixels, there, weight, weight_row, o,
    D: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, O: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """``value`` [16 STEP, BO] and the share of the skip's channels from BS on (rare: a skip is narrow)."""
    for chunk in tl.static_range(BS, S, BS):
        s = chunk + tl.arange(0, BS)
        scale, shift, mean, factor = skip_numbers(skip_norm, norm, s, D, S)
        weights = skip_weights(weight, weight_row, s, o, D, S, O)
        value = _with_skip(value, skip, pixels, there, s, scale, shift, mean, factor, slope, weights, S, SS)
    return value


@triton.jit
def _blend_piece(
    z, skip, skip_norm, norm, slope, weight, weight_row, row_first, row_weight, column_first,
    column_weight, y, low_h, low_w, height, width, strip, begin, end, o,
    D: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, O: tl.constexpr, OS: tl.constexpr, BO: tl.constexpr,
    BS: tl.constexpr, USED: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Writes steps begin ... end - 1 of a strip; count, mean and squared deviations [BO] of what it wrote."""
    s = tl.arange(0, BS)
    of_skip = skip_weights(weight, weight_row, s, o, D, S, O)
    scale, shift, mean, factor = skip_numbers(skip_norm, norm, s, D, S)
    start = strip * (USED // STEP) - 1
    output = strip * USED - (STEP - 1)
    columns = enlarging_columns(column_first, column_weight, start, output, width, low_w, USED, STEP)
    i = tl.arange(0, 2 * LOWER)
    # Clamped, not masked: what has no weight must only be finite, and then the mean below is of real values.
    lower = tl.minimum(tl.maximum(start + i % LOWER, 0), low_w - 1)
    q = tl.arange(0, LOWER * STEP)
    count = 0.0
    centre = tl.zeros([BO], tl.float32)
    sums = tl.zeros([LOWER * STEP, BO], tl.float32)
    squares = tl.zeros([LOWER * STEP, BO], tl.float32)
    for step in range(begin, end):
        upper = step - 1 if STEP == 2 else tl.load(row_first + step)
        at = tl.minimum(tl.maximum(upper + i // LOWER, 0), low_h - 1) * low_w + lower
        rows = tl.load(z + at[:, None] * OS + o[None, :], mask=(o < O)[None, :], other=0.0)
        if step == begin:  # a number near the mean, so that squares lose nothing
            centre = tl.sum(rows.to(tl.float32), axis=0) / (2 * LOWER)
        for e in tl.static_range(STEP):
            wanted = STEP * step + e - (STEP - 1)
            row = tl.minimum(tl.maximum(wanted, 0), height - 1)
            weights = columns * enlarging_row(row_first, row_weight, upper, row, low_h)[None, :]
            value = tl.dot(weights.to(rows.dtype), rows, input_precision="ieee")
            limit = tl.where(row == wanted, width, 0)  # no pixel is there in a row that is not
            there = (q < USED) & (output + q >= 0) & (output + q < limit)
            pixels = row * width + output + q
            if S > 0:
                value = _with_skip(
                    value, skip, pixels, there, s, scale, shift, mean, factor, slope, of_skip, S, SS
                )
                value = _more_skip(
                    value, skip, skip_norm, norm, slope, pixels, there, weight, weight_row, o, D, S, SS, O, BS
                )
            stored = value.to(rows.dtype)
            valid = there[:, None] & (o < O)[None, :]
            tl.store(y + pixels[:, None] * OS + o[None, :], stored, mask=valid)
            apart = tl.where(there[:, None], stored.to(tl.float32) - centre[None, :], 0.0)
            sums += apart
            squares += apart * apart
            count += tl.sum(there.to(tl.float32), axis=0)
    return _moments(count, centre, sums, squares)


@triton.jit
def _blend(
    z, skip, skip_norm, norm, slope, weight, weight_fit, weight_row, row_first, row_weight, column_first,
    column_weight, y, low_h, low_w, height, width, strips, steps, length, gamma, gamma_fit, beta, beta_fit,
    eps, y_norm, partials, counters,
    D: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, O: tl.constexpr, OS: tl.constexpr, BO: tl.constexpr,
    BS: tl.constexpr, USED: tl.constexpr, STEP: tl.constexpr, P: tl.constexpr, PER_FIT: tl.constexpr,
):  # fmt: skip
    p, part, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    program_count = tl.num_programs(0)
    fit = b.to(tl.int64)
    o = part * BO + tl.arange(0, BO)
    weight += fit * weight_fit
    count = 0.0
    mean = tl.zeros([BO], tl.float32)
    squares = tl.zeros([BO], tl.float32)
    for piece in range(p, strips * tl.cdiv(steps, length), program_count):
        begin = piece // strips * length
        fresh_count, fresh_mean, fresh_squares = _blend_piece(
            z + fit * low_h * low_w * OS, skip + fit * height * width * SS, skip_norm + b * 4 * S,
            norm + b * 4 * (D + S), slope, weight, weight_row, row_first + b * height,
            row_weight + b * height, column_first + b * width, column_weight + b * width,
            y + fit * height * width * OS, low_h, low_w, height, width, piece % strips, begin,
            tl.minimum(begin + length, steps), o, D, S, SS, O, OS, BO, BS, USED, STEP,
        )  # fmt: skip
        count, mean, squares = joined(count, mean, squares, fresh_count, fresh_mean, fresh_squares)
    rows = partials + fit * program_count * 3 * O
    store_moments(rows + p * 3 * O, o, o < O, count, mean, squares, O)
    finish_norm(
        rows, counters + b * PER_FIT + part, program_count, gamma + b * gamma_fit, beta + b * beta_fit,
        y_norm + b * 4 * O, o, o < O, eps, O, P,
    )  # fmt: skip


def blend(
    z: Any, skip: Layer | None, norm: Any, weight_skip: Any, rows: Axis, columns: Axis, output: Layer,
    gamma: Any, beta: Any, eps: float, scratch: Scratch,
) -> None:  # fmt: skip
    """y = up(z) + W_s scale_s (act(skip) - mean_s), and the norm of y.

    That is the convolution of the merged picture but for a constant a channel, which the norm takes off.

    Args:
        z: cells [B, h, w, S]: the deep channels' share, before enlarging.
        skip: [B, n, m], or None.
        norm: of the merge, float32 [B, 4, D + S].
        weight_skip: cells [B, O, 1, 1, S], a view of the columns D ... of the weights; None without skip.
        rows, columns: filled tables.
        output: values and norm are written.
        gamma, beta: [B, O] float32 of the norm behind; stride(0) free.
        eps: added to the variance.
        scratch: 3 O numbers a program.
    """
    fits, low_h, low_w = z.shape[:3]
    step, wide = rows.step, block(output.channels, 128 if z.element_size() == 2 else 64)
    skips = skip.channels if skip else 0
    other, weight = skip or output, z if weight_skip is None else weight_skip
    # With two rows a lower one, the rows of a step lie between the same two lower rows: 0 | 1 2 | 3 4 | ...
    steps, across = (
        (rows.count // 2 + 1, columns.count // 2 + 1) if step == 2 else (rows.count, columns.count)
    )
    strips = pieces(across, used_columns(step) // step)
    length = strip_rows(steps, strips, SHARE)
    grid = (programs(strips * pieces(steps, length), SHARE), pieces(output.channels, wide), fits)
    launch(
        _blend, grid, z, other.values, other.norm, norm, other.slope, weight, weight.stride(0),
        weight.stride(1), rows.first, rows.weight, columns.first, columns.weight, output.values, low_h, low_w,
        rows.count, columns.count, strips, steps, length, gamma, gamma.stride(0), beta, beta.stride(0), eps,
        output.norm, scratch.partials, scratch.counters, warps=8, stages=3 if z.element_size() == 2 else 2,
        D=norm.shape[2] - skips, S=skips, SS=other.values.shape[3], O=output.channels, OS=z.shape[3],
        BO=wide, BS=block(skips, 32), USED=used_columns(step), STEP=step, P=ROWS_AT_ONCE, PER_FIT=COUNTERS,
    )  # fmt: skip
