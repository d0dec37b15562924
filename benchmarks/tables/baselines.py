"""What a user would take instead, from maintained libraries, each with its settings and where they are from.

Strengths were chosen by PSNR on other pictures (corners of 200 x 200 of scikit-image's astronaut, coffee and
chelsea, the same noise), so that every method is shown near its best. Answers are float [H, W(, 3)].

The libraries are imported when a method is first called: a table without it needs none of them.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from benchmarks.tables.answers import Answer, Settings
from benchmarks.tables.pictures import SIGMA
from benchmarks.tables.protocols import Case

INSTALL = {
    "skimage": "scikit-image (pip install scikit-image)",
    "scipy": "SciPy (pip install scipy)",
    "cv2": "OpenCV (pip install opencv-python-headless)",
    "bm3d": "the package bm3d (pip install bm3d; its licence is for non-commercial use only)",
    "bm4d": "the package bm4d (pip install bm4d; its licence is for non-commercial use only)",
}


@dataclass(frozen=True)
class Baseline:
    """A method without a network.

    Args:
        name: of its column, and of the published column it is compared with.
        make: returns the picture for a case.
        needs: the module it imports.
    """

    name: str
    make: Callable[[Case], np.ndarray]
    needs: str = ""
    fitted = False

    def missing(self) -> str | None:
        """The sentence why it cannot run here; None if it can."""
        if not self.needs or importlib.util.find_spec(self.needs):
            return None
        return f"{self.name} is left out: it needs {INSTALL[self.needs.split('.')[0]]}"

    def run(self, case: Case, settings: Settings, progress: object = None) -> Answer:
        """Its picture, timed; the import is no part of the time."""
        if self.needs:
            importlib.import_module(self.needs)
        begin = time.perf_counter()
        image = self.make(case)
        return Answer(np.asarray(image, np.float32), time.perf_counter() - begin)


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """What a saved picture would hold."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def channel_axis(pixels: np.ndarray) -> int | None:
    """What scikit-image wants to know."""
    return -1 if pixels.ndim == 3 else None


# Super-resolution -----------------------------------------------------------------------------------


def enlarged(case: Case, filter: Image.Resampling) -> np.ndarray:
    """The picture at the clean one's size, from 8 bits to 8 bits, as picture programs do it."""
    height, width = case.clean.shape[:2]
    return np.asarray(Image.fromarray(eight_bits(case.degraded)).resize((width, height), filter)) / 255


def bicubic(case: Case) -> np.ndarray:
    return enlarged(case, Image.Resampling.BICUBIC)


def lanczos(case: Case) -> np.ndarray:
    return enlarged(case, Image.Resampling.LANCZOS)


# Noise of sigma 25 ----------------------------------------------------------------------------------


def total_variation(case: Case) -> np.ndarray:
    """Rudin-Osher-Fatemi by Chambolle's projection; weights of 0.07 and 0.08 were within 0.02 dB."""
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(case.degraded, weight=0.075, channel_axis=channel_axis(case.degraded))


def nonlocal_means(case: Case) -> np.ndarray:
    """Buades, Coll, Morel; h = 0.5 sigma was best of 0.3 to 1.0, patches of 5 of 3, 5, 7."""
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(
        case.degraded, patch_size=5, patch_distance=6, h=0.5 * SIGMA, sigma=SIGMA, fast_mode=True,
        channel_axis=channel_axis(case.degraded),
    )  # fmt: skip


def block_matching(case: Case) -> np.ndarray:
    """BM3D by its authors, in colour in the opponent space (their default), told the true sigma."""
    import bm3d

    return (bm3d.bm3d_rgb if case.degraded.ndim == 3 else bm3d.bm3d)(case.degraded, SIGMA)


# Half of the pixels missing -------------------------------------------------------------------------


def griddata_cubic(case: Case) -> np.ndarray:
    """Clough-Tocher interpolation on the triangles of the known pixels; beyond their hull the nearest one."""
    from scipy.interpolate import griddata

    known, holes = np.nonzero(case.mask), np.nonzero(~case.mask)
    image = case.degraded.astype(np.float64)
    values = griddata(known, image[known], holes, method="cubic")
    outside = np.isnan(values)
    if outside.any():
        beyond = tuple(axis[outside] for axis in holes)
        values[outside] = griddata(known, image[known], beyond, method="nearest")
    image[holes] = values
    return image


def biharmonic(case: Case) -> np.ndarray:
    """The smooth surface through the known pixels (Damelin and Hoang)."""
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(case.degraded, ~case.mask)


def telea(case: Case) -> np.ndarray:
    """OpenCV's fast marching inpainting, radius 3."""
    import cv2

    holes = (~case.mask).astype(np.uint8)
    return cv2.inpaint(eight_bits(case.degraded), holes, 3, cv2.INPAINT_TELEA) / 255


# Clips ----------------------------------------------------------------------------------------------


def per_frame(method: Baseline) -> Baseline:
    """A method for pictures, on every frame [H, W, 3] of a clip [T, H, W, 3]."""

    def make(case: Case) -> np.ndarray:
        frames = [replace(case, clean=c, degraded=d) for c, d in zip(case.clean, case.degraded, strict=True)]
        return np.stack([method.make(frame) for frame in frames])

    return Baseline(f"{method.name} per frame", make, method.needs)


def nonlocal_means_over_frames(case: Case) -> np.ndarray:
    """OpenCV's, patches of 3 looked for in up to two frames before and after; h = 22 of 255 was best."""
    import cv2

    frames = list(eight_bits(case.degraded))
    answers = []
    for index in range(len(frames)):
        reach = min(2, index, len(frames) - 1 - index)  # the window is symmetric and lies in the clip
        answers.append(cv2.fastNlMeansDenoisingMulti(frames, index, 2 * reach + 1, None, 22, 3, 21))
    return np.stack(answers) / 255


# Rows, each of length 1: grey, red against blue, green against both. Noise keeps its sigma in all three.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


def block_matching_over_frames(case: Case) -> np.ndarray:
    """BM4D by its authors, as it comes: cubes of 4 x 4 x 4 that resemble each other, filtered together.

    Of the class of V-BM4D, which first follows its cubes along their motion; no maintained library has that.
    Cubes are looked for up to 7 frames, rows and columns away, in grey for all three channels. It is told the
    true sigma. From 5 frames on.
    """
    import bm4d

    volume = np.moveaxis(case.degraded @ OPPONENT.T, 0, 2)  # [H, W, T, 3]
    grey, *colours = (np.ascontiguousarray(volume[..., channel]) for channel in range(3))
    answer, matches = bm4d.bm4d(grey, SIGMA, blockmatches=(True, True))
    answers = [answer, *(bm4d.bm4d(one, SIGMA, blockmatches=matches) for one in colours)]
    return np.moveaxis(np.stack(answers, axis=-1), 2, 0) @ OPPONENT
