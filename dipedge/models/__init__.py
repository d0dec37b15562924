"""Trained networks to look into: torchvision's AlexNet, VGG-16 and VGG-19, without torchvision.

Each function takes weights and gives a ``torch.nn.Sequential`` in evaluation mode whose parameters are
called as torchvision's are (``features.0.weight`` ... ``classifier.6.bias``). Every layer also has the name
the papers use (``conv3``, ``relu3``, ``pool5``, ``fc6``; VGG: ``conv3_2``), which the tasks of
``tasks.features`` understand: ``model.layer_names`` maps them to modules. Any other ``torch.nn.Module``
serves those tasks as well; these three are what the papers' figures were made with.

Weights are not part of dipedge. Read are:

- .pth files of ``torch.save`` with a state dict, as torchvision's own (loaded without running any code in
them);
- .safetensors with the same names;
- .npz with the same names, or with arrays of another layout: ``AlexNet_0/Conv_K/kernel`` and
  ``blockI_convJ/kernel``, [height, width, in, out], also as bytes (``NAME|q`` with ``NAME|scale_min``);
- a state dict: any mapping from names to tensors or arrays.

How many channels each layer has is read off the weights. The classifier may be absent: the network then ends
with its last pooling.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dipedge.errors import InputError

if TYPE_CHECKING:
    from torch import nn

MODELS = ("alexnet", "vgg16", "vgg19")
Weights = Mapping[str, Any] | str | os.PathLike


def alexnet(weights: Weights, caffe: bool | None = None) -> nn.Sequential:
    """AlexNet (Krizhevsky, Sutskever, Hinton 2012), in torchvision's one-column version.

    Args:
        weights: a state dict, or the path of a file; see the module.
        caffe: whether the weights expect Caffe's input, blue-green-red in 0..255 less its mean, as those of
            the networks' first authors do. The module then turns what it is shown, normalised RGB as for
            torchvision's weights, into that. None: they do if their names are Caffe's (``conv1_1``) or
            Keras's (``block1_conv1``).

    Returns:
        The network in evaluation mode, on the CPU, in the dtype of the weights. It is shown RGB in [0, 1],
        less ``tasks.features.IMAGENET_MEAN`` and over ``IMAGENET_STD``: the default of the tasks.

    Raises:
        FileError: a missing or damaged file, or one of another kind.
        InputError: weights of another network; PyTorch is not installed.
    """
    return build("alexnet", weights, caffe)


def vgg16(weights: Weights, caffe: bool | None = None) -> nn.Sequential:
    """VGG-16 (Simonyan, Zisserman 2014, configuration D); see ``alexnet`` for arguments and errors."""
    return build("vgg16", weights, caffe)


def vgg19(weights: Weights, caffe: bool | None = None) -> nn.Sequential:
    """VGG-19 (Simonyan, Zisserman 2014, configuration E); see ``alexnet`` for arguments and errors."""
    return build("vgg19", weights, caffe)


def build(model: str, weights: Weights, caffe: bool | None = None) -> nn.Sequential:
    """The network ``model``, one of ``MODELS``; see ``alexnet`` for the rest.

    Raises:
        InputError: another name; and as ``alexnet``.
    """
    if model not in MODELS:
        raise InputError(f"model is {model!r}; it must be one of {', '.join(MODELS)}")
    try:
        from dipedge.models import structure, weight_files
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError("models are PyTorch modules; install it: pip install 'dipedge[torch]'") from error
    if isinstance(weights, Mapping):
        return structure.network(model, weights, caffe, "the state dict")
    return structure.network(model, weight_files.read_weights(weights), caffe, str(weights))
