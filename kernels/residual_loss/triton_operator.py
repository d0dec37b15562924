"""One call of ``residual_loss`` by the Triton kernels: one launch forward (three for Lanczos), two back.

The forward launch makes the weight gradient as well, for a loss that counts once. A caller may weigh losses
and use the output too, so the way back starts from dlogit, which is kept, and sums once more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.gpu.pictures import (
    cells_of,
    empty_cells,
    floats,
    floats_of,
    picture_of,
    plain_norm,
    scratch_for,
    vectors_of,
    weights_of,
)
from dipedge.kernels.lanczos_conv.triton import lines_shape
from dipedge.kernels.lanczos_conv.triton_operator import filter_tables
from dipedge.kernels.residual_loss.triton import head_forward, store_gradient
from dipedge.kernels.residual_loss.triton_lanczos import decimate_loss
from dipedge.kernels.residual_loss.triton_loss import head_backward, head_loss, weight_partials


def _layer(activations: Tensor) -> Layer:
    """The activations as a layer that is its own activation."""
    fits, channels = activations.shape[:2]
    return Layer(cells_of(activations), channels, plain_norm(activations, fits, channels), 1.0)


def _room(layer: Layer, out: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the way back writes: means, dgamma, dbeta (of a norm that is not there) and two partial sums."""
    fits, into, x = layer.values.shape[0], layer.channels, layer.values
    parts = weight_partials(layer)
    sums = (floats(x, fits, into), floats(x, fits, into))
    return (
        floats(x, fits, 2, into), *sums, floats(x, fits, parts, out, 1, 1, into), floats(x, fits, parts, out)
    )  # fmt: skip


def forward(
    activations: Tensor, weight: Tensor, bias: Tensor, target: Tensor, mask: Tensor | None, kind: str,
    scale: int, lobes: int, sigmoid: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Losses [B], outputs, and dlogit [B, H, W, O] for the way back."""
    fits, _, height, width = activations.shape
    out, layer = weight.shape[0], _layer(activations)
    head = weights_of(weight, fits, torch.float32), vectors_of(bias, fits)
    output, dlogit = (floats(activations, fits, height, width, out) for _ in range(2))
    losses, step = floats(activations, fits, 1), activations.new_zeros((1,), dtype=torch.int64)
    scratch, wanted = scratch_for(activations, fits, layer.channels), floats_of(target)
    if kind == "lanczos":
        tables = filter_tables(height, width, scale, lobes, activations.device)
        lines, residual = floats(activations, *lines_shape(fits, width, out)), torch.empty_like(wanted)
        head_forward(layer, *head, output, sigmoid=sigmoid)
        decimate_loss(output, wanted, tables, lines, residual, dlogit, losses, step, scratch, sigmoid=sigmoid)
    else:
        known: Any = None if mask is None else mask.float().expand(fits, height, width).contiguous()
        head_loss(
            layer, *head, wanted, output, losses, step, dlogit, *_room(layer, out), scratch, mask=known,
            sigmoid=sigmoid,
        )  # fmt: skip
    return losses[:, 0], output.permute(0, 3, 1, 2), dlogit


def backward(
    activations: Tensor, weight: Tensor, bias: Tensor, target: Tensor, mask: Tensor | None, output: Tensor,
    dlogit: Tensor, by_loss: Tensor, by_output: Tensor, kind: str, scale: int, lobes: int, sigmoid: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients by activations, weight and bias."""
    fits, into, height, width = activations.shape
    out, layer = weight.shape[0], _layer(activations)
    x, direct = floats_of(output), floats_of(by_output)
    total = dlogit * by_loss.float()[:, None, None, None] + (direct * x * (1 - x) if sigmoid else direct)
    room, scratch = _room(layer, out), scratch_for(activations, fits, into)
    weights = weights_of(weight, fits, torch.float32)
    head_backward(layer, weights, total, *room, scratch)
    dx = empty_cells(activations, fits, height, width, into)
    store_gradient(total, weights, layer, dx)
    by_weight = room[3].sum((0, 1)).permute(0, 3, 1, 2).to(weight.dtype).contiguous()
    return picture_of(dx, into), by_weight, room[4].sum((0, 1)).to(bias.dtype)
