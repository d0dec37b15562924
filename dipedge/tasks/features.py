"""Looking into trained networks: natural pre-images, and pictures that excite one unit most.

Both tasks take any ``torch.nn.Module`` and the name of a layer as ``named_modules()`` has it; there is no
list of known networks. Phi is the module from its input to that layer, and x is the estimate, cropped and
normalised as the module is used to (Deep Image Prior, sections "Natural pre-image" and "Activation
maximization")::

    InvertFeatures        mean((Phi(x) - Phi(x0))^2)
    MaximizeActivation    -Phi(x)_m, or |goal - Phi(x)_m|

The loss itself is written in ``objectives.features`` and ``objectives.activation``: here nothing needs
PyTorch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dipedge.errors import InputError
from dipedge.resizing import resized
from dipedge.tasks.base import Answer, BaseTask, DataTerm

# What torchvision's and nearly everybody's ImageNet networks expect: RGB in [0, 1], less this, over that.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALLEST, LARGEST = 16, 4096
NAMES_SHOWN = 8


def module_name(model: Any, layer: str) -> str:
    """The name in ``model.named_modules()`` that ``layer`` means.

    Args:
        model: a ``torch.nn.Module``. If it has a mapping ``layer_names`` from other names ("conv3") to those
            of modules ("features.6"), as the networks of ``dipedge.models`` have, both are understood.
        layer: the name.

    Raises:
        InputError: no such layer; the message lists names that come near.
    """
    aliases = getattr(model, "layer_names", {})
    aliases = aliases if isinstance(aliases, Mapping) else {}
    modules = [name for name, _ in model.named_modules() if name]
    found = aliases.get(layer, layer)
    if found in modules:
        return found
    known = [*aliases, *modules]
    near = difflib.get_close_matches(str(layer), known, n=NAMES_SHOWN, cutoff=0.4) or known[:NAMES_SHOWN]
    names = ", ".join(near) or "none, for it has no submodules"
    raise InputError(
        f"layer is {layer!r}, which this {type(model).__name__} does not have; near it are {names}"
    )


class _Looking(BaseTask):
    """What both tasks share: their fields' checks, and the sizes of what net and module see."""

    pieces: ClassVar[bool] = False  # Phi sees the whole picture at once
    storable: ClassVar[bool] = False
    model: Any
    layer: str
    size: int | tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    multiple: int

    def __post_init__(self) -> None:
        if not callable(self.model) or not hasattr(self.model, "named_modules"):
            raise InputError(f"model is a {type(self.model).__name__}; it must be a torch.nn.Module")
        module_name(self.model, self.layer)
        sides = self._sides() or ()
        if sides and (not isinstance(sides, tuple) or len(sides) != 2):
            raise InputError(f"size is {self.size!r}; it must be a side, or (height, width)")
        for side in sides:
            if isinstance(side, bool) or not isinstance(side, int) or not SMALLEST <= side <= LARGEST:
                raise InputError(f"size is {self.size!r}; its sides must be {SMALLEST} to {LARGEST} pixels")
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            found = f"mean has {len(self.mean)} values, std {len(self.std)}"
            raise InputError(f"{found}; both must have one for each channel the model takes, 1 or 3")
        if not all(np.isfinite(self.mean)) or not all(0 < value < float("inf") for value in self.std):
            raise InputError(f"mean is {self.mean} and std is {self.std}; every std must be above 0")
        if not 1 <= self.multiple <= 1024:
            raise InputError(f"multiple is {self.multiple}; it must be 1 (no padding) to 1024 pixels")

    @property
    def data_term(self) -> DataTerm:
        return DataTerm("outer")

    def _sides(self) -> tuple[int, int] | None:
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def target_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """What the module sees of a picture of ``shape``."""
        return (*(self._sides() or shape[:2]), shape[2])

    def estimate_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The target's ``shape``, each side filled up to the next whole ``multiple``."""
        height, width = (-(-side // self.multiple) * self.multiple for side in shape[:2])
        return height, width, shape[2]

    def answer_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The answer is what the module saw."""
        return self.target_shape(shape)

    def answer(self, estimate: np.ndarray, pixels: np.ndarray) -> Answer:
        """What the module saw of the estimate: its upper left part, as published."""
        height, width = self.target_shape(pixels.shape)[:2]
        return Answer(np.ascontiguousarray(estimate[:height, :width]))


@dataclass(frozen=True, eq=False)
class InvertFeatures(_Looking):
    """Find a natural picture that a network cannot tell from the given one, judged by one layer.

    The published code's way: the picture is brought to ``size``; the fitted net's output has both sides
    filled up to a multiple of 64 (256 for 224 or 227), of which the upper left ``size`` x ``size`` pixels
    are normalised and shown to the module. Pictures that are not square are cropped around their centre
    rather than squeezed.

    Args:
        model: any ``torch.nn.Module``; it is used as ``eval()`` would, its weights get no gradient, and it
            is left as it was found. It stays on its own device and in its own dtype.
        layer: name of a submodule, as ``named_modules()`` has it. What it puts out is compared, before
            anything behind it has run; nothing behind it costs time or needs a fitting size.
        size: side, or (height, width), of what the module sees, 16 to 4096 pixels; None: the picture as it
            is.
        mean, std: what is taken from each channel of x in [0, 1], and what the rest is divided by. Their
            length, 1 or 3, is the number of channels the module takes; a gray picture is shown to it three
            times over.
        multiple: to which the sides of the net's output are filled up, 1 to 1024.

    Raises:
        InputError: no module, a layer it does not have (with the names that come near), a value out of range.
            From the fit: a size the module cannot take, or a layer whose output is no tensor.
    """

    model: Any
    layer: str
    size: int | tuple[int, int] | None = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    multiple: int = 64
    name: ClassVar[str] = "invert"

    def target(self, pixels: np.ndarray) -> np.ndarray:
        """The centre of the picture, at ``size``."""
        sides = self._sides()
        if sides is None or sides == pixels.shape[:2]:
            return pixels
        return resized(_centre_of_shape(pixels, *sides), *sides, "bilinear")


@dataclass(frozen=True, eq=False)
class MaximizeActivation(_Looking):
    """Make a picture that excites one unit of a network most; there is no picture to begin from.

    Of a layer without spatial dimensions the unit is one of its outputs, of one with them the centre pixel
    of a feature map, as the paper has it. The published code maximises over 40 x 40 pixels around the centre
    (``window=40``) of convolutions, and for class scores aims at 300 (``goal=300``, with a learning rate of
    0.01) instead of as high as it goes. It uses no jitter; what keeps the picture natural is the prior alone.

    Args:
        model, layer, mean, std, multiple: as for ``InvertFeatures``.
        unit: which output or feature map, counted from 0.
        size: side, or (height, width), of the picture, 16 to 4096 pixels.
        window: side of the square around the map's centre whose mean is maximised, 1 or more; as much of it
            as the map has. Layers without spatial dimensions have none.
        goal: the activation aimed at; None: as high as it goes.

    Raises:
        InputError: as ``InvertFeatures``. From the fit: a unit the layer does not have.
    """

    model: Any
    layer: str
    unit: int
    size: int | tuple[int, int] = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    window: int = 1
    goal: float | None = None
    multiple: int = 64
    name: ClassVar[str] = "activate"
    needs_picture: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._sides() is None:
            raise InputError("size is None; a picture that is made from nothing needs one")
        for name, low in (("unit", 0), ("window", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise InputError(f"{name} is {value!r}; it must be a whole number, {low} or more")
        if self.goal is not None and not np.isfinite(self.goal):
            raise InputError(f"goal is {self.goal}; it must be a number, or None for as high as it goes")

    def blank(self) -> np.ndarray:
        return np.zeros((*self._sides(), len(self.mean)), np.float32)


def _centre_of_shape(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest window of [H, W, C] around the centre whose sides are as ``height`` to ``width``."""
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    return pixels[top : top + rows, left : left + columns]
