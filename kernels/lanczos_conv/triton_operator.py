"""One call of ``decimate`` and of ``lanczos_conv`` by the Triton kernels: one and three launches forward.

The tables of a size are made on the host at its first call and kept for the next ones; so a CUDA graph
must not capture the first call of a size. The filter alone works on float32; bfloat16 is widened before and
rounded behind it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dipedge.kernels.conv_norm_act.triton_conv_padding import fold
from dipedge.kernels.conv_norm_act.triton_operator import padded_source
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.pictures import (
    cells_of,
    empty_cells,
    floats,
    floats_of,
    picture_of,
    scratch_for,
    weights_of,
)
from dipedge.kernels.lanczos_conv import triton as filters
from dipedge.kernels.lanczos_conv import triton_conv, triton_conv_backward
from dipedge.kernels.lanczos_conv.triton_tables import Decimation, Filter, decimation, filter_of

SIZES = 32  # whose tables are kept


@lru_cache(SIZES)
def filter_tables(height: int, width: int, factor: int, lobes: int, device: torch.device) -> Filter:
    """``filter_of``, remembered."""
    return filter_of(height, width, factor, lobes, device)


@lru_cache(SIZES)
def _conv_tables(
    height: int, width: int, kernel: int, factor: int, lobes: int, device: torch.device
) -> Decimation:
    return decimation(height, width, kernel, factor, lobes, device)


def decimated(x: Tensor, factor: int, lobes: int) -> Tensor:
    """d_t(x); ``lobes`` 0 for averages."""
    fits, channels, height, width = x.shape
    small = floats(x, fits, -(-height // factor), -(-width // factor), channels)
    tables = filter_tables(height, width, factor, lobes, x.device)
    filters.decimate(floats_of(x), small, tables, floats(x, *filters.lines_shape(fits, width, channels)))
    return picture_of(cells_of(small.permute(0, 3, 1, 2), x.dtype), channels)


def decimated_backward(gradient: Tensor, height: int, width: int, factor: int, lobes: int) -> Tensor:
    """The adjoint."""
    fits, channels = gradient.shape[:2]
    whole = floats(gradient, fits, height, width, channels)
    tables = filter_tables(height, width, factor, lobes, gradient.device)
    lines = floats(gradient, *filters.lines_shape(fits, width, channels))
    filters.decimate_adjoint(floats_of(gradient), whole, tables, lines)
    return picture_of(cells_of(whole.permute(0, 3, 1, 2), gradient.dtype), channels)


def _lines(x: Tensor, weight: Tensor, tables: Decimation, reflect: bool) -> Tensor:
    """The padded picture filtered down."""
    fits, into = x.shape[:2]
    padded = padded_source(Layer(cells_of(x), into), weight.shape[3] // 2, reflect)
    lines = empty_cells(x, fits, tables.lines, padded.shape[2], into)
    triton_conv.filter_lines(padded, lines, tables)
    return lines


def _tables(x: Tensor, weight: Tensor, factor: int, lobes: int) -> Decimation:
    return _conv_tables(*x.shape[2:], weight.shape[3], factor, lobes, x.device)


def forward(x: Tensor, weight: Tensor, factor: int, lobes: int, reflect: bool) -> Tensor:
    """The convolved and decimated picture; the norm that the kernel makes too is not used."""
    fits, out, tables = x.shape[0], weight.shape[0], _tables(x, weight, factor, lobes)
    layer = Layer(empty_cells(x, fits, *tables.result, out), out, floats(x, fits, 4, out))
    nothing = floats(x, fits, out).zero_()
    lines, weights = _lines(x, weight, tables, reflect), weights_of(weight, fits, x.dtype)
    triton_conv.conv_decimate(lines, weights, nothing, nothing, layer, tables, scratch_for(x, fits, out))
    return picture_of(layer.values, out)


def backward(
    x: Tensor, weight: Tensor, gradient: Tensor, factor: int, lobes: int, reflect: bool
) -> tuple[Any, Tensor]:
    """The gradients by x and weight."""
    fits, into, height, width = x.shape
    out, kernel = weight.shape[0], weight.shape[3]
    tables, dc = _tables(x, weight, factor, lobes), cells_of(gradient, x.dtype)
    lines = _lines(x, weight, tables, reflect)
    parts = triton_conv_backward.weight_partials(tables, into, out)
    partials = floats(x, fits, parts, out, kernel, kernel, into)
    triton_conv_backward.weight_gradient(lines, dc, partials, tables)
    dpadded = empty_cells(x, fits, *tables.padded, into)
    weights = weights_of(weight, fits, x.dtype)
    triton_conv_backward.padded_gradient(dc, weights, lines, dpadded, tables)
    dx = empty_cells(x, fits, height, width, into)
    fold(dpadded, kernel // 2, reflect, None, None, 0, dx, None, None, scratch_for(x, fits, into))
    by_weight = partials.sum((0, 1)).permute(0, 3, 1, 2).to(weight.dtype).contiguous()
    return picture_of(dx, into), by_weight
