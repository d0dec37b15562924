"""Padding on the GPU: the activated picture with its border written out, and the border's gradient folded
back.

``pack`` reads a layer (or z) once and writes act(scale y + shift) with p more pixels on every side, by
reflection at any distance or zeros; noise that perturbs z is added on the way, the border repeating its
pixels' own. ``fold`` is its adjoint as a gather: every pixel adds up the places that show it, so nothing is
added atomically. Far from the border that is one place; tiles that touch it, a sixth of them at 512 x 512,
look at three candidates a side (more in pictures smaller than the padding).

Traffic. pack: one read, one write (the border is 1.2 % at 512 x 512, k = 3). fold: reads the gradient and y,
writes g, with the sums for the norm on the way; its programs are at most 264 because each leaves a row of
sums. pack leaves none and is one program per tile: the hardware keeps more loads in flight than a loop would.

Registers at 128 channels, sm_80 / sm_90: pack 53 / 48, with noise 80; fold 102 / 127, two programs to a
multiprocessor with 4096 cells each (with 8192 it takes 167 and leaves room for one); no stack.

Noise is drawn four values to a counter where channels come in fours, and one by one elsewhere.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.activation import activated, by_normalised
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.moments import finish_gradient, store_sums
from dipedge.kernels.perturb.triton import normal_of, normals_of_blocks

TILE = 8192  # cells that a program of 8 warps holds of each picture; half of it where it makes sums
WIDEST = 256  # channels of a tile


def channel_tile(channels: int, share: int = 1) -> tuple[int, int]:
    """Pixels and channels of a tile that is read and written once, of TILE / ``share`` cells."""
    k = gpu.block(channels, WIDEST)
    return max(1, TILE // share // k), k


@triton.jit
def reflected(position, size, MARGIN: tl.constexpr):
    """Which of ``size`` pixels stands at ``position`` in [-MARGIN, size + MARGIN)."""
    period = tl.maximum(2 * (size - 1), 1)
    wrapped = (position + MARGIN * period) % period  # of a number that is not negative
    return tl.where(wrapped < size, wrapped, period - wrapped)


@triton.jit
def _noise(seed, step, pixel, c, C: tl.constexpr, M: tl.constexpr, K: tl.constexpr):
    """Of channels ``c`` [K] (from a multiple of 4 on) at flat ``pixel`` [M] int64: [M, K] float32."""
    if C % 4 == 0:
        quarter = tl.program_id(1).to(tl.int64) * (K // 4) + tl.arange(0, K // 4)
        blocks = pixel[:, None] * (C // 4) + quarter[None, :]
        values = tl.reshape(normals_of_blocks(seed, step, tl.reshape(blocks, (M * (K // 4),))), (M, K))
    else:
        values = normal_of(seed, step, pixel[:, None] * C + c[None, :])
    return values


@triton.jit
def _pack(
    source, norm, out, seeds, step, height, width, out_width, pixels, sb, sh, ob, slope, sigma,
    SS: tl.constexpr, OS: tl.constexpr, C: tl.constexpr, MARGIN: tl.constexpr, REFLECT: tl.constexpr,
    ACT: tl.constexpr, NOISE: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    m = tl.program_id(0) * M + tl.arange(0, M)
    c = tl.program_id(1) * K + tl.arange(0, K)
    there = m < pixels
    i = m // out_width
    j = m - i * out_width - MARGIN
    i -= MARGIN
    if REFLECT:
        i = reflected(i, height, MARGIN)
        j = reflected(j, width, MARGIN)
    else:
        there = there & (i >= 0) & (i < height) & (j >= 0) & (j < width)
    i = i.to(tl.int64)
    there = there[:, None] & (c < C)[None, :]
    place = source + b * sb + (i * sh + j * SS)[:, None] + c[None, :]
    values = tl.load(place, mask=there, other=0.0).to(tl.float32)
    if ACT:
        scale = tl.load(norm + b * 4 * C + 2 * C + c, mask=c < C, other=0.0)
        shift = tl.load(norm + b * 4 * C + 3 * C + c, mask=c < C, other=0.0)
        values = activated(values, scale, shift, slope)
    if NOISE:
        values += sigma * _noise(tl.load(seeds + b), tl.load(step), i * width + j, c, C, M, K)
    # The surplus is 0 too: convolutions read it.
    values = tl.where(there, values, 0.0).to(out.dtype.element_ty)
    to = out + b * ob + m.to(tl.int64)[:, None] * OS + c[None, :]
    tl.store(to, values, mask=(m < pixels)[:, None] & (c < OS)[None, :])


def pack(
    source: Layer, out: Any, margin: int, reflect: bool, perturb: tuple[float, Any, Any] | None = None
) -> None:
    """One launch: the activated source with its border.

    Args:
        source: a layer; with ``norm`` None also float32 z, [B, H, W, C] with rows of any length.
        out: cells [B, H + 2 margin, W + 2 margin, S], written, its surplus with 0.
        margin: pixels on every side.
        reflect: by reflection at any distance; else zeros.
        perturb: sigma, seeds int64 [B] and step int64 [1]: noise to add, numbered along [H, W, C].
    """
    values, channels = source.values, source.channels
    fits, height, width = source.shape
    sigma, seeds, step = perturb or (0.0, None, None)
    pixels = out.shape[1] * out.shape[2]
    m, k = channel_tile(out.stride(2))
    gpu.launch(
        _pack, (-(-pixels // m), -(-out.stride(2) // k), fits),
        values, source.norm, out, seeds, step, height, width, out.shape[2], pixels,
        values.stride(0), values.stride(1), out.stride(0), source.slope, sigma, warps=8,
        SS=values.stride(2), OS=out.stride(2), C=channels, MARGIN=margin, REFLECT=reflect,
        ACT=source.norm is not None, NOISE=perturb is not None, M=m, K=k,
    )  # fmt: skip


@triton.jit
def _shown_at(pixel, size, turn, MARGIN: tl.constexpr):
    """Candidate number ``turn`` for a place that shows ``pixel``, and whether it does.

    A pixel i stands at i + z T and at z T - i for every whole z (T: the period); at the ends of the side
    these are the same places. First all of the former kind that a margin can hold come, then the latter.
    """
    period = tl.maximum(2 * (size - 1), 1)
    whole = (MARGIN + size - 1) // period
    straight = turn + 0 * pixel <= 2 * whole  # a tensor: the interpreter knows no truth values beside masks
    forth = pixel + (turn - whole) * period
    back = (turn - (2 * whole + 1) - MARGIN // period) * period - pixel
    place = tl.where(straight, forth, back)
    shows = straight | ((pixel > 0) & (pixel < size - 1))
    return place, shows & (place >= -MARGIN) & (place < size + MARGIN)


@triton.jit
def _turns(size, MARGIN: tl.constexpr):
    """How many candidates there are for one side: 3 unless it is smaller than the padding."""
    period = tl.maximum(2 * (size - 1), 1)
    return 2 * ((MARGIN + size - 1) // period) + 1 + 2 * (MARGIN // period) + 2


@triton.jit
def _near(pixel, size, MARGIN: tl.constexpr):
    return (pixel <= MARGIN) | (pixel >= size - 1 - MARGIN)


@triton.jit
def _unfolded(
    dpadded, i, j, c, valid, height, width,
    S: tl.constexpr, C: tl.constexpr, MARGIN: tl.constexpr, REFLECT: tl.constexpr,
):  # fmt: skip
    """The gradient by pixels (i, j) [M], [M, K] float32: the sum over all places that show them."""
    pitch = width + 2 * MARGIN
    there = valid[:, None] & (c < C)[None, :]
    place = dpadded + (((i + MARGIN).to(tl.int64) * pitch + j + MARGIN) * S)[:, None] + c[None, :]
    total = tl.load(place, mask=there, other=0.0).to(tl.float32)
    if REFLECT and MARGIN > 0:
        near = valid & (_near(i, height, MARGIN) | _near(j, width, MARGIN))
        if tl.max(near.to(tl.int32), axis=0) > 0:
            columns = _turns(width, MARGIN)
            for turn in range(0, _turns(height, MARGIN) * columns):
                row, shows_row = _shown_at(i, height, turn // columns, MARGIN)
                column, shows_column = _shown_at(j, width, turn % columns, MARGIN)
                # The pixel's own place is in the sum already.
                shows = near & shows_row & shows_column & ((row != i) | (column != j))
                at = dpadded + (((row + MARGIN).to(tl.int64) * pitch + column + MARGIN) * S)[:, None]
                total += tl.load(at + c[None, :], mask=shows[:, None] & (c < C)[None, :], other=0.0).to(
                    tl.float32
                )
    return total


@triton.jit
def _fold(
    dpadded, extra, y, norm, out, rows, counters, means, dgamma, dbeta, height, width, programs,
    pb, eb, eh, yb, yh, ob, gb, bb, slope,
    PS: tl.constexpr, ES: tl.constexpr, YS: tl.constexpr, OS: tl.constexpr, C: tl.constexpr,
    MARGIN: tl.constexpr, REFLECT: tl.constexpr, PADDED: tl.constexpr, EXTRA: tl.constexpr,
    LAYER: tl.constexpr, M: tl.constexpr, K: tl.constexpr, P: tl.constexpr, COUNTERS: tl.constexpr,
):  # fmt: skip
    p, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = group * K + tl.arange(0, K)
    inside = c < C
    sum_g = tl.zeros([K], tl.float32)
    sum_gh = tl.zeros([K], tl.float32)
    for tile in range(p, tl.cdiv(height * width, M), programs):
        m = tile * M + tl.arange(0, M)
        valid = m < height * width
        i = m // width
        j = m - i * width
        there = valid[:, None] & inside[None, :]
        total = tl.zeros([M, K], tl.float32)
        if PADDED:
            total = _unfolded(dpadded + b * pb, i, j, c, valid, height, width, PS, C, MARGIN, REFLECT)
        if EXTRA > 0:
            i2, j2 = i // EXTRA, j // EXTRA
            has = there & ((i2 * EXTRA == i) & (j2 * EXTRA == j))[:, None]
            place = extra + b * eb + (i2.to(tl.int64) * eh + j2 * ES)[:, None] + c[None, :]
            total += tl.load(place, mask=has, other=0.0).to(tl.float32)
        to = out + b * ob + m.to(tl.int64)[:, None] * OS + c[None, :]
        if LAYER:
            place = y + b * yb + (i.to(tl.int64) * yh + j * YS)[:, None] + c[None, :]
            value = tl.load(place, mask=there, other=0.0).to(tl.float32)
            first, second = _finished(total, value, norm + b * 4 * C, to, c, there, slope, C)
            sum_g += first
            sum_gh += second
        else:
            tl.store(to, total.to(out.dtype.element_ty), mask=there)
    if LAYER:
        rows += b * programs * 2 * C
        store_sums(rows + p * 2 * C, c, inside, sum_g, sum_gh, C)
        finish_gradient(
            rows, counters + b * COUNTERS + group, programs, means + b * 2 * C, dgamma + b * gb,
            dbeta + b * bb, c, inside, height * width, C, P,
        )  # fmt: skip


@triton.jit
def _finished(da, y, norm, to, c, there, slope, C: tl.constexpr):
    """Stores g of a tile; the sums of g, as stored, and of g h."""
    inside = c < C
    mean = tl.load(norm + c, mask=inside, other=0.0)
    rstd = tl.load(norm + C + c, mask=inside, other=0.0)
    scale = tl.load(norm + 2 * C + c, mask=inside, other=0.0)
    shift = tl.load(norm + 3 * C + c, mask=inside, other=0.0)
    stored = by_normalised(da, y, scale, shift, slope).to(to.dtype.element_ty)
    tl.store(to, stored, mask=there)
    g = tl.where(there, stored.to(tl.float32), 0.0)
    h = (y - mean[None, :]) * rstd[None, :]
    return tl.sum(g, axis=0), tl.sum(g * h, axis=0)


def fold(
    dpadded: Any,
    margin: int,
    reflect: bool,
    layer: Layer | None,
    extra: Any,
    extra_stride: int,
    out: Gradient | Any,
    dgamma: Any,
    dbeta: Any,
    scratch: gpu.Scratch,
) -> None:
    """One launch: the gradient by a layer from that by its padded activation.

    Args:
        dpadded: cells [B, H + 2 margin, W + 2 margin, S]; None where only ``extra`` comes.
        margin, reflect: as they were given to ``pack``.
        layer: what was packed; None stores the gradient by the activation.
        extra: cells [B, ceil(H / extra_stride), .., S], the raw gradient from another reader, or None.
        extra_stride: which pixels ``extra`` belongs to.
        out: a ``Gradient`` with a layer, its means written too; else cells [B, H, W, S].
        dgamma, dbeta: float32 [B, C] views, written with a layer.
        scratch: see ``gpu.launch.Scratch``.
    """
    g = out.values if layer is not None else out
    fits, height, width = g.shape[:3]
    given = extra if dpadded is None else dpadded
    # Without a layer nobody says how many channels there are; what the surplus becomes does not matter.
    channels = layer.channels if layer is not None else min(g.shape[3], given.shape[3])
    m, k = channel_tile(channels, share=2)
    count = gpu.programs(-(-height * width // m))
    y = None if layer is None else layer.values
    padded, more, normed = dpadded is not None, extra is not None, layer is not None
    gpu.launch(
        _fold, (count, -(-channels // k), fits),
        dpadded, extra, y, layer.norm if normed else None, g, scratch.partials, scratch.counters,
        out.means if normed else None, dgamma, dbeta, height, width, count,
        dpadded.stride(0) if padded else 0, extra.stride(0) if more else 0, extra.stride(1) if more else 0,
        y.stride(0) if normed else 0, y.stride(1) if normed else 0, g.stride(0),
        dgamma.stride(0) if normed else 0, dbeta.stride(0) if normed else 0,
        layer.slope if normed else 0.0, warps=8,
        PS=dpadded.stride(2) if padded else 1, ES=extra.stride(2) if more else 1,
        YS=y.stride(2) if normed else 1, OS=g.stride(2), C=channels, MARGIN=margin, REFLECT=reflect,
        PADDED=padded, EXTRA=extra_stride if more else 0, LAYER=normed, M=m, K=k, P=gpu.ROWS_AT_ONCE,
        COUNTERS=gpu.COUNTERS,
    )  # fmt: skip
