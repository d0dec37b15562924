"""The convolution decimated by t as one operation, forward: filter down, then filter across and multiply.

By the contract's exchange of two sums the *input* is filtered and a t^2-th of the pixels multiplied. The
input comes padded ([B, H + k - 1, W + k - 1, S] of cells, normalised and activated), so the point of tap (a,
b) lies a rows and b columns further on than that of tap (0, 0), reflection or not, and one table per side
says the rest (``triton_tables.Decimation``).

Two launches. `filter_lines` makes the different rows of points (two per output row at k = 3, t = 2), GROUP at
a time so that a source row is read twice and not n = 8 times. `conv_decimate` takes a tile of output pixels
and all its channels; per tap and block of input channels it filters across from the lines (n loads of a
tile, in float32) and multiplies the points with weight[a, b] at once (tl.dot). Statistics are taken of the
tile as it is stored. Neither the convolved picture nor the points exist in memory.

Traffic at 512x512, k = 3, lanczos2, 128 to 128 channels, bfloat16: padded input 67 MB read, lines 67 MB
written and read, y 17 MB written: 220 MB, 46 us at 4.8 TB/s; convolving first and decimating then moves 67 +
67 + 67 + 17 MB too, with the filter's n-fold readings on top. Flops: products 19.3 G (77 G convolving first);
filter down 0.3 G multiply-adds, or 0.5 G with the zeros of a group; across 0.6 G, since neighbouring outputs
make the points they share twice (a factor k^2 / t^2).

Registers at 128 channels, sm_90: rows 92, convolution 189 in bfloat16 (128 in float32), nothing spilt; on
sm_80 the convolution takes 128 and spills 56 bytes.

Considered and rejected: points across stored too (67 MB written and read, but 0.27 G multiply-adds across;
about even, and the memory of another picture); the filter across as a product with a band matrix (64 outputs
read 136 columns: another 24 GFLOP); one program per row of points (8 readings of 67 MB through L2); all terms
of the filter across unrolled (255 registers, up to 10 KB spilt, and no wgmma).
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import COUNTERS, ROWS_AT_ONCE, Scratch, block, launch, programs
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import finish_norm, joined, store_moments, tile_moments
from dipedge.kernels.lanczos_conv.triton_tables import GROUP, Decimation, Groups

PIXELS = 64  # of a tile
CHANNELS = 128  # of a tile's result at most
# Channels that one product sums over, by the bytes of a cell: products of float32 run in plain registers.
CONTRACTED = {2: 64, 4: 32}
VALUES = 1024  # of a row at once while filtering down


@triton.jit
def _rows_kernel(
    source, result, index, weight, source_rows, rows, width, blocks, tiles,
    S: tl.constexpr, U: tl.constexpr, G: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    values, r = width * S, tl.arange(0, G)
    source += b * source_rows * values
    result += b * rows * values
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        group = tile // blocks
        at = (tile % blocks) * N + tl.arange(0, N)[None, :]
        there = at < values
        total = tl.zeros([G, N], tl.float32)
        for u in range(U):
            row = tl.load(index + group * U + u).to(tl.int64)
            seen = tl.load(source + row * width * S + at, mask=there, other=0.0).to(tl.float32)
            total += tl.load(weight + (group * U + u) * G + r)[:, None] * seen
        row = group * G + r
        place = result + row.to(tl.int64)[:, None] * width * S + at
        tl.store(place, total.to(result.dtype.element_ty), mask=there & (row < rows)[:, None])


def sum_rows(source: Any, result: Any, tables: Groups) -> None:
    """Rows of ``result`` as weighted sums of rows of ``source``, cells [B, rows, width, S] both."""
    fits, _, width, stride = source.shape
    across = block(width * stride, VALUES, 128)
    blocks = -(-width * stride // across)
    tiles = tables.index.shape[0] * blocks
    launch(
        _rows_kernel, (programs(tiles), fits),
        source, result, tables.index, tables.weight, source.shape[1], tables.count, width, blocks, tiles,
        S=stride, U=tables.index.shape[1], G=GROUP, N=across, warps=4,
    )  # fmt: skip


def filter_lines(padded: Any, lines: Any, tables: Decimation) -> None:
    """The rows of points: cells [B, H + k - 1, W + k - 1, S] -> [B, ``tables.lines``, W + k - 1, S]."""
    sum_rows(padded, lines, tables.down)


@triton.jit
def points_tile(
    lines, row, i, there, tap, index, weight, c, inside, width,
    S: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    """The points [M, CB] of outputs i [M] at column tap ``tap``, filtered across the lines ``row`` [M]."""
    total = tl.zeros([i.shape[0], c.shape[0]], tl.float32)
    # Two terms at a time: more loads in flight hide each other's way, all of them do not fit the registers.
    for q in tl.range(0, TERMS, loop_unroll_factor=2):
        seen = tl.load(index + i * TERMS + q, mask=there, other=0) + tap
        factor = tl.load(weight + i * TERMS + q, mask=there, other=0.0)
        at = lines + (row * width + seen).to(tl.int64)[:, None] * S + c[None, :]
        values = tl.load(at, mask=there[:, None] & inside[None, :], other=0.0)
        total += factor[:, None] * values.to(tl.float32)
    return total


@triton.jit
def _product(
    lines, weight, point, index, factors, j, i, there, o, width,
    K: tl.constexpr, INTO: tl.constexpr, OUT: tl.constexpr, S: tl.constexpr, TERMS: tl.constexpr,
    CB: tl.constexpr,
):  # fmt: skip
    """y [M, OB] float32 of output pixels (j, i) and channels o."""
    total = tl.zeros([j.shape[0], o.shape[0]], tl.float32)
    for tap in range(K * K):
        row = tl.load(point + j * K + tap // K, mask=there, other=0)
        for start in range(0, INTO, CB):
            c = start + tl.arange(0, CB)
            points = points_tile(lines, row, i, there, tap % K, index, factors, c, c < INTO, width, S, TERMS)
            w = tl.load(
                weight + o[None, :] * (K * K * INTO) + tap * INTO + c[:, None],
                mask=(c < INTO)[:, None] & (o < OUT)[None, :], other=0.0,
            )  # fmt: skip
            total = tl.dot(points.to(lines.dtype.element_ty), w, total, input_precision="ieee")
    return total


@triton.jit
def _conv_kernel(
    lines, weight, weight_stride, point, index, factors, y, gamma, gamma_stride, beta, beta_stride, norm,
    rows, counters, eps, count, width, h, w, tiles,
    K: tl.constexpr, INTO: tl.constexpr, OUT: tl.constexpr, S: tl.constexpr, SO: tl.constexpr,
    TERMS: tl.constexpr, M: tl.constexpr, CB: tl.constexpr, OB: tl.constexpr, P: tl.constexpr,
    COUNTERS: tl.constexpr,
):  # fmt: skip
    p, total, b = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    o = tl.program_id(1) * OB + tl.arange(0, OB)
    lines += b * count * width * S
    y += b * h * w * SO
    number, mean = 0.0, tl.zeros([OB], tl.float32)
    squares = tl.zeros([OB], tl.float32)
    for tile in range(p, tiles, total):
        pixel = tile * M + tl.arange(0, M)
        there = pixel < h * w
        found = _product(
            lines, weight + b * weight_stride, point, index, factors, pixel // w, pixel % w, there, o, width,
            K, INTO, OUT, S, TERMS, CB,
        ).to(y.dtype.element_ty)  # fmt: skip
        at = y + pixel.to(tl.int64)[:, None] * SO + o[None, :]
        tl.store(at, found, mask=there[:, None] & (o < OUT)[None, :])
        of_tile = tile_moments(found.to(tl.float32), there[:, None])
        number, mean, squares = joined(number, mean, squares, of_tile[0], of_tile[1], of_tile[2])
    rows += b * total * 3 * OUT
    store_moments(rows + p * 3 * OUT, o, o < OUT, number, mean, squares, OUT)
    finish_norm(
        rows, counters + b * COUNTERS + tl.program_id(1), total, gamma + b * gamma_stride,
        beta + b * beta_stride, norm + b * 4 * OUT, o, o < OUT, eps, OUT, P,
    )  # fmt: skip


def conv_decimate(
    lines: Any,
    weight: Any,
    gamma: Any,
    beta: Any,
    layer: Layer,
    tables: Decimation,
    scratch: Scratch,
    eps: float = 1e-5,
) -> None:
    """The convolved and decimated picture, and the numbers that normalise it.

    Args:
        lines: of `filter_lines`, cells [B, ``tables.lines``, W + k - 1, S].
        weight: cells [B, O, k, k, I], a view into the flat copy.
        gamma, beta: float32 [B, O] of the norm behind, views into the flat parameters.
        layer: receives y, cells [B, h, w, S], and its norm, float32 [B, 4, O].
    """
    fits, h, w = layer.shape
    out, kernel, into = layer.channels, tables.kernel, weight.shape[4]
    tiles, wide = -(-h * w // PIXELS), block(out, CHANNELS)
    launch(
        _conv_kernel, (programs(tiles), -(-out // wide), fits),
        lines, weight, weight.stride(0), tables.point, tables.columns.index, tables.columns.weight,
        layer.values, gamma, gamma.stride(0), beta, beta.stride(0), layer.norm, scratch.partials,
        scratch.counters, eps, tables.lines, lines.shape[2], h, w, tiles,
        K=kernel, INTO=into, OUT=out, S=lines.shape[3], SO=layer.values.shape[3],
        TERMS=tables.columns.terms, M=PIXELS,
        CB=block(into, CONTRACTED[lines.element_size()]), OB=wide, P=ROWS_AT_ONCE, COUNTERS=COUNTERS,
        warps=8, stages=1,
    )  # fmt: skip
