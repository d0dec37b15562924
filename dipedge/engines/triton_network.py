"""An hourglass as launches: level by level down, up and back, over buffers taken once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dipedge.engines.triton_decimation import Decimated, Pooled
from dipedge.engines.triton_input import Input
from dipedge.engines.triton_layers import Convolution, Normed, Packed, Plan, Pointwise, Taps, finish, packed
from dipedge.engines.triton_merge import Axes, PaddedUp, PointwiseUp
from dipedge.kernels.conv_norm_act.triton_backward import Head
from dipedge.kernels.gpu.layer import Layer
from dipedge.kernels.residual_loss.triton import store_gradient
from dipedge.kernels.upsample_merge.triton_axis import Axis, fill_axis
from dipedge.priors import Level

LOBES = {"avg": 0, "lanczos2": 2, "lanczos3": 3}


def convolution(
    plan: Plan,
    name: str,
    source: Layer,
    packs: dict[int, Packed],
    channels: int,
    kernel: int,
    stride: int = 1,
) -> Convolution:
    """The way to compute a convolution that keeps the size or takes every second pixel."""
    if kernel == 1:
        return Pointwise(plan, name, source, channels, stride)
    shape = (*source.shape[1:], source.channels)
    return Taps(plan, name, packed(plan, packs, shape, (kernel - 1) // 2), channels, kernel, stride)


def going_down(
    plan: Plan, name: str, source: Layer, packs: dict[int, Packed], channels: int, kernel: int
) -> Convolution:
    """The convolution that halves the sides, in the network's own way."""
    way = plan.network.downsample
    if way == "stride":
        return convolution(plan, name, source, packs, channels, kernel, 2)
    copy = packed(plan, packs, (*source.shape[1:], source.channels), (kernel - 1) // 2)
    if way == "max":
        return Pooled(plan, name, copy, channels, kernel)
    return Decimated(plan, name, copy, channels, kernel, LOBES[way])


class LevelPlan:
    """One level and all below it.

    Args:
        plan: of the network.
        index: 0 for the largest.
        source: what it reads: the network's input, or the layer before it.
        positions: rows and columns (int32 [B, n]) that its way up computes; None for all.
    """

    def __init__(
        self,
        plan: Plan,
        index: int,
        source: Input | Normed,
        positions: tuple[torch.Tensor, ...] | None = None,
    ) -> None:
        level: Level = plan.network.levels[index]
        name = f"level{index}"
        self._plan, self._source = plan, source
        self.skip: Convolution | None = None
        if isinstance(source, Input):
            self.skip = source.skip(plan, f"{name}.skip", level) if level.skip else None
            self.down = source.down(plan, f"{name}.down", level)
            shape = source.shape
        else:
            x, packs = source.layer, source.packs
            if level.skip:
                self.skip = convolution(plan, f"{name}.skip", x, packs, level.skip, level.kernel_skip)
            self.down = going_down(plan, f"{name}.down", x, packs, level.down, level.kernel_down)
            shape = x.shape[1:]
        own = self.down.normed
        self.refine = convolution(plan, f"{name}.refine", own.layer, own.packs, level.down, level.kernel_down)
        deeper = index + 1 < len(plan.network.levels)
        self.below = LevelPlan(plan, index + 1, self.refine.normed) if deeper else None
        deep = self.below.top if self.below else self.refine.normed
        self._plan_up(name, level, deep, shape, positions, first=index == 0)
        self._reserve()

    def _plan_up(
        self, name: str, level: Level, deep: Normed, shape: Sequence[int],
        positions: tuple[torch.Tensor, ...] | None, first: bool,
    ) -> None:  # fmt: skip
        plan = self._plan
        self._sampled = positions is not None
        self._positions = positions or tuple(
            torch.arange(side, dtype=torch.int32, device=plan.buffers.device).repeat(plan.buffers.fits, 1)
            for side in shape
        )
        skip = self.skip.normed if self.skip else None
        axes: Axes = tuple(
            Axis.empty(plan.buffers.fits, p.shape[1], low, self._sampled, plan.buffers.device)
            for p, low in zip(self._positions, deep.layer.shape[1:], strict=True)
        )
        self._axes = axes
        if level.kernel_up == 1:
            self.merge = PointwiseUp(plan, name, deep, skip, level.up, axes)
        else:
            self.merge = PaddedUp(plan, name, deep, skip, level.up, level.kernel_up, axes)
        self.up1x1: Pointwise | None = None
        if plan.network.need1x1_up:
            # The head's gradient by the last layer is made again by its reader, never stored.
            self.up1x1 = Pointwise(plan, f"{name}.up1x1", self.merge.normed.layer, level.up, stored=not first)
        self.top = (self.up1x1 or self.merge).normed

    def _reserve(self) -> None:
        """Room for gradients that the readers of a layer cannot finish by themselves."""
        if isinstance(self.refine, Taps):
            self.refine.reserve()
        self._folded: torch.Tensor | None = None
        if isinstance(self._source, Input) and not self._source.wants_gradient:
            return
        readers = [reader for reader in (self.skip, self.down) if reader]
        whole = isinstance(self._source, Input)
        for reader in readers:
            if not isinstance(reader, Pointwise) or reader.stride == 2 or whole:
                reader.reserve()
        height, width = self._source.shape[:2] if whole else self._source.layer.shape[1:]
        channels = self._source.channels if whole else self._source.layer.channels
        if len(readers) == 2 and not all(isinstance(reader, Pointwise) for reader in readers):
            self._folded = self._plan.buffers.picture(height, width, channels)

    def fill_axes(self, nearest: bool) -> None:
        """The tables of the doubling; in every step where positions are drawn, else once."""
        for positions, axis in zip(self._positions, self._axes, strict=True):
            fill_axis(positions, axis, nearest)

    def fill_all_axes(self) -> None:
        """Once, when memory is there: this level and all below."""
        if not self._sampled:
            self.fill_axes(self._plan.network.upsample == "nearest")
        if self.below:
            self.below.fill_all_axes()

    # One step ---------------------------------------------------------------------------------------

    def forward_below(self) -> None:
        """Down, and everything at lower resolution."""
        if isinstance(self._source, Normed):
            self._source.fill_packs()
        self.down.forward()
        self.down.normed.fill_packs()
        self.refine.forward()
        if self.below:
            self.below.forward_below()
            self.below.forward_here()

    def forward_here(self) -> None:
        """The skip, and up again."""
        if self.skip:
            self.skip.forward()
        self.merge.forward()
        if self.up1x1:
            self.up1x1.forward()

    def backward(self, head: Head | None = None) -> None:
        """From the gradient of ``top`` (or the head's) to that of the source."""
        if self.up1x1:
            self.up1x1.finish(head or self.top.gradient, self.merge.normed)
        elif head is not None:
            store_gradient(head.dlogit, head.weight, self.top.layer, self.top.gradient.values)
            self.top.gradient.means.copy_(head.means)
        self.merge.backward(self.merge.normed.gradient)
        if self.below:
            self.below.backward()
        finish(self._plan, self.down.normed, [self.refine], None)
        readers = [reader for reader in (self.down, self.skip) if reader]
        if isinstance(self._source, Input):
            self._source.backward(self._plan, readers)
        else:
            finish(self._plan, self._source, readers, self._folded)
