"""`head_loss`, the one pass of identity and mask terms, and `head_backward`, its half behind a given dlogit.

The essay with algebra, traffic and what was rejected is in ``triton.py``.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.activation import activated
from dipedge.kernels.gpu.launch import COUNTERS, Scratch, block, launch, programs
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import all_sums, is_last, store_sums
from dipedge.kernels.residual_loss.triton import (
    ROWS,
    head_weight,
    layer_tile,
    norm_of,
    output_tile,
    place_of,
    store_output,
    tile_of,
)


def weight_partials(layer: Layer) -> int:
    """P of the partial sums of the head's weight gradient [B, P, O, 1, 1, I] and of its bias [B, P, O]."""
    _, n, m = layer.shape
    return programs(-(-n * m // tile_of(layer)[0]))


@triton.jit
def _residual(x, target, mask, place, there, factor, OUT: tl.constexpr, MASK: tl.constexpr):
    """r [ROWS, M] of the output x, and the gradient by x; 0 where there is nothing or nothing known."""
    o = tl.arange(0, x.shape[0])
    seen = (o < OUT)[:, None] & there[None, :]
    r = tl.where(seen, x - tl.load(target + place[None, :] * OUT + o[:, None], mask=seen, other=0.0), 0.0)
    if MASK:
        known = tl.load(mask + place, mask=there, other=0.0)[None, :]
        # Not a product alone: where nothing is known, the target may hold anything.
        r = tl.where(known != 0, r * known, 0.0)
        return r, factor * r * known
    else:
        return r, factor * r


@triton.jit
def _add_products(positive, product, dl, y, mean, scale, shift, slope, factors):
    """Adds a tile's pixels to sum dlogit [n > 0] and sum dlogit act'(n) (y - mean), both [ROWS, CB]."""
    CELL: tl.constexpr = factors.dtype
    n = y * scale[None, :] + shift[None, :]
    apart = y - mean[None, :]
    positive = tl.dot(dl.to(CELL), tl.where(n > 0, 1.0, 0.0).to(CELL), positive, input_precision="ieee")
    kept = tl.where(n > 0, apart, slope * apart).to(CELL)
    return positive, tl.dot(dl.to(CELL), kept, product, input_precision="ieee")


@triton.jit
def _store_gradients(
    positive, product, dbias, weight, norm, slope, dweight_row, dbias_row, sums_row, c, inside,
    OUT: tl.constexpr, INTO: tl.constexpr,
):  # fmt: skip
    """One program's partial sums: of the head's gradients, and of g and g h per channel."""
    o = tl.arange(0, dbias.shape[0])
    mean, rstd, scale, shift = norm_of(norm, c, inside, INTO)
    product *= rstd[None, :]
    slopes = slope * dbias[:, None] + (1 - slope) * positive
    dweight = (scale / rstd)[None, :] * product + (shift + mean * scale)[None, :] * slopes
    tl.store(dweight_row + o[:, None] * INTO + c[None, :], dweight, mask=(o < OUT)[:, None] & inside[None, :])
    tl.store(dbias_row + o, dbias, mask=o < OUT)
    factors = head_weight(weight, c, inside, OUT, INTO, dbias.shape[0])
    store_sums(sums_row, c, inside, tl.sum(factors * slopes, 0), tl.sum(factors * product, 0), INTO)


@triton.jit
def _finish(
    sums, squares, counter, means, dgamma, dbeta, loss, c, inside, pixels, count,
    INTO: tl.constexpr, P: tl.constexpr, ALL: tl.constexpr, LOSS: tl.constexpr,
):  # fmt: skip
    """The last program does as `moments.finish_gradient` does, and makes the mean of all squares."""
    total = tl.num_programs(0)
    if is_last(counter, total):
        of_g, of_gh = all_sums(sums, total, c, inside, INTO, P)
        tl.store(means + c, of_g / pixels, mask=inside)
        tl.store(means + INTO + c, of_gh / pixels, mask=inside)
        tl.store(dbeta + c, of_g, mask=inside)
        tl.store(dgamma + c, of_gh, mask=inside)
        if LOSS:
            p = tl.arange(0, ALL)
            values = tl.load(squares + p, mask=p < total, other=0.0, cache_modifier=".cg")
            tl.store(loss, tl.sum(values, axis=0) / count)


@triton.jit
def _to_dlogit(
    y, pixel, there, norm, slope, factors, offsets, target, mask, rows, columns, output, average, keep, m, W,
    count, c, inside,
    INTO: tl.constexpr, OUT: tl.constexpr, SIGMOID: tl.constexpr, SAMPLED: tl.constexpr,
    AVERAGED: tl.constexpr, MASK: tl.constexpr,
):  # fmt: skip
    """Forward from a tile y [M, CB]: r and dlogit, both [ROWS, M]; output and average are written."""
    _, _, scale, shift = norm_of(norm, c, inside, INTO)
    x = output_tile(activated(y, scale, shift, slope).to(factors.dtype), factors, offsets, SIGMOID)
    place = place_of(pixel, there, rows, columns, m, W, SAMPLED)
    o = tl.arange(0, x.shape[0])
    seen = (o < OUT)[:, None] & there[None, :]
    store_output(x, place[None, :] * OUT + o[:, None], seen, output, average, keep, AVERAGED)
    r, dl = _residual(x, target, mask, place, there, 2.0 / count, OUT, MASK)
    if SIGMOID:
        dl = dl * x * (1 - x)
    return r, dl


@triton.jit
def _loss_kernel(
    values, norm, slope, weight, weight_stride, bias, bias_stride, target, mask, rows, columns, output,
    average, keep, losses, step, kept, dlogit, means, dgamma, dgamma_stride, dbeta, dbeta_stride,
    dweight, dbias, partials, squares, counters, n, m, whole, W, tiles, count,
    S: tl.constexpr, INTO: tl.constexpr, OUT: tl.constexpr, M: tl.constexpr, CB: tl.constexpr,
    ROWS: tl.constexpr, P: tl.constexpr, ALL: tl.constexpr, COUNTERS: tl.constexpr, SIGMOID: tl.constexpr,
    SAMPLED: tl.constexpr, AVERAGED: tl.constexpr, MASK: tl.constexpr, FORWARD: tl.constexpr,
):  # fmt: skip
    """FORWARD: from the layer to dlogit and back; else dlogit is given and only the way back is left."""
    total, b, o, c = tl.num_programs(0), tl.program_id(1).to(tl.int64), tl.arange(0, ROWS), tl.arange(0, CB)
    inside, pixels, row = c < INTO, n * m, b * total + tl.program_id(0)
    norm, weight, dlogit = norm + b * 4 * INTO, weight + b * weight_stride, dlogit + b * pixels * OUT
    mean, _, scale, shift = norm_of(norm, c, inside, INTO)
    factors = head_weight(weight, c, inside, OUT, INTO, ROWS).to(values.dtype.element_ty)
    offsets = tl.load(bias + b * bias_stride + o, mask=o < OUT, other=0.0)
    loss, biases = tl.zeros([ROWS, M], tl.float32), tl.zeros([ROWS, M], tl.float32)
    positive, product = tl.zeros([ROWS, CB], tl.float32), tl.zeros([ROWS, CB], tl.float32)
    for tile in range(tl.program_id(0), tiles, total):
        pixel = tile * M + tl.arange(0, M)
        there = pixel < pixels
        seen = (o < OUT)[:, None] & there[None, :]
        y = layer_tile(values + b * pixels * S, pixel, there, c, inside, S)
        if FORWARD:
            r, dl = _to_dlogit(
                y, pixel, there, norm, slope, factors, offsets, target + b * whole * OUT, mask + b * whole,
                rows + b * n, columns + b * m, output + b * whole * OUT, average + b * whole * OUT, keep, m,
                W, count, c, inside, INTO, OUT, SIGMOID, SAMPLED, AVERAGED, MASK,
            )  # fmt: skip
            loss += r * r
            tl.store(dlogit + pixel[None, :] * OUT + o[:, None], dl, mask=seen)
        else:
            dl = tl.load(dlogit + pixel[None, :] * OUT + o[:, None], mask=seen, other=0.0)
        biases += dl
        positive, product = _add_products(positive, product, dl, y, mean, scale, shift, slope, factors)
    if FORWARD:
        tl.store(squares + row, tl.sum(tl.sum(loss, axis=1), axis=0))
        losses += b * kept + tl.load(step) % kept
    _store_gradients(
        positive, product, tl.sum(biases, axis=1), weight, norm, slope, dweight + row * OUT * INTO,
        dbias + row * OUT, partials + row * 2 * INTO, c, inside, OUT, INTO,
    )  # fmt: skip
    _finish(
        partials + b * total * 2 * INTO, squares + b * total, counters + b * COUNTERS, means + b * 2 * INTO,
        dgamma + b * dgamma_stride, dbeta + b * dbeta_stride, losses, c, inside, pixels, count,
        INTO, P, ALL, FORWARD,
    )  # fmt: skip


def _launch(
    layer: Layer,
    weight: Any,
    dlogit: Any,
    means: Any,
    dgamma: Any,
    dbeta: Any,
    partials: Any,
    bias_partials: Any,
    scratch: Scratch,
    *forward: Any,
    **flags: bool,
) -> None:
    """``forward``: bias, target, mask, rows, columns, output, average, keep, losses, step."""
    fits, n, m = layer.shape
    pixels, across = tile_of(layer)
    tiles, outputs = -(-n * m // pixels), dlogit.shape[3]
    count = programs(tiles)
    bias, target, mask, rows, columns, output, average, keep, losses, step = forward
    launch(
        _loss_kernel, (count, fits),
        layer.values, layer.norm, layer.slope, weight, weight.stride(0), bias, bias.stride(0), target, mask,
        rows, columns, output, average, keep, losses, step, losses.shape[1], dlogit, means, dgamma,
        dgamma.stride(0), dbeta, dbeta.stride(0), partials, bias_partials, scratch.partials,
        scratch.partials[fits * count * 2 * layer.channels :], scratch.counters,
        n, m, output.shape[1] * output.shape[2], output.shape[2], tiles, float(n * m * outputs),
        S=layer.values.shape[3], INTO=layer.channels, OUT=outputs, M=pixels, CB=across, ROWS=ROWS,
        P=max(1, min(16, 4096 // across)), ALL=block(count, 1 << 12), COUNTERS=COUNTERS,
        warps=8, stages=3, **flags,
    )  # fmt: skip


def head_loss(
    layer: Layer,
    weight: Any,
    bias: Any,
    target: Any,
    output: Any,
    losses: Any,
    step: Any,
    dlogit: Any,
    means: Any,
    dgamma: Any,
    dbeta: Any,
    partials: Any,
    bias_partials: Any,
    scratch: Scratch,
    *,
    mask: Any = None,
    positions: tuple[Any, Any] | None = None,
    average: Any = None,
    keep: Any = None,
    sigmoid: bool = True,
) -> None:
    """Output, running average, loss and all gradients of head and data term, the layer read once.

    Args:
        layer: the last one, normalised, [B, n, m, S].
        weight, bias: the head's, float32 [B, O, 1, 1, I] and [B, O], views into the flat parameters.
        target: float32 [B, H, W, O].
        output: float32 [B, H, W, O]; written where the layer's pixels stand.
        losses, step: float32 [B, R] and int64 [1]; the mean over this step's pixels goes to step modulo R.
        dlogit: float32 [B, n, m, O], the gradient by what the sigmoid takes.
        means: float32 [B, 2, I], with `head_gradient` the layer's ``Gradient``.
        dgamma, dbeta: float32 [B, I], of the layer's norm, views into the flat gradient.
        partials, bias_partials: float32 [B, P, O, 1, 1, I] and [B, P, O], P = `weight_partials`.
        mask: float32 [B, H, W], 1 = known; None: all are.
        positions: rows int32 [B, n] and columns int32 [B, m] of a sampled fit; None: n = H, m = W.
        average, keep: float32 [B, H, W, O] becomes average keep + x (1 - keep); None leaves it out.
    """
    rows, columns = positions or (step, step)
    _launch(
        layer, weight, dlogit, means, dgamma, dbeta, partials, bias_partials, scratch,
        bias, target, target if mask is None else mask, rows, columns, output,
        output if average is None else average, output if keep is None else keep, losses, step,
        SIGMOID=sigmoid, SAMPLED=positions is not None, AVERAGED=average is not None, MASK=mask is not None,
        FORWARD=True,
    )  # fmt: skip


def head_backward(
    layer: Layer,
    weight: Any,
    dlogit: Any,
    means: Any,
    dgamma: Any,
    dbeta: Any,
    partials: Any,
    bias_partials: Any,
    scratch: Scratch,
) -> None:
    """The way back alone, from a dlogit that is given; arguments as of `head_loss`."""
    unused = (weight, *(dlogit,) * 9)
    _launch(
        layer, weight, dlogit, means, dgamma, dbeta, partials, bias_partials, scratch, *unused,
        SIGMOID=False, SAMPLED=False, AVERAGED=False, MASK=False, FORWARD=False,
    )  # fmt: skip
