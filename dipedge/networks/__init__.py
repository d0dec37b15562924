"""Networks as frozen descriptions: what is fitted to the one picture, starting from random weights.

Four families, all of them in the Deep Image Prior paper, and one for clips. What a network can express hardly
differs between them; how fast it takes up a picture, and how much slower noise, does: each is another prior
(docs/priors.md).

``Hourglass``, the "skip" network of both papers. Level i turns its input ``h`` (level 0: z) into an output of
the same size::

    skip_i  : conv k_s -> n_s, BN, LeakyReLU                        (absent when n_s is 0)
    deep_i  : conv k_d, down x2 -> n_d, BN, LReLU ; conv k_d -> n_d, BN, LReLU ; level i+1 ; up x2
    merge_i : concat(skip_i, deep_i) -> BN
    up_i    : conv k_u -> n_u, BN, LReLU ; conv 1x1 -> n_u, BN, LReLU   (the 1x1 is optional)
    head    : conv 1x1 -> image channels, sigmoid                   (once, after level 0)

``UNet`` and ``ResNet``, with which the paper compares it, are wired as its authors published them; their own
texts have the formulas. ``Hourglass3d`` is the hourglass over the frames of a clip. ``Pixels`` is no network:
the estimate itself is fitted, with or without a total variation to keep it smooth, which is what the paper
calls "TV prior" and "no prior".

Sizes that are not multiples of 2 are taken as they are: going down gives ceil(n / 2) rows and columns, and
coming up crops the surplus row or column at the end (what the published code does wherever it accepts such a
size). Normalisation always uses the statistics of the current picture; there is no separate evaluation mode.
"""

from __future__ import annotations

from dipedge.networks.hourglass import DOWNSAMPLINGS, UPSAMPLINGS, Hourglass, Level
from dipedge.networks.hourglass3d import Hourglass3d
from dipedge.networks.layers import PADDINGS, Shapes, one_of
from dipedge.networks.pixels import Pixels
from dipedge.networks.resnet import ResNet
from dipedge.networks.unet import UNet

__all__ = [
    "DOWNSAMPLINGS",
    "PADDINGS",
    "UPSAMPLINGS",
    "Hourglass",
    "Hourglass3d",
    "Level",
    "Network",
    "Pixels",
    "ResNet",
    "Shapes",
    "UNet",
    "one_of",
]

Network = Hourglass | Hourglass3d | UNet | ResNet | Pixels
