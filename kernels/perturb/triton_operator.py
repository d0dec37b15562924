"""One call of ``perturb`` by the Triton kernel; bfloat16 is widened before and rounded behind it."""

from __future__ import annotations

import torch
from torch import Tensor

from dipedge.kernels.operators import wide
from dipedge.kernels.perturb.triton import perturb


def forward(z: Tensor, sigma: float, seed: int, step: int) -> Tensor:
    """z with its noise; ``seed`` has the bits of the unsigned one."""
    values = wide(z).contiguous().reshape(1, -1)
    moved = torch.empty_like(values)
    seeds, steps = (z.new_full((1,), number, dtype=torch.int64) for number in (seed, step))
    perturb(values, moved, sigma, seeds, steps)
    return moved.reshape(z.shape).to(z.dtype)
