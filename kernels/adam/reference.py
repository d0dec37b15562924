"""One step of Adam in plain PyTorch: the specification."""

from __future__ import annotations

import math

from torch import Tensor


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    *,
    learning_rate: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Tensor, Tensor, Tensor]:
    """The parameter, first and second moment after step number ``step`` (1 for the first).

    All four tensors have one shape; nothing is changed in place.
    """
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient * gradient
    rate = learning_rate / (1 - beta1**step)
    root = second.sqrt() / math.sqrt(1 - beta2**step) + eps
    return parameter - rate * first / root, first, second
