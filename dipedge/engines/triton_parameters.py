"""All parameters of all fits in one flat vector, as the kernels want them, and the way to and from names.

What the kernels read differs from what files and other engines hold in two ways: weights lie as [O, k, k, I],
so that a product's operands are contiguous; and where a merge is read its channels come deep first, then
skip, so that both parts begin where a vector load can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from dipedge.priors import Prior

GROUP = 16  # every parameter begins at a multiple of so many values
KINDS = ("param", "adam/m", "adam/v", "grad")


@dataclass(frozen=True)
class Slot:
    """One parameter: where it begins, its shape as stored, and how many of its channels are the skip's.

    ``skip`` counts the channels that come first by name and last as stored (0: the same order).
    """

    offset: int
    shape: tuple[int, ...]
    skip: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """From the shape and order by name to those in the flat vector."""
        if values.ndim == 4:
            values = values.transpose(0, 2, 3, 1)
        return np.roll(values, -self.skip, axis=-1)

    def named(self, values: np.ndarray) -> np.ndarray:
        """The way back."""
        values = np.roll(values.reshape(self.shape), self.skip, axis=-1)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if values.ndim == 4 else values


def slots_of(prior: Prior, out_channels: int) -> tuple[dict[str, Slot], int]:
    """Every parameter's slot by name, and the length of the flat vector."""
    slots: dict[str, Slot] = {}
    offset = 0
    for name, shape in prior.parameter_shapes(out_channels).items():
        skip = 0
        level = name.split(".")[0]
        if name.startswith((f"{level}.merge.", f"{level}.up.conv.weight")):
            skip = prior.network.levels[int(level[5:])].skip
        stored = (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else tuple(shape)
        slots[name] = Slot(offset, stored, skip)
        offset += -(-math.prod(shape) // GROUP) * GROUP
    return slots, offset


class Parameters:
    """Flat vectors of values, gradients and moments, [B, F] float32, and the values in cells.

    Args:
        prior: whose parameters.
        out_channels: of the estimate.
        fits: B.
        cell: torch.float32 (the values themselves are read then) or torch.bfloat16.
        device: any torch device; "meta" only counts.
    """

    def __init__(
        self, prior: Prior, out_channels: int, fits: int, cell: torch.dtype, device: torch.device
    ) -> None:
        self.slots, self.length = slots_of(prior, out_channels)

        def zeros() -> torch.Tensor:
            return torch.zeros((fits, self.length), device=device)

        self.values, self.gradients, self.first, self.second = zeros(), zeros(), zeros(), zeros()
        self.cells = None if cell == torch.float32 else zeros().to(cell)

    def _flat(self, kind: str) -> torch.Tensor:
        return dict(zip(KINDS, (self.values, self.first, self.second, self.gradients), strict=True))[kind]

    def _view(self, flat: torch.Tensor, name: str) -> torch.Tensor:
        slot = self.slots[name]
        return flat[:, slot.offset : slot.offset + slot.size].unflatten(1, slot.shape)

    def value(self, name: str) -> torch.Tensor:
        """float32 view [B, ...] as stored."""
        return self._view(self.values, name)

    def gradient(self, name: str) -> torch.Tensor:
        """The gradient's view, as ``value``."""
        return self._view(self.gradients, name)

    def cell(self, name: str) -> torch.Tensor:
        """The values in cells, as ``value``."""
        return self._view(self.values if self.cells is None else self.cells, name)

    def get(self, kind: str, fit: int, name: str) -> np.ndarray:
        """A copy in the shape and order by name; ``kind`` is one of KINDS."""
        slot = self.slots[name]
        flat = self._flat(kind)[fit, slot.offset : slot.offset + slot.size]
        return np.array(slot.named(flat.cpu().numpy()))

    def set(self, kind: str, fit: int, name: str, values: np.ndarray) -> None:
        """The way back of ``get``; the copy in cells follows."""
        slot = self.slots[name]
        stored = np.ascontiguousarray(slot.stored(np.asarray(values, np.float32))).reshape(-1)
        where = slice(slot.offset, slot.offset + slot.size)
        self._flat(kind)[fit, where] = torch.from_numpy(stored).to(self.values.device)
        if kind == "param" and self.cells is not None:
            self.cells[fit, where] = self.values[fit, where].to(self.cells.dtype)

    @property
    def bytes(self) -> int:
        """What all vectors take."""
        vectors = (self.values, self.gradients, self.first, self.second, self.cells)
        return sum(v.numel() * v.element_size() for v in vectors if v is not None)
