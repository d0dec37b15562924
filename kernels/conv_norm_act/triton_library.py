"""The same convolutions by the library (cuDNN on a GPU), on the same padded buffers; ``statistics`` behind
them.

The buffers are what PyTorch calls channels-last, so the library reads them in place where S = C (channels in
eights); elsewhere PyTorch copies a picture first. Every fit has weights of its own: one call each, in a loop.
The library chooses its kernels and allocates its results, which a CUDA graph takes into its own pool.

Traffic beyond triton_conv.py, per fit: the statistics need a reading of y, which they move from the library's
result into the layer on the way (134 MB, 31 us at 512 x 512 and 128 channels); the gradient by the input is
moved once (134 MB). The gradient by the weights comes in cells and is rounded to them once more than ours, as
that of any bfloat16 fit in PyTorch is.

Registers of the statistics at 128 channels, sm_80 / sm_90: 64 / 69, no stack.

Which route is faster has not been measured, because no GPU was at hand; see triton_conv.py. This one gains
with the library's kernels for sm_90 (warp-specialised, fed by tensor copies), and loses by the readings
above.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from dipedge.kernels.conv_norm_act.triton_conv_padding import channel_tile
from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.moments import finish_norm, joined, store_moments, tile_moments


@triton.jit
def _statistics(
    given, y, rows, counters, gamma, beta, norm, pixels, programs, vb, yb, cb, bb, eps,
    VS: tl.constexpr, YS: tl.constexpr, C: tl.constexpr, MOVE: tl.constexpr, NORM: tl.constexpr,
    M: tl.constexpr, K: tl.constexpr, P: tl.constexpr, COUNTERS: tl.constexpr,
):  # fmt: skip
    p, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = group * K + tl.arange(0, K)
    inside = c < C
    count = 0.0
    mean = tl.zeros([K], tl.float32)
    squares = tl.zeros([K], tl.float32)
    for tile in range(p, tl.cdiv(pixels, M), programs):
        m = tile * M + tl.arange(0, M)
        valid = (m < pixels)[:, None]
        there = valid & inside[None, :]
        pixel = m.to(tl.int64)[:, None]
        values = tl.load(given + b * vb + pixel * VS + c[None, :], mask=there, other=0.0).to(tl.float32)
        if MOVE:
            stored = values.to(y.dtype.element_ty)
            tl.store(y + b * yb + pixel * YS + c[None, :], stored, mask=there)
            values = stored.to(tl.float32)
        if NORM:
            pixels_here, of_tile, off = tile_moments(values, valid)
            count, mean, squares = joined(count, mean, squares, pixels_here, of_tile, off)
    if NORM:
        rows += b * programs * 3 * C
        store_moments(rows + p * 3 * C, c, inside, count, mean, squares, C)
        finish_norm(
            rows, counters + b * COUNTERS + group, programs, gamma + b * cb, beta + b * bb,
            norm + b * 4 * C, c, inside, eps, C, P,
        )  # fmt: skip


def statistics(
    output: Layer, gamma: Any, beta: Any, eps: float, scratch: gpu.Scratch, *, given: Any = None
) -> None:
    """One launch: the norm of a layer whose y is there, or is ``given`` and moved into it.

    Args:
        output: its norm is written, and its values if they are given.
        gamma, beta: float32 [B, C] views; None leaves the norm out.
        eps: added to the variance.
        scratch: see ``gpu.launch.Scratch``.
        given: [B, H, W, C], pixels in rows of any length.
    """
    y, channels = output.values, output.channels
    fits, height, width = output.shape
    source = y if given is None else given
    m, k = channel_tile(channels, share=2)
    count = gpu.programs(-(-height * width // m))
    normed = gamma is not None
    gpu.launch(
        _statistics, (count, -(-channels // k), fits),
        source, y, scratch.partials, scratch.counters, gamma, beta, output.norm if normed else None,
        height * width, count, source.stride(0), y.stride(0), gamma.stride(0) if normed else 0,
        beta.stride(0) if normed else 0, eps, warps=8,
        VS=source.stride(2), YS=y.stride(2), C=channels, MOVE=given is not None, NORM=normed, M=m, K=k,
        P=gpu.ROWS_AT_ONCE, COUNTERS=gpu.COUNTERS,
    )  # fmt: skip


def _picture(cells: Any, channels: int) -> Any:
    """One fit's [H, W, S] as the library takes it: [1, C, H, W]."""
    return cells[..., :channels].permute(2, 0, 1)[None]


def _weights(weight: Any) -> Any:
    """One fit's [O, k, k, I] as [O, I, k, k]; nothing moves."""
    return weight.permute(0, 3, 1, 2)


def convolve_library(
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
    """``triton_conv.convolve`` by the library: one call and one launch of statistics for each fit."""
    out, into = output.channels, weight.shape[4]
    for b in range(padded.shape[0]):
        y = torch.ops.aten.convolution(
            _picture(padded[b], into),
            _weights(weight[b]),
            None,
            [stride] * 2,
            [0, 0],
            [1, 1],
            False,
            [0, 0],
            1,
        )
        rows = y.permute(0, 2, 3, 1).contiguous()  # what the library already made it, as a rule
        one = slice(b, b + 1)
        normed = gamma is not None
        layer = Layer(output.values[one], out, output.norm[one] if normed else None, output.slope)
        statistics(
            layer, gamma[one] if normed else None, beta[one] if normed else None, eps,
            gpu.Scratch(scratch.partials, scratch.counters[b * gpu.COUNTERS :]), given=rows,
        )  # fmt: skip


def convolve_library_backward(
    padded: Any, dc_padded: Any, weight: Any, dpadded: Any, partials: Any, kernel: int, stride: int
) -> None:
    """Both gradients by the library, one call for each fit.

    Args:
        padded, weight: as ``convolve`` read them.
        dc_padded: cells from ``output_gradient``; its border is left out, and need not be there at all
            (margins of 0 spare a copy).
        dpadded: cells [B, H + 2p, W + 2p, S], written; None where the input needs no gradient.
        partials: float32 [B, P, O, k, k, I], written; all but the first part with zeros, so take P = 1.
        kernel: side k.
        stride: 1 or 2.
    """
    out, into = weight.shape[1], weight.shape[4]
    height = (padded.shape[1] - kernel) // stride + 1
    border = (dc_padded.shape[1] - height) // 2
    partials[:, 1:].zero_()
    for b in range(padded.shape[0]):
        dc = dc_padded[b, border : dc_padded.shape[1] - border, border : dc_padded.shape[2] - border]
        dx, dw, _ = torch.ops.aten.convolution_backward(
            _picture(dc, out), _picture(padded[b], into), _weights(weight[b]), None,
            [stride] * 2, [0, 0], [1, 1], False, [0, 0], 1, [dpadded is not None, True, False],
        )  # fmt: skip
        partials[b, 0].copy_(dw.permute(0, 2, 3, 1))
        if dpadded is not None:
            dpadded[b, ..., :into].copy_(dx[0].permute(1, 2, 0))
