"""A pair of encoders that knows nothing: random convolutions for pictures, a bag of random words for texts.

It has all that a fit needs of a trained pair (codes on one sphere, gradients, a fixed input size) and none
of what makes pictures worth looking at. Built anew from the same seed it is the same pair.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import nn

from dipedge.tasks import Encoders

LENGTH = 12


def word_code(word: str) -> torch.Tensor:
    """A random vector that the word alone decides."""
    return torch.from_numpy(np.random.default_rng(zlib.crc32(word.encode())).standard_normal(LENGTH))


def text_code(text: str) -> torch.Tensor:
    """The sum of its words' codes, [1, LENGTH]."""
    return sum(word_code(word) for word in text.split())[None]


class RandomConvolutions(nn.Module):
    """Two convolutions, a smooth bend between them, and the mean: [N, 3, S, S] -> [N, LENGTH]."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(24, 3, 4, 4, generator=generator, dtype=torch.float64) / 5)
        self.second = nn.Parameter(
            torch.randn(LENGTH, 24, 2, 2, generator=generator, dtype=torch.float64) / 10
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        first, second = (weights.to(pictures) for weights in (self.first, self.second))
        bent = torch.tanh(nn.functional.conv2d(pictures, first, stride=2))
        return nn.functional.conv2d(bent, second, stride=2).mean(dim=(2, 3))


def stand_in(size: int = 16, seed: int = 0) -> Encoders:
    """The pair, for pictures of ``size``."""
    model = RandomConvolutions(seed).requires_grad_(False)
    return Encoders(model, text_code, size, mean=(0.5,) * 3, std=(0.25,) * 3, name="stand-in")
