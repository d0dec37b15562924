"""How the enlarging and its transpose are cut: strips of columns that a program walks down, row by row.

A strip has 32 columns of the enlarged picture, of which 30 are written or belong to its lower columns: 30 is
what 16 lower ones (32 in a subsampled fit) determine between themselves. So a strip's columns are a small
constant matrix, and enlarging is a product on the tensor cores, whose weights (quarters and their products)
bfloat16 holds exactly.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import programs

WIDE = 32  # columns of the enlarged picture under one matrix
USED = 30  # of them that are a strip's own


def lower_columns(step: int) -> tuple[int, int]:
    """Lower columns in one matrix, and how many lower columns a strip of the transpose writes."""
    return (16, 15) if step == 2 else (32, 30)


def pieces(count: int, used: int) -> int:
    """Strips of ``used`` in ``count``."""
    return -(-count // used)


def strip_rows(rows: int, strips: int) -> int:
    """Rows of one piece of a strip: as long as leaves every program one piece, since each has a halo."""
    return -(-rows // max(1, programs(rows * strips) // strips))


@triton.jit
def enlarging_columns(first, weight, start, output, count, low, WL: tl.constexpr):
    """The columns' weights [32, 2 WL] of two lower rows beside each other; outputs from ``output`` on.

    ``start`` is the lower column of the first weight; columns outside the picture have none.
    """
    q = tl.arange(0, 32)
    there = (q < 30) & (output + q >= 0) & (output + q < count)
    near = tl.load(first + output + q, mask=there, other=-2)
    share = tl.load(weight + output + q, mask=there, other=0.0)
    behind = tl.minimum(near + 1, low - 1)
    i = start + tl.arange(0, 2 * WL) % WL
    own = tl.where((near[:, None] == i[None, :]) & there[:, None], 1.0 - share[:, None], 0.0)
    return own + tl.where((behind[:, None] == i[None, :]) & there[:, None], share[:, None], 0.0)


@triton.jit
def enlarging_row(first, weight, upper, row, low, WL: tl.constexpr):
    """The weights [2 WL] of the lower rows ``upper`` and upper + 1 in row ``row``, which must exist."""
    near = tl.load(first + row)
    share = tl.load(weight + row)
    i = upper + tl.arange(0, 2 * WL) // WL
    own = tl.where(near == i, 1.0 - share, 0.0)
    return own + tl.where(tl.minimum(near + 1, low - 1) == i, share, 0.0)


@triton.jit
def gathering_columns(
    back, start, low, WL: tl.constexpr, MINE: tl.constexpr, STEP: tl.constexpr, DEPTH: tl.constexpr
):
    """The transposed columns' weights [WL, 32 STEP] of ``MINE`` lower columns from ``start`` on; the 32
    columns of the enlarged picture start at STEP start - 1 and are repeated for each row of a step."""
    j = tl.arange(0, WL)[:, None]
    d = tl.arange(0, 32 * STEP)[None, :] % 32 - STEP * j
    there = (d >= 0) & (d < DEPTH) & (j < MINE) & (start + j < low)
    return tl.load(back + (start + j) * DEPTH + d, mask=there, other=0.0)


@triton.jit
def gathering_row(back, i, begin, end, row, STEP: tl.constexpr, DEPTH: tl.constexpr):
    """The weight of lower row i, if it is one of begin ... end - 1, in rows [32 STEP] of the result."""
    d = row - STEP * i + 1
    there = (d >= 0) & (d < tl.where(i >= begin, tl.where(i < end, DEPTH, 0), 0))
    return tl.load(back + i * DEPTH + d, mask=there, other=0.0)
