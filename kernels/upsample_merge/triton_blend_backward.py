"""The way back through ``blend``: one pass over the gradient and y of the up convolution.

A program walks down a strip of lower columns and takes one row of the result after the other. It makes
the gradient by y once for each value, in cells, and multiplies it by the transposed weights into the two or
three lower rows that those rows reach, by the skip's weights (the skip's gradient) and by the skip itself
(its weights' gradient). A lower row that no later row reaches is written; nothing is added in memory. Beside
its own columns a strip reads 2 of its neighbours' (7 %), and a piece of a strip 1 row more than it has.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import COUNTERS, ROWS_AT_ONCE, Scratch, block, launch, programs
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.moments import finish_gradient, store_sums
from dipedge.kernels.upsample_merge.triton_axis import Axis
from dipedge.kernels.upsample_merge.triton_blend import (
    SHARE,
    centred_skip,
    skip_numbers,
    skip_rstd,
    skip_weights,
)
from dipedge.kernels.upsample_merge.triton_strips import (
    LOWER,
    gathering_columns,
    gathering_row,
    pieces,
    strip_rows,
    used_lower_columns,
)


@triton.jit
def _coefficients(norm, means, o, O: tl.constexpr):
    """The gradient by y is scale g + of_y (y - mean) + constant: the four, [BO], 0 for surplus channels."""
    inside = o < O
    mean = tl.load(norm + o, mask=inside, other=0.0)
    rstd = tl.load(norm + O + o, mask=inside, other=0.0)
    scale = tl.load(norm + 2 * O + o, mask=inside, other=0.0)
    of_y = -scale * rstd * tl.load(means + O + o, mask=inside, other=0.0)
    return scale, of_y, mean, -scale * tl.load(means + o, mask=inside, other=0.0)


@triton.jit
def _by_y(gradient, y, pixels, valid, o, scale, of_y, mean, constant, OS: tl.constexpr):
    """The gradient by y, and g and y that it is made of: cells [M, BO] of pixels [M].

    Finite where it is not ``valid``; what is made of it there has weight 0.
    """
    at = pixels[:, None] * OS + o[None, :]
    g = tl.load(gradient + at, mask=valid, other=0.0)
    value = tl.load(y + at, mask=valid, other=0.0)
    dc = scale[None, :] * g.to(tl.float32) + constant[None, :]
    return (dc + of_y[None, :] * (value.to(tl.float32) - mean[None, :])).to(g.dtype), g, value


@triton.jit
def _skip_factors(
    weight, weight_row, s, o, scale, of_y, mean, constant, D: tl.constexpr, S: tl.constexpr, O: tl.constexpr
):
    """W^T dc is of_g g + of_y y + a constant: the two, cells [BS, BO], and the third, [BS]."""
    weights = skip_weights(weight, weight_row, s, o, D, S, O)
    by_g = (weights.to(tl.float32) * scale[None, :]).to(weights.dtype)
    by_y = (weights.to(tl.float32) * of_y[None, :]).to(weights.dtype)
    apart = weights.to(tl.float32) * constant[None, :] - by_y.to(tl.float32) * mean[None, :]
    return by_g, by_y, tl.sum(apart, axis=1)


@triton.jit
def _skip_row(
    dc, g, y, skip, scale, shift, mean, rstd, factor, slope, of_g, of_y, constant, dskip, pixels, there, s,
    of_weight, sums, with_h, S: tl.constexpr, SS: tl.constexpr,
):  # fmt: skip
    """Writes the skip's gradient at ``pixels`` and adds to its sums and to its weights' gradient [BS, BO]."""
    valid = there[:, None] & (s < S)[None, :]
    centred = centred_skip(skip, pixels, valid, s, scale, shift, mean, slope, SS)
    scaled = (centred * factor[None, :]).to(dc.dtype)
    of_weight = tl.dot(tl.trans(scaled), dc, of_weight, input_precision="ieee")
    # W^T dc, from what dc is made of: that product wants dc laid out otherwise, and would make it twice.
    fresh = (
        tl.dot(of_y, tl.trans(y), tl.dot(of_g, tl.trans(g), input_precision="ieee"), input_precision="ieee")
        + constant[:, None]
    )
    stored = tl.trans(fresh).to(dc.dtype)
    tl.store(dskip + pixels[:, None] * SS + s[None, :], stored, mask=valid)
    own = tl.where(valid, stored.to(tl.float32), 0.0)
    return of_weight, sums + own, with_h + own * centred * rstd[None, :]


@triton.jit
def _store_lower(to, values, start, limit, o, O: tl.constexpr, OS: tl.constexpr, MINE: tl.constexpr):
    """Stores a lower row's columns from ``start`` on of ``values`` [16, BO], as far as ``limit``."""
    j = tl.arange(0, LOWER)
    there = (j < MINE) & (start + j < limit)
    at = (start + j)[:, None] * OS + o[None, :]
    tl.store(to + at, values.to(to.dtype.element_ty), mask=there[:, None] & (o < O)[None, :])


@triton.jit
def _backward_piece(
    gradient, means, y, y_norm, skip, skip_norm, norm, slope, weight, weight_row, row_back, column_back, dz,
    dskip, low_h, low_w, height, width, start, begin, end, limit, s, o, of_weight, sums, with_h,
    D: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, O: tl.constexpr, OS: tl.constexpr, BO: tl.constexpr,
    MINE: tl.constexpr, STEP: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Lower rows begin ... end - 1 of the strip at lower column ``start``; the skip's sums go on.

    Lower columns from ``limit`` on are not written: the picture's, or 0 where another program writes them.
    """
    scale, of_y, mean, constant = _coefficients(y_norm, means, o, O)
    s_scale, s_shift, s_mean, s_factor = skip_numbers(skip_norm, norm, s, D, S)
    s_rstd = skip_rstd(norm, s, D, S)
    skip_by_g, skip_by_y, skip_constant = _skip_factors(
        weight, weight_row, s, o, scale, of_y, mean, constant, D, S, O
    )
    gathering = gathering_columns(column_back, start, low_w, MINE, STEP, DEPTH)
    q = tl.arange(0, LOWER * STEP)
    column = STEP * start - 1 + q
    inside = (column >= 0) & (column < width)
    done = tl.zeros([LOWER, BO], tl.float32)
    after = tl.zeros([LOWER, BO], tl.float32)
    later = tl.zeros([LOWER, BO], tl.float32)
    for taken in range(0, STEP * (end - begin - STEP + 3)):
        i = begin + STEP - 3 + taken // STEP  # the lower row that its step's last row completes
        row = STEP * (begin + STEP - 3) + taken + 1
        there = inside & (column < tl.where(row >= 0, tl.where(row < height, width, 0), 0))
        pixels = row * width + column
        valid = there[:, None] & (o < O)[None, :]
        dc, g, value = _by_y(gradient, y, pixels, valid, o, scale, of_y, mean, constant, OS)
        weights = gathering * gathering_row(row_back, i, begin, end, row, STEP, DEPTH)
        done = tl.dot(weights.to(dc.dtype), dc, done, input_precision="ieee")
        weights = gathering * gathering_row(row_back, i + 1, begin, end, row, STEP, DEPTH)
        after = tl.dot(weights.to(dc.dtype), dc, after, input_precision="ieee")
        if STEP == 1:
            weights = gathering * gathering_row(row_back, i + 2, begin, end, row, STEP, DEPTH)
            later = tl.dot(weights.to(dc.dtype), dc, later, input_precision="ieee")
        if S > 0:
            # A pixel belongs to the lower one it lies in; the strip's other columns are its neighbours'.
            right = tl.where(row >= STEP * begin, tl.where(row < STEP * end, STEP * (start + MINE), 0), 0)
            owned = there & (column >= STEP * start) & (column < right)
            of_weight, sums, with_h = _skip_row(
                dc, g, value, skip, s_scale, s_shift, s_mean, s_rstd, s_factor, slope, skip_by_g, skip_by_y,
                skip_constant, dskip, pixels, owned, s, of_weight, sums, with_h, S, SS,
            )  # fmt: skip
        complete = taken % STEP == STEP - 1
        to_write = tl.where(i >= begin, tl.where(complete, limit, 0), 0)
        _store_lower(dz + i * low_w * OS, done, start, to_write, o, O, OS, MINE)
        done = tl.where(complete, after, done)
        after = tl.where(complete, later, after)
        if STEP == 1:
            later = tl.zeros([LOWER, BO], tl.float32)
    return of_weight, sums, with_h


@triton.jit
def _blend_backward(
    gradient, means, y, y_norm, skip, skip_norm, norm, slope, weight, weight_fit, weight_row, row_back,
    column_back, dz, dskip, low_h, low_w, height, width, strips, length, of_weights, partial_fit,
    partial_slot, partial_row, skip_means, dgamma, dgamma_fit, dbeta, dbeta_fit, partials, counters,
    D: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, O: tl.constexpr, OS: tl.constexpr, BO: tl.constexpr,
    BS: tl.constexpr, MINE: tl.constexpr, STEP: tl.constexpr, DEPTH: tl.constexpr,
    P: tl.constexpr, PER_FIT: tl.constexpr,
):  # fmt: skip
    p, chunk, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    program_count = tl.num_programs(0)
    fit = b.to(tl.int64)
    o = tl.arange(0, BO)
    s = chunk * BS + tl.arange(0, BS)
    large, small = fit * height * width, fit * low_h * low_w
    of_weight = tl.zeros([BS, BO], tl.float32)
    sums = tl.zeros([LOWER * STEP, BS], tl.float32)
    with_h = tl.zeros([LOWER * STEP, BS], tl.float32)
    for piece in range(p, strips * tl.cdiv(low_h, length), program_count):
        begin = piece // strips * length
        of_weight, sums, with_h = _backward_piece(
            gradient + large * OS, means + b * 2 * O, y + large * OS, y_norm + b * 4 * O, skip + large * SS,
            skip_norm + b * 4 * S, norm + b * 4 * (D + S), slope, weight + fit * weight_fit, weight_row,
            row_back + b * low_h * DEPTH, column_back + b * low_w * DEPTH, dz + small * OS, dskip + large *
            SS, low_h, low_w, height, width, piece % strips * MINE, begin, tl.minimum(begin + length, low_h),
            tl.where(chunk == 0, low_w, 0), s, o, of_weight, sums, with_h, D, S, SS, O, OS, BO, MINE, STEP,
            DEPTH,
        )  # fmt: skip
    if S > 0:
        slot = of_weights + fit * partial_fit + p * partial_slot
        both = (s < S)[:, None] & (o < O)[None, :]
        tl.store(slot + o[None, :] * partial_row + s[:, None], of_weight, mask=both)
        rows = partials + fit * program_count * 2 * S
        store_sums(rows + p * 2 * S, s, s < S, tl.sum(sums, axis=0), tl.sum(with_h, axis=0), S)
        finish_gradient(
            rows, counters + b * PER_FIT + chunk, program_count, skip_means + b * 2 * S, dgamma + b *
            dgamma_fit, dbeta + b * dbeta_fit, s, s < S, height * width, S, P,
        )  # fmt: skip


def blend_partials(low_h: int, low_w: int, step: int) -> int:
    """How many partial sums of the weights' gradient ``blend_backward`` works best with."""
    strips = pieces(low_w, used_lower_columns(step))
    return programs(strips * pieces(low_h, strip_rows(low_h, strips, SHARE)), SHARE)


def blend_backward(
    gradient: Gradient, output: Layer, skip: Layer | None, norm: Any, weight_skip: Any, rows: Axis,
    columns: Axis, dz: Any, dskip: Any, weight_partials: Any, skip_means: Any, dgamma: Any, dbeta: Any,
    scratch: Scratch,
) -> None:  # fmt: skip
    """The gradients by z, by the normalised skip channels and by their weights.

    Args:
        gradient: by the up layer.
        output: the up layer, as ``blend`` wrote it.
        skip, norm, weight_skip, rows, columns: as in ``blend``; without skip the arguments about it are None.
        dz: cells [B, h, w, S], written.
        dskip: cells [B, n, m, Ss], written: by the skip's channels of the normalised merge.
        weight_partials: float32 [B, P, O, 1, 1, S], a view of the columns D ... of the partial sums; written,
            whatever P is (``blend_partials`` is the best).
        skip_means: float32 [B, 2, S], written: the mean of dskip and of dskip h, h the normalised value.
        dgamma, dbeta: [B, S] float32 of the merge's norm, the skip's channels; stride(0) free; written.
        scratch: 2 S numbers a program.
    """
    fits, low_h, low_w = dz.shape[:3]
    step, mine = rows.step, used_lower_columns(rows.step)
    strips = pieces(low_w, mine)
    skips = skip.channels if skip else 0
    unused = output.norm  # in the place of what there is not
    other = skip or output
    weight = dz if skip is None else weight_skip
    partial = unused.unsqueeze(-1) if skip is None else weight_partials
    of_skip = (unused, unused, unused) if skip is None else (skip_means, dgamma, dbeta)
    count = blend_partials(low_h, low_w, step) if skip is None else weight_partials.shape[1]
    narrow = block(skips, 32)
    launch(
        _blend_backward, (count, max(1, pieces(skips, narrow)), fits), gradient.values, gradient.means,
        output.values, output.norm, other.values, other.norm, norm, other.slope, weight, weight.stride(0),
        weight.stride(1), rows.back, columns.back, dz, dz if skip is None else dskip, low_h, low_w,
        rows.count, columns.count, strips, strip_rows(low_h, strips, SHARE), partial, partial.stride(0),
        partial.stride(1), partial.stride(2), of_skip[0], of_skip[1], of_skip[1].stride(0), of_skip[2],
        of_skip[2].stride(0), scratch.partials, scratch.counters, warps=8, stages=4 if dz.element_size() == 2
        else 2, D=norm.shape[2] - skips, S=skips, SS=other.values.shape[3], O=output.channels, OS=dz.shape[3],
        BO=block(output.channels, 1 << 16), BS=narrow, MINE=mine, STEP=step,
        DEPTH=rows.back.shape[2], P=ROWS_AT_ONCE, PER_FIT=COUNTERS,
    )  # fmt: skip
