"""How the enlarging and its transpose are cut: strips of columns that a program walks down, row by row.

A strip is as wide as 16 lower columns: 32 columns of the enlarged picture (16 in a subsampled fit), of which
30 (14) are determined by those 16 alone. So a strip's columns are one small matrix for all its rows, and
enlarging is a product on the tensor cores, whose weights (quarters and their products) bfloat16 holds
exactly.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import programs

LOWER = tl.constexpr(16)  # lower columns under one matrix; the least that tl.dot takes


def used_columns(step: int) -> int:
    """Columns of the enlarged picture that one strip writes."""
    return 30 if step == 2 else 14


def used_lower_columns(step: int) -> int:
    """Lower columns that one strip of the transpose writes."""
    return 15 if step == 2 else 14


def pieces(count: int, used: int) -> int:
    """Strips of ``used`` in ``count``."""
    return -(-count // used)


def strip_rows(rows: int, strips: int, share: int = 1) -> int:
    """Rows of one piece of a strip: as long as leaves every program one piece, since each has a halo."""
    return -(-rows // max(1, programs(rows * strips, share) // strips))


@triton.jit
def enlarging_columns(first, weight, start, output, count, low, USED: tl.constexpr, STEP: tl.constexpr):
    """The columns' weights [16 STEP, 32] of two lower rows beside each other; outputs from ``output`` on.

    ``start`` is the lower column of the first weight; columns outside the picture have none.
    """
    q = tl.arange(0, LOWER * STEP)
    there = (q < USED) & (output + q >= 0) & (output + q < count)
    near = tl.load(first + output + q, mask=there, other=-2)
    share = tl.load(weight + output + q, mask=there, other=0.0)
    behind = tl.minimum(near + 1, low - 1)
    i = start + tl.arange(0, 2 * LOWER) % LOWER
    own = tl.where((near[:, None] == i[None, :]) & there[:, None], 1.0 - share[:, None], 0.0)
    return own + tl.where((behind[:, None] == i[None, :]) & there[:, None], share[:, None], 0.0)


@triton.jit
def enlarging_row(first, weight, upper, row, low):
    """The weights [32] of the lower rows ``upper`` and upper + 1 in row ``row``, which must exist."""
    near = tl.load(first + row)
    share = tl.load(weight + row)
    i = upper + tl.arange(0, 2 * LOWER) // LOWER
    own = tl.where(near == i, 1.0 - share, 0.0)
    return own + tl.where(tl.minimum(near + 1, low - 1) == i, share, 0.0)


@triton.jit
def gathering_columns(back, start, low, MINE: tl.constexpr, STEP: tl.constexpr, DEPTH: tl.constexpr):
    """The transposed columns' weights [16, 16 STEP] of ``MINE`` lower columns from ``start`` on; the columns
    of the enlarged picture start at STEP start - 1."""
    j = tl.arange(0, LOWER)[:, None]
    d = tl.arange(0, LOWER * STEP)[None, :] - STEP * j
    there = (d >= 0) & (d < DEPTH) & (j < MINE) & (start + j < low)
    return tl.load(back + (start + j) * DEPTH + d, mask=there, other=0.0)


@triton.jit
def gathering_row(back, i, begin, end, row, STEP: tl.constexpr, DEPTH: tl.constexpr):
    """The weight of lower row i, if it is one of begin ... end - 1, in row ``row`` of the result."""
    d = row - STEP * i + 1
    return tl.load(back + i * DEPTH + d, mask=(i >= begin) & (i < end) & (d >= 0) & (d < DEPTH), other=0.0)
