"""2x2 maxima on the GPU, between a convolution and the norm that follows.

What. ``largest`` takes the maxima of a convolution's raw output and adds up their moments on the way, as
every writer of a layer does. ``largest_backward`` makes the gradient by the maxima on the fly from the stored
gradient and hands each to the first largest value of its window, straight into the zero-bordered buffer that
the convolution's backward pass reads; the other three become 0.

Layout. y [B, H, W, S] cells at full size; the layer [B, ceil(H/2), ceil(W/2), S]. A program takes pixels of
the small picture with all their channels: four reads of whole rows of cells, no two programs touch a value.

Traffic, 512 x 512 and 128 channels in bfloat16: forward reads 67 MB and writes 17 (20 us at 4.3 TB/s);
backward reads 67 + 34 and writes 67 (39 us). The comparison is made again rather than remembered: 2 bits a
value would save 67 MB of reading for 4 MB, at the price of one more buffer and its kernel; left until
measured.

One launch each. Values are only compared, so maxima equal the reference's to the bit. Registers at 128
channels, sm_80 / sm_90: 64 / 69 forward, 80 / 71 backward, no stack.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.activation import by_output
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.moments import finish_norm, joined, store_moments, tile_moments

TILE = 4096  # maxima that a program holds at once


def _tile(channels: int) -> tuple[int, int]:
    """Pixels and channels."""
    k = gpu.block(channels, 256)
    return max(1, TILE // k), k


@triton.jit
def _largest(
    y, out, rows, counters, gamma, beta, norm, height, width, small_width, pixels, programs,
    yb, ob, cb, bb, eps,
    YS: tl.constexpr, OS: tl.constexpr, C: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
    P: tl.constexpr, COUNTERS: tl.constexpr,
):  # fmt: skip
    p, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = group * K + tl.arange(0, K)
    inside = c < C
    count = 0.0
    mean = tl.zeros([K], tl.float32)
    squares = tl.zeros([K], tl.float32)
    for tile in range(p, tl.cdiv(pixels, M), programs):
        m = tile * M + tl.arange(0, M)
        valid = m < pixels
        i = m // small_width
        j = m - i * small_width
        place = y + b * yb + ((i.to(tl.int64) * (2 * width) + 2 * j) * YS)[:, None] + c[None, :]
        most = tl.full([M, K], float("-inf"), tl.float32)
        for turn in tl.static_range(4):
            has = valid & (2 * i + turn // 2 < height) & (2 * j + turn % 2 < width)
            at = place + (turn // 2 * width + turn % 2) * YS
            value = tl.load(at, mask=has[:, None] & inside[None, :], other=float("-inf"))
            most = tl.maximum(most, value.to(tl.float32))
        there = valid[:, None] & inside[None, :]
        to = out + b * ob + m.to(tl.int64)[:, None] * OS + c[None, :]
        tl.store(to, most.to(out.dtype.element_ty), mask=there)
        # Where nothing is the maximum is -inf, which must not meet a sum.
        most = tl.where(there, most, 0.0)
        pixels_here, of_tile, off = tile_moments(most, valid[:, None])
        count, mean, squares = joined(count, mean, squares, pixels_here, of_tile, off)
    rows += b * programs * 3 * C
    store_moments(rows + p * 3 * C, c, inside, count, mean, squares, C)
    finish_norm(
        rows, counters + b * COUNTERS + group, programs, gamma + b * cb, beta + b * bb, norm + b * 4 * C,
        c, inside, eps, C, P,
    )  # fmt: skip


def largest(y: Any, output: Layer, gamma: Any, beta: Any, eps: float, scratch: gpu.Scratch) -> None:
    """One launch: the maxima and their norm.

    Args:
        y: cells [B, H, W, S], a convolution's output without norm.
        output: its values [B, ceil(H/2), ceil(W/2), S] and its norm are written.
        gamma, beta: float32 [B, C] views.
        eps: added to the variance.
        scratch: see ``gpu.launch.Scratch``.
    """
    out, channels = output.values, output.channels
    fits, small_height, small_width = output.shape
    m, k = _tile(channels)
    pixels = small_height * small_width
    count = gpu.programs(-(-pixels // m))
    gpu.launch(
        _largest, (count, -(-channels // k), fits),
        y, out, scratch.partials, scratch.counters, gamma, beta, output.norm, y.shape[1], y.shape[2],
        small_width, pixels, count, y.stride(0), out.stride(0), gamma.stride(0), beta.stride(0), eps,
        warps=8, YS=y.stride(2), OS=out.stride(2), C=channels, M=m, K=k, P=gpu.ROWS_AT_ONCE,
        COUNTERS=gpu.COUNTERS,
    )  # fmt: skip


@triton.jit
def _backward(
    gradient, z, norm, means, y, out, height, width, small_width, pixels, out_width, gb, zb, yb, ob, before,
    GS: tl.constexpr, ZS: tl.constexpr, YS: tl.constexpr, OS: tl.constexpr, C: tl.constexpr,
    M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    m = tl.program_id(0) * M + tl.arange(0, M)
    c = tl.program_id(1) * K + tl.arange(0, K)
    inside = c < C
    valid = m < pixels
    there = valid[:, None] & inside[None, :]
    pixel = m.to(tl.int64)[:, None]
    g = tl.load(gradient + b * gb + pixel * GS + c[None, :], mask=there, other=0.0).to(tl.float32)
    most = tl.load(z + b * zb + pixel * ZS + c[None, :], mask=there, other=0.0).to(tl.float32)
    norm += b * 4 * C
    means += b * 2 * C
    mean = tl.load(norm + c, mask=inside, other=0.0)
    rstd = tl.load(norm + C + c, mask=inside, other=0.0)
    scale = tl.load(norm + 2 * C + c, mask=inside, other=0.0)
    mean_g = tl.load(means + c, mask=inside, other=0.0)
    mean_gh = tl.load(means + C + c, mask=inside, other=0.0)
    # What is left to give away: nothing once a value has had it.
    left = tl.where(there, by_output(g, most, mean, rstd, scale, mean_g, mean_gh), 0.0)
    i = m // small_width
    j = m - i * small_width
    place = y + b * yb + ((i.to(tl.int64) * (2 * width) + 2 * j) * YS)[:, None] + c[None, :]
    to = (
        out
        + b * ob
        + (((2 * i + before).to(tl.int64) * out_width + 2 * j + before) * OS)[:, None]
        + c[None, :]
    )
    for turn in tl.static_range(4):
        has = (valid & (2 * i + turn // 2 < height) & (2 * j + turn % 2 < width))[:, None]
        at = place + (turn // 2 * width + turn % 2) * YS
        value = tl.load(at, mask=has & inside[None, :], other=float("-inf")).to(tl.float32)
        taken = has & (value == most)
        # The surplus gets its 0 here: convolutions read it.
        dc = tl.where(taken, left, 0.0).to(out.dtype.element_ty)
        tl.store(to + (turn // 2 * out_width + turn % 2) * OS, dc, mask=has & (c < OS)[None, :])
        left = tl.where(taken, 0.0, left)


def largest_backward(gradient: Gradient, layer: Layer, y: Any, out: Any, margins: tuple[int, int]) -> None:
    """One launch: the gradient by the convolution's output.

    Args:
        gradient: of the layer.
        layer: what ``largest`` wrote.
        y: what it read.
        out: cells [B, before + H + after, before + W + after, S]; all but the border, which must be 0, is
            written.
        margins: before and after.
    """
    g, z = gradient.values, layer.values
    fits, small_height, small_width = layer.shape
    m, k = _tile(out.stride(2))
    pixels = small_height * small_width
    gpu.launch(
        _backward, (-(-pixels // m), -(-out.stride(2) // k), fits),
        g, z, layer.norm, gradient.means, y, out, y.shape[1], y.shape[2], small_width, pixels, out.shape[2],
        g.stride(0), z.stride(0), y.stride(0), out.stride(0), margins[0], warps=8,
        GS=g.stride(2), ZS=z.stride(2), YS=y.stride(2), OS=out.stride(2), C=layer.channels, M=m, K=k,
    )  # fmt: skip
