"""One call of ``conv_norm_act`` by the Triton kernels, with memory taken for it: 2 or 3 launches forward.

A single call costs what fits do not pay: the activated picture is written (``pack`` with no border), because
there is no reader to activate while it loads, and the incoming gradient is taken through the activation by a
launch of its own (``fold``).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dipedge.kernels.conv_norm_act.triton import pointwise
from dipedge.kernels.conv_norm_act.triton_backward import pointwise_backward, weight_partials
from dipedge.kernels.conv_norm_act.triton_conv import convolve
from dipedge.kernels.conv_norm_act.triton_conv_backward import (
    convolve_backward_input,
    gradient_margins,
    output_gradient,
)
from dipedge.kernels.conv_norm_act.triton_conv_padding import fold, pack
from dipedge.kernels.conv_norm_act.triton_conv_weight import (
    convolve_backward_weight,
    convolve_weight_partials,
)
from dipedge.kernels.gpu.launch import Scratch
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.pictures import (
    cells_of,
    empty_cells,
    floats,
    picture_of,
    scratch_for,
    vectors_of,
    weights_of,
)


def padded_source(source: Layer, margin: int, reflect: bool) -> Tensor:
    """The activated picture with its border."""
    fits, height, width = source.shape
    room = empty_cells(source.values, fits, height + 2 * margin, width + 2 * margin, source.channels)
    pack(source, room, margin, reflect)
    return room


def forward(
    x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, stride: int, reflect: bool, eps: float,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The activated picture, and for the way back the raw output as cells and its norm [B, 4, O]."""
    fits, into, height, width = x.shape
    out, kernel = weight.shape[0], weight.shape[3]
    source = Layer(cells_of(x), into)
    raw = empty_cells(x, fits, -(-height // stride), -(-width // stride), out)
    output = Layer(raw, out, floats(x, fits, 4, out), slope)
    scratch, weights = scratch_for(x, fits, out), weights_of(weight, fits, x.dtype)
    scales, shifts = vectors_of(gamma, fits), vectors_of(beta, fits)
    if kernel == 1:
        pointwise(source, weights, output, scratch, gamma=scales, beta=shifts, eps=eps, stride=stride)
    else:
        padded = padded_source(source, kernel // 2, reflect)
        convolve(padded, kernel, stride, weights, output, scales, shifts, eps, scratch)
    return picture_of(padded_source(output, 0, False), out), raw, output.norm


def backward(
    x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, raw: Tensor, norm: Tensor, gradient: Tensor,
    by_input: bool, stride: int, reflect: bool, eps: float, slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients by x (empty unless ``by_input``), weight, gamma and beta."""
    fits, into, out = x.shape[0], x.shape[1], weight.shape[0]
    source, output = Layer(cells_of(x), into), Layer(raw, out, norm, slope)
    scratch, weights = scratch_for(x, fits, max(into, out)), weights_of(weight, fits, x.dtype)
    g = Gradient(empty_cells(x, fits, *raw.shape[1:3], out), floats(x, fits, 2, out))
    dgamma, dbeta = floats(x, fits, out), floats(x, fits, out)
    incoming = cells_of(gradient, x.dtype)
    fold(incoming, 0, False, output, None, 0, g, dgamma, dbeta, scratch)
    if weight.shape[3] == 1:
        dx, partials = _pointwise(g, output, source, weights, scratch, by_input, stride)
    else:
        dx, partials = _several_taps(
            output_border(g, output, weight.shape[3], stride), source, weights, scratch, by_input, stride,
            reflect,
        )  # fmt: skip
    by_weight = partials.sum((0, 1)).permute(0, 3, 1, 2).to(weight.dtype).contiguous()
    picture = picture_of(dx, into) if by_input else x.new_empty(0)
    return picture, by_weight, dgamma.sum(0).to(gamma.dtype), dbeta.sum(0).to(beta.dtype)


def _pointwise(
    g: Gradient, output: Layer, source: Layer, weights: Tensor, scratch: Scratch, by_input: bool, stride: int
) -> tuple[Tensor, Tensor]:
    """Gradient by the source, at all its pixels, and the weight gradient's parts."""
    fits, height, width = source.shape
    into, out, x = source.channels, output.channels, source.values
    parts = weight_partials(*output.shape[1:], into, out, x.element_size())
    partials = floats(x, fits, parts, out, 1, 1, into)
    small = empty_cells(x, *output.shape, into) if by_input else None
    pointwise_backward(g, output, source, weights, partials, scratch, stride=stride, to=small)
    if not by_input or stride == 1:
        return small, partials
    # The pixels that the stride passes over get nothing.
    whole = x.new_zeros((fits, height, width, small.shape[3]))
    whole[:, ::stride, ::stride, :into] = small[..., :into]
    return whole, partials


def output_border(g: Gradient, output: Layer, kernel: int, stride: int) -> Tensor:
    """The gradient by a convolution's output, with the zeros around it that the way back reads."""
    fits, height, width = output.shape
    before, after = gradient_margins(kernel, stride)
    x = output.values
    room = x.new_zeros((fits, height + before + after, width + before + after, x.shape[3]))
    output_gradient(g, output, room, (before, after))
    return room


def _several_taps(
    dc: Tensor, source: Layer, weights: Tensor, scratch: Scratch, by_input: bool, stride: int, reflect: bool
) -> tuple[Any, Tensor]:
    """The same from the gradient by the output with its border of zeros."""
    fits, height, width = source.shape
    into, out, kernel, x = source.channels, weights.shape[1], weights.shape[2], source.values
    padded = padded_source(source, kernel // 2, reflect)
    size = (-(-height // stride), -(-width // stride))
    parts = convolve_weight_partials(*size, into, out, kernel, x.element_size())
    partials = floats(x, fits, parts, out, kernel, kernel, into)
    convolve_backward_weight(padded, dc, partials, kernel, stride)
    if not by_input:
        return None, partials
    dpadded = padded  # read for the last time above: its memory serves once more
    convolve_backward_input(dc, weights, dpadded, kernel, stride)
    dx = empty_cells(x, fits, height, width, into)
    fold(dpadded, kernel // 2, reflect, None, None, 0, dx, None, None, scratch)
    return dx, partials
