"""Hazy pictures with a known truth: clear picture, transmission and airlight.

``corridor`` is a rendering of our own: a corridor hung with the example photographs, with panels standing in
it, so that there are photographic textures, slow depth and edges in depth. ``motorcycle`` is the Middlebury
stereo picture that scikit-image ships, whose depth was measured; it is read from there and never stored here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dipedge import haze

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LIGHT = np.array([0.78, 0.81, 0.86])  # of the haze: a bright grey, a little blue
DEPTHS = 8.0  # how far the corridor goes, in half-widths


@dataclass(frozen=True)
class Scene:
    """A hazy picture and what it was made of.

    Args:
        pixels, clear: [H, W, 3] in [0, 1], the picture with and without haze.
        transmission: [H, W] in (0, 1].
        light: [3], the airlight.
    """

    pixels: np.ndarray
    clear: np.ndarray
    transmission: np.ndarray
    light: np.ndarray


def _photograph(name: str) -> np.ndarray:
    return np.asarray(Image.open(EXAMPLES / f"{name}_256.png").convert("RGB"), np.float64) / 255


def _looked_up(texture: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """A texture's colours at coordinates; it repeats after 1."""
    height, width = texture.shape[:2]
    return texture[(down % 1 * height).astype(int), (across % 1 * width).astype(int)]


def _cast(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours [H, W, 3] and distances [H, W] of one ray through each pixel, from the corridor's middle."""
    row, column = np.mgrid[:height, :width]
    right = (column + 0.5 - width / 2) / (height / 2) + 1e-9
    below = (row + 0.5 - height / 2) / (height / 2) + 1e-9
    walls, floors = 1.4 / np.abs(right), 1.0 / np.abs(below)
    distance = np.minimum(np.minimum(walls, floors), DEPTHS)
    side, floor = (walls <= floors) & (walls < DEPTHS), (floors < walls) & (floors < DEPTHS)
    colours = np.empty((height, width, 3))
    coffee, chelsea, astronaut = map(_photograph, ("coffee", "chelsea", "astronaut"))
    colours[...] = _looked_up(astronaut, right * distance / 2.8 + 0.5, below * distance / 2 + 0.5)
    on_wall = _looked_up(chelsea, distance / 2, below * distance / 2 + 0.5)
    tiles = _looked_up(coffee, right * distance / 2.8 + 0.5, distance / 2)
    checks = (np.floor(right * distance * 2.5) + np.floor(distance * 2.5)) % 2
    colours[side] = on_wall[side]
    colours[floor] = np.where(below > 0, 0.15 + 0.7 * checks, 0.0)[floor, None] * (0.8, 0.6, 0.45)
    colours[floor & (below < 0)] = tiles[floor & (below < 0)]
    # Panels stand in the corridor: what is behind them is much farther away.
    panels = ((-0.75, 2.0, astronaut), (0.35, 3.0, coffee), (-0.25, 4.5, chelsea), (0.9, 6.0, astronaut))
    for left, away, texture in sorted(panels, key=lambda panel: -panel[1]):
        across, down = (right * away - left) / 0.8, (below * away + 0.2) / 1.2
        hit = (across >= 0) & (across < 1) & (down >= 0) & (down < 1)
        colours[hit] = _looked_up(texture, across, down)[hit]
        distance = np.where(hit, away, distance)
    return colours, distance


def corridor(height: int = 240, width: int = 320, density: float = 0.3) -> Scene:
    """Our own rendering. ``density`` is how much of the light's logarithm is lost for each half-width."""
    colours, distance = _cast(3 * height, 3 * width)  # several rays a pixel, for textures without stairs
    clear, distance = haze.resized(colours, height, width), haze.resized(distance, height, width)
    return _with_haze(0.02 + 0.93 * clear, np.exp(-density * distance))


def motorcycle(height: int = 240, least: float = 0.25) -> Scene:
    """The Middlebury picture, with haze that lets ``least`` of the light through from its farthest places.

    Places whose depth was not measured take that of their nearest measured neighbour to the left or right.
    """
    from skimage import data

    clear, _, disparity = data.stereo_motorcycle()
    clear, disparity = clear / 255.0, np.array(disparity, np.float64)
    for line in disparity:
        known = np.flatnonzero(np.isfinite(line))
        line[:] = np.interp(np.arange(line.size), known, line[known])
    distance = disparity.min() / disparity  # 1 at the farthest place
    width = round(clear.shape[1] * height / clear.shape[0])
    transmission = haze.resized(np.exp(np.log(least) * distance), height, width)
    return _with_haze(haze.resized(clear, height, width), transmission)


def _with_haze(clear: np.ndarray, transmission: np.ndarray) -> Scene:
    pixels = haze.hazy(clear, transmission, LIGHT)
    stored = np.rint(pixels * 255).astype(np.uint8)  # as a camera would
    return Scene((stored / 255).astype(np.float32), clear.astype(np.float32), transmission, LIGHT)
