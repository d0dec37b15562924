"""Decimation by 2x2 averages or maxima in plain PyTorch: the specification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def avg(x: Tensor) -> Tensor:
    """[1, C, H, W] -> [1, C, ceil(H/2), ceil(W/2)], averages of the 2x2 windows' existing values."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def largest(x: Tensor) -> Tensor:
    """[1, C, H, W] -> [1, C, ceil(H/2), ceil(W/2)], maxima of the 2x2 windows' existing values."""
    return F.max_pool2d(x, 2, ceil_mode=True)
