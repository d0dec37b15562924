"""Reading, cropping, degrading and scoring, as the published evaluations do it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import dipedge as de
from dipedge.images import open_image

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
SIGMA = 25 / 255
MULTIPLE = 32  # the published code crops every picture to multiples of it
# Found by trying: with the ready LR/HR pairs of SelfExSR, enlarging by bicubic, cropping both pictures
# to multiples of 32 and then leaving out 4 pixels a side gives the published bicubic rows within 0.01 dB
# (mean deviation, Set5) and 0.03 (Set14); leaving out none or 8 misses by 0.05 to 0.3. Also at x8.
BORDER = 4


def picture_files(folder: Path) -> list[Path]:
    """The pictures that lie in ``folder`` itself, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def opened(path: Path, grey: bool = False, side: int | None = None) -> Image.Image:
    """A picture in mode "L" or "RGB"; one whose shorter side is above ``side`` is shrunk to it (Lanczos)."""
    image = open_image(path)
    image = image.convert("L" if grey or image.mode in ("1", "L", "LA") else "RGB")
    if side is None or min(image.size) <= side:
        return image
    width, height = (max(1, round(length * side / min(image.size))) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def centre(image: Image.Image, multiple: int = MULTIPLE) -> Image.Image:
    """The centre of a picture, its sides the largest multiples that fit."""
    width, height = (length // multiple * multiple for length in image.size)
    if min(width, height) == 0:
        raise ValueError(f"{image.width} x {image.height} pixels; sides must be at least {multiple}")
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def middle(pixels: np.ndarray, border: int = BORDER) -> np.ndarray:
    """What is compared after super-resolution: [H, W, ...] cropped as ``centre`` does, less a border."""
    height, width = (length // MULTIPLE * MULTIPLE for length in pixels.shape[:2])
    top, left = ((whole - part) // 2 for whole, part in zip(pixels.shape, (height, width), strict=False))
    return pixels[top + border : top + height - border, left + border : left + width - border]


def unit(image: Image.Image) -> np.ndarray:
    """Float32 [H, W] or [H, W, 3] in [0, 1]."""
    return np.asarray(image, np.float32) / 255


def luma(pixels: np.ndarray) -> np.ndarray:
    """Y of MATLAB's rgb2ycbcr, [H, W], in units of 255: from 16/255 for black to 235/255 for white.

    Grey [H, W] is R = G = B. The smaller span makes PSNR of luma 1.3 dB higher than that of grey itself.
    """
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=2)
    return (pixels.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) + 16) / 255


def with_noise(clean: np.ndarray, sigma: float = SIGMA, seed: int = 0) -> np.ndarray:
    """Clean plus normal noise, clipped to [0, 1], float32; numpy's legacy generator, as published."""
    noise = np.random.RandomState(seed).normal(scale=sigma, size=clean.shape)
    return np.clip(clean + noise, 0, 1).astype(np.float32)


def random_mask(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Bool [H, W], True = known; about half, drawn as the published notebook draws them."""
    return np.random.RandomState(seed).random_sample(shape) > 0.5


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """In dB, after clipping to [0, 1] as a saved picture would be."""
    return de.psnr(np.clip(image, 0, 1), reference)
