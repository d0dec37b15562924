"""Convolutions with more than one tap on the GPU: an implicit product over a padded picture.

What. ``pack`` (triton_conv_padding.py) writes the activated source with its border once; then every tap is a
shift of one pointer and no product meets a condition. Side by side in memory lie, for one output pixel, the k
taps of a row with all their channels; so the window is k k S *columns*, which the kernels walk K at a time,
whatever S is: 132 channels (S = 136) take 20 steps of 64, where tap by tap takes 27, and 4 channels take 2 in
place of 9. What ``pack`` leaves in the surplus is 0, and the weights' surplus columns are masked.

Layout. padded [B, H+2p, W+2p, S] cells; weight [B, O, k, k, I] cells; y [B, ceil(H/s), ceil(W/s), S] cells.
Tiles are flat runs of pixels: neighbouring programs work on neighbouring runs, so the rows that taps share
are still in the L2 (264 programs of 256 pixels span 132 rows of 512, 18 MB).

Floor, for 128 to 128 channels, 3x3, 512 x 512, bfloat16. 77.3 GFLOP each for the forward product, the
gradient by the input and that by the weights: 98 us each at 790 TFLOP/s. Memory: 67 MB a picture, 16 us at
4.3 TB/s.

    pack             reads y, writes padded                                134 MB    31 us
    convolve         reads padded, writes y with its statistics            134 MB    31 us   98 us of products
    output_gradient  reads g and y, writes dc                              201 MB    47 us
    backward_input   reads dc, writes dpadded                              134 MB    31 us   98 us of products
    backward_weight  reads dc and padded; 26 partial sums of 590 KB        150 MB    35 us   98 us of products
    fold             reads dpadded and y, writes g                         201 MB    47 us

So a layer cannot take less than about 0.42 ms with six launches (98 us three times, and the passes before and
behind). What the products fetch from the L2 counts as much: a tile of M pixels by N outputs fetches 2 (1/M +
1/N) bytes per multiply-add. With 256 by 128 that is 0.9 GB for a product, 150 to 165 us at the 5.5 to 6 TB/s
of an H200's L2; with 128 by 128 1.2 GB. Hence the largest tile: 256 pixels by 128 outputs, K = 64, 8 warps,
128 accumulators a thread. Small levels get small tiles instead (``tile_sizes``), because programs are what
they lack there.

A tile's moments join those of the tiles before in the program's own row of memory: kept in registers through
the products they take 64 of each thread's 255 and spill. Registers for 128 outputs, sm_80 / sm_90: 210 / 243
from 128 channels, 254 / 248 from 132, no stack; 128 by 128 tiles on sm_80. Four steps of 48 KB are in flight
on sm_90.

Considered and left. Padding while loading: the reflected index and the activation once per tap, and no
asynchronous copies. Splitting the sum over taps among programs at small levels: another pass over partial
sums. Tensor descriptors fetch such boxes with one instruction, but do not exist on sm_80: the first thing to
try on an H200. Folding dpadded in the epilogue of backward_input saves 134 MB of traffic, but the border
needs sums of other tiles, so a second launch for the border alone: the second thing to try.

Which is faster, these kernels or the library's convolution on the same padded buffers (triton_library.py),
has not been measured, because no GPU was at hand. The default stays open until it is.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import finish_norm, joined, store_moments, tile_moments

ENOUGH = 128  # programs that keep the GPU busy; below that, tiles shrink
# Pixels, channels and columns of the largest tile, by bytes of a cell.
LARGEST = {2: (256, 128, 64), 4: (64, 64, 32)}


def tile_sizes(pixels: int, channels: int, columns: int, cell: int) -> tuple[int, int, int]:
    """Pixels, channels and columns of a tile: as large as leaves enough programs, 16 by 32 at the least.

    They follow from the size of one picture alone, so that a fit gives the same bits in any company.
    """
    m, n, k = LARGEST[cell]
    if gpu.shared_memory() < 200 << 10:  # not an H100 or H200: registers are short too
        m = min(m, 128)
    m, n, k = m, gpu.block(channels, n), gpu.block(columns, k)

    def count() -> int:
        return -(-pixels // m) * -(-channels // n)

    # Down to 64 by 64 the tensor cores of sm_90 take whole tiles, and squares fetch least.
    while count() < ENOUGH and max(m, n) > 64:
        m, n = (m // 2, n) if m >= n else (m, n // 2)
    while count() < ENOUGH and m > 32:
        m //= 2
    while count() < ENOUGH and n > 32:
        n //= 2
    if count() < ENOUGH:
        m = 16
    return m, n, k


def stages(step: int) -> int:
    """How many steps of ``step`` bytes of operands are in flight at once."""
    return max(2, min(4, (gpu.shared_memory() - (8 << 10)) // step))


def warps(m: int, n: int) -> int:
    """Of a program whose accumulators are m x n: at most 128 of them a thread."""
    return 8 if m * n > 64 * 64 else 4


@triton.jit
def tap_and_channel(start, taps, CHANNELS: tl.constexpr, S: tl.constexpr, K: tl.constexpr):
    """Which tap and channel columns start .. start + K are, S columns to a tap, and which of them exist."""
    if S % K == 0:  # the columns share a tap: a scalar, so that the loads' addresses differ by one number
        tap = start // S
        channel = start - tap * S + tl.arange(0, K)
        exists = channel < CHANNELS
    else:
        column = start + tl.arange(0, K)
        tap = column // S
        channel = column - tap * S
        exists = (channel < CHANNELS) & (tap < taps)
    return tap, channel, exists


@triton.jit
def _window_product(
    place, weight, o, total, width,
    S: tl.constexpr, I: tl.constexpr, O: tl.constexpr, KERNEL: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Adds to ``total`` [M, N] the products of the windows that begin at ``place`` [M, 1] and the weights."""
    TAPS: tl.constexpr = KERNEL * KERNEL
    for start in range(0, TAPS * S, K):
        tap, channel, exists = tap_and_channel(start, TAPS, I, S, K)
        row = tap // KERNEL
        cell = place + ((row * width + (tap - row * KERNEL)) * S + channel)[None, :]
        if (TAPS * S) % K == 0:
            x = tl.load(cell)
        else:
            x = tl.load(cell, mask=(start + tl.arange(0, K) < TAPS * S)[None, :], other=0.0)
        there = exists[:, None] & (o < O)[None, :]
        w = tl.load(weight + o[None, :] * (TAPS * I) + (tap * I + channel)[:, None], mask=there, other=0.0)
        total = tl.dot(x, w, total, input_precision="ieee")
    return total


@triton.jit
def _add_moments(row, values, valid, o, count, O: tl.constexpr):
    """Joins a tile's moments with those of the ``count`` pixels before, which lie in this program's row.

    Kept in registers through the products they would take 64 of each thread's 255, and spill.
    """
    inside = o < O
    pixels, mean, squares = tile_moments(values, valid)
    tl.debug_barrier()  # what other threads of the program stored is seen
    before = inside & (tl.zeros_like(mean) + count > 0)
    mean_before = tl.load(row + o, mask=before, other=0.0, cache_modifier=".cg")
    squares_before = tl.load(row + O + o, mask=before, other=0.0, cache_modifier=".cg")
    count, mean, squares = joined(count, mean_before, squares_before, pixels, mean, squares)
    tl.debug_barrier()  # all have read before any writes
    store_moments(row, o, inside, count, mean, squares, O)
    return count


@triton.jit
def _convolve(
    padded, weight, y, rows, counters, gamma, beta, norm, padded_width, width, pixels, programs,
    pb, wb, yb, cb, bb, eps,
    S: tl.constexpr, YS: tl.constexpr, I: tl.constexpr, O: tl.constexpr, KERNEL: tl.constexpr,
    STRIDE: tl.constexpr, NORM: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
    P: tl.constexpr, COUNTERS: tl.constexpr,
):  # fmt: skip
    p, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    padded += b * pb
    weight += b * wb
    y += b * yb
    o = group * N + tl.arange(0, N)
    rows += b * programs * 3 * O
    count = 0.0
    for tile in range(p, tl.cdiv(pixels, M), programs):
        m = tile * M + tl.arange(0, M)
        valid = (m < pixels)[:, None]
        # Beyond the last pixel that one is computed again: no product needs a mask then.
        pixel = tl.minimum(m, pixels - 1)
        i = pixel // width
        j = pixel - i * width
        place = padded + ((i.to(tl.int64) * padded_width + j) * (STRIDE * S))[:, None]
        total = _window_product(
            place, weight, o, tl.zeros([M, N], tl.float32), padded_width, S, I, O, KERNEL, K
        )
        stored = total.to(y.dtype.element_ty)
        tl.store(y + m[:, None].to(tl.int64) * YS + o[None, :], stored, mask=valid & (o < O)[None, :])
        if NORM:
            count = _add_moments(rows + p * 3 * O, stored.to(tl.float32), valid, o, count, O)
    if NORM:
        finish_norm(
            rows, counters + b * COUNTERS + group, programs, gamma + b * cb, beta + b * bb,
            norm + b * 4 * O, o, o < O, eps, O, P,
        )  # fmt: skip


def convolve(
    padded: Any,
    kernel: int,
    stride: int,
    weight: Any,
    output: Layer,
    gamma: Any,
    beta: Any,
    eps: float,
    scratch: gpu.Scratch,
) -> None:
    """One launch: y and, unless ``gamma`` is None, its norm.

    Args:
        padded: cells [B, H + 2p, W + 2p, S] from ``pack``, p = (kernel - 1) / 2; the surplus is 0.
        kernel: side k, odd.
        stride: 1 or 2.
        weight: cells [B, O, k, k, I].
        output: its values [B, ceil(H / stride), ceil(W / stride), S] are written, and its norm.
        gamma, beta: float32 [B, O] views; None where no norm follows directly.
        eps: added to the variance.
        scratch: see ``gpu.launch.Scratch``.
    """
    y, out, into = output.values, output.channels, weight.shape[4]
    fits, height, width = y.shape[:3]
    S = padded.stride(2)
    m, n, k = tile_sizes(height * width, out, kernel * kernel * S, padded.element_size())
    count = gpu.programs(-(-height * width // m))
    normed = gamma is not None
    gpu.launch(
        _convolve, (count, -(-out // n), fits),
        padded, weight, y, scratch.partials, scratch.counters, gamma, beta, output.norm if normed else None,
        padded.shape[2], width, height * width, count, padded.stride(0), weight.stride(0), y.stride(0),
        gamma.stride(0) if normed else 0, beta.stride(0) if normed else 0, eps,
        warps=warps(m, n), stages=stages((m + n) * k * padded.element_size()),
        S=S, YS=y.stride(2), I=into, O=out, KERNEL=kernel, STRIDE=stride, NORM=normed,
        M=m, N=n, K=k, P=gpu.ROWS_AT_ONCE, COUNTERS=gpu.COUNTERS,
    )  # fmt: skip
