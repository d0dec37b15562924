"""What a camera would see: clips cut from one photograph, with fresh noise in every frame.

- ``still``: the camera stands, nothing moves;
- ``pan``: the camera moves 2 pixels a frame to the right, and back again where the photograph ends;
- ``object``: the camera stands, and a disc with a texture of its own crosses the picture 3 pixels a frame.

Noise has sigma 25 and is clipped to [0, 1], as the camera's own numbers are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SCENES = ("still", "pan", "object")
SIGMA = 25 / 255
PAN, SPEED = 2, 3  # pixels a frame, of the camera and of the disc
PICTURE = Path(__file__).resolve().parent.parent / "examples" / "astronaut_512.png"


@dataclass(frozen=True, eq=False)
class Shot:
    """One frame.

    Args:
        clean: float32 [H, W, 3] in [0, 1].
        noisy: what the session gets.
        moving: bool [H, W], where the disc is or was one frame before; None where nothing moves.
    """

    clean: np.ndarray
    noisy: np.ndarray
    moving: np.ndarray | None = None


def opened(path: Path, shrink: int = 1) -> np.ndarray:
    """A photograph, float32 [H, W, 3] in [0, 1], ``shrink`` times smaller."""
    image = Image.open(path).convert("RGB")
    image = image.resize((image.width // shrink, image.height // shrink), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 255


def shots(scene: str, picture: np.ndarray, side: int, count: int, seed: int = 0) -> Iterator[Shot]:
    """``count`` frames of ``side`` x ``side`` pixels, made one after another.

    Raises:
        ValueError: the picture is smaller, or for a pan no wider than a frame.
    """
    height, width = picture.shape[:2]
    free = width - side
    if min(height, width) < side or (scene == "pan" and free < PAN):
        raise ValueError(f"a {scene} of {side} x {side} needs a larger picture than {width} x {height}")
    draw = np.random.default_rng(seed)
    top, before = (height - side) // 2, None
    for index in range(count):
        # A way there and back: a saw tooth folded at its middle.
        left = free - abs((PAN * index) % (2 * free) - free) if scene == "pan" else free // 2
        clean, moving = picture[top : top + side, left : left + side], None
        if scene == "object":
            disc = _disc(side, index)
            clean = np.where(disc[..., None], 1 - np.roll(picture, side // 3, 1)[:side, :side], clean)
            moving = disc if before is None else disc | before
            before = disc
        noisy = np.clip(clean + draw.normal(0, SIGMA, clean.shape), 0, 1).astype(np.float32)
        yield Shot(np.ascontiguousarray(clean), noisy, moving)


def _disc(side: int, index: int) -> np.ndarray:
    """Where the disc is, bool [side, side]; it comes in again on the left when it has left."""
    radius = side / 6
    row, column = np.mgrid[:side, :side]
    centre = (SPEED * index) % (side + 2 * radius) - radius
    return (row - side / 2) ** 2 + (column - centre) ** 2 <= radius**2
