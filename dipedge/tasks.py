"""Tasks as frozen descriptions: what degraded the picture, and so which data term is minimised.

Every task names one of three data terms over the network's output x (shape [H, W, C], in [0, 1]):

    identity   mean((x - x0)^2)
    mask       mean(((x - x0) * m)^2), m in {0, 1}: 1 = known
    lanczos    mean((d_t(x) - x0)^2), d_t = Lanczos low-pass and decimation by t

(Deep Image Prior, section 3; the Lanczos term is the published ``Downsampler``.) Tasks know nothing
of priors: which settings fit which pair stands in ``presets``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from dipedge.errors import InputError

SCALES = (2, 3, 4, 8)


@dataclass(frozen=True)
class DataTerm:
    """What engines need to know of a task.

    Args:
        kind: "identity", "mask" or "lanczos".
        scale: decimation factor t of "lanczos"; 1 otherwise.
        lobes: a of the Lanczos window, 2 or 3.
    """

    kind: Literal["identity", "mask", "lanczos"] = "identity"
    scale: int = 1
    lobes: int = 2


class _Task:
    """What all tasks share: the data term, and the sizes of target and estimate."""

    name: ClassVar[str]
    block: ClassVar[int] = 1  # pixels a side that were degraded together: tiles begin at multiples of it

    @property
    def data_term(self) -> DataTerm:
        return DataTerm()

    def estimate_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape [H, W, C] of the answer for a degraded picture of ``shape``."""
        return shape


@dataclass(frozen=True)
class Denoise(_Task):
    """Remove noise. ``sigma``, in 0..255 units, is the noise's standard deviation if known."""

    sigma: float | None = None
    name: ClassVar[str] = "denoise"

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 < self.sigma <= 255:
            raise InputError(f"sigma is {self.sigma}; it must be above 0 and at most 255")


@dataclass(frozen=True)
class RemoveJpeg(_Task):
    """Remove the artefacts of JPEG compression."""

    name: ClassVar[str] = "jpeg"
    block: ClassVar[int] = 16  # 8 x 8, but colour is usually stored at half the size


@dataclass(frozen=True)
class SuperResolve(_Task):
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
class Inpaint(_Task):
    """Fill holes. ``mask`` is H x W (array, PIL image or path): True / nonzero = known."""

    mask: Any
    name: ClassVar[str] = "inpaint"

    @property
    def data_term(self) -> DataTerm:
        return DataTerm("mask")


Task = Denoise | RemoveJpeg | SuperResolve | Inpaint
