"""The degraded pictures of the gallery, from pictures with free licences and from a rendering of our own.

Each maker writes its files into a folder and says which of them stand in the gallery's row: the degraded one,
and the true one where there is one. Everything random has seed 0.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.hazy_scene import corridor

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SIGMA = 25.0
WORDS = (
    "An untrained network knows no picture but yours. It is fitted to this one alone, and stopped in time."
)
Row = tuple[str, str | None]  # degraded, true


def _example(name: str) -> Image.Image:
    return Image.open(EXAMPLES / f"{name}_256.png").convert("RGB")


def _save(folder: Path, name: str, picture: Image.Image | np.ndarray) -> str:
    """An image, or an array in 0..1, rounded as a camera would."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    picture.save(folder / name)
    return name


def noisy(folder: Path) -> Row:
    """Noise of sigma 25."""
    true = _example("astronaut")
    noise = np.random.default_rng(0).normal(0, SIGMA, (256, 256, 3))
    return _save(folder, "noisy.png", (np.asarray(true) + noise) / 255), _save(folder, "astronaut.png", true)


def blocky(folder: Path) -> Row:
    """JPEG of quality 10."""
    true = _example("coffee")
    true.save(folder / "blocky.jpg", quality=10)
    return "blocky.jpg", _save(folder, "coffee.png", true)


def small(folder: Path) -> Row:
    """A quarter of the size, by Lanczos."""
    true = _example("chelsea")
    lowered = true.resize((64, 64), Image.Resampling.LANCZOS)
    return _save(folder, "small.png", lowered), _save(folder, "chelsea.png", true)


def _with_holes(folder: Path, name: str, known: np.ndarray) -> Row:
    """The example ``name`` with grey holes; their mask is NAME_mask.png, 255 = known."""
    true = _example(name)
    pixels = np.where(known[..., None], np.asarray(true) / 255, 0.5)
    _save(folder, f"{name}_mask.png", known.astype(np.float64))
    return _save(folder, f"{name}_holes.png", pixels), _save(folder, f"{name}.png", true)


def written_over(folder: Path) -> Row:
    """Text across the whole picture."""
    mask = Image.new("L", (256, 256), 255)
    pen = ImageDraw.Draw(mask)
    for line in range(16):
        pen.text((4 - 37 * (line % 5), 16 * line + 1), f"{WORDS} {WORDS}", fill=0)
    return _with_holes(folder, "chelsea", np.asarray(mask) > 127)


def half(folder: Path) -> Row:
    """Half of the pixels missing at random."""
    return _with_holes(folder, "astronaut", np.random.default_rng(0).random((256, 256)) < 0.5)


def large_hole(folder: Path) -> Row:
    """A hole of 56 x 48 pixels."""
    known = np.ones((256, 256), bool)
    known[186:234, 24:80] = False
    return _with_holes(folder, "coffee", known)


def plain(folder: Path) -> Row:
    """Nothing was done to it."""
    return _save(folder, "chelsea.png", _example("chelsea")), None


def dark(folder: Path) -> Row:
    """A rendered corridor, dim and noisy as without a flash; flash.png has it lit from the camera.

    A flash falls off with the square of the distance, and has a colour of its own.
    """
    density = 0.3
    scene = corridor(density=density)
    distance = -np.log(scene.transmission) / density
    truth = 0.6 * scene.clear * np.array((1.0, 0.85, 0.65))  # lamplight
    noise = np.random.default_rng(0).normal(0, 15 / 255, truth.shape)
    lit = scene.clear * np.minimum(1.2, 3.0 / distance**2)[..., None] + 0.1 * truth
    _save(folder, "flash.png", lit)
    return _save(folder, "dark.png", truth + noise), _save(folder, "dark_true.png", truth)


def hazy(folder: Path) -> Row:
    """The same corridor in haze."""
    scene = corridor()
    return _save(folder, "hazy.png", scene.pixels), _save(folder, "clear.png", scene.clear)


MAKERS: dict[str, Callable[[Path], Row]] = {
    "denoise": noisy,
    "jpeg": blocky,
    "superresolve": small,
    "inpaint-text": written_over,
    "inpaint-half": half,
    "inpaint-large-hole": large_hole,
    "enhance": plain,
    "flash": dark,
    "dehaze": hazy,
    "invert": plain,
}
