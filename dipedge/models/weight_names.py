"""Weights under the names and in the layout that torchvision uses, whatever they were stored as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dipedge.errors import InputError

PARTS = {"weight": "weight", "kernel": "weight", "bias": "bias"}
TORCHVISION = re.compile(r"(?:features|classifier)\.\d+\.(?:weight|bias)")
# Caffe's own names of layers with weights; Keras's and Flax's names of the convolutions.
CAFFE = re.compile(r"((?:conv\d+(?:_\d+)?|fc\d+))\.(weight|bias)")
KERAS = re.compile(r"block(\d+)_conv(\d+)/(kernel|bias)")
FLAX = re.compile(r"AlexNet_0/Conv_(\d+)/(kernel|bias)")


def torchvision_state(
    weights: Mapping[str, Any], names: Mapping[str, str], source: str
) -> tuple[dict[str, Tensor], bool]:
    """A state dict under torchvision's names, and whether the weights' names say they want Caffe's input.

    Args:
        weights: tensors or arrays by name; ``NAME|q`` with ``NAME|scale_min`` are bytes for NAME.
        names: of torchvision's modules, by the papers' names ("conv3": "features.6").
        source: what messages call the weights.

    Raises:
        InputError: no weight of these networks among them, or values that are none.
    """
    state: dict[str, Tensor] = {}
    is_caffe = False
    for name, values in _without_bytes(weights, source).items():
        if TORCHVISION.fullmatch(name):
            state[name] = _tensor(values, name, source)
        elif found := CAFFE.fullmatch(name):
            state[_place(names, *found.groups(), source)] = _tensor(values, name, source)
            is_caffe = True
        elif found := KERAS.fullmatch(name):
            block, index, part = found.groups()
            state[_place(names, f"conv{block}_{index}", part, source)] = _turned(values, name, source)
            is_caffe = True
        elif found := FLAX.fullmatch(name):
            number, part = found.groups()
            state[_place(names, f"conv{int(number) + 1}", part, source)] = _turned(values, name, source)
    if not state:
        shown = ", ".join(list(map(str, weights))[:3]) or "none"
        wanted = "features.0.weight, conv1_1.weight, block1_conv1/kernel or AlexNet_0/Conv_0/kernel"
        raise InputError(f"{source} holds no weights under a known name ({wanted}); its first are {shown}")
    return state, is_caffe


def _without_bytes(weights: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The weights with ``value = byte * scale + min`` worked out for those stored as bytes."""
    found: dict[str, Any] = {}
    for name, values in weights.items():
        if not isinstance(name, str):
            raise InputError(f"{source} has the name {name!r}; names of weights are text")
        base, _, ending = name.partition("|")
        if ending == "q":
            pair = np.asarray(weights.get(f"{base}|scale_min", ()), np.float64)
            if pair.shape != (2,):
                raise InputError(f"{source} has {name} as bytes, but no {base}|scale_min of two numbers")
            found[base] = (np.asarray(values) * pair[0] + pair[1]).astype(np.float32)
        elif not ending:
            found[name] = values
    return found


def _place(names: Mapping[str, str], paper: str, part: str, source: str) -> str:
    if paper not in names:
        raise InputError(f"{source} has a layer {paper}, which this network does not have")
    return f"{names[paper]}.{PARTS[part]}"


def _tensor(values: Any, name: str, source: str) -> Tensor:
    """A copy, on the CPU: what was handed in stays the caller's alone."""
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.array(values))
    if not values.is_floating_point():
        raise InputError(f"{source} has {name} of {values.dtype}; weights are floating-point numbers")
    if not torch.isfinite(values).all():
        raise InputError(f"{source} has NaN or infinite values in {name}")
    return values.detach().to("cpu", copy=True)


def _turned(values: Any, name: str, source: str) -> Tensor:
    """A kernel [height, width, in, out] as [out, in, height, width]; a bias as it is."""
    tensor = _tensor(values, name, source)
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor
