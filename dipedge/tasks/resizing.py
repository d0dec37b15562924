"""Pictures made smaller or larger with numpy alone, the way trained networks were shown theirs.

The filter is the triangle of Pillow's BILINEAR and of torchvision's ``Resize``: linear interpolation when a
picture grows, and stretched over as many pixels as become one when it shrinks, so that nothing aliases.
"""

from __future__ import annotations

import numpy as np


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels [H, W, C] float32 at another size [height, width, C]."""
    rows, columns = _weights(pixels.shape[0], height), _weights(pixels.shape[1], width)
    # Rows, then columns: two small matrix products in place of one over every pair of pixels.
    between = np.tensordot(rows, pixels, axes=(1, 0))
    return np.ascontiguousarray(np.tensordot(columns, between, axes=(1, 1)).swapaxes(0, 1), np.float32)


def centre_of_shape(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest window of [H, W, C] around the centre whose sides are as ``height`` to ``width``."""
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    return pixels[top : top + rows, left : left + columns]


def _weights(before: int, after: int) -> np.ndarray:
    """[after, before], every row summing to 1: how much each old pixel counts in each new one."""
    scale = before / after
    reach = max(scale, 1.0)  # half the triangle's base, in old pixels
    centres = (np.arange(after) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(before)[None, :] - centres[:, None]) / reach
    weights = np.clip(1 - distance, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
