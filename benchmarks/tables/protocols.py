"""The protocol of each table: which pictures, how they are degraded, what is compared."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import dipedge as de
from benchmarks.tables import pictures, published


@dataclass(frozen=True, eq=False)
class Case:
    """One picture of a table, degraded.

    Args:
        name: as the published tables call it.
        clean: float32 [H, W] or [H, W, 3] in [0, 1]; of a clip [T, H, W, 3].
        degraded: the same; for super-resolution smaller.
        task: how it was degraded.
        mask: bool [H, W] for inpainting, True = known.
        regime: ``preset`` of ``de.Session``.
    """

    name: str
    clean: np.ndarray
    degraded: np.ndarray
    task: Any
    mask: np.ndarray | None = None
    regime: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the answer."""
        return self.clean.shape[1:3] if self.clean.ndim == 4 else self.clean.shape[:2]


class Protocol(ABC):
    """One table. ``score`` names the column that is compared with published values, of ``scores``."""

    name: str
    title: str
    score = "psnr"
    degradation = ""  # which, where a table has several
    notes: tuple[str, ...] = ()  # what a reader of its numbers must know
    example_task: Any = de.Denoise()  # one of its tasks, to ask engines and presets about
    regime: str | None = None  # ``preset`` of ``de.Session``
    frames = ""  # of a clip

    def files(self, folder: Path) -> list[tuple[str, Path]]:
        """(name, file) of every picture of the folder."""
        return [(self.called(path.stem), path) for path in pictures.picture_files(folder)]

    def called(self, stem: str) -> str:
        """The published name of a file."""
        return stem.lower()

    @abstractmethod
    def case(self, name: str, path: Path, side: int | None) -> Case:
        """Reads and degrades a picture; one with a shorter side above ``side`` is shrunk first."""

    def scores(self, case: Case, answer: np.ndarray) -> dict[str, float]:
        """In dB."""
        return {"psnr": pictures.psnr(answer, case.clean)}


COMPARED = (
    "Compared: Y of MATLAB's rgb2ycbcr, both pictures cropped at their centre to multiples of 32, less 4 "
    "pixels a side. So evaluated, bicubic enlarging of the ready pairs gives the published bicubic rows "
    "(within 0.01 dB in the mean over Set5, 0.03 over Set14); RGB or another border does not."
)
LANCZOS_IS_EASIER = (
    "LR made by LANCZOS keeps more detail than the ready pairs' (MATLAB's bicubic): enlarging by bicubic "
    "gains 0.28 dB on Set5 x4. The published bicubic rows are on the ready pairs; for the other rows it is "
    "not said."
)
PAIRS = "The ready pairs (MATLAB's bicubic): what the published bicubic rows were computed on."


class SuperResolution(Protocol):
    """LR by Pillow's LANCZOS from the HR picture, or ready LR/HR pairs; luma of the middle is compared."""

    score = "psnr_y"

    def __init__(self, scale: int, pairs: bool) -> None:
        self.scale, self.pairs = scale, pairs
        self.name = f"sr{scale}"
        low = "from the ready pairs" if pairs else "by Pillow's LANCZOS from the HR picture, cropped at its"
        self.title = f"Super-resolution x{scale}, LR {low}" + ("" if pairs else " centre to multiples of 32")
        self.degradation = "pairs" if pairs else "lanczos"
        self.example_task = de.SuperResolve(scale)
        self.notes = (COMPARED, PAIRS if pairs else LANCZOS_IS_EASIER)

    def files(self, folder: Path) -> list[tuple[str, Path]]:
        if not self.pairs:
            return super().files(folder)
        end = f"_x{self.scale}_HR.png"
        found = sorted([*folder.glob("*" + end), *folder.glob("*/*" + end)])
        return [(self.called(path.name.removesuffix(end)), path) for path in found]

    def called(self, stem: str) -> str:
        """The pairs of Set14 are called img_001 to img_014, in the order of the published table."""
        number = stem.removeprefix("img_")
        return published.SET14[int(number) - 1] if number != stem and number.isdigit() else stem.lower()

    def case(self, name: str, path: Path, side: int | None) -> Case:
        high = pictures.opened(path, side=None if self.pairs else side)
        if self.pairs:
            low = pictures.opened(path.with_name(path.name.replace("_HR.", "_LR.")))
        else:
            high = pictures.centre(high)
            size = high.width // self.scale, high.height // self.scale
            low = high.resize(size, Image.Resampling.LANCZOS)
        return Case(name, pictures.unit(high), pictures.unit(low), de.SuperResolve(self.scale))

    def scores(self, case: Case, answer: np.ndarray) -> dict[str, float]:
        answer, clean = (pictures.middle(np.clip(p, 0, 1)) for p in (answer, case.clean))
        luma = pictures.psnr(pictures.luma(answer), pictures.luma(clean))
        return {"psnr": pictures.psnr(answer, clean), "psnr_y": luma}


class Denoising(Protocol):
    """Normal noise of sigma 25, clipped to [0, 1]."""

    name = "denoise"
    title = "Denoising, sigma 25"
    notes = (
        "Noise: numpy's legacy generator, seed 0, scale 25/255, drawn as [H, W, C], the sum clipped to "
        "[0, 1] and kept as float. Compared: all channels of the whole picture.",
        "BM3D and NLM are told the true sigma; ours is not.",
    )

    def called(self, stem: str) -> str:
        """ "image_F16_512rgb" is "f16"; Kodak's keep their numbers."""
        return re.sub(r"^image_(.*?)_?\d{3}rgb$", r"\1", stem).lower()

    def case(self, name: str, path: Path, side: int | None) -> Case:
        clean = pictures.unit(pictures.opened(path, side=side))
        return Case(name, clean, pictures.with_noise(clean), de.Denoise())


class HalfOfThePixels(Protocol):
    """Grey pictures of which about half of the pixels are known."""

    name = "inpaint50"
    title = "Inpainting, 50 % of the pixels missing"
    regime = "half"
    example_task = de.Inpaint(np.ones((32, 32), bool))
    notes = (
        "Known: where numpy's legacy generator, seed 0, draws more than 0.5. Compared: the whole grey "
        "picture (as published), and the missing pixels alone. Interpolations return known pixels as they "
        "are; a fit returns its own estimate of them.",
    )

    def called(self, stem: str) -> str:
        """Without the size: "Lena512" is "lena"."""
        return stem.lower().rstrip("0123456789")

    def case(self, name: str, path: Path, side: int | None) -> Case:
        clean = pictures.unit(pictures.opened(path, grey=True, side=side))
        mask = pictures.random_mask(clean.shape)
        return Case(name, clean, clean * mask, de.Inpaint(mask, keep=False), mask, self.regime)

    def scores(self, case: Case, answer: np.ndarray) -> dict[str, float]:
        holes = ~case.mask
        return {
            "psnr": pictures.psnr(answer, case.clean),
            "psnr_holes": pictures.psnr(answer[holes], case.clean[holes]),
        }
