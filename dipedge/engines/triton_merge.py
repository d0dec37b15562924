"""Doubling, joining with the skip, and the convolution behind it: the two ways up a level can take.

A 1x1 convolution commutes with the doubling, whose weights add up to 1: the deep channels are multiplied at
low resolution, a quarter of the pixels, and the product is doubled (``PointwiseUp``). Anything wider reads a
merged, padded picture (``PaddedUp``). Merged channels are ordered deep first, then skip.
"""

from __future__ import annotations

import torch

from dipedge.engines.triton_layers import Normed, Packed, Plan, Taps
from dipedge.kernels.conv_norm_act.triton import pointwise
from dipedge.kernels.conv_norm_act.triton_backward import MergeSums, pointwise_backward, weight_partials
from dipedge.kernels.conv_norm_act.triton_conv_padding import fold
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.upsample_merge.triton_axis import Axis
from dipedge.kernels.upsample_merge.triton_backward import merge_backward_deep, merge_backward_skip
from dipedge.kernels.upsample_merge.triton_blend import blend
from dipedge.kernels.upsample_merge.triton_blend_backward import blend_backward, blend_partials
from dipedge.kernels.upsample_merge.triton_gather import gather
from dipedge.kernels.upsample_merge.triton_padded import merge_padded
from dipedge.kernels.upsample_merge.triton_statistics import merge_statistics

Axes = tuple[Axis, Axis]  # of rows and of columns


class _Merge:
    """What both ways share: the two branches, and the norm of what they make together."""

    def __init__(self, plan: Plan, name: str, deep: Normed, skip: Normed | None, axes: Axes) -> None:
        self._plan, self._deep, self._skip = plan, deep, skip
        self._rows, self._columns = axes
        self._d = deep.layer.channels
        self._s = skip.layer.channels if skip else 0
        buffers, parameters = plan.buffers, plan.parameters
        self._norm = buffers.floats(4, self._d + self._s)
        self._gamma = parameters.value(f"{name}.merge.bn.weight")
        self._beta = parameters.value(f"{name}.merge.bn.bias")
        self._dgamma = parameters.gradient(f"{name}.merge.bn.weight")
        self._means = buffers.floats(2, self._d)
        self._skip_means = buffers.floats(2, self._s) if skip else None

    @property
    def _skip_layer(self) -> Layer | None:
        return self._skip.layer if self._skip else None

    def _statistics(self) -> None:
        merge_statistics(
            self._skip_layer, self._deep.layer, self._rows, self._columns, self._gamma, self._beta,
            self._plan.network.bn_eps, self._norm, self._plan.scratch,
        )  # fmt: skip

    def _finish(self, u: torch.Tensor, dskip: torch.Tensor | None, offset: int) -> None:
        """The gradients of both branches, from those by the enlarged one (gathered) and by the skip."""
        deep, skip, scratch = self._deep, self._skip, self._plan.scratch
        merge_backward_deep(
            u, deep.layer, self._norm, self._means, self._rows, self._columns,
            deep.gradient, deep.dgamma, deep.dbeta, scratch,
        )  # fmt: skip
        if skip is not None:
            merge_backward_skip(
                dskip, offset, skip.layer, self._norm, self._skip_means,
                skip.gradient, skip.dgamma, skip.dbeta, scratch,
            )  # fmt: skip


class PointwiseUp(_Merge):
    """A 1x1 ``up``: y = up(W_d merged_deep) + W_s merged_skip, without what is constant over a channel.

    The merge's shift is such a constant, so its gradient is exactly zero; what rounding leaves of it goes to
    a vector that nobody reads.
    """

    def __init__(
        self, plan: Plan, name: str, deep: Normed, skip: Normed | None, channels: int, axes: Axes
    ) -> None:
        super().__init__(plan, name, deep, skip, axes)
        buffers, (d, s) = plan.buffers, (self._d, self._s)
        _, low_h, low_w = deep.layer.shape
        self._pixels = axes[0].count * axes[1].count
        self.normed = Normed(plan, f"{name}.up", (axes[0].count, axes[1].count, channels))
        weight = plan.parameters.cell(f"{name}.up.conv.weight")
        offset = plan.parameters.slots[f"{name}.up.conv.weight"].offset
        self._weight_deep, self._weight_skip = weight[..., :d], weight[..., d:] if s else None
        parts = weight_partials(low_h, low_w, d, channels, buffers.cell.itemsize)
        self._sums = buffers.weight_sums(offset, parts, (channels, 1, 1, d), pitch=d + s)
        if s:
            parts = blend_partials(low_h, low_w, axes[0].step)
            self._skip_sums = buffers.weight_sums(offset + d, parts, (channels, 1, 1, s), pitch=d + s)
        self._z = Layer(buffers.picture(low_h, low_w, channels), channels)
        self._dz = buffers.picture(low_h, low_w, channels)
        self._u = buffers.picture(low_h, low_w, d)
        self._dskip = buffers.picture(*self.normed.layer.shape[1:], s) if s else None
        self._shift = buffers.floats(d + s)

    def forward(self) -> None:
        plan, own = self._plan, self.normed
        self._statistics()
        pointwise(self._deep.layer, self._weight_deep, self._z, plan.scratch, merge=self._norm)
        blend(
            self._z.values, self._skip_layer, self._norm, self._weight_skip, self._rows, self._columns,
            own.layer, own.gamma, own.beta, plan.network.bn_eps, plan.scratch,
        )  # fmt: skip

    def backward(self, incoming: Gradient) -> None:
        """Finishes the gradients of both branches."""
        plan, own, d = self._plan, self.normed, self._d
        has = self._skip is not None
        blend_backward(
            incoming, own.layer, self._skip_layer, self._norm, self._weight_skip, self._rows, self._columns,
            self._dz, self._dskip, self._skip_sums.tensor if has else None, self._skip_means,
            self._dgamma[:, d:] if has else None, self._shift[:, d:] if has else None, plan.scratch,
        )  # fmt: skip
        sums = MergeSums(self._norm, self._pixels, self._means, self._dgamma[:, :d], self._shift[:, :d])
        pointwise_backward(
            self._dz, self._z, self._deep.layer, self._weight_deep, self._sums.tensor, plan.scratch,
            merge=self._norm, to=self._u, sums=sums,
        )  # fmt: skip
        self._finish(self._u, self._dskip, 0)


class PaddedUp(_Merge):
    """An ``up`` wider than one pixel."""

    def __init__(
        self, plan: Plan, name: str, deep: Normed, skip: Normed | None, channels: int, kernel: int, axes: Axes
    ) -> None:
        super().__init__(plan, name, deep, skip, axes)
        buffers, merged = plan.buffers, self._d + self._s
        _, low_h, low_w = deep.layer.shape
        height, width = axes[0].count, axes[1].count
        self._merged = Packed(plan, (height, width, merged), (kernel - 1) // 2)
        self._taps = Taps(plan, f"{name}.up", self._merged, channels, kernel)
        self._taps.reserve()
        self.normed = self._taps.normed
        self._d_merged = buffers.picture(height, width, merged)
        self._u = buffers.picture(low_h, low_w, self._d)
        self._dbeta = plan.parameters.gradient(f"{name}.merge.bn.bias")
        if plan.reflect:  # the next norm takes a constant off again: exactly zero
            self._dbeta = buffers.floats(merged)

    def forward(self) -> None:
        plan = self._plan
        self._statistics()
        merge_padded(
            self._skip_layer, self._deep.layer, self._norm, self._rows, self._columns,
            self._merged.tensor, self._merged.margin, plan.reflect,
        )  # fmt: skip
        self._taps.forward()

    def backward(self, incoming: Gradient) -> None:
        """Finishes the gradients of both branches."""
        plan = self._plan
        part = self._taps.backward(incoming, by_input=True)
        fold(part.values, part.margin, plan.reflect, None, None, 1, self._d_merged, None, None, plan.scratch)
        gather(
            self._d_merged, self._skip_layer, self._deep.layer, self._norm, self._rows, self._columns,
            self._u, self._means, self._skip_means, self._dgamma, self._dbeta, plan.scratch,
        )  # fmt: skip
        self._finish(self._u, self._d_merged, self._d)
