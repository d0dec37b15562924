"""The convolution decimated by t as one operation, backward.

Four launches, none with an atomic: every result gathers what belongs to it (the transposed lists of
``triton_tables``).

1. `dc`, the gradient by y (conv_norm_act's `output_gradient`): once, because each of the k^2 taps
   reads it (17 MB at 256x256x128 in bfloat16).
2. The weights: a program owns one tap, a block of weight[:, a, b, :] and a share of the output pixels; it
   makes the points again from the lines of the forward pass and adds dc^T points. One partial sum per share.
3. The lines' gradient: row of points r gathers from the outputs (j, a) that meet it (two of three at k = 3, t
   = 2 share one), sum_b (sum_i u[i, x - b] dc[j, i]) weight[a, b]: across first (n / t = 4 terms), then the
   product. It takes the place of the lines, which nothing needs any more.
4. `sum_rows` with the transposed table: rows of points back to padded rows. Reflection is undone by who
   padded.

Traffic at 512x512, k = 3, 128 to 128 channels, bfloat16: dc 50 MB; weights 67 + 17 MB from memory, taps again
from L2; the lines' gradient 17 MB read, 67 written; the padded input's 67 read, 67 written: 352 MB, 73 us at
4.8 TB/s. Products: weights 19.3 GFLOP; the lines' gradient 38.7, for each of all W columns.

Registers at 128 channels, sm_90, bfloat16 and float32: weights 183 and 128, lines 125 and 104, nothing
spilt (sm_80: 202 and 128, 128 and 230).

Considered and rejected: the product first, then across and down (19.3 GFLOP there too, but a gradient for
each of the points, k^2 / t^2 and more pictures of 67 MB, to be stored and read n / t times); the taps of the
weights in one program (k^2 blocks of 128 x 128 sums do not fit the registers).
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import block, launch, programs
from dipedge.kernels.lanczos_conv.triton_conv import CHANNELS, CONTRACTED, PIXELS, points_tile, sum_rows
from dipedge.kernels.lanczos_conv.triton_tables import Decimation

SUMMED_PIXELS = {2: 64, 4: 16}  # that one product of the weights' gradient sums over; as CONTRACTED


@triton.jit
def _weight_kernel(
    lines, dc, point, index, factors, partials, count, width, h, w, tiles,
    K: tl.constexpr, INTO: tl.constexpr, OUT: tl.constexpr, S: tl.constexpr, SO: tl.constexpr,
    TERMS: tl.constexpr, M: tl.constexpr, CB: tl.constexpr, OB: tl.constexpr,
):  # fmt: skip
    p, total, b = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    tap, part = tl.program_id(1) % (K * K), tl.program_id(1) // (K * K)
    blocks = tl.cdiv(INTO, CB)
    c = (part % blocks) * CB + tl.arange(0, CB)
    o = (part // blocks) * OB + tl.arange(0, OB)
    lines += b * count * width * S
    found = tl.zeros([OB, CB], tl.float32)
    for tile in range(p, tiles, total):
        pixel = tile * M + tl.arange(0, M)
        there = pixel < h * w
        row = tl.load(point + pixel // w * K + tap // K, mask=there, other=0)
        points = points_tile(
            lines, row, pixel % w, there, tap % K, index, factors, c, c < INTO, width, S, TERMS
        )
        at = dc + (b * h * w + pixel)[:, None] * SO + o[None, :]
        gradient = tl.load(at, mask=there[:, None] & (o < OUT)[None, :], other=0.0)
        found = tl.dot(tl.trans(gradient), points.to(lines.dtype.element_ty), found, input_precision="ieee")
    at = ((b * total + p) * OUT + o)[:, None] * (K * K * INTO) + tap * INTO + c[None, :]
    tl.store(partials + at, found, mask=(o < OUT)[:, None] & (c < INTO)[None, :])


def _parts(kernel: int, into: int, out: int) -> int:
    """Programs that together hold one whole weight gradient."""
    return kernel**2 * -(-into // block(into, CHANNELS)) * -(-out // block(out, CHANNELS))


def weight_partials(tables: Decimation, into: int, out: int) -> int:
    """P of the partial sums [B, P, O, k, k, I] of `weight_gradient`."""
    h, w = tables.result
    parts = _parts(tables.kernel, into, out)
    return max(1, programs(-(-h * w // PIXELS) * parts) // parts)


def weight_gradient(lines: Any, dc: Any, partials: Any, tables: Decimation) -> None:
    """Partial sums of the gradient by the weights.

    Args:
        lines: of the forward pass, cells [B, ``tables.lines``, W + k - 1, S].
        dc: cells [B, h, w, S].
        partials: float32 [B, P, O, k, k, I], P = `weight_partials`.
    """
    fits, count, out, kernel, _, into = partials.shape
    h, w = tables.result
    pixels = SUMMED_PIXELS[lines.element_size()]
    launch(
        _weight_kernel, (count, _parts(kernel, into, out), fits),
        lines, dc, tables.point, tables.columns.index, tables.columns.weight, partials, tables.lines,
        lines.shape[2], h, w, -(-h * w // pixels),
        K=kernel, INTO=into, OUT=out, S=lines.shape[3], SO=dc.shape[3], TERMS=tables.columns.terms, M=pixels,
        CB=block(into, CHANNELS), OB=block(out, CHANNELS), warps=8, stages=1,
    )  # fmt: skip


@triton.jit
def _spread_across(
    dc, j, i, there, index, factors, o, inside, w,
    SO: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    """The gradient [M, OB] by the convolved columns i [M] at output row j, from all outputs they are in."""
    total = tl.zeros([i.shape[0], o.shape[0]], tl.float32)
    for q in tl.range(0, TERMS, loop_unroll_factor=2):
        seen = tl.load(index + i * TERMS + q, mask=there, other=0)
        factor = tl.load(factors + i * TERMS + q, mask=there, other=0.0)
        at = dc + (j * w + seen).to(tl.int64)[:, None] * SO + o[None, :]
        values = tl.load(at, mask=there[:, None] & inside[None, :], other=0.0)
        total += factor[:, None] * values.to(tl.float32)
    return total


@triton.jit
def _lines_kernel(
    dc, weight, weight_stride, begin, users, index, factors, lines, count, width, h, w, blocks, tiles,
    K: tl.constexpr, INTO: tl.constexpr, OUT: tl.constexpr, S: tl.constexpr, SO: tl.constexpr,
    TERMS: tl.constexpr, M: tl.constexpr, CB: tl.constexpr, OB: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    c = tl.program_id(1) * CB + tl.arange(0, CB)
    dc, weight, lines = dc + b * h * w * SO, weight + b * weight_stride, lines + b * count * width * S
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        r, x = tile // blocks, (tile % blocks) * M + tl.arange(0, M)
        total = tl.zeros([M, CB], tl.float32)
        for u in range(tl.load(begin + r) * K, tl.load(begin + r + 1) * K):
            user, tap = tl.load(users + u // K), u % K
            i = x - tap
            there = (i >= 0) & (i < width - (K - 1))
            for start in range(0, OUT, OB):
                o = start + tl.arange(0, OB)
                spread = _spread_across(dc, user // K, i, there, index, factors, o, o < OUT, w, SO, TERMS)
                v = tl.load(
                    weight + (o * (K * K) + user % K * K + tap)[:, None] * INTO + c[None, :],
                    mask=(o < OUT)[:, None] & (c < INTO)[None, :], other=0.0,
                )  # fmt: skip
                total = tl.dot(spread.to(dc.dtype.element_ty), v, total, input_precision="ieee")
        at = (r * width + x).to(tl.int64)[:, None] * S + c[None, :]
        there = (x < width)[:, None] & (c < INTO)[None, :]
        tl.store(lines + at, total.to(lines.dtype.element_ty), mask=there)


def padded_gradient(dc: Any, weight: Any, lines: Any, dpadded: Any, tables: Decimation) -> None:
    """The gradient by the padded input; ``lines`` are overwritten.

    Args:
        dc: cells [B, h, w, S].
        weight: cells [B, O, k, k, I], a view into the flat copy.
        lines: cells [B, ``tables.lines``, W + k - 1, S]; `weight_gradient` has read the forward pass's.
        dpadded: cells [B, H + k - 1, W + k - 1, S].
    """
    fits, h, w, stride = dc.shape
    _, out, kernel, _, into = weight.shape
    width, count = lines.shape[2], tables.lines
    pixels, wide = block(width, PIXELS), block(into, CHANNELS)
    blocks = -(-width // pixels)
    launch(
        _lines_kernel, (programs(count * blocks), -(-into // wide), fits),
        dc, weight, weight.stride(0), tables.user_begin, tables.users, tables.columns_back.index,
        tables.columns_back.weight, lines, count, width, h, w, blocks, count * blocks,
        K=kernel, INTO=into, OUT=out, S=lines.shape[3], SO=stride, TERMS=tables.columns_back.terms, M=pixels,
        CB=wide, OB=block(out, CONTRACTED[dc.element_size()]), warps=8, stages=1,
    )  # fmt: skip
    sum_rows(lines, dpadded, tables.up)
