"""The first 1x1 layer of Fourier features on the GPU, without ever making the features.

What. y[i, j] = column[j] + row[i]: two small products with the tables of ``triton_tables``, then one sum per
output. The layer's norm follows from the parts alone, exactly on a full grid: mean = mean(column) +
mean(row), variance = var(column) + var(row). ``triton_backward`` is the way back.

Layout. Parts are float32 [B, W' + H' + 2, O]: the columns' part, the rows' part, and the mean of either,
which the backward pass needs; W' = ceil(W / s), H' likewise.

Traffic. Launch 1 reads the tables and the weights and writes 512 KB of parts for 256 x 256 outputs of 128
channels. Launch 2 writes y once (17 MB in bfloat16) and reads the parts from the L2 cache: a program keeps
the parts of its columns in registers and walks down over rows, so each row costs one vector of loads. It is
bound by writing: 3.5 microseconds at 4.8 TB/s.

Precision. The small products are float32 (plain multiply-adds: 2 x 16 x 512 x 128 of them are nothing for
tensor cores to save). Statistics are of the exact y; the rounding of its cells moves mean and variance by
less than a cell's share of 2^-17.

Rejected: statistics in the epilogue of launch 2 as other layers have them (adds a reduction per tile to a
kernel that only writes); one launch that makes the parts again in every program (the products, 16 x 128
multiply-adds a column, would outweigh the sums).

Compiled for sm_80 and sm_90, 128 channels: 128 registers (parts) and 79 (sums), no stack.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.fourier_mlp.triton_tables import Side
from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import all_moments, is_last, joined, store_moments, tile_moments

POSITIONS = 16  # of one tile of a part
TILE = 4096  # values of the columns' part that a program of launch 2 keeps
ROWS = 8  # that such a program writes


def parts_rows(width: int, height: int) -> int:
    """How many rows ``parts`` has for a layer of this size."""
    return width + height + 2


@triton.jit
def part_of_side(
    table, weight, parts, c, inside, count, stride, first, step,
    OUT: tl.constexpr, HALF: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """One side's part: tiles first, first + step, ... of it; returns their moments.

    ``weight`` points to this side's half of the first output's 4n values.
    """
    k = tl.arange(0, K)
    of_weight = weight + c[None, :] * (2 * HALF) + k[:, None]
    factors = tl.load(of_weight, mask=(k < HALF)[:, None] & inside[None, :], other=0.0)
    total = tl.zeros_like(c).to(tl.float32)
    mean, squares = total, total
    for tile in range(first, tl.cdiv(count, M), step):
        m = tile * M + tl.arange(0, M)
        there = (m < count)[:, None]
        at = table + (m * stride)[:, None] * HALF + k[None, :]
        values = tl.load(at, mask=there & (k < HALF)[None, :], other=0.0)
        part = tl.dot(values, factors, input_precision="ieee")
        tl.store(parts + m[:, None] * OUT + c[None, :], part, mask=there & inside[None, :])
        n, tile_mean, tile_squares = tile_moments(part, there)
        # The count is the same in every channel; it is kept per channel as the others are.
        total, mean, squares = joined(total, mean, squares, n, tile_mean, tile_squares)
    return total, mean, squares


@triton.jit
def parts_kernel(
    table_u, table_v, weight, weight_of_fit, parts, gamma, beta, gamma_of_fit, norm, partials, counters,
    W, H, width, height, stride, programs_u, eps, COUNTERS: tl.constexpr,
    OUT: tl.constexpr, HALF: tl.constexpr, M: tl.constexpr, K: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    first, programs = tl.program_id(0), tl.num_programs(0)
    b = tl.program_id(2).to(tl.int64)
    c = tl.program_id(1) * C + tl.arange(0, C)
    inside = c < OUT
    weight += b * weight_of_fit
    parts += b * (width + height + 2) * OUT
    partials += b * programs * 3 * OUT
    if first < programs_u:
        count, mean, squares = part_of_side(
            table_u + b * W * HALF, weight, parts, c, inside, width, stride, first, programs_u,
            OUT, HALF, M, K,
        )  # fmt: skip
    else:
        count, mean, squares = part_of_side(
            table_v + b * H * HALF, weight + HALF, parts + width * OUT, c, inside, height, stride,
            first - programs_u, programs - programs_u, OUT, HALF, M, K,
        )  # fmt: skip
    store_moments(partials + first * 3 * OUT, c, inside, count, mean, squares, OUT)
    if is_last(counters + b * COUNTERS + tl.program_id(1), programs):
        _, mean_u, variance_u = all_moments(partials, programs_u, c, inside, OUT, P)
        rows = partials + programs_u * 3 * OUT
        _, mean_v, variance_v = all_moments(rows, programs - programs_u, c, inside, OUT, P)
        tl.store(parts + (width + height) * OUT + c, mean_u, mask=inside)
        tl.store(parts + (width + height + 1) * OUT + c, mean_v, mask=inside)
        mean = mean_u + mean_v
        rstd = 1.0 / tl.sqrt(variance_u + variance_v + eps)
        scale = tl.load(gamma + b * gamma_of_fit + c, mask=inside, other=0.0) * rstd
        shift = tl.load(beta + b * gamma_of_fit + c, mask=inside, other=0.0) - mean * scale
        norm += b * 4 * OUT
        tl.store(norm + c, mean, mask=inside)
        tl.store(norm + OUT + c, rstd, mask=inside)
        tl.store(norm + 2 * OUT + c, scale, mask=inside)
        tl.store(norm + 3 * OUT + c, shift, mask=inside)


@triton.jit
def sum_kernel(
    parts, y, width, height,
    OUT: tl.constexpr, S: tl.constexpr, N: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    c = tl.program_id(1) * C + tl.arange(0, C)
    inside = c < OUT
    parts += b * (width + height + 2) * OUT
    y += b * height * width * S
    across = tl.cdiv(width, N)
    line = tl.full((), S, tl.int64) * width  # rows of large pictures lie beyond 2^31 cells
    for tile in range(tl.program_id(0), across * tl.cdiv(height, ROWS), tl.num_programs(0)):
        j = (tile % across) * N + tl.arange(0, N)
        at = parts + j[:, None] * OUT + c[None, :]
        column = tl.load(at, mask=(j < width)[:, None] & inside[None, :], other=0.0)
        there = (j < width)[:, None] & (c < S)[None, :]
        top = (tile // across) * ROWS
        for i in range(top, tl.minimum(top + ROWS, height)):
            row = tl.load(parts + (width + i) * OUT + c, mask=inside, other=0.0)
            # The surplus is written too (zeros): whole sectors of 32 bytes go to memory.
            to = y + i * line + j[:, None] * S + c[None, :]
            tl.store(to, (column + row[None, :]).to(y.dtype.element_ty), mask=there)


def first_layer(
    columns: Side, rows: Side, stride: int, weight: Any, parts: Any, output: Layer,
    gamma: Any, beta: Any, eps: float, scratch: gpu.Scratch,
) -> None:  # fmt: skip
    """The layer's y and its norm.

    Args:
        columns, rows: W and H positions with their tables; every ``stride``-th is used.
        stride: 1 or 2.
        weight: float32 [B, O, 1, 1, 4n], a view into the flat vector.
        parts: float32 [B, W' + H' + 2, O], written; see ``parts_rows``.
        output: values [B, H', W', S] and norm are written.
        gamma, beta: float32 [B, O] views with the same stride between fits.
        eps: of the norm.
        scratch: as everywhere.
    """
    fits, height, width = output.shape
    channels, surplus = output.channels, output.values.shape[3]
    c = gpu.block(channels, 128)
    blocks = -(-channels // c)
    # Both sides take at most half of the programs, so that all of them fit into the scratch memory.
    most = max(1, gpu.MAX_PROGRAMS // 2)
    of_columns, of_rows = (min(-(-count // POSITIONS), most) for count in (width, height))
    gpu.launch(
        parts_kernel, (of_columns + of_rows, blocks, fits), columns.table, rows.table, weight,
        weight.stride(0), parts, gamma, beta, gamma.stride(0), output.norm, scratch.partials,
        scratch.counters, columns.count, rows.count, width, height, stride, of_columns, eps,
        COUNTERS=gpu.COUNTERS, OUT=channels, HALF=columns.half, M=POSITIONS,
        K=gpu.block(columns.half, 1 << 16), C=c, P=gpu.ROWS_AT_ONCE,
    )  # fmt: skip
    c = gpu.block(surplus, 128, least=8)
    n = gpu.block(width, max(1, TILE // c))
    tiles = -(-width // n) * -(-height // ROWS)
    gpu.launch(
        sum_kernel, (gpu.programs(tiles), -(-surplus // c), fits), parts, output.values, width, height,
        OUT=channels, S=surplus, N=n, ROWS=ROWS, C=c,
    )  # fmt: skip
