"""Lanczos decimation d_t of float32 pictures, and its adjoint: the data term of super-resolution.

One launch each, both sides in it. A program takes one row of the result after the other: it filters down into
a line of its own (`filter_down`: the whole width, D rows of the source weighted and added), waits for its own
threads, and filters across from that line (`filtered_across`). The line is 6 KiB at 512 x 3 and stays in the
processor's cache; the half filtered picture is never read by another program, so it needs no launch of its
own and no room but one line per program. Which rows and columns a result reads stands in tables
(``triton_tables.py``): borders cost nothing, and the adjoint is the same kernel with transposed tables.

Traffic, 512x512x3 decimated by 4: 3.1 MB read once from memory (neighbouring rows read it again, up to 2 a
times, from L2), 0.2 MB written; the adjoint the other way round. Flops: 16 + 16 taps, 8 MFLOP. Both are
launches of a few microseconds, bound by latency, not by either: so few launches matter more than operations.
Registers: 48 and 32, of the data term's launches 48 each (sm_80 and sm_90), nothing spilt.

``residual_loss/triton_lanczos.py`` builds the data term's two launches from the same two functions. The
decimation behind a convolution is another thing (``triton_conv.py``).

Considered and rejected: both sides at once (256 taps for 16 + 16); one launch per side (two more, and
the half filtered picture through memory); products with a band matrix (32-bit floats, no tensor cores).
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import MAX_PROGRAMS, block, launch, programs
from dipedge.kernels.lanczos_conv.triton_tables import Filter, Gather

FLOATS = 1024  # of a line at once


def lines_shape(fits: int, width: int, channels: int) -> tuple[int, int, int]:
    """Of the lines that a launch filters into: float32, one per program, as wide as the wider picture."""
    return fits, MAX_PROGRAMS, width * channels


@triton.jit
def filter_down(source, index, weight, j, line, floats, D: tl.constexpr, N: tl.constexpr):
    """line[:] = sum_d weight[j, d] source[index[j, d], :], rows of ``floats`` values, all threads together.

    No thread goes on before all have written, and none starts before all have read the line's last use.
    """
    tl.debug_barrier()
    for start in range(0, floats, N):
        at = start + tl.arange(0, N)
        there = at < floats
        total = tl.zeros([N], tl.float32)
        for d in range(D):
            row = source + tl.load(index + j * D + d) * floats
            total += tl.load(weight + j * D + d) * tl.load(row + at, mask=there, other=0.0)
        tl.store(line + at, total, mask=there)
    tl.debug_barrier()


@triton.jit
def filtered_across(line, index, weight, at, there, C: tl.constexpr, D: tl.constexpr):
    """Values [N] at the places ``at`` of a filtered row: sum_d weight[i, d] line[index[i, d], c]."""
    i, c = at // C, at % C
    total = tl.zeros(at.shape, tl.float32)
    for d in range(D):
        seen = tl.load(index + i * D + d, mask=there, other=0)
        factor = tl.load(weight + i * D + d, mask=there, other=0.0)
        total += factor * tl.load(line + seen * C + c, mask=there, other=0.0)
    return total


@triton.jit
def _filter_kernel(
    source, result, lines, room, row_index, row_weight, column_index, column_weight,
    source_rows, source_floats, rows, floats,
    C: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    source += b * source_rows * source_floats
    result += b * rows * floats
    line = lines + b * room + tl.program_id(0) * source_floats
    for j in range(tl.program_id(0), rows, tl.num_programs(0)):
        filter_down(source, row_index, row_weight, j, line, source_floats, DOWN, N)
        for start in range(0, floats, N):
            at = start + tl.arange(0, N)
            there = at < floats
            values = filtered_across(line, column_index, column_weight, at, there, C, ACROSS)
            tl.store(result + j * floats + at, values, mask=there)


def _filter(source: Any, result: Any, rows: Gather, columns: Gather, lines: Any) -> None:
    fits, height, width, channels = result.shape
    launch(
        _filter_kernel, (programs(height), fits),
        source, result, lines, lines.stride(0), rows.index, rows.weight, columns.index, columns.weight,
        source.shape[1], source.shape[2] * channels, height, width * channels,
        C=channels, DOWN=rows.terms, ACROSS=columns.terms, N=block(source.shape[2] * channels, FLOATS, 64),
        warps=8,
    )  # fmt: skip


def decimate(x: Any, y: Any, tables: Filter, lines: Any) -> None:
    """y = d_t(x).

    Args:
        x: float32 [B, H, W, C].
        y: float32 [B, ceil(H/t), ceil(W/t), C].
        tables: ``filter_of`` H, W and t.
        lines: float32, at least ``lines_shape(B, W, C)``.
    """
    _filter(x, y, tables.rows, tables.columns, lines)


def decimate_adjoint(y: Any, x: Any, tables: Filter, lines: Any) -> None:
    """x = d_t^T(y): shapes and arguments as of `decimate`."""
    _filter(y, x, tables.rows_back, tables.columns_back, lines)
