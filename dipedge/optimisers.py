"""Optimisers as frozen descriptions; the engines hold the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from dipedge.errors import InputError


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015), as ``torch.optim.Adam``: the optimiser of both papers.

    Args:
        learning_rate: step size, above 0.
        beta1: decay of the mean of the gradients, in [0, 1).
        beta2: decay of the mean of their squares, in [0, 1).
        eps: added to the root of the second moment, above 0.

    Raises:
        InputError: a value outside its range.
    """

    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be in [0, 1)")
        if not self.eps > 0:
            raise InputError(f"eps is {self.eps}; it must be above 0")
