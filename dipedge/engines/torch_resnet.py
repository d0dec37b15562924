"""The ResNet as a plain PyTorch function of its parameters, in the published code's order."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dipedge.kernels.conv_norm_act.reference import batch_norm, convolve
from dipedge.priors import ResNet

Parameters = Mapping[str, Tensor]


def _conv_norm(network: ResNet, parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """3x3 convolution padded with zeros, and BN; in the blocks the convolution has no bias."""
    x = convolve(x, parameters[f"{name}.conv.weight"], parameters.get(f"{name}.conv.bias"), 1, "zero")
    return batch_norm(x, parameters[f"{name}.bn.weight"], parameters[f"{name}.bn.bias"], network.bn_eps)


def _outer(network: ResNet, parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """The first or the last convolution: the two that may reflect at the border."""
    weight, bias = parameters[f"{name}.conv.weight"], parameters[f"{name}.conv.bias"]
    return convolve(x, weight, bias, 1, network.padding)


def resnet(network: ResNet, parameters: Parameters, z: Tensor) -> Tensor:
    """The estimate x = f_theta(z).

    Args:
        network: the description.
        parameters: tensors by the names of ``ResNet.parameter_shapes``; gradients flow to them.
        z: [1, channels, H, W], any H and W from 1 up.

    Returns:
        [1, image channels, H, W].
    """
    x = F.leaky_relu(_outer(network, parameters, "start", z), network.slope)
    for index in range(network.blocks):
        y = F.leaky_relu(_conv_norm(network, parameters, f"block{index}.first", x), network.slope)
        x = x + _conv_norm(network, parameters, f"block{index}.second", y)
    logits = _outer(network, parameters, "head", _conv_norm(network, parameters, "end", x))
    return torch.sigmoid(logits) if network.sigmoid else logits
