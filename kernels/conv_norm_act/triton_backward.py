"""The way back through a pointwise layer: weight gradient and gradient by the input from one reading.

What comes in is one of three: ``Gradient`` (g of the layer's own norm), raw cells (already by y, of an output
without norm), or a ``Head`` (g is made from the 3 numbers a pixel that the head left). What goes out is the
gradient by the input in one of two forms:

- finished: g of the source's norm, with its means and the gradients by its gamma and beta. The source may
  have a second reader, whose gradient by the activation comes as ``extra`` (of every second pixel, say).
- raw: by the activation, for whoever finishes it. Behind an upsampling also the two sums that the merge's
  norm needs come out (``MergeSums``): over all pixels of the upsampled picture the gradient adds up to what
  its transposed, at low resolution, adds up to; so they cost nothing here.

The two products share the tile of the gradient by y: [M, O] x [O, I] gives the gradient by x, its transpose
times the activations [M, I] the weight gradient, which stays in registers over all tiles of a program. More
than 128 outputs (32 in float32, which has no tensor cores) go in two launches, one for each product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.conv_norm_act.triton import load_activations, tile_sizes
from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.activation import activated, by_normalised, by_output
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.moments import finish_gradient, store_sums

GRADIENT, RAW, HEAD = 0, 1, 2  # what comes in
NOT, FINISHED, MERGED = 0, 1, 2  # which sums go out
LARGE = 200 << 10  # bytes of shared memory a program; with less, two sums beside 64 pixels spill
WIDEST = {2: 128, 4: 32}  # outputs that one launch takes with both products, by bytes of a cell


@dataclass(frozen=True)
class Head:
    """The gradient by the logits, float32 [B, H, W, OUT], the head's weights, float32 [B, OUT, 1, 1, O], and
    ``Gradient.means`` of the layer ahead of it."""

    dlogit: Any
    weight: Any
    means: Any


@dataclass(frozen=True)
class MergeSums:
    """Where the sums for the norm behind an upsampling go.

    Args:
        norm: float32 [B, 4, C] of the merged picture, the source's channels first.
        pixels: of the merged picture.
        means: float32 [B, 2, I], written: means over the merged picture of d and d h.
        dgamma, dbeta: float32 [B, I] views, written.
    """

    norm: Any
    pixels: int
    means: Any
    dgamma: Any
    dbeta: Any


@triton.jit
def _gradient_by_output(
    gradient, y, norm, means, dlogit, head, m, o, valid, slope,
    O: tl.constexpr, GS: tl.constexpr, YS: tl.constexpr, SOURCE: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """Of pixels ``m`` and channels ``o``, [M, N] float32; 0 where there is no pixel or channel."""
    inside = o < O
    there = valid & inside[None, :]
    pixel = m.to(tl.int64)[:, None]
    if SOURCE == 1:
        dc = tl.load(gradient + pixel * GS + o[None, :], mask=there, other=0.0).to(tl.float32)
    else:
        v = tl.load(y + pixel * YS + o[None, :], mask=there, other=0.0).to(tl.float32)
        scale = tl.load(norm + 2 * O + o, mask=inside, other=0.0)
        if SOURCE == 2:
            da = tl.zeros_like(v)
            for q in tl.static_range(OUT):
                d = tl.load(dlogit + pixel * OUT + q, mask=valid, other=0.0)
                da += d * tl.load(head + q * O + o, mask=inside, other=0.0)[None, :]
            shift = tl.load(norm + 3 * O + o, mask=inside, other=0.0)
            g = by_normalised(da, v, scale, shift, slope)
        else:
            g = tl.load(gradient + pixel * GS + o[None, :], mask=there, other=0.0).to(tl.float32)
        mean = tl.load(norm + o, mask=inside, other=0.0)
        rstd = tl.load(norm + O + o, mask=inside, other=0.0)
        mean_g = tl.load(means + o, mask=inside, other=0.0)
        mean_gh = tl.load(means + O + o, mask=inside, other=0.0)
        dc = tl.where(there, by_output(g, v, mean, rstd, scale, mean_g, mean_gh), 0.0)
    return dc


@triton.jit
def _gradient_by_input(
    gradient, y, norm, means, dlogit, head, weight, m, k, valid, slope,
    O: tl.constexpr, I: tl.constexpr, GS: tl.constexpr, YS: tl.constexpr, WS: tl.constexpr,
    SOURCE: tl.constexpr, OUT: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """[M, K], of any number of outputs, N at a time."""
    dx = tl.zeros([M, K], tl.float32)
    for start in range(0, O, N):
        o = start + tl.arange(0, N)
        dc = _gradient_by_output(
            gradient, y, norm, means, dlogit, head, m, o, valid, slope, O, GS, YS, SOURCE, OUT
        )
        there = (o < O)[:, None] & (k < I)[None, :]
        w = tl.load(weight + o[:, None] * WS + k[None, :], mask=there, other=0.0)
        dx = tl.dot(dc.to(w.dtype), w, dx, input_precision="ieee")
    return dx


@triton.jit
def _both_products(
    gradient, y, norm, means, dlogit, head, weight, place, norm_x, merge, dw, m, o, k, valid, slope, slope_x,
    O: tl.constexpr, I: tl.constexpr, GS: tl.constexpr, YS: tl.constexpr, WS: tl.constexpr,
    SOURCE: tl.constexpr, OUT: tl.constexpr, ACT: tl.constexpr, MC: tl.constexpr, DX: tl.constexpr,
    M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The weight gradient with this tile added, and the gradient by the input [M, K] if DX."""
    cell = place.dtype.element_ty
    dc = _gradient_by_output(
        gradient, y, norm, means, dlogit, head, m, o, valid, slope, O, GS, YS, SOURCE, OUT
    )
    dc = dc.to(cell)
    a = load_activations(place, k, valid, norm_x, merge, slope_x, I, ACT, MC).to(cell)
    dw = tl.dot(tl.trans(dc), a, dw, input_precision="ieee")
    dx = tl.zeros([M, K], tl.float32)
    if DX:
        there = (o < O)[:, None] & (k < I)[None, :]
        w = tl.load(weight + o[:, None] * WS + k[None, :], mask=there, other=0.0)
        dx = tl.dot(dc, w, input_precision="ieee")
    return dw, dx


@triton.jit
def _handed_over(
    dx, place, extra, i, j, k, valid, norm_x, norm_h, to, slope, eh,
    I: tl.constexpr, HC: tl.constexpr, ES: tl.constexpr, ACT: tl.constexpr, SUMS: tl.constexpr,
    EXTRA: tl.constexpr,
):  # fmt: skip
    """Stores the gradient by the input, finished or raw, at ``to`` [M, 1]; its two sums over the tile [K]."""
    inside = k < I
    there = valid & inside[None, :]
    x = tl.load(place + k[None, :], mask=there, other=0.0).to(tl.float32)
    scale = tl.load(norm_x + 2 * I + k, mask=inside & ACT, other=1.0)
    shift = tl.load(norm_x + 3 * I + k, mask=inside & ACT, other=0.0)
    if SUMS == 1:
        if EXTRA > 0:
            i2, j2 = i // EXTRA, j // EXTRA
            has = there & ((i2 * EXTRA == i) & (j2 * EXTRA == j))[:, None]
            dx += tl.load(extra + (i2 * eh + j2 * ES)[:, None] + k[None, :], mask=has, other=0.0).to(
                tl.float32
            )
        dx = by_normalised(dx, x, scale, shift, slope)
    if SUMS == 2:
        x = activated(x, scale, shift, slope)
    stored = dx.to(to.dtype.element_ty)
    tl.store(to + k[None, :], stored, mask=there)
    counted = tl.where(there, stored.to(tl.float32), 0.0)
    mean = tl.load(norm_h + k, mask=inside & (SUMS > 0), other=0.0)
    rstd = tl.load(norm_h + HC + k, mask=inside & (SUMS > 0), other=0.0)
    h = (x - mean[None, :]) * rstd[None, :]
    return tl.sum(counted, axis=0), tl.sum(counted * h, axis=0)


@triton.jit
def pointwise_backward_kernel(
    gradient, y, norm_y, means_y, dlogit, head, x, norm_x, merge, weight, extra, dweight, dx_out, norm_h,
    rows, counters, means, dgamma, dbeta, width, pixels, of_pixels, programs,
    gb, yb, lb, hb, xb, xh, mb, wb, eb, eh, db, nb, vb, cb, slope_y, slope_x,
    GS: tl.constexpr, YS: tl.constexpr, XS: tl.constexpr, WS: tl.constexpr, ES: tl.constexpr,
    DS: tl.constexpr, HC: tl.constexpr, I: tl.constexpr, O: tl.constexpr, OUT: tl.constexpr,
    STRIDE: tl.constexpr, SOURCE: tl.constexpr, ACT: tl.constexpr, MC: tl.constexpr, DX: tl.constexpr,
    DW: tl.constexpr, SUMS: tl.constexpr, EXTRA: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, P: tl.constexpr, COUNTERS: tl.constexpr,
):  # fmt: skip
    """Axis 1 of the grid: blocks of inputs; times blocks of outputs where the weight gradient goes alone."""
    p, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    k = (group % tl.cdiv(I, K)) * K + tl.arange(0, K)
    o = (group // tl.cdiv(I, K)) * N + tl.arange(0, N)
    norm_x += b * 4 * I
    weight += b * wb
    dw = tl.zeros([N, K], tl.float32)
    sum_g = tl.zeros([K], tl.float32)
    sum_gh = tl.zeros([K], tl.float32)
    for tile in range(p, tl.cdiv(pixels, M), programs):
        m = tile * M + tl.arange(0, M)
        valid = (m < pixels)[:, None]
        i = (m // width).to(tl.int64)
        j = m - i * width
        place = x + b * xb + (i * (STRIDE * xh) + j * (STRIDE * XS))[:, None]
        if DW:
            dw, dx = _both_products(
                gradient + b * gb, y + b * yb, norm_y + b * 4 * O, means_y + b * 2 * O, dlogit + b * lb,
                head + b * hb, weight, place, norm_x, merge + b * mb, dw, m, o, k, valid, slope_y, slope_x,
                O, I, GS, YS, WS, SOURCE, OUT, ACT, MC, DX, M, K,
            )  # fmt: skip
        else:
            dx = _gradient_by_input(
                gradient + b * gb, y + b * yb, norm_y + b * 4 * O, means_y + b * 2 * O, dlogit + b * lb,
                head + b * hb, weight, m, k, valid, slope_y, O, I, GS, YS, WS, SOURCE, OUT, M, N, K,
            )  # fmt: skip
        if DX:
            first, second = _handed_over(
                dx, place, extra + b * eb, i, j, k, valid, norm_x, norm_h + b * nb,
                dx_out + b * db + m[:, None].to(tl.int64) * DS, slope_x, eh, I, HC, ES, ACT, SUMS, EXTRA,
            )  # fmt: skip
            sum_g += first
            sum_gh += second
    if DW:
        _store_weights(dweight + (b * programs + p) * O * I, merge + b * mb, dw, o, k, O, I, MC)
    if SUMS > 0:
        _finish_sums(
            rows + b * programs * 2 * I, counters + b * COUNTERS + group, sum_g, sum_gh, p, programs,
            means + b * 2 * I, dgamma + b * vb, dbeta + b * cb, k, of_pixels, I, P,
        )  # fmt: skip


@triton.jit
def _finish_sums(
    rows, counter, sum_g, sum_gh, p, programs, means, dgamma, dbeta, k, pixels, I: tl.constexpr,
    P: tl.constexpr,
):  # fmt: skip
    store_sums(rows + p * 2 * I, k, k < I, sum_g, sum_gh, I)
    finish_gradient(rows, counter, programs, means, dgamma, dbeta, k, k < I, pixels, I, P)


@triton.jit
def _store_weights(to, merge, dw, o, k, O: tl.constexpr, I: tl.constexpr, MC: tl.constexpr):
    """One program's part of the weight gradient, [O, I]; what multiplied the activation multiplies it too."""
    if MC > 0:
        dw *= tl.load(merge + 2 * MC + k, mask=k < I, other=0.0)[None, :]
    tl.store(to + o[:, None] * I + k[None, :], dw, mask=(o < O)[:, None] & (k < I)[None, :])


@dataclass(frozen=True)
class _Sums:
    """The arguments of the kernel for the sums that go out."""

    kind: int
    norm: Any
    pitch: int
    pixels: int
    means: Any
    dgamma: Any
    dbeta: Any


def weight_partials(height: int, width: int, into: int, out: int, cell_bytes: int) -> int:
    """P: how many parts ``pointwise_backward`` leaves of the weight gradient of a height x width output."""
    return gpu.programs(-(-height * width // _tile(height * width, into, out, cell_bytes)[0]), share=2)


def _tile(pixels: int, into: int, out: int, cell_bytes: int) -> tuple[int, int, int]:
    """Pixels, outputs and inputs of a tile."""
    most = 64 if gpu.shared_memory() > LARGE else 32
    m, k = tile_sizes(pixels, into, *((32, 64) if cell_bytes == 4 else (most, 128)))
    return m, gpu.block(out, WIDEST[cell_bytes]), k


def pointwise_backward(
    incoming: Gradient | Head | Any,
    output: Layer,
    source: Layer,
    weight: Any,
    partials: Any,
    scratch: gpu.Scratch,
    *,
    stride: int = 1,
    merge: Any = None,
    to: Gradient | Any = None,
    dgamma: Any = None,
    dbeta: Any = None,
    extra: Any = None,
    extra_stride: int = 1,
    sums: MergeSums | None = None,
) -> None:
    """The gradients of ``pointwise``; one launch, or two with more than 128 outputs.

    Args:
        incoming: the gradient at the output: ``Gradient``, ``Head``, or cells by y [B, h, w, S]. output: the
        layer that ``pointwise`` wrote. source: the layer that it read. weight: as it was given. partials:
        float32 [B, P, O, 1, 1, I], written; P from ``weight_partials``. scratch: see ``gpu.launch.Scratch``.
        stride: as it was given. merge: as it was given; it is in the weight gradient, but not in the gradient
        by the input, which is that
            by the merged channel.
        to: None where the input needs no gradient; cells [B, h, w, S] for the raw gradient at the output's
            pixels; a ``Gradient`` for the finished one (stride 1 only), its means written too.
        dgamma, dbeta: float32 [B, I] views of the gradients by the source's norm; with a ``Gradient`` only.
        extra: cells [B, ceil(H / extra_stride), .., S], the raw gradient from the source's other reader.
        extra_stride: which pixels of the source ``extra`` belongs to.
        sums: with a raw ``to``, what the norm of a merge needs.
    """
    finished = isinstance(to, Gradient)
    if finished:
        pixels = source.values.shape[1] * source.values.shape[2]
        wanted = _Sums(FINISHED, source.norm, source.channels, pixels, to.means, dgamma, dbeta)
    elif sums is not None:
        wanted = _Sums(
            MERGED, sums.norm, sums.norm.shape[2], sums.pixels, sums.means, sums.dgamma, sums.dbeta
        )
    else:
        nothing = scratch.partials
        wanted = _Sums(NOT, nothing, 0, 1, nothing, nothing, nothing)
    together = output.channels <= WIDEST[source.values.element_size()]
    parts = ((True, True),) if together else ((True, False), (False, True))
    for dx, dw in parts:
        if dw or to is not None:
            _launch(
                incoming, output, source, weight, partials, scratch, stride, merge,
                to.values if finished else to, extra, extra_stride, wanted, dx and to is not None, dw,
            )  # fmt: skip


def _launch(
    incoming: Any, output: Layer, source: Layer, weight: Any, partials: Any, scratch: gpu.Scratch,
    stride: int, merge: Any, to: Any, extra: Any, extra_stride: int, sums: _Sums, dx: bool, dw: bool,
) -> None:  # fmt: skip
    nothing = scratch.partials
    x, y = source.values, output.values
    into, out = source.channels, output.channels
    fits, height, width = y.shape[:3]
    m, n, k = _tile(height * width, into, out, x.element_size())
    count = weight_partials(height, width, into, out, x.element_size())
    groups = -(-into // k) * (1 if dx else -(-out // n))
    head = incoming if isinstance(incoming, Head) else None
    given = incoming if isinstance(incoming, Gradient) else None
    raw = incoming if head is None and given is None else None
    g = given.values if given else (nothing if raw is None else raw)
    means = head.means if head else (given.means if given else nothing)
    target, more = (to if dx else nothing), (nothing if extra is None else extra)
    gpu.launch(
        pointwise_backward_kernel, (count, groups, fits),
        g, y, nothing if output.norm is None else output.norm, means, head.dlogit if head else nothing,
        head.weight if head else nothing, x, nothing if source.norm is None else source.norm,
        nothing if merge is None else merge, weight, more, partials, target, sums.norm,
        scratch.partials, scratch.counters, sums.means, sums.dgamma, sums.dbeta,
        width, height * width, sums.pixels, count,
        g.stride(0) if head is None else 0, y.stride(0), head.dlogit.stride(0) if head else 0,
        head.weight.stride(0) if head else 0, x.stride(0), x.stride(1),
        0 if merge is None else merge.stride(0), weight.stride(0), more.stride(0),
        0 if extra is None else extra.stride(1), target.stride(0), sums.norm.stride(0),
        sums.dgamma.stride(0), sums.dbeta.stride(0), output.slope, source.slope,
        warps=8 if max(m, n) * k >= 64 * 128 else 4, stages=2,
        GS=g.stride(2) if head is None else 1, YS=y.stride(2), XS=x.stride(2), WS=weight.stride(1),
        ES=1 if extra is None else extra.stride(2), DS=to.stride(2) if dx else 1, HC=sums.pitch, I=into,
        O=out, OUT=head.dlogit.shape[3] if head else 1, STRIDE=stride,
        SOURCE=HEAD if head else (GRADIENT if given else RAW), ACT=source.norm is not None,
        MC=0 if merge is None else merge.shape[2], DX=dx, DW=dw, SUMS=sums.kind if dx else NOT,
        EXTRA=0 if extra is None else extra_stride, M=m, N=n, K=k, P=gpu.ROWS_AT_ONCE, COUNTERS=gpu.COUNTERS,
    )  # fmt: skip
