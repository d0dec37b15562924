"""Pixels without a network, and the total variation that may keep them smooth."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

# Added under the root, squared: the root's slope at nothing is infinite, and flat regions are what TV makes.
# A fortieth of one grey value of 255, so that no visible difference is treated as flat.
FLAT = 1e-4


def pixels(parameters: Mapping[str, Tensor]) -> Tensor:
    """The estimate x [1, C, H, W]: a copy of the parameter, in no way limited.

    A copy, because the optimiser changes the parameter in place: the estimate of a step is that before it.
    """
    return parameters["pixels"].clone()[None]


def total_variation(x: Tensor) -> Tensor:
    """Mean over pixels and channels of the gradient's length, isotropic; x [1, C, H, W] -> a scalar.

    Differences go to the next row and column; beyond the last there is none.
    """
    down = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1))
    right = F.pad(x[:, :, :, 1:] - x[:, :, :, :-1], (0, 1))
    return torch.sqrt(down**2 + right**2 + FLAT**2).mean() - FLAT
