"""Networks as plain PyTorch functions of their parameters: which one, and the hourglass.

Everything the hourglass computes is a kernel's reference, so here is only its wiring, in the published code's
order. Parameters come as a dictionary by name instead of modules: the same names are used by every engine and
every file.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from dipedge.engines.torch_hourglass3d import convolve3d
from dipedge.engines.torch_pixels import pixels, total_variation
from dipedge.engines.torch_resnet import resnet
from dipedge.engines.torch_unet import unet
from dipedge.kernels.conv_norm_act.reference import convolve, norm_act
from dipedge.kernels.lanczos_conv.reference import conv_decimate
from dipedge.kernels.pool import reference as pool
from dipedge.kernels.residual_loss.reference import head
from dipedge.kernels.upsample_merge.reference import upsample_merge
from dipedge.priors import Hourglass, Hourglass3d, Network, Pixels, ResNet, UNet

Parameters = Mapping[str, Tensor]


def _convolved(network: Hourglass, parameters: Parameters, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """A convolution; its weights [O, I, k, k(, k)] say whether it looks across frames."""
    weight, bias = parameters[f"{name}.conv.weight"], parameters[f"{name}.conv.bias"]
    if weight.ndim == 5:
        return convolve3d(x, weight, bias, stride)
    return convolve(x, weight, bias, stride, network.padding)


def _block(network: Hourglass, parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """Convolution that keeps the size, BN, LeakyReLU."""
    gamma, beta = parameters[f"{name}.bn.weight"], parameters[f"{name}.bn.bias"]
    return norm_act(_convolved(network, parameters, name, x), gamma, beta, network.bn_eps, network.slope)


def _down(network: Hourglass, parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """Convolution and decimation by 2, to ceil(n / 2) per side, then BN, LeakyReLU."""
    if network.downsample == "stride":
        x = _convolved(network, parameters, name, x, 2)
    elif network.downsample == "max":
        x = pool.largest(_convolved(network, parameters, name, x))
    else:
        weight, bias = parameters[f"{name}.conv.weight"], parameters[f"{name}.conv.bias"]
        lobes = {"avg": 0, "lanczos2": 2, "lanczos3": 3}[network.downsample]
        x = conv_decimate(x, weight, bias, 2, lobes, network.padding)
    gamma, beta = parameters[f"{name}.bn.weight"], parameters[f"{name}.bn.bias"]
    return norm_act(x, gamma, beta, network.bn_eps, network.slope)


Places = tuple[Tensor, Tensor]  # rows [n] and columns [m] of the pixels that a subsampled step sees


def at(picture: Tensor, places: Places | None) -> Tensor:
    """The seen pixels of [1, C, H, W]: [1, C, n, m]."""
    return picture if places is None else picture[:, :, places[0]][:, :, :, places[1]]


def _level(
    network: Hourglass, parameters: Parameters, index: int, x: Tensor, places: Places | None = None
) -> Tensor:
    """Level ``index`` and all below it: [1, I, H, W] -> [1, n_up, H, W], or of the seen pixels only."""
    name = f"level{index}"
    skip = None
    if network.levels[index].skip:
        skip = _block(network, parameters, f"{name}.skip", at(x, places))
    deep = _down(network, parameters, f"{name}.down", x)
    deep = _block(network, parameters, f"{name}.refine", deep)
    if index + 1 < len(network.levels):
        deep = _level(network, parameters, index + 1, deep)
    merged = upsample_merge(
        skip,
        deep,
        parameters[f"{name}.merge.bn.weight"],
        parameters[f"{name}.merge.bn.bias"],
        size=(x.shape[2], x.shape[3]),
        mode=network.upsample,
        eps=network.bn_eps,
        rows=None if places is None else places[0],
        columns=None if places is None else places[1],
    )
    up = _block(network, parameters, f"{name}.up", merged)
    return _block(network, parameters, f"{name}.up1x1", up) if network.need1x1_up else up


def hourglass(network: Hourglass, parameters: Parameters, z: Tensor, places: Places | None = None) -> Tensor:
    """The estimate x = f_theta(z).

    Args:
        network: the description.
        parameters: tensors by the names of ``Hourglass.parameter_shapes``; gradients flow to them.
        z: [1, channels, H, W], any H and W from 1 up.
        places: of the pixels that the largest level computes, or None for all; for networks whose largest
            level has pointwise layers on its way up and in its skip.

    Returns:
        [1, image channels, H, W], or [1, image channels, n, m].
    """
    activations = _level(network, parameters, 0, z, places)
    return head(activations, parameters["head.conv.weight"], parameters["head.conv.bias"], network.sigmoid)


def hourglass3d(network: Hourglass3d, parameters: Parameters, z: Tensor) -> Tensor:
    """The estimate of a clip, as ``hourglass``, of frames that lie in the batch dimension."""
    activations = _level(network.space, parameters, 0, z)
    weight, bias = parameters["head.conv.weight"][:, :, 0], parameters["head.conv.bias"]
    return head(activations, weight, bias, network.space.sigmoid)


def network_output(
    network: Network, parameters: Parameters, z: Tensor, places: Places | None = None
) -> Tensor:
    """The estimate of any network, [F, image channels, H, W]; ``places`` are for the hourglass only."""
    if isinstance(network, Hourglass3d):
        return hourglass3d(network, parameters, z)
    if isinstance(network, UNet):
        return unet(network, parameters, z)
    if isinstance(network, ResNet):
        return resnet(network, parameters, z)
    if isinstance(network, Pixels):
        return pixels(parameters)
    return hourglass(network, parameters, z, places)


def with_penalty(network: Network, output: Tensor, loss: Tensor) -> Tensor:
    """What is minimised: the data term, and what the description adds to it (``Pixels.tv``)."""
    if isinstance(network, Pixels) and network.tv > 0:
        return loss + network.tv * total_variation(output)
    return loss
