"""Pictures out of words: the picture that a pair of trained encoders finds most like a text.

Nothing is restored here and no picture comes in. An image encoder and a text encoder that were trained
together (CLIP) put pictures and sentences into one space; the network is fitted until its picture lies
where the sentence does. Without a prior that gives noise that only the encoder likes; with one it gives
pictures (Positional-encoding Image Prior, "CLIP inversion").

The network's output is not the picture yet. Its three channels are taken as *decorrelated* colours: what
came into its sigmoid is multiplied by the matrix below and goes through the sigmoid again. In photographs
red, green and blue nearly always change together, and so do they in what is fitted this way.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from dipedge.errors import InputError
from dipedge.tasks.base import Answer, BaseTask, DataTerm

# Square root of the covariance of the colours of ImageNet's pictures, one column per decorrelated channel
# (Olah, Mordvintsev, Schubert: "Feature Visualization", Distill 2017; the numbers are those of its library
# Lucid). The first column is brightness; the published fits divide it by 1.6, which makes colours stronger.
COLOUR_COVARIANCE_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
BRIGHTNESS_DIVISOR = 1.6
# Outputs closer to 0 and 1 than this have no finite logit in float32.
MARGIN = 1e-6


def colour_matrix() -> np.ndarray:
    """The matrix [red, green, blue by decorrelated channel], its longest column of length 1."""
    matrix = np.array(COLOUR_COVARIANCE_ROOT) / (BRIGHTNESS_DIVISOR, 1.0, 1.0)
    return matrix / np.linalg.norm(matrix, axis=0).max()


@dataclass(frozen=True, eq=False)
class Encoders:
    """A pair of encoders into one space, such as CLIP's; ``dipedge.encoders`` makes them of known models.

    Args:
        image: takes pictures as a torch tensor [N, 3, size, size], normalised by ``mean`` and ``std``, on the
            engine's device and in the dtype of the fit (float32, but for ``precision="fp64"``); gives
            [N, D]. Gradients flow back through it; it must not change from call to call (a model in its
            evaluation mode, no dropout).
        text: takes a string, gives a torch tensor [1, D]. Called once for each text.
        size: side of the square pictures the image encoder takes, 8 to 4096.
        mean: of each channel, subtracted from pictures in [0, 1].
        std: of each channel, which they are then divided by; above 0.
        name: a word for messages and reports.

    Raises:
        InputError: a value outside its range.
    """

    image: Callable[[Any], Any]
    text: Callable[[str], Any]
    size: int = 224
    # Of CLIP's training pictures; nearly all its successors keep them.
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    name: str = "custom"

    def __post_init__(self) -> None:
        for name in ("image", "text"):
            if not callable(getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)!r:.60}; encoders must be callable")
        _check_whole("size", self.size, 8, 4096)
        for name in ("mean", "std"):
            if np.shape(value := getattr(self, name)) != (3,) or not np.isfinite(value).all():
                raise InputError(f"{name} is {value!r:.60}; it must be three numbers, one a channel")
        if min(self.std) <= 0:
            raise InputError(f"std is {self.std!r}; it must be above 0")


@dataclass(frozen=True, eq=False)
class MatchText(BaseTask):
    """Make a picture that fits a text (CLIP inversion).

    Args:
        text: what the picture shall show. Several texts are separated by "|" and may end in a weight:
            "a lake at night | stars:0.5". Or a list of texts and of pairs (text, weight), which are taken as
            they are. Weights are above 0; 1 unless said.
        encoders: the pair of models, see ``Encoders``.
        size: of the picture, one side or (height, width), each 16 to 4096.
        negative: what it shall not show, in the same form; None for nothing.
        cutouts: how many pieces of the picture the encoder sees in each step, 1 to 256.
        augment: whether each piece is flipped, turned, skewed and recoloured a little at random, so that the
            picture cannot please the encoder by its exact pixels alone.
        decorrelated: whether the output is taken as decorrelated colours; see the module's text.

    Raises:
        InputError: an argument that cannot be used.
    """

    text: str | Sequence[str | tuple[str, float]]
    encoders: Encoders
    size: int | tuple[int, int] = 512
    negative: str | Sequence[str | tuple[str, float]] | None = None
    cutouts: int = 10
    augment: bool = True
    decorrelated: bool = True
    prompts: tuple[tuple[str, float], ...] = field(init=False, repr=False, default=())
    name: ClassVar[str] = "text"
    needs_picture: ClassVar[bool] = False
    pieces: ClassVar[bool] = False
    storable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.encoders, Encoders):
            raise InputError(f"encoders is {self.encoders!r:.60}; it must be an Encoders")
        for side in self.sides:
            _check_whole("size", side, 16, 4096)
        _check_whole("cutouts", self.cutouts, 1, 256)
        wanted = _prompts("text", self.text)
        unwanted = () if self.negative is None else _prompts("negative", self.negative)
        # Frozen for everybody else: what the texts say is worked out once, and with it what is wrong in them.
        object.__setattr__(self, "prompts", wanted + tuple((text, -weight) for text, weight in unwanted))

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the picture."""
        if isinstance(self.size, tuple | list):
            if len(self.size) != 2:
                raise InputError(f"size is {self.size!r}; it must be one side or (height, width)")
            return tuple(self.size)
        return (self.size, self.size)

    @property
    def data_term(self) -> DataTerm:
        return DataTerm("outer")

    def blank(self) -> np.ndarray:
        return np.zeros((*self.sides, 3), np.float32)

    def answer(self, estimate: np.ndarray, pixels: np.ndarray) -> Answer:
        """The picture in red, green and blue."""
        if not self.decorrelated:
            return Answer(estimate)
        inside = np.clip(estimate, MARGIN, 1 - MARGIN)
        colours = np.log(inside / (1 - inside)) @ colour_matrix().astype(inside.dtype).T
        return Answer(1 / (1 + np.exp(-colours)))


def _prompts(argument: str, given: Any) -> tuple[tuple[str, float], ...]:
    """Texts with their weights, as ``MatchText`` takes them."""
    if isinstance(given, str):
        given = [_weighted(part) for part in given.split("|")]
    elif not isinstance(given, list | tuple):
        raise InputError(f"{argument} is {given!r:.60}; it must be a text or a list of texts")
    found = []
    for entry in given:
        text, weight = entry if isinstance(entry, list | tuple) and len(entry) == 2 else (entry, 1.0)
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{argument} holds {text!r:.60}; each entry must be a text, or (text, weight)")
        known = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        if not known or not 0 < weight < math.inf:
            raise InputError(f"{argument} gives {text!r:.60} the weight {weight!r}; it must be above 0")
        found.append((text.strip(), float(weight)))
    if not found:
        raise InputError(f"{argument} is an empty list; it must hold one text or more")
    return tuple(found)


def _weighted(part: str) -> tuple[str, float]:
    """ "stars:0.5" -> ("stars", 0.5); what follows the last colon and is no number belongs to the text."""
    text, colon, number = part.rpartition(":")
    try:
        return (text, float(number)) if colon else (part, 1.0)
    except ValueError:
        return part, 1.0


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it must be a whole number from {low} to {high}")
