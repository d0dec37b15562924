"""Convolutions of a network as launches: what each reads, writes and keeps from forward to backward.

A convolution with its norm is a ``Normed`` that it writes, and a way to compute it, which depends on its
kernel and on how it goes down. All ways have the same face: ``forward``, and ``backward``, which takes the
gradient at its own output and returns what it contributes to the gradient of its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from dipedge.engines.triton_buffers import Buffers
from dipedge.engines.triton_parameters import Parameters
from dipedge.kernels.conv_norm_act.triton import pointwise
from dipedge.kernels.conv_norm_act.triton_backward import Head, pointwise_backward, weight_partials
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
from dipedge.kernels.conv_norm_act.triton_library import convolve_library, convolve_library_backward
from dipedge.kernels.gpu.launch import Scratch
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.priors import Hourglass


@dataclass
class Plan:
    """What all parts of a network share while it is planned and run.

    Args:
        network: the description.
        parameters, buffers: where values and pictures lie.
        scratch: set when all has been planned.
        library: whether convolutions wider than one pixel are the library's (cuDNN's) instead of ours.
    """

    network: Hourglass
    parameters: Parameters
    buffers: Buffers
    scratch: Scratch | None = None
    library: bool = False

    @property
    def reflect(self) -> bool:
        return self.network.padding == "reflection"


class Normed:
    """A layer with its norm's parameters and its gradient.

    Args:
        plan: of the network.
        name: of the convolution, such as "level0.skip".
        shape: height, width, channels.
        stored: whether g has a picture; not where the head's three numbers a pixel stand for it.
    """

    def __init__(self, plan: Plan, name: str, shape: tuple[int, int, int], stored: bool = True) -> None:
        self.layer = plan.buffers.layer(*shape, plan.network.slope)
        self.gradient = plan.buffers.gradient(self.layer, stored)
        self.gamma = plan.parameters.value(f"{name}.bn.weight")
        self.beta = plan.parameters.value(f"{name}.bn.bias")
        self.dgamma = plan.parameters.gradient(f"{name}.bn.weight")
        self.dbeta = plan.parameters.gradient(f"{name}.bn.bias")
        self.packs: dict[int, Packed] = {}

    def fill_packs(self) -> None:
        """Every padded copy that its readers take."""
        for copy in self.packs.values():
            copy.fill(self.layer)


class Packed:
    """A padded copy of a picture of ``shape`` (height, width, channels), for convolutions wider than one
    pixel.
    """

    def __init__(self, plan: Plan, shape: tuple[int, int, int], margin: int) -> None:
        self.shape, self.margin, self.reflect = shape, margin, plan.reflect
        self.tensor = plan.buffers.picture(shape[0] + 2 * margin, shape[1] + 2 * margin, shape[2])

    def fill(self, source: Layer, perturb: tuple[float, torch.Tensor, torch.Tensor] | None = None) -> None:
        """Activates and pads ``source``; ``perturb`` is sigma, seeds and the step number of noise to add."""
        pack(source, self.tensor, self.margin, self.reflect, perturb)

    def inside(self) -> Layer:
        """What is not padding, for a pointwise reader."""
        height, width, channels = self.shape
        m = self.margin
        return Layer(self.tensor[:, m : m + height, m : m + width], channels)


def packed(plan: Plan, packs: dict[int, Packed], shape: tuple[int, int, int], margin: int) -> Packed:
    """The copy with this margin among ``packs``: readers of one picture share it."""
    if margin not in packs:
        packs[margin] = Packed(plan, shape, margin)
    return packs[margin]


@dataclass(frozen=True)
class Part:
    """What one reader contributes to the gradient by an activation: at every ``stride``-th pixel, or of the
    picture padded by ``margin``."""

    values: torch.Tensor
    stride: int = 1
    margin: int = 0


class Convolution(Protocol):
    """What all ways to compute a convolution share."""

    normed: Normed

    def forward(self) -> None: ...

    def backward(self, incoming: Gradient | Head, by_input: bool) -> Part | None:
        """Weight and norm gradients; the part of the source's gradient, if it is wanted."""


class Pointwise:
    """A 1x1 convolution, every pixel or every second one."""

    def __init__(
        self, plan: Plan, name: str, source: Layer, channels: int, stride: int = 1, stored: bool = True
    ) -> None:
        _, height, width = source.shape
        shape = (-(-height // stride), -(-width // stride), channels)
        self._plan, self._source, self.stride = plan, source, stride
        self.normed = Normed(plan, name, shape, stored)
        weight = f"{name}.conv.weight"
        self._weight = plan.parameters.cell(weight)
        slot = plan.parameters.slots[weight]
        cell_bytes = plan.buffers.cell.itemsize
        parts = weight_partials(*shape[:2], source.channels, channels, cell_bytes)
        self._sums = plan.buffers.weight_sums(slot.offset, parts, slot.shape)
        self._raw: torch.Tensor | None = None

    def reserve(self) -> None:
        """Room for the raw gradient by the input, where it cannot be finished at once."""
        _, height, width = self.normed.layer.shape
        self._raw = self._plan.buffers.picture(height, width, self._source.channels)

    def forward(self) -> None:
        own = self.normed
        pointwise(
            self._source, self._weight, own.layer, self._plan.scratch, gamma=own.gamma, beta=own.beta,
            eps=self._plan.network.bn_eps, stride=self.stride,
        )  # fmt: skip

    def backward(self, incoming: Gradient | Head, by_input: bool) -> Part | None:
        self._backward(incoming, to=self._raw if by_input else None)
        return Part(self._raw, stride=self.stride) if by_input else None

    def finish(self, incoming: Gradient | Head, source: Normed, extra: Part | None = None) -> None:
        """As ``backward``, but finishes the gradient of ``source``, ``extra`` (not padded) included."""
        more = {} if extra is None else {"extra": extra.values, "extra_stride": extra.stride}
        self._backward(
            incoming, to=source.gradient, dgamma=source.dgamma, dbeta=source.dbeta, **more
        )  # fmt: skip

    def _backward(self, incoming: Gradient | Head, **where: object) -> None:
        pointwise_backward(
            incoming, self.normed.layer, self._source, self._weight, self._sums.tensor, self._plan.scratch,
            stride=self.stride, **where,
        )  # fmt: skip


class Taps:
    """A convolution wider than one pixel, from a padded copy of its source."""

    def __init__(
        self, plan: Plan, name: str, packed: Packed, channels: int, kernel: int, stride: int = 1,
        normed: bool = True,
    ) -> None:  # fmt: skip
        self._plan, self._packed, self._kernel, self._stride = plan, packed, kernel, stride
        height, width, into = packed.shape
        shape = (-(-height // stride), -(-width // stride), channels)
        buffers, weight = plan.buffers, f"{name}.conv.weight"
        if normed:
            self.normed = Normed(plan, name, shape)
            self.layer = self.normed.layer
        else:
            self.layer = buffers.layer(*shape, plan.network.slope, normed=False)
        self._weight = plan.parameters.cell(weight)
        slot = plan.parameters.slots[weight]
        parts = 1
        if not plan.library:
            parts = convolve_weight_partials(*shape[:2], into, channels, kernel, buffers.cell.itemsize)
        self._sums = buffers.weight_sums(slot.offset, parts, slot.shape)
        self.margins = (0, 0) if plan.library else gradient_margins(kernel, stride)
        before, after = self.margins
        self.dc = buffers.picture(shape[0] + before + after, shape[1] + before + after, channels)
        self._into = into
        self._dpadded: torch.Tensor | None = None

    def reserve(self) -> None:
        """Room for the gradient by the padded input."""
        self._dpadded = self._plan.buffers.picture(*self._packed.tensor.shape[1:3], self._into)

    def forward(self) -> None:
        norm = {}
        if self.layer.norm is not None:
            norm = {"gamma": self.normed.gamma, "beta": self.normed.beta}
        (convolve_library if self._plan.library else convolve)(
            self._packed.tensor, self._kernel, self._stride, self._weight, self.layer,
            norm.get("gamma"), norm.get("beta"), self._plan.network.bn_eps, self._plan.scratch,
        )  # fmt: skip

    def backward(self, incoming: Gradient, by_input: bool) -> Part | None:
        output_gradient(incoming, self.layer, self.dc, self.margins)
        return self.backward_from_dc(by_input)

    def backward_from_dc(self, by_input: bool) -> Part | None:
        """The same where ``dc`` has been written already."""
        packed, kernel, stride = self._packed, self._kernel, self._stride
        if self._plan.library:
            dpadded = self._dpadded if by_input else None
            sums = self._sums.tensor
            convolve_library_backward(packed.tensor, self.dc, self._weight, dpadded, sums, kernel, stride)
            return Part(dpadded, margin=packed.margin) if by_input else None
        convolve_backward_weight(packed.tensor, self.dc, self._sums.tensor, kernel, stride)
        if not by_input:
            return None
        convolve_backward_input(self.dc, self._weight, self._dpadded, kernel, stride)
        return Part(self._dpadded, margin=packed.margin)


def finish(plan: Plan, source: Normed, readers: Sequence[Convolution], folded: torch.Tensor | None) -> None:
    """The whole gradient of ``source``, from the gradients of its one or two readers.

    A pointwise reader of every pixel comes last and finishes it in its own launch; otherwise the last padded
    part (or none) is folded into it.

    Args:
        folded: a picture of the source's size, where a padded part must be folded before it is added.
    """
    last = next((r for r in readers if isinstance(r, Pointwise) and r.stride == 1), None)
    parts = [r.backward(r.normed.gradient, by_input=True) for r in readers if r is not last]
    if last is not None:
        extra = parts[0] if parts else None
        if extra is not None and extra.margin:
            fold(extra.values, extra.margin, plan.reflect, None, None, 1, folded, None, None, plan.scratch)
            extra = Part(folded)
        last.finish(last.normed.gradient, source, extra)
        return
    padded = [part for part in parts if part.margin]
    plain = next((part for part in parts if not part.margin), None)
    if len(padded) == 2:
        first = padded.pop()
        fold(first.values, first.margin, plan.reflect, None, None, 1, folded, None, None, plan.scratch)
        plain = Part(folded)
    values, margin = (padded[0].values, padded[0].margin) if padded else (None, 0)
    fold(
        values, margin, plan.reflect, source.layer, None if plain is None else plain.values,
        1 if plain is None else plain.stride, source.gradient, source.dgamma, source.dbeta, plan.scratch,
    )  # fmt: skip
