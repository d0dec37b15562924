"""The way back through a convolution with several taps: gradient by its output, and by its padded input.

``output_gradient`` makes the gradient by y, dc, from the stored gradient once and writes it into a buffer
with a border of zeros; it serves both products. In the border the transposed convolution needs no conditions
either:

    dpadded[q] = sum over taps a with q - a = s u of dc[u] W[a]^T

Stride 2. Only every fourth tap of a padded pixel meets a pixel of dc, and which ones do depends on whether q
is even or odd: with q = 2 v + r and a = 2 t + r, u = v - t. So programs are split by the four classes r of
pixels (grid axis 1), each with its own taps (4, 2, 2 and 1 of 9): no product is wasted, no zeros are
interleaved.

As forward, the window of one pixel is a run of columns (taps and channels of dc), walked K at a time. A merge
has 132 channels: as two blocks of 128 they would double the products, so the 4 share the loads of the 128 as
a second, narrow sum (240 registers on sm_90, no stack).

Registers at 128 channels, sm_80 / sm_90: output_gradient 102 / 106 (two programs of 8 warps to a
multiprocessor), backward_input 184 / 204, with stride 2 254 / 208; no stack. dc could be made while loading
instead of by ``output_gradient``: 9 times the loads of g and y and no asynchronous copies any more; left.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.conv_norm_act.triton_conv import stages, tap_and_channel, tile_sizes, warps
from dipedge.kernels.conv_norm_act.triton_conv_padding import channel_tile
from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.activation import by_output
from dipedge.kernels.gpu.layer import Gradient, Layer


def gradient_margins(kernel: int, stride: int) -> tuple[int, int]:
    """Rows (and columns) of zeros before and after dc; ``convolve_backward_input`` reads them."""
    return (kernel - 1) // stride, (kernel - 1) // stride


@triton.jit
def _output_gradient(
    gradient, y, norm, means, out, width, pixels, out_width, gb, yb, ob, before,
    GS: tl.constexpr, YS: tl.constexpr, OS: tl.constexpr, C: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    m = tl.program_id(0) * M + tl.arange(0, M)
    c = tl.program_id(1) * K + tl.arange(0, K)
    inside = c < C
    valid = (m < pixels)[:, None]
    there = valid & inside[None, :]
    pixel = m.to(tl.int64)[:, None]
    g = tl.load(gradient + b * gb + pixel * GS + c[None, :], mask=there, other=0.0).to(tl.float32)
    value = tl.load(y + b * yb + pixel * YS + c[None, :], mask=there, other=0.0).to(tl.float32)
    norm += b * 4 * C
    means += b * 2 * C
    mean = tl.load(norm + c, mask=inside, other=0.0)
    rstd = tl.load(norm + C + c, mask=inside, other=0.0)
    scale = tl.load(norm + 2 * C + c, mask=inside, other=0.0)
    mean_g = tl.load(means + c, mask=inside, other=0.0)
    mean_gh = tl.load(means + C + c, mask=inside, other=0.0)
    dc = by_output(g, value, mean, rstd, scale, mean_g, mean_gh)
    i = m // width
    j = m - i * width
    to = out + b * ob + (((i + before).to(tl.int64) * out_width + j + before) * OS)[:, None] + c[None, :]
    # The surplus is 0 too: the product with the weights reads it.
    dc = tl.where(there, dc, 0.0).to(out.dtype.element_ty)
    tl.store(to, dc, mask=valid & (c < OS)[None, :])


def output_gradient(gradient: Gradient, layer: Layer, out: Any, margins: tuple[int, int]) -> None:
    """One launch: dc, the gradient by a layer's y.

    Args:
        gradient: of the layer.
        layer: whose y a convolution wrote.
        out: cells [B, before + h + after, before + w + after, S]; all but the border is written. The border
            must be 0 and stays so.
        margins: before and after, from ``gradient_margins``.
    """
    g, y = gradient.values, layer.values
    fits, height, width = layer.shape
    m, k = channel_tile(out.stride(2))
    gpu.launch(
        _output_gradient, (-(-height * width // m), -(-out.stride(2) // k), fits),
        g, y, layer.norm, gradient.means, out, width, height * width, out.shape[2],
        g.stride(0), y.stride(0), out.stride(0), margins[0], warps=8,
        GS=g.stride(2), YS=y.stride(2), OS=out.stride(2), C=layer.channels, M=m, K=k,
    )  # fmt: skip


@triton.jit
def _transposed_product(
    place, weight, c, total, more, width, first_row, first_column,
    S: tl.constexpr, I: tl.constexpr, O: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr,
    N: tl.constexpr, K: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Adds to ``total`` [M, N] what the windows of dc at ``place`` [M, 1] give: those of taps
    first + STRIDE t, the last of them first. ``more`` is the same for the R channels after the N."""
    down = (KERNEL - first_row + STRIDE - 1) // STRIDE
    across = (KERNEL - first_column + STRIDE - 1) // STRIDE
    taps = down * across
    for start in range(0, taps * S, K):
        tap, o, exists = tap_and_channel(start, taps, O, S, K)
        row = tap // across
        column = tap - row * across
        cell = place + ((row * width + column) * S + o)[None, :]
        if S % K == 0:
            dc = tl.load(cell)
        else:
            dc = tl.load(cell, mask=(start + tl.arange(0, K) < taps * S)[None, :], other=0.0)
        a = first_row + STRIDE * (down - 1 - row)
        b = first_column + STRIDE * (across - 1 - column)
        at = weight + (o * (KERNEL * KERNEL * I) + (a * KERNEL + b) * I)[:, None]
        there = exists[:, None] & (c < I)[None, :]
        total = tl.dot(dc, tl.load(at + c[None, :], mask=there, other=0.0), total, input_precision="ieee")
        if R > 0:
            rest = N + tl.arange(0, R)
            there = exists[:, None] & (rest < I)[None, :]
            more = tl.dot(
                dc, tl.load(at + rest[None, :], mask=there, other=0.0), more, input_precision="ieee"
            )
    return total, more


@triton.jit
def _backward_input(
    dc, weight, dpadded, height, width, dc_width, programs, db, wb, pb,
    DS: tl.constexpr, PS: tl.constexpr, I: tl.constexpr, O: tl.constexpr, KERNEL: tl.constexpr,
    STRIDE: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    p, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    kind = group % (STRIDE * STRIDE)
    first_row, first_column = kind // STRIDE, kind % STRIDE
    c = group // (STRIDE * STRIDE) * N + tl.arange(0, N)
    # Pixels of this kind, and the corner of the window of dc that ends at pixel (0, 0).
    columns = (width - first_column + STRIDE - 1) // STRIDE
    pixels = (height - first_row + STRIDE - 1) // STRIDE * columns
    top = (KERNEL - 1) // STRIDE - (KERNEL - first_row + STRIDE - 1) // STRIDE + 1
    left = (KERNEL - 1) // STRIDE - (KERNEL - first_column + STRIDE - 1) // STRIDE + 1
    for tile in range(p, tl.cdiv(pixels, M), programs):
        m = tile * M + tl.arange(0, M)
        pixel = tl.minimum(m, pixels - 1)
        i = (pixel // columns).to(tl.int64)
        j = pixel - i * columns
        place = dc + b * db + (((i + top) * dc_width + j + left) * DS)[:, None]
        total = tl.zeros([M, N], tl.float32)
        more = tl.zeros([M, R if R > 0 else 16], tl.float32)
        total, more = _transposed_product(
            place, weight + b * wb, c, total, more, dc_width, first_row, first_column,
            DS, I, O, KERNEL, STRIDE, N, K, R,
        )  # fmt: skip
        to = dpadded + b * pb + (((i * STRIDE + first_row) * width + j * STRIDE + first_column) * PS)[:, None]
        valid = (m < pixels)[:, None]
        stored = total.to(dpadded.dtype.element_ty)
        tl.store(to + c[None, :], stored, mask=valid & (c < I)[None, :])
        if R > 0:
            rest = N + tl.arange(0, R)
            stored = more.to(dpadded.dtype.element_ty)
            tl.store(to + rest[None, :], stored, mask=valid & (rest < I)[None, :])


def convolve_backward_input(dc_padded: Any, weight: Any, dpadded: Any, kernel: int, stride: int) -> None:
    """One launch: the gradient by the padded input.

    Args:
        dc_padded: cells from ``output_gradient``, with ``gradient_margins`` of zeros.
        weight: cells [B, O, k, k, I].
        dpadded: cells [B, H + 2p, W + 2p, S], written.
        kernel: side k.
        stride: 1 or 2.
    """
    fits, out, into = dc_padded.shape[0], weight.shape[1], weight.shape[4]
    height, width = dpadded.shape[1:3]
    DS, cell = dc_padded.stride(2), dc_padded.element_size()
    # Of the largest of the kinds of pixels.
    pixels = -(-height // stride) * -(-width // stride)
    # A merge has a few channels more than a block; as a second block they would double the products.
    counted = 128 if 128 < into <= 160 else into
    m, n, k = tile_sizes(pixels, counted * stride * stride, kernel * kernel * DS, cell)
    n = min(n, gpu.block(counted, n))
    if stride == 2:
        m = min(m, 128)  # addresses by class take registers that 128 sums a thread leave none of
    rest = gpu.block(into - n, 32) if n < into <= n + 32 else 0
    blocks = 1 if rest else -(-into // n)
    gpu.launch(
        _backward_input, (gpu.programs(-(-pixels // m)), blocks * stride * stride, fits),
        dc_padded, weight, dpadded, height, width, dc_padded.shape[2], gpu.programs(-(-pixels // m)),
        dc_padded.stride(0), weight.stride(0), dpadded.stride(0),
        warps=warps(m, n), stages=stages((m + n + rest) * k * cell),
        DS=DS, PS=dpadded.stride(2), I=into, O=out, KERNEL=kernel, STRIDE=stride, M=m, N=n, K=k, R=rest,
    )  # fmt: skip
