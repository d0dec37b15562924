"""Local motion: which blocks of a scene's mean have moved by themselves since the last frame.

Block matching (Jain and Jain, 1981) on what the camera's own motion leaves over: every block of the new frame
is compared with the mean at all whole shifts within reach, and goes with the best, if that is better than
staying by more than chance. It won in every scene it was measured on (docs/streams_measured.md).
"""

from __future__ import annotations

import numpy as np

REACH = 3  # pixels a frame, beyond the camera's
BLOCK = 4  # pixels a side that move as one
# A block's window, three blocks a side, must differ less by so much of what noise makes it differ.
RELUCTANCE = 0.9


def block_shifts(
    frame: np.ndarray, mean: np.ndarray, variance: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Where in the mean each pixel of the frame came from.

    Args:
        frame: [H, W, C], with noise.
        mean: [H, W, C], with less.
        variance: of the frame's noise.

    Returns:
        Rows and columns of the mean, [H, W] each, whole and inside it; None where all stayed.
    """
    new, old = (_blurred(mean_of_channels(picture)) for picture in (frame, mean))
    height, width = new.shape
    around = np.pad(old, REACH, mode="edge")
    usual = np.float32(RELUCTANCE * variance / frame.shape[2] / 9)  # of a pixel that was blurred
    least = _block_means((new - old) ** 2) - usual
    down, right = np.zeros(least.shape, np.int64), np.zeros(least.shape, np.int64)
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            apart = new - around[REACH + dy : REACH + dy + height, REACH + dx : REACH + dx + width]
            unlike = _block_means(apart * apart)
            better = unlike < least
            least[better], down[better], right[better] = unlike[better], dy, dx
    if not (down.any() or right.any()):
        return None
    rows = np.arange(height)[:, None] + _of_pixels(down, height, width)
    columns = np.arange(width) + _of_pixels(right, height, width)
    return np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)


def mean_of_channels(picture: np.ndarray) -> np.ndarray:
    """[H, W] of [H, W, C]; a product, because NumPy's mean over three numbers takes ten times as long."""
    channels = picture.shape[2]
    return picture @ np.full(channels, 1 / channels, np.float32)


def _blurred(plane: np.ndarray) -> np.ndarray:
    """Means of 3 x 3 pixels, edges repeated."""
    wide = np.pad(plane, 1, mode="edge")
    wide = wide[:-2] + wide[1:-1] + wide[2:]
    return (wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]) / np.float32(9)


def _block_means(values: np.ndarray) -> np.ndarray:
    """Means over three blocks a side about each block, [ceil(H / BLOCK), ceil(W / BLOCK)]."""
    height, width = values.shape
    below, beyond = -height % BLOCK, -width % BLOCK
    if below or beyond:
        values = np.pad(values, ((0, below), (0, beyond)), mode="edge")
    # By adding slices: sums over an axis of four are several times as slow.
    rows = sum(values[part::BLOCK] for part in range(BLOCK))
    blocks = sum(rows[:, part::BLOCK] for part in range(BLOCK))
    return _blurred(blocks) / np.float32(BLOCK * BLOCK)


def _of_pixels(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.repeat(np.repeat(blocks, BLOCK, axis=0), BLOCK, axis=1)[:height, :width]
