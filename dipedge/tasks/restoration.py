"""The restorations of Deep Image Prior: one picture in, the same picture without its damage out.

Each names one of three data terms over the network's output x (shape [H, W, C], in [0, 1]):

    identity   mean((x - x0)^2)
    mask       mean(((x - x0) * m)^2), m in {0, 1}: 1 = known
    lanczos    mean((d_t(x) - x0)^2), d_t = Lanczos low-pass and decimation by t

(Deep Image Prior, section 3; the Lanczos term is the published ``Downsampler``.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dipedge.errors import InputError
from dipedge.tasks.base import Answer, BaseTask, DataTerm

SCALES = (2, 3, 4, 8)


@dataclass(frozen=True)
class Denoise(BaseTask):
    """Remove noise. ``sigma``, in 0..255 units, is the noise's standard deviation if known."""

    sigma: float | None = None
    name: ClassVar[str] = "denoise"

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 < self.sigma <= 255:
            raise InputError(f"sigma is {self.sigma}; it must be above 0 and at most 255")


@dataclass(frozen=True)
class RemoveJpeg(BaseTask):
    """Remove the artefacts of JPEG compression."""

    name: ClassVar[str] = "jpeg"
    block: ClassVar[int] = 16  # 8 x 8, but colour is usually stored at half the size


@dataclass(frozen=True)
class SuperResolve(BaseTask):
    """Enlarge a picture ``scale`` times (2, 3, 4 or 8): the answer is scale*H x scale*W."""

    scale: int = 4
    name: ClassVar[str] = "superresolve"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"scale is {self.scale!r}; it must be one of 2, 3, 4, 8")

    @property
    def data_term(self) -> DataTerm:
        return DataTerm("lanczos", scale=self.scale)

    def estimate_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return (shape[0] * self.scale, shape[1] * self.scale, shape[2])


@dataclass(frozen=True, eq=False)
class Inpaint(BaseTask):
    """Fill holes.

    Args:
        mask: H x W (array, PIL image or path): True / nonzero = known.
        keep: whether known pixels come back as they were, to the bit. False: the estimate everywhere, as
            published; right where known pixels have noise of their own.
    """

    mask: Any
    keep: bool = True
    name: ClassVar[str] = "inpaint"

    @property
    def data_term(self) -> DataTerm:
        return DataTerm("mask")


@dataclass(frozen=True)
class Enhance(BaseTask):
    """Bring out detail: a fit that is stopped early is a coarse version xc of the picture x0.

    The answer is x0 + strength * (x0 - xc), clipped to [0, 1] (Deep Image Prior, section "Detail
    enhancement"; the slides show fits stopped after 250 to 7000 steps). An early stop takes out more than
    noise: edges stay, texture goes, so the difference is texture without the halos of a blurred mask.

    Args:
        strength: how much of the detail is added, above 0 and at most 20; 1 doubles it.
        stop: after how many steps the coarse version is taken, 1 or more: the fewer, the coarser. None
            leaves it to the session's ``steps`` or ``stop``, or the preset.
    """

    strength: float = 1.0
    stop: int | None = None
    name: ClassVar[str] = "enhance"

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 20:
            raise InputError(f"strength is {self.strength!r}; it must be above 0 and at most 20")
        if self.stop is not None and (isinstance(self.stop, bool) or self.stop < 1):
            raise InputError(f"stop is {self.stop!r}; it must be a whole number of steps, 1 or more")

    def answer(self, estimate: np.ndarray, pixels: np.ndarray) -> Answer:
        """The enhanced picture; parts: "coarse" and "detail", the latter around 0.5."""
        detail = pixels - estimate
        return Answer(pixels + self.strength * detail, {"coarse": estimate, "detail": 0.5 + detail / 2})
