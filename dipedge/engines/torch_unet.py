"""The U-Net as a plain PyTorch function of its parameters, in the published code's order.

Where a size is odd, pooling keeps the last row or column (the published code drops it, and its output is then
smaller than the picture) and doubling crops what is too much at the end, as in the hourglass. Sides that the
poolings divide give the published output.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dipedge.kernels.conv_norm_act.reference import batch_norm, convolve
from dipedge.kernels.pool.reference import largest
from dipedge.kernels.residual_loss.reference import head
from dipedge.kernels.upsample_merge.reference import upsample
from dipedge.priors import UNet

Parameters = Mapping[str, Tensor]


def _normal(network: UNet, parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """Batch norm, or instance norm: of a single picture that is batch norm without scale and shift."""
    if network.norm == "batch":
        return batch_norm(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"], network.eps)
    ones = x.new_ones(x.shape[1])
    return batch_norm(x, ones, torch.zeros_like(ones), network.eps)


def _twice(network: UNet, parameters: Parameters, name: str, x: Tensor, norm: bool) -> Tensor:
    """Two 3x3 convolutions with ReLU; normalised on the way down only, as published."""
    for part in (f"{name}.first", f"{name}.second"):
        weight, bias = parameters[f"{part}.conv.weight"], parameters[f"{part}.conv.bias"]
        x = convolve(x, weight, bias, 1, network.padding)
        x = F.relu(_normal(network, parameters, f"{part}.bn", x) if norm else x)
    return x


def _grown(network: UNet, parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """Twice the size, with the channels of the size above."""
    if network.up == "deconv":
        weight, bias = parameters[f"{name}.deconv.weight"], parameters[f"{name}.deconv.bias"]
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    weight, bias = parameters[f"{name}.conv.weight"], parameters[f"{name}.conv.bias"]
    return convolve(upsample(x, network.up), weight, bias, 1, network.padding)


def unet(network: UNet, parameters: Parameters, z: Tensor) -> Tensor:
    """The estimate x = f_theta(z).

    Args:
        network: the description.
        parameters: tensors by the names of ``UNet.parameter_shapes``; gradients flow to them.
        z: [1, channels, H, W], any H and W from 1 up.

    Returns:
        [1, image channels, H, W].
    """
    x = _twice(network, parameters, "start", z, norm=True)
    passed = []
    for index in range(len(network.filters) - 1):
        passed.append(x)
        x = _twice(network, parameters, f"down{index}", largest(x), norm=True)
    for index in reversed(range(len(passed))):
        height, width = passed[index].shape[2:]
        x = _grown(network, parameters, f"up{index}.grow", x)[:, :, :height, :width]
        x = _twice(network, parameters, f"up{index}", torch.cat((x, passed[index]), dim=1), norm=False)
    return head(x, parameters["head.conv.weight"], parameters["head.conv.bias"], network.sigmoid)
