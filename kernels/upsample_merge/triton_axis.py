"""One side of the doubling as small tables, so that one kernel serves every kind of it.

Bilinear or nearest, odd sizes, and the positions a subsampled step draws anew differ in these tables alone;
the pictures' kernels only multiply by weights. The matrix T [n, low] has two weights a row. Its transpose is
kept as ``back``, and of T^T T, which is tridiagonal, the two diagonals: with them the statistics of the
enlarged picture and the way back through its norm are sums over the picture before it was enlarged.

``step`` S is how many rows one lower row has: 2, or 1 in a subsampled fit, where every pair of rows is seen
once. Row r then gets its values from lower rows near r / S, which is what bounds the tables' width.

Traffic: 2 KiB read and 11 KiB written for 512 rows, one launch for a side; for a whole picture it runs once,
in a subsampled fit in every step. Rejected: weights worked out where they are used (the sampled positions
would have to be read there, and the transposed weights need four of them for each value).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import launch


@dataclass(frozen=True)
class Axis:
    """The tables of one side, of every fit.

    Args:
        first: int32 [B, n]: the lower of the two rows that row r lies between.
        weight: float32 [B, n]: of row min(first + 1, low - 1); that of ``first`` is 1 - weight.
        back: float32 [B, low, D]: the weight of lower row i in row S i - 1 + d, 0 where there is no such row;
            D = 4 with S = 2, D = 3 with S = 1.
        gram: float32 [B, 3, low]: T^T 1, the diagonal of T^T T, and its entries (i, i + 1).
    """

    first: Any
    weight: Any
    back: Any
    gram: Any

    @staticmethod
    def empty(fits: int, count: int, low: int, sampled: bool, device: Any) -> Axis:
        """Unfilled tables of ``count`` rows over ``low`` lower ones."""
        depth = 3 if sampled else 4
        return Axis(
            torch.empty((fits, count), dtype=torch.int32, device=device),
            torch.empty((fits, count), dtype=torch.float32, device=device),
            torch.empty((fits, low, depth), dtype=torch.float32, device=device),
            torch.empty((fits, 3, low), dtype=torch.float32, device=device),
        )

    @property
    def count(self) -> int:
        """n, the rows of the enlarged picture."""
        return self.first.shape[1]

    @property
    def low(self) -> int:
        """The rows before enlarging."""
        return self.back.shape[1]

    @property
    def step(self) -> int:
        """S: 2, or 1 for sampled rows."""
        return 2 if self.back.shape[2] == 4 else 1


@triton.jit
def _source(position, NEAREST: tl.constexpr):
    """Of a row of the whole picture: the lower row before it, and the weight of the one behind."""
    half = position // 2
    if NEAREST:
        first = half
        weight = tl.zeros_like(position).to(tl.float32)
    else:
        odd = position % 2 == 1
        edge = position == 0  # half a pixel outside: the first row alone
        first = tl.where(odd | edge, half, half - 1)
        weight = tl.where(edge, 0.0, tl.where(odd, 0.25, 0.75))
    return first, weight


@triton.jit
def _entry(first, weight, i, low):
    """T[r, i] for a row with these two; at the last lower row both weights fall together."""
    behind = tl.minimum(first + 1, low - 1)
    return tl.where(first == i, 1.0 - weight, 0.0) + tl.where(behind == i, weight, 0.0)


@triton.jit
def _fill(
    positions, first, weight, back, gram, count, low,
    NEAREST: tl.constexpr, STEP: tl.constexpr, DEPTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    positions += b * count
    row, share = _source(tl.load(positions + i, mask=i < count, other=0), NEAREST)
    tl.store(first + b * count + i, row, mask=i < count)
    tl.store(weight + b * count + i, share, mask=i < count)

    total = tl.zeros([BLOCK], tl.float32)
    diagonal = tl.zeros([BLOCK], tl.float32)
    beside = tl.zeros([BLOCK], tl.float32)
    for d in tl.static_range(DEPTH):
        r = STEP * i - 1 + d
        there = (r >= 0) & (r < count)
        row, share = _source(tl.load(positions + r, mask=there, other=0), NEAREST)
        own = tl.where(there, _entry(row, share, i, low), 0.0)
        tl.store(back + (b * low + i) * DEPTH + d, own, mask=i < low)
        total += own
        diagonal += own * own
        beside += own * _entry(row, share, i + 1, low)
    gram += b * 3 * low
    tl.store(gram + i, total, mask=i < low)
    tl.store(gram + low + i, diagonal, mask=i < low)
    tl.store(gram + 2 * low + i, beside, mask=i < low)


def fill_axis(positions: Any, axis: Axis, nearest: bool) -> None:
    """Fills ``axis``.

    Args:
        positions: int32 [B, n]: where the rows of the result stand in the whole picture; all rows
            (0, 1, ..., n - 1) when axis.step is 2, else one of each pair, ascending.
        axis: written.
        nearest: rather than bilinear.
    """
    fits, count = positions.shape
    block = 128
    grid = (-(-max(count, axis.low) // block), fits)
    tables = (axis.first, axis.weight, axis.back, axis.gram)
    constants = {"NEAREST": nearest, "STEP": axis.step, "DEPTH": axis.back.shape[2], "BLOCK": block}
    launch(_fill, grid, positions, *tables, count, axis.low, **constants)
