"""One call of ``muon`` by the Triton kernel: it works in place, so the operator gives it copies.

The kernel's columns lie as [k, k, I], PyTorch's as [I, k, k]. Muon multiplies matrices by their transposes
and by numbers alone, so columns may stand in any order.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from dipedge.kernels.gpu.pictures import floats
from dipedge.kernels.muon.triton import Rate, muon_step
from dipedge.kernels.muon.triton_matrices import Matrices, Matrix

SIZES = 32  # whose tables are kept


@lru_cache(SIZES)
def _matrices(rows: int, columns: int, device: torch.device) -> Matrices:
    return Matrices([Matrix(0, rows, columns)], device)


def step(
    parameter: Tensor, gradient: Tensor, mean: Tensor, learning_rate: float, momentum: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """The parameter and the gradients' mean after the step."""
    moved, fresh = (values.clone(memory_format=torch.contiguous_format) for values in (parameter, mean))
    matrices = _matrices(parameter.shape[0], parameter[0].numel(), parameter.device)
    flat = [values.reshape(1, -1) for values in (moved, gradient.contiguous(), fresh)]
    workspace = floats(parameter, 1, matrices.floats)
    now = parameter.new_zeros((1,), dtype=torch.int64)
    rate = Rate(learning_rate)
    muon_step(matrices, *flat, None, workspace, now, rate, momentum=momentum, iterations=iterations)
    return moved, fresh
