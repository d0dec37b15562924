"""Mean and variance of the merged picture, without enlarging anything.

With T the enlarging of one side, the squares of an enlarged channel add up to x^T (R ⊗ C) x, R = T^T T of the
rows and C of the columns, both tridiagonal (``Axis.gram``). A program walks down a strip and keeps of the row
before only C's product with it: 22 operations for each lower value in place of about 25 for each of the four
values it becomes. x is the activation less act(beta), a number near its mean that is known beforehand
(beforehand a channel is centred on beta), so that nothing is lost by taking the mean's square off at the end.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.activation import activated
from dipedge.kernels.gpu.launch import COUNTERS, ROWS_AT_ONCE, Scratch, block, launch, programs
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import all_sums, is_last, store_sums
from dipedge.kernels.upsample_merge.triton_axis import Axis
from dipedge.kernels.upsample_merge.triton_strips import pieces, strip_rows


@triton.jit
def near_mean(norm, c, inside, slope, C: tl.constexpr):
    """Scale and shift [c] of a layer's norm [4, C], and act(beta): a value near the mean of its act."""
    mean = tl.load(norm + c, mask=inside, other=0.0)
    scale = tl.load(norm + 2 * C + c, mask=inside, other=0.0)
    shift = tl.load(norm + 3 * C + c, mask=inside, other=0.0)
    beta = scale * mean + shift
    return scale, shift, tl.where(beta > 0, beta, slope * beta)


@triton.jit
def _load(y, pixels, there, c, inside, scale, shift, slope, centre, S: tl.constexpr):
    """act - centre of pixels [M], float32 [M, C]."""
    at = pixels[:, None] * S + c[None, :]
    value = tl.load(y + at, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)
    return activated(value, scale, shift, slope) - centre[None, :]


@triton.jit
def _deep_sums(
    y, norm, slope, row_gram, column_gram, low_h, low_w, strips, length, program, programs_all, c, inside,
    C: tl.constexpr, S: tl.constexpr, M: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Sums [BC] over the enlarged picture of x and of x^2, by this program's pieces of strips."""
    scale, shift, centre = near_mean(norm, c, inside, slope, C)
    sums = tl.zeros([M, BC], tl.float32)
    squares = tl.zeros([M, BC], tl.float32)
    for piece in range(program, strips * tl.cdiv(low_h, length), programs_all):
        begin = piece // strips * length
        end = tl.minimum(begin + length, low_h)
        j = piece % strips * M + tl.arange(0, M)
        total = tl.load(column_gram + j, mask=j < low_w, other=0.0)
        own = tl.load(column_gram + low_w + j, mask=j < low_w, other=0.0)
        beside = tl.load(column_gram + 2 * low_w + j, mask=j < low_w, other=0.0)
        right = j + 1 < low_w
        above = tl.maximum(begin - 1, 0) * low_w + j
        left_above = _load(y, above, j < low_w, c, inside, scale, shift, slope, centre, S)
        right_above = _load(y, above + 1, right, c, inside, scale, shift, slope, centre, S)
        across_above = own[:, None] * left_above + beside[:, None] * right_above
        along_above = beside[:, None] * left_above
        for i in range(begin, end):
            at = i * low_w + j
            x = _load(y, at, j < low_w, c, inside, scale, shift, slope, centre, S)
            x_right = _load(y, at + 1, right, c, inside, scale, shift, slope, centre, S)
            along = beside[:, None] * x
            across = own[:, None] * x + beside[:, None] * x_right
            with_above = 2 * tl.load(row_gram + 2 * low_h + i - 1, mask=i > 0, other=0.0)
            squares += tl.load(row_gram + low_h + i) * (x * across + along * x_right)
            squares += with_above * (x * across_above + x_right * along_above)
            sums += (tl.load(row_gram + i) * total)[:, None] * x
            across_above = across
            along_above = along
    return tl.sum(sums, axis=0), tl.sum(squares, axis=0), centre


@triton.jit
def _skip_sums(
    y, norm, slope, pixels, program, programs_all, c, inside,
    C: tl.constexpr, S: tl.constexpr, M: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Sums [BC] over the skip's picture of x and of x^2, by this program's tiles."""
    scale, shift, centre = near_mean(norm, c, inside, slope, C)
    sums = tl.zeros([M, BC], tl.float32)
    squares = tl.zeros([M, BC], tl.float32)
    for tile in range(program, tl.cdiv(pixels, M), programs_all):
        at = tile * M + tl.arange(0, M)
        x = _load(y, at, at < pixels, c, inside, scale, shift, slope, centre, S)
        x = tl.where((at < pixels)[:, None], x, 0.0)
        sums += x
        squares += x * x
    return tl.sum(sums, axis=0), tl.sum(squares, axis=0), centre


@triton.jit
def _finish(
    rows, counter, programs_all, gamma, beta, norm, centre, c, inside, pixels, eps,
    C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """The last program makes the merge's norm of all programs' sums around ``centre``."""
    if is_last(counter, programs_all):
        sums, squares = all_sums(rows, programs_all, c, inside, C, P)
        moved = sums / pixels
        variance = tl.maximum(squares / pixels - moved * moved, 0.0)
        rstd = 1.0 / tl.sqrt(variance + eps)
        mean = centre + moved
        scale = tl.load(gamma + c, mask=inside, other=0.0) * rstd
        tl.store(norm + c, mean, mask=inside)
        tl.store(norm + C + c, rstd, mask=inside)
        tl.store(norm + 2 * C + c, scale, mask=inside)
        tl.store(norm + 3 * C + c, tl.load(beta + c, mask=inside, other=0.0) - mean * scale, mask=inside)


@triton.jit
def _statistics(
    deep, deep_norm, deep_slope, skip, skip_norm, skip_slope, row_gram, column_gram, low_h, low_w, strips,
    length, pixels, gamma, gamma_fit, beta, beta_fit, eps, norm, partials, counters,
    D: tl.constexpr, DS: tl.constexpr, S: tl.constexpr, SS: tl.constexpr, DEEP_BLOCKS: tl.constexpr,
    M: tl.constexpr, BC: tl.constexpr, P: tl.constexpr, PER_FIT: tl.constexpr,
):  # fmt: skip
    C: tl.constexpr = D + S
    p, part, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    program_count = tl.num_programs(0)
    fit = b.to(tl.int64)
    channel = tl.arange(0, BC)
    if part < DEEP_BLOCKS:
        c = part * BC + channel
        inside = c < D
        sums, squares, centre = _deep_sums(
            deep + fit * low_h * low_w * DS, deep_norm + b * 4 * D, deep_slope, row_gram + b * 3 * low_h,
            column_gram + b * 3 * low_w, low_h, low_w, strips, length, p, program_count, c, inside, D, DS, M,
            BC,
        )  # fmt: skip
    else:
        s = (part - DEEP_BLOCKS) * BC + channel
        c = D + s
        inside = s < S
        sums, squares, centre = _skip_sums(
            skip + fit * pixels * SS, skip_norm + b * 4 * S, skip_slope, pixels, p, program_count, s, inside,
            S, SS, M, BC,
        )  # fmt: skip
    rows = partials + fit * program_count * 2 * C
    store_sums(rows + p * 2 * C, c, inside, sums, squares, C)
    _finish(
        rows, counters + b * PER_FIT + part, program_count, gamma + b * gamma_fit, beta + b * beta_fit,
        norm + b * 4 * C, centre, c, inside, pixels, eps, C, P,
    )  # fmt: skip


def merge_statistics(
    skip: Layer | None, deep: Layer, rows: Axis, columns: Axis, gamma: Any, beta: Any, eps: float, norm: Any,
    scratch: Scratch,
) -> None:  # fmt: skip
    """The merge's norm: over the n x m pixels of the enlarged act(deep), and of act(skip).

    Args:
        skip: [B, n, m], or None.
        deep: [B, h, w].
        rows, columns: filled tables.
        gamma, beta: [B, D + S] float32, the deep channels first; stride(0) free.
        eps: added to the variance.
        norm: float32 [B, 4, D + S], written.
        scratch: 2 (D + S) numbers a program.
    """
    fits, low_h, low_w = deep.shape
    wide, tile = block(deep.channels, 64), 16
    strips = pieces(low_w, tile)
    length = strip_rows(low_h, strips)
    pixels = rows.count * columns.count
    deep_blocks = pieces(deep.channels, wide)
    other = skip or deep
    skips = skip.channels if skip else 0
    work = max(strips * pieces(low_h, length), pieces(pixels, tile) if skip else 0)
    grid = (programs(work), deep_blocks + pieces(skips, wide), fits)
    launch(
        _statistics, grid, deep.values, deep.norm, deep.slope, other.values, other.norm, other.slope,
        rows.gram, columns.gram, low_h, low_w, strips, length, pixels, gamma, gamma.stride(0), beta,
        beta.stride(0), eps, norm, scratch.partials, scratch.counters, warps=8,
        D=deep.channels, DS=deep.values.shape[3], S=skips, SS=other.values.shape[3],
        DEEP_BLOCKS=deep_blocks, M=tile, BC=wide, P=ROWS_AT_ONCE, PER_FIT=COUNTERS,
    )  # fmt: skip
