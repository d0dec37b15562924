"""One call of ``fourier_mlp`` by the Triton kernels: three launches forward, four back.

The kernels know no bias (in a network a norm follows that takes it off) and always a norm. So the bias is
the weight of one more frequency, 0, whose cosine over the rows is 1: n + 1 frequencies in place of n. The
norm on the way back is the one that changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dipedge.kernels.fourier_mlp.triton import first_layer, parts_rows
from dipedge.kernels.fourier_mlp.triton_backward import Cut, first_layer_backward, weight_partials
from dipedge.kernels.fourier_mlp.triton_tables import Side, frequency_gradient, tables
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.pictures import (
    cells_of,
    empty_cells,
    floats,
    no_means,
    picture_of,
    plain_norm,
    scratch_for,
)

ROW_COSINES = 2  # of the features' four parts: cos u, sin u, cos v, sin v


def _with_bias(weight: Tensor, bias: Tensor) -> Tensor:
    """The weights [1, O, 1, 1, 4 (n + 1)] of one more frequency, in float32."""
    out, count = weight.shape[0], weight.shape[1] // 4
    wider = weight.new_zeros((out, 4, count + 1), dtype=torch.float32)
    wider[:, :, :count] = weight.reshape(out, 4, count)
    wider[:, ROW_COSINES, count] = bias
    return wider.reshape(1, out, 1, 1, 4 * (count + 1))


def _side(size: int, table: Tensor, gradient: Tensor | None = None) -> Side:
    positions = torch.arange(size, dtype=torch.int32, device=table.device)[None]
    return Side(positions, size, table, gradient)


def forward(
    weight: Tensor, bias: Tensor, frequencies: Tensor, height: int, width: int, stride: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The layer, and for the way back its parts and the tables of columns and rows."""
    out, half = weight.shape[0], 2 * frequencies.shape[0] + 2
    columns = _side(width, floats(weight, 1, width, half))
    rows = _side(height, floats(weight, 1, height, half))
    tables(torch.cat((frequencies, frequencies.new_zeros(1)))[None], columns, rows)
    down, across = -(-height // stride), -(-width // stride)
    parts = floats(weight, 1, parts_rows(across, down), out)
    layer = Layer(empty_cells(weight, 1, down, across, out), out, plain_norm(weight, 1, out))
    nothing = floats(weight, 1, out).zero_()
    scratch = scratch_for(weight, 1, out)
    first_layer(columns, rows, stride, _with_bias(weight, bias), parts, layer, nothing, nothing, 1.0, scratch)
    return picture_of(layer.values, out), parts, columns.table, rows.table


def backward(
    weight: Tensor, bias: Tensor, frequencies: Tensor, parts: Tensor, of_columns: Tensor, of_rows: Tensor,
    gradient: Tensor, height: int, width: int, stride: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients by weight, bias and frequencies."""
    out, count = weight.shape[0], frequencies.shape[0]
    columns = _side(width, of_columns, torch.empty_like(of_columns))
    rows = _side(height, of_rows, torch.empty_like(of_rows))
    g = cells_of(gradient, weight.dtype)
    down, across = g.shape[1:3]
    partials = floats(weight, 1, weight_partials(across, down), out, 1, 1, 4 * (count + 1))
    scratch = scratch_for(weight, 1, out, more=Cut(down, across, out).floats)
    first_layer_backward(
        Gradient(g, no_means(weight, 1, out)), Layer(g, out, plain_norm(weight, 1, out)), columns, rows,
        stride, _with_bias(weight, bias), parts, partials, scratch,
    )  # fmt: skip
    by_frequencies = floats(weight, 1, count + 1)
    frequency_gradient(columns, rows, by_frequencies)
    wider = partials.sum((0, 1)).reshape(out, 4, count + 1)
    return (
        wider[:, :, :count].reshape(weight.shape).to(weight.dtype, copy=True),
        wider[:, ROW_COSINES, count].to(bias.dtype, copy=True),
        by_frequencies[0, :count].to(frequencies.dtype, copy=True),
    )
