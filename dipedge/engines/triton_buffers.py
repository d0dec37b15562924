"""Memory of a fit on the GPU: taken once, when the fit is compiled, and counted beforehand.

A network is planned twice: on PyTorch's "meta" device, where a tensor has a shape and no memory, to learn
what it will take; and, if the GPU has that much, for real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from dipedge.kernels.adam.triton import Collected, Partials
from dipedge.kernels.gpu.launch import COUNTERS, MAX_PROGRAMS, Scratch, channel_stride
from dipedge.kernels.gpu.layer import Gradient, Layer


@dataclass
class WeightSums:
    """Partial sums of one weight gradient; ``tensor`` [B, P, *shape] is there once all have been planned."""

    begin: int
    count: int
    shape: tuple[int, ...]
    tensor: torch.Tensor | None = field(default=None, repr=False)


class Buffers:
    """Allocations of one compiled fit (or of B fits together).

    Args:
        fits: B, the first axis of everything.
        cell: float32 or bfloat16.
        device: "meta" only counts.
    """

    def __init__(self, fits: int, cell: torch.dtype, device: torch.device) -> None:
        self.fits, self.cell, self.device = fits, cell, device
        self.bytes = 0
        self._sums: list[WeightSums] = []
        self._partials: list[Partials] = []
        self._floats = 0
        self._scratch = 1 << 16

    def _zeros(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        tensor = torch.zeros((self.fits, *shape), dtype=dtype, device=self.device)
        self.bytes += tensor.numel() * tensor.element_size()
        return tensor

    def floats(self, *shape: int) -> torch.Tensor:
        """float32 [B, *shape], zeros."""
        return self._zeros(shape, torch.float32)

    def integers(self, *shape: int) -> torch.Tensor:
        """int32 [B, *shape], zeros."""
        return self._zeros(shape, torch.int32)

    def picture(self, height: int, width: int, channels: int) -> torch.Tensor:
        """Cells [B, height, width, channel_stride(channels)], zeros."""
        return self._zeros((height, width, channel_stride(channels)), self.cell)

    def layer(self, height: int, width: int, channels: int, slope: float, normed: bool = True) -> Layer:
        """A layer to be written, with or without a norm."""
        self.scratch(3 * MAX_PROGRAMS * channels)
        norm = self.floats(4, channels) if normed else None
        return Layer(self.picture(height, width, channels), channels, norm, slope)

    def scratch(self, floats: int) -> None:
        """Says that a launch takes so many floats of scratch memory for each fit."""
        self._scratch = max(self._scratch, floats)

    def gradient(self, layer: Layer, stored: bool = True) -> Gradient:
        """The gradient of ``layer``; not ``stored`` where its reader makes g anew."""
        _, height, width = layer.shape
        values = self.picture(height, width, layer.channels) if stored else None
        return Gradient(values, self.floats(2, layer.channels))

    def weight_sums(
        self, offset: int, count: int, shape: tuple[int, ...], pitch: int | None = None
    ) -> WeightSums:
        """Room for ``count`` partial sums of the weights [O, k, k, I] that begin at ``offset`` of the flat
        vector.

        ``pitch`` is the distance between two outputs there, if more than the weights of one.
        """
        width = shape[1] * shape[2] * shape[3]
        sums = WeightSums(self._floats, count, shape)
        self._sums.append(sums)
        rows = 1 if pitch is None else shape[0]
        self._partials.append(
            Partials(offset, shape[0] * width, self._floats, count, rows=rows, pitch=pitch or 0)
        )
        self._floats += -(-self.fits * count * shape[0] * width // 16) * 16
        return sums

    def finish(self) -> tuple[Scratch, torch.Tensor, Collected]:
        """After all planning: scratch memory, the partial sums of all weights, and how they are collected."""
        partials = torch.zeros(self.fits * self._scratch, device=self.device)
        counters = torch.zeros(self.fits * COUNTERS, dtype=torch.int32, device=self.device)
        weights = torch.zeros(max(self._floats, 1), device=self.device)
        self.bytes += 4 * (partials.numel() + counters.numel() + weights.numel())
        for sums in self._sums:
            shape = (self.fits, sums.count, *sums.shape)
            size = self.fits * sums.count * torch.Size(sums.shape).numel()
            sums.tensor = weights[sums.begin : sums.begin + size].view(shape)
        return Scratch(partials, counters), weights, Collected(self._partials, self.device)
