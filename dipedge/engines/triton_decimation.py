"""Going down otherwise than by stride: 2x2 maxima of a convolution, or a filter that is one with it."""

from __future__ import annotations

import torch

from dipedge.engines.triton_layers import Normed, Packed, Part, Plan, Taps
from dipedge.kernels.conv_norm_act.triton_conv_backward import output_gradient
from dipedge.kernels.gpu.layer import Gradient
from dipedge.kernels.lanczos_conv.triton_conv import conv_decimate, filter_lines
from dipedge.kernels.lanczos_conv.triton_conv_backward import (
    padded_gradient,
    weight_gradient,
    weight_partials,
)
from dipedge.kernels.lanczos_conv.triton_tables import decimation
from dipedge.kernels.pool.triton import largest, largest_backward


class Pooled:
    """2x2 maxima of a convolution that keeps the size; the norm is that of the maxima."""

    def __init__(self, plan: Plan, name: str, copy: Packed, channels: int, kernel: int) -> None:
        self._plan = plan
        self._taps = Taps(plan, name, copy, channels, kernel, normed=False)
        height, width, _ = copy.shape
        self.normed = Normed(plan, name, (-(-height // 2), -(-width // 2), channels))

    def reserve(self) -> None:
        """Room for the gradient by the padded input."""
        self._taps.reserve()

    def forward(self) -> None:
        own = self.normed
        self._taps.forward()
        eps = self._plan.network.bn_eps
        largest(self._taps.layer.values, own.layer, own.gamma, own.beta, eps, self._plan.scratch)

    def backward(self, incoming: Gradient, by_input: bool) -> Part | None:
        taps = self._taps
        largest_backward(incoming, self.normed.layer, taps.layer.values, taps.dc, taps.margins)
        return self._taps.backward_from_dc(by_input)


class Decimated:
    """A convolution and a decimation by 2 as one operation: the padded input is filtered, a quarter
    multiplied.
    """

    def __init__(self, plan: Plan, name: str, copy: Packed, channels: int, kernel: int, lobes: int) -> None:
        self._plan, self._copy = plan, copy
        height, width, into = copy.shape
        buffers, weight = plan.buffers, f"{name}.conv.weight"
        self._tables = decimation(height, width, kernel, 2, lobes, buffers.device)
        self.normed = Normed(plan, name, (-(-height // 2), -(-width // 2), channels))
        self._weight, slot = plan.parameters.cell(weight), plan.parameters.slots[weight]
        self._lines = buffers.picture(self._tables.lines, copy.tensor.shape[2], into)
        self._dc = buffers.picture(*self.normed.layer.shape[1:], channels)
        parts = weight_partials(self._tables, into, channels)
        self._sums = buffers.weight_sums(slot.offset, parts, slot.shape)
        self._dpadded: torch.Tensor | None = None

    def reserve(self) -> None:
        """Room for the gradient by the padded input."""
        self._dpadded = torch.zeros_like(self._copy.tensor)
        self._plan.buffers.bytes += self._dpadded.numel() * self._dpadded.element_size()

    def forward(self) -> None:
        own, plan = self.normed, self._plan
        filter_lines(self._copy.tensor, self._lines, self._tables)
        conv_decimate(
            self._lines, self._weight, own.gamma, own.beta, own.layer, self._tables, plan.scratch,
            plan.network.bn_eps,
        )  # fmt: skip

    def backward(self, incoming: Gradient, by_input: bool) -> Part | None:
        output_gradient(incoming, self.normed.layer, self._dc, (0, 0))
        weight_gradient(self._lines, self._dc, self._sums.tensor, self._tables)
        if not by_input:
            return None
        padded_gradient(self._dc, self._weight, self._lines, self._dpadded, self._tables)
        return Part(self._dpadded, margin=self._copy.margin)
