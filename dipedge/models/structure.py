"""The layers of AlexNet, VGG-16 and VGG-19, called and ordered as torchvision's, with given weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dipedge.errors import InputError
from dipedge.models.weight_names import torchvision_state
from dipedge.tasks.features import IMAGENET_MEAN, IMAGENET_STD

# Caffe's mean picture in blue, green, red, 0..255, as the published weights of VGG want it subtracted.
CAFFE_MEAN = (103.939, 116.779, 123.680)
# torchvision has AlexNet's dropouts in front of the linear layers and VGG's behind them.
DROPOUT_FIRST = ("drop5", "fc6", "relu6", "drop6", "fc7", "relu7", "fc8")
DROPOUT_LAST = ("fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8")


class Convolution(NamedTuple):
    """A square convolution and the ReLU behind it, named by the papers' number: "3" or "3_2"."""

    number: str
    kernel: int = 3
    stride: int = 1
    padding: int = 1


class Pooling(NamedTuple):
    """A square maximum, every second pixel."""

    number: str
    kernel: int = 2


class Plan(NamedTuple):
    """A network: its layers up to the last pooling, the side of the average there, and its classifier."""

    layers: tuple[Convolution | Pooling, ...]
    averaged: int
    classifier: tuple[str, ...] = DROPOUT_LAST


def _vgg(*counts: int) -> Plan:
    layers: list[Convolution | Pooling] = []
    for block, count in enumerate(counts, 1):
        layers += [Convolution(f"{block}_{index}") for index in range(1, count + 1)]
        layers.append(Pooling(str(block)))
    return Plan(tuple(layers), averaged=7)


PLANS = {
    "alexnet": Plan(
        (
            Convolution("1", 11, 4, 2),
            Pooling("1", 3),
            Convolution("2", 5, 1, 2),
            Pooling("2", 3),
            Convolution("3"),
            Convolution("4"),
            Convolution("5"),
            Pooling("5", 3),
        ),
        averaged=6,
        classifier=DROPOUT_FIRST,
    ),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
}


class CaffeInput(nn.Module):
    """Turns RGB normalised as torchvision's weights want it into Caffe's: BGR in 0..255, less its mean."""

    def __init__(self) -> None:
        super().__init__()
        scale = [255 * std for std in reversed(IMAGENET_STD)]
        shift = [255 * mean - caffe for mean, caffe in zip(reversed(IMAGENET_MEAN), CAFFE_MEAN, strict=True)]
        for name, values in (("scale", scale), ("shift", shift)):
            # Not part of a state dict: torchvision's has no such entries.
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        return picture.flip(1) * self.scale + self.shift


def network(model: str, weights: Mapping[str, Any], caffe: bool | None, source: str) -> nn.Sequential:
    """The network ``model`` of ``PLANS`` with ``weights``; ``source`` is what messages call them.

    Raises:
        InputError: weights of another network, or of none.
    """
    plan = PLANS[model]
    names = module_names(plan)
    state, is_caffe = torchvision_state(weights, names, source)
    shapes = _Shapes(state, model, source)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if is_caffe if caffe is None else caffe:
        parts["caffe_input"] = CaffeInput()
    with torch.device("meta"):  # sizes alone: the values come from the state
        parts["features"], channels = _features(plan, names, shapes)
        if any(name.startswith("classifier.") for name in state):
            parts["avgpool"] = nn.AdaptiveAvgPool2d(plan.averaged)
            parts["flatten"] = nn.Flatten()
            parts["classifier"] = _classifier(plan, names, shapes, channels * plan.averaged**2)
    built = nn.Sequential(parts)
    shapes.check_all_used()
    built.load_state_dict(state, assign=True)
    dtype = next(built.parameters()).dtype
    present = dict(built.named_modules())
    built.layer_names = {paper: name for paper, name in names.items() if name in present}
    return built.to(dtype).eval().requires_grad_(False)


def module_names(plan: Plan) -> dict[str, str]:
    """torchvision's name of every layer, by the papers' name."""
    papers: list[str] = []
    for layer in plan.layers:
        is_pooling = isinstance(layer, Pooling)
        papers += [f"pool{layer.number}"] if is_pooling else [f"conv{layer.number}", f"relu{layer.number}"]
    names = {paper: f"features.{index}" for index, paper in enumerate(papers)}
    return names | {paper: f"classifier.{index}" for index, paper in enumerate(plan.classifier)}


class _Shapes:
    """The shapes of a state's weights, checked against those the network needs."""

    def __init__(self, state: dict[str, Tensor], model: str, source: str) -> None:
        self._state, self._model, self._source = state, model, source
        self._used: set[str] = set()

    def outputs(self, name: str, needed: tuple[int, ...]) -> int:
        """How many channels layer ``name`` puts out, whose weight is [channels, *needed]."""
        weight, bias = self._state.get(f"{name}.weight"), self._state.get(f"{name}.bias")
        for part, found in (("weight", weight), ("bias", bias)):
            if found is None:
                raise InputError(f"{self._source} has no {name}.{part}, which {self._model} needs")
            self._used.add(f"{name}.{part}")
        shape = tuple(weight.shape)
        if shape[1:] != needed or tuple(bias.shape) != shape[:1] or 0 in shape:
            expected = ", ".join(map(str, ("channels", *needed)))
            found = f"has {name}.weight {list(shape)} and its bias {list(bias.shape)}"
            raise InputError(f"{self._source} {found}; {self._model} needs [{expected}] and [channels]")
        return shape[0]

    def check_all_used(self) -> None:
        """Raises InputError for weights the network has no place for: they are another network's."""
        left = sorted(set(self._state) - self._used)
        if left:
            raise InputError(f"{self._source} has {left[0]}, which {self._model} does not have")


def _features(plan: Plan, names: dict[str, str], shapes: _Shapes) -> tuple[nn.Sequential, int]:
    """The layers up to the last pooling, and how many channels come out."""
    layers: list[nn.Module] = []
    channels = 3
    for layer in plan.layers:
        if isinstance(layer, Pooling):
            layers.append(nn.MaxPool2d(layer.kernel, 2))
            continue
        _, kernel, stride, padding = layer
        out = shapes.outputs(names[f"conv{layer.number}"], (channels, kernel, kernel))
        layers += [nn.Conv2d(channels, out, kernel, stride, padding), nn.ReLU(inplace=True)]
        channels = out
    return nn.Sequential(*layers), channels


def _classifier(plan: Plan, names: dict[str, str], shapes: _Shapes, inputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for paper in plan.classifier:
        if paper.startswith("fc"):
            out = shapes.outputs(names[paper], (inputs,))
            layers.append(nn.Linear(inputs, out))
            inputs = out
        else:
            layers.append(nn.Dropout() if paper.startswith("drop") else nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
