"""Dehazing: one picture is explained as a clear one seen through haze, by several fits at once.

    I = t*J + (1-t)*A        J clear picture, t transmission, A airlight

Each of J, t and A is put out by an untrained network of its own (Gandelsman, Shocher, Irani, "Double-DIP:
Unsupervised Image Decomposition via Coupled Deep-Image-Priors", 2019; "Double-PIP" of the PIP paper has PIP's
networks instead). Their estimates are stacked to one, [h, w, C + 1 + C]: J, then t, then A.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dipedge import haze
from dipedge.errors import InputError
from dipedge.tasks.base import Answer, BaseTask, DataTerm


@dataclass(frozen=True)
class Dehaze(BaseTask):
    """Remove haze.

    The fit is made at a reduced size, because haze is slow over the picture and J need not come from the
    network: t is enlarged, given the edges of the full picture by a guided filter, and J = (I - (1-t)*A)/t is
    computed from the picture itself, with t no lower than .1.

    Args:
        airlight: the haze's colour (one value for each channel, in [0, 1]) if known; None takes what the
            picture's dark channel says. See the preset for whether it is held or only begun from.
        longest: sides of the picture that is fitted are at most so long, 64 or more pixels. Published: 800.
        keep_range: whether t is raised where a lower one would leave J outside [0, 1] ("boundary
            constraint"). As published it is not, and J is clipped: shadows and lights lose their detail.

    Raises:
        InputError: a value outside its range.
    """

    airlight: tuple[float, ...] | None = None
    longest: int = 512
    keep_range: bool = True
    name: ClassVar[str] = "dehaze"
    pieces: ClassVar[bool] = False  # tiles would each find an airlight of their own

    def __post_init__(self) -> None:
        if (
            isinstance(self.longest, bool)
            or not isinstance(self.longest, numbers.Integral)
            or self.longest < 64
        ):
            raise InputError(f"longest is {self.longest!r}; it must be a whole number of pixels, 64 or more")
        if self.airlight is not None:
            object.__setattr__(self, "airlight", _colour(self.airlight))

    @property
    def data_term(self) -> DataTerm:
        return DataTerm("outer")

    def target_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return (*haze.reduced_size(*shape[:2], self.longest), shape[2])

    def answer_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """That of the picture, whatever the size of its fit."""
        return shape

    def estimate_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape[0], shape[1], 2 * shape[2] + 1

    def target(self, pixels: np.ndarray) -> np.ndarray:
        """The picture at the size of the fit."""
        return haze.resized(pixels, *haze.reduced_size(*pixels.shape[:2], self.longest))

    def airlight_of(self, target: np.ndarray) -> np.ndarray:
        """A0 [C]: the colour that was given, or what the picture [h, w, C] shows of it.

        Raises:
            InputError: a given colour with another number of values than the picture has channels.
        """
        if self.airlight is None:
            return haze.airlight(target)
        channels = target.shape[2]
        if len(self.airlight) not in (1, channels):
            have = len(self.airlight)
            raise InputError(f"airlight has {have} values; a picture of {channels} channels needs {channels}")
        return np.broadcast_to(np.array(self.airlight, target.dtype), (channels,))

    def answer(self, estimate: np.ndarray, pixels: np.ndarray) -> Answer:
        """J of the full picture [H, W, C]; parts "transmission" [H, W] and "airlight" [H, W, C]."""
        channels = pixels.shape[2]
        light = haze.resized(estimate[..., channels + 1 :], *pixels.shape[:2])
        bound = light if self.keep_range else None
        transmission = haze.refined(estimate[..., channels], pixels, self.longest, bound)
        image = haze.cleared(pixels, transmission, light)
        return Answer(image, {"transmission": transmission, "airlight": light})


def _colour(values: Any) -> tuple[float, ...]:
    """One number for each channel, as a tuple of floats."""
    try:
        colour = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        colour = ()
    if len(colour) not in (1, 3) or not all(math.isfinite(value) and 0 <= value <= 1 for value in colour):
        raise InputError(f"airlight is {values!r}; it must be 1 or 3 numbers in [0, 1], one for each channel")
    return colour
