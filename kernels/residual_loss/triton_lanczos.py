"""The Lanczos data term: residual and loss of the decimated output, and dlogit.

Two launches. The first decimates (``lanczos_conv/triton.py``), takes the target off and adds up the squares;
the second spreads the residual back and multiplies by the sigmoid's derivative x (1 - x), with x as it was
stored. Around them go `triton.head_forward` and `triton_loss.head_backward`: four launches, the last layer
read twice, because no pixel's gradient is known before the pixels around it have been put out. At 512x512 by
4 with 3 outputs these two move 3.1 + 0.2 MB and 0.2 + 6.2 MB, against 134 MB for the layer's two readings.

The residual is stored, [B, h, w, O]: making it again in the second launch would decimate 4 to 6 times a side.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import COUNTERS, Scratch, block, launch, programs
from dipedge.kernels.gpu.moments import is_last
from dipedge.kernels.lanczos_conv.triton import FLOATS, filter_down, filtered_across
from dipedge.kernels.lanczos_conv.triton_tables import Filter


@triton.jit
def _residual_kernel(
    output, target, residual, lines, room, row_index, row_weight, column_index, column_weight,
    losses, step, kept, squares, counters, output_rows, output_floats, rows, floats, count,
    C: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr, N: tl.constexpr, ALL: tl.constexpr,
    COUNTERS: tl.constexpr,
):  # fmt: skip
    p, total, b = tl.program_id(0), tl.num_programs(0), tl.program_id(1).to(tl.int64)
    output += b * output_rows * output_floats
    line = lines + b * room + p * output_floats
    squared = tl.zeros([N], tl.float32)
    for j in range(p, rows, total):
        filter_down(output, row_index, row_weight, j, line, output_floats, DOWN, N)
        for start in range(0, floats, N):
            at = start + tl.arange(0, N)
            there = at < floats
            values = filtered_across(line, column_index, column_weight, at, there, C, ACROSS)
            place = (b * rows + j) * floats + at
            r = tl.where(there, values - tl.load(target + place, mask=there, other=0.0), 0.0)
            squared += r * r
            tl.store(residual + place, r, mask=there)
    tl.store(squares + b * total + p, tl.sum(squared, axis=0))
    if is_last(counters + b * COUNTERS, total):
        every = tl.arange(0, ALL)
        sums = tl.load(squares + b * total + every, mask=every < total, other=0.0, cache_modifier=".cg")
        tl.store(losses + b * kept + tl.load(step) % kept, tl.sum(sums, axis=0) / count)


@triton.jit
def _spread_kernel(
    residual, output, dlogit, lines, room, row_index, row_weight, column_index, column_weight, factor,
    residual_rows, residual_floats, rows, floats,
    C: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr, N: tl.constexpr, SIGMOID: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    residual += b * residual_rows * residual_floats
    line = lines + b * room + tl.program_id(0) * residual_floats
    for j in range(tl.program_id(0), rows, tl.num_programs(0)):
        filter_down(residual, row_index, row_weight, j, line, residual_floats, DOWN, N)
        for start in range(0, floats, N):
            at = start + tl.arange(0, N)
            there = at < floats
            place = (b * rows + j) * floats + at
            dx = factor * filtered_across(line, column_index, column_weight, at, there, C, ACROSS)
            if SIGMOID:
                x = tl.load(output + place, mask=there, other=0.0)
                dx = dx * x * (1 - x)
            tl.store(dlogit + place, dx, mask=there)


def decimate_loss(
    output: Any,
    target: Any,
    tables: Filter,
    lines: Any,
    residual: Any,
    dlogit: Any,
    losses: Any,
    step: Any,
    scratch: Scratch,
    sigmoid: bool = True,
) -> None:
    """The loss of d_t(x) against the target, and the gradient by what the sigmoid took.

    Args:
        output: x, float32 [B, H, W, O], of `triton.head_forward`.
        target: float32 [B, h, w, O], h = ceil(H/t), w = ceil(W/t).
        tables: ``filter_of`` H, W and t.
        lines: float32, ``lanczos_conv.triton.lines_shape(B, W, O)``.
        residual: float32 [B, h, w, O], room.
        dlogit: float32 [B, H, W, O], for `triton_loss.head_backward`.
        losses, step: float32 [B, R] and int64 [1]; the mean goes to step modulo R.
    """
    fits, height, width, outputs = output.shape
    _, h, w, _ = target.shape
    rows, columns, count = tables.rows, tables.columns, h * w * outputs
    wide = block(width * outputs, FLOATS, 64)
    launch(
        _residual_kernel, (programs(h), fits),
        output, target, residual, lines, lines.stride(0), rows.index, rows.weight, columns.index,
        columns.weight, losses, step, losses.shape[1], scratch.partials, scratch.counters, height,
        width * outputs, h, w * outputs, float(count), C=outputs, DOWN=rows.terms, ACROSS=columns.terms,
        N=wide, ALL=block(programs(h), 1 << 12), COUNTERS=COUNTERS, warps=8,
    )  # fmt: skip
    rows, columns = tables.rows_back, tables.columns_back
    launch(
        _spread_kernel, (programs(height), fits),
        residual, output, dlogit, lines, lines.stride(0), rows.index, rows.weight, columns.index,
        columns.weight, 2.0 / count, h, w * outputs, height, width * outputs,
        C=outputs, DOWN=rows.terms, ACROSS=columns.terms, N=wide, SIGMOID=sigmoid, warps=8,
    )  # fmt: skip
