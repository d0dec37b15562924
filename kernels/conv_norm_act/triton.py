"""Pointwise layers on the GPU: normalise and activate what comes in, multiply, add up the statistics.

A 1x1 convolution of a picture is a product [pixels, I] x [I, O]. At 512 x 512 and 128 channels in bfloat16
it moves 67 MB in and 67 MB out (31 us at 4.3 TB/s) for 8.6 GFLOP (11 us at 790 TFLOP/s): bound by memory, so
what counts is that every tensor is read and written once.

    forward   reads x; writes y and, from the same registers, the moments of y        1 read, 1 write
    backward  reads g, y and x; writes the gradient by x's normalised value, its two sums, and the products
              of the weight gradient, summed per program (triton_backward.py)         3 reads, 1 write

The activation of x is made again from x in both (a multiply-add and a select per value, hidden behind the
loads), and the gradient by y from g: neither is ever stored. Where the layer's reader is the head, g itself
is made from the head's 3 numbers a pixel, which saves the write and the read of another 67 MB.

Programs are persistent: each walks over tiles with its weights in shared memory. So there are at most 132
rows of partial statistics and of partial weight gradients (64 KB each); a 512 x 512 layer would leave 4096.
Small levels get small tiles instead: 32 x 32 pixels are 64 tiles of 16, times blocks of outputs. float32 has
no tensor cores (tf32 would round to 10 bits): its tiles are small because sums and operands share registers.

Registers and spills: docs/gpu_engine.md. Considered and left: a tile of 128 pixels in the backward pass (two
accumulators of 128 x 128 beside three tiles do not fit into the registers of 8 warps); keeping a copy of the
activated picture (one more write and no fewer reads).
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.activation import activated
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import finish_norm, joined, store_moments, tile_moments

SMALL = 140 << 10  # bytes of shared memory a program: GPUs with less take tiles of half the pixels
ENOUGH = 128  # programs that keep the GPU busy; below that, tiles shrink


def tile_sizes(pixels: int, channels: int, largest: int, wide: int) -> tuple[int, int]:
    """Pixels (``largest`` at most) and channels (``wide``) of a tile: as large as leaves enough programs."""
    rows, columns = largest, gpu.block(channels, wide)

    def count() -> int:
        return -(-pixels // rows) * -(-channels // columns)

    while count() < ENOUGH and rows > 16:
        rows //= 2
    while count() < ENOUGH and columns > 32:
        columns //= 2
    return rows, columns


@triton.jit
def load_activations(
    place, k, valid, norm, merge, slope, I: tl.constexpr, ACT: tl.constexpr, MC: tl.constexpr
):
    """Channels ``k`` of a layer at ``place`` [M, 1] (pointers), activated: [M, K] float32.

    With MC > 0 without their means in a merge's norm ``merge`` [4, MC]. Pixels that are not ``valid`` [M, 1]
    give a constant a channel, which the other factor's zeros take out of every product.
    """
    inside = k < I
    values = tl.load(place + k[None, :], mask=valid & inside[None, :], other=0.0).to(tl.float32)
    if ACT:
        scale = tl.load(norm + 2 * I + k, mask=inside, other=0.0)
        shift = tl.load(norm + 3 * I + k, mask=inside, other=0.0)
        values = activated(values, scale, shift, slope)
    if MC > 0:
        values -= tl.load(merge + k, mask=inside, other=0.0)[None, :]
    return values


@triton.jit
def _input_weights(weight, merge, k, o, I: tl.constexpr, O: tl.constexpr, WS: tl.constexpr, MC: tl.constexpr):
    """Rows ``k`` and columns ``o`` of the transposed weights [I, O], times the scales of ``merge``."""
    there = (k < I)[:, None] & (o < O)[None, :]
    w = tl.load(weight + o[None, :] * WS + k[:, None], mask=there, other=0.0)
    if MC > 0:
        scale = tl.load(merge + 2 * MC + k, mask=k < I, other=0.0)
        w = (w.to(tl.float32) * scale[:, None]).to(w.dtype)
    return w


@triton.jit
def _product(
    place, valid, norm_x, merge, weight, o, slope,
    I: tl.constexpr, O: tl.constexpr, WS: tl.constexpr, ACT: tl.constexpr, MC: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """One tile's sums over more than K input channels, [M, N]."""
    total = tl.zeros([M, N], tl.float32)
    for start in range(0, I, K):
        k = start + tl.arange(0, K)
        w = _input_weights(weight, merge, k, o, I, O, WS, MC)
        a = load_activations(place, k, valid, norm_x, merge, slope, I, ACT, MC).to(w.dtype)
        total = tl.dot(a, w, total, input_precision="ieee")
    return total


@triton.jit
def pointwise_kernel(
    x, norm_x, merge, weight, y, rows, counters, gamma, beta, norm_y,
    width, pixels, programs, xb, xh, mb, wb, yb, gb, slope, eps,
    XS: tl.constexpr, WS: tl.constexpr, YS: tl.constexpr, I: tl.constexpr, O: tl.constexpr,
    STRIDE: tl.constexpr, ACT: tl.constexpr, MC: tl.constexpr, NORM: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, P: tl.constexpr, COUNTERS: tl.constexpr,
):  # fmt: skip
    p, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    x += b * xb
    y += b * yb
    weight += b * wb
    norm_x += b * 4 * I
    merge += b * mb
    o = group * N + tl.arange(0, N)
    k = tl.arange(0, K)
    count = 0.0
    mean = tl.zeros([N], tl.float32)
    squares = tl.zeros([N], tl.float32)
    if I <= K:
        w = _input_weights(weight, merge, k, o, I, O, WS, MC)
    for tile in range(p, tl.cdiv(pixels, M), programs):
        m = tile * M + tl.arange(0, M)
        valid = (m < pixels)[:, None]
        i = (m // width).to(tl.int64)
        place = x + (i * (STRIDE * xh) + (m - i * width) * (STRIDE * XS))[:, None]
        if I <= K:
            a = load_activations(place, k, valid, norm_x, merge, slope, I, ACT, MC).to(w.dtype)
            total = tl.dot(a, w, input_precision="ieee")
        else:
            total = _product(place, valid, norm_x, merge, weight, o, slope, I, O, WS, ACT, MC, M, N, K)
        stored = total.to(y.dtype.element_ty)
        tl.store(y + m[:, None].to(tl.int64) * YS + o[None, :], stored, mask=valid & (o < O)[None, :])
        if NORM:
            pixels_here, of_tile, off = tile_moments(stored.to(tl.float32), valid)
            count, mean, squares = joined(count, mean, squares, pixels_here, of_tile, off)
    if NORM:
        rows += b * programs * 3 * O
        store_moments(rows + p * 3 * O, o, o < O, count, mean, squares, O)
        finish_norm(
            rows, counters + b * COUNTERS + group, programs, gamma + b * gb, beta + b * gb,
            norm_y + b * 4 * O, o, o < O, eps, O, P,
        )  # fmt: skip


def pointwise(
    source: Layer,
    weight: Any,
    output: Layer,
    scratch: gpu.Scratch,
    *,
    gamma: Any = None,
    beta: Any = None,
    eps: float = 1e-5,
    stride: int = 1,
    merge: Any = None,
) -> None:
    """y = weight act(x) at every ``stride``-th pixel, and the norm of y; one launch.

    Args:
        source: x [B, H, W, .], I channels; any view whose pixels lie side by side in a row.
        weight: cells [B, O, 1, 1, I], any view with contiguous input channels; without a bias.
        output: y [B, ceil(H / stride), ceil(W / stride), S] is written; so is its norm, unless that is None.
        scratch: see ``gpu.launch.Scratch``.
        gamma, beta: float32 [B, O] of the BN behind; None with an output without norm.
        eps: added to the variance.
        stride: 1 or 2.
        merge: float32 [B, 4, C], C >= I: the norm of a merge whose first channels these are; act(x) is then
            replaced by scale (act(x) - mean). The merge's shift is left out: see ``upsample_merge``.
    """
    x, y = source.values, output.values
    into, out = source.channels, output.channels
    fits, height, width = y.shape[:3]
    few = x.element_size() == 4
    most = 128 if gpu.shared_memory() > SMALL else 64
    m, n = tile_sizes(height * width, out, 32 if few else most, 64 if few else 128)
    count = gpu.programs(-(-height * width // m), share=2)
    nothing = scratch.partials
    normed = output.norm is not None
    gpu.launch(
        pointwise_kernel, (count, -(-out // n), fits),
        x, nothing if source.norm is None else source.norm, nothing if merge is None else merge,
        weight, y, scratch.partials, scratch.counters, gamma if normed else nothing,
        beta if normed else nothing, output.norm if normed else nothing,
        width, height * width, count, x.stride(0), x.stride(1), 0 if merge is None else merge.stride(0),
        weight.stride(0), y.stride(0), gamma.stride(0) if normed else 0, source.slope, eps,
        warps=8 if m * n >= 64 * 128 else 4, stages=2 if few else 3,
        XS=x.stride(2), WS=weight.stride(1), YS=y.stride(2), I=into, O=out, STRIDE=stride,
        ACT=source.norm is not None, MC=0 if merge is None else merge.shape[2], NORM=normed,
        M=m, N=n, K=gpu.block(into, 32 if few else 128), P=gpu.ROWS_AT_ONCE, COUNTERS=gpu.COUNTERS,
    )  # fmt: skip
