"""One call of ``adam`` by the Triton kernel: it works in place, so the operator gives it copies."""

from __future__ import annotations

import torch
from torch import Tensor

from dipedge.kernels.adam.triton import GROUP, adam_step


def step(
    parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int, learning_rate: float,
    beta1: float, beta2: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The three after the step."""
    given = (parameter, first, second)
    copies = [values.clone(memory_format=torch.contiguous_format) for values in given]
    flat = [values.reshape(1, -1) for values in copies]
    active = parameter.new_ones((-(-parameter.numel() // GROUP),), dtype=torch.uint8)
    done = parameter.new_full((1,), step - 1, dtype=torch.int64)
    rates = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "eps": eps}
    moments = (gradient.contiguous().reshape(1, -1), flat[1], flat[2])
    adam_step(flat[0], *moments, None, active, done, **rates)
    return tuple(copies)
