"""Pictures of activations and of their gradients, as launches take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layer:
    """An activation a = act(scale y + shift), stored as y; ``norm`` None means a = y.

    Args:
        values: y, cells [B, H, W, S].
        channels: C, at most S.
        norm: float32 [B, 4, C]: mean, rstd, scale = gamma rstd, shift = beta - mean scale; or None.
        slope: of LeakyReLU for negative values.
    """

    values: Any
    channels: int
    norm: Any = None
    slope: float = 0.2

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, H, W."""
        return tuple(self.values.shape[:3])


@dataclass(frozen=True)
class Gradient:
    """What a normalised layer's gradient is stored as: the gradient by y is scale (g - mean - h mean_h).

    Args:
        values: g, cells [B, H, W, S] of the layer's shape.
        means: float32 [B, 2, C]: the mean over the picture of g, and of g h.
    """

    values: Any
    means: Any
