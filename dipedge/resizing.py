"""Pictures of another size, by Pillow's filters in float32: one channel at a time, as it has them.

A filter is stretched over as many pixels as become one when a picture shrinks, so that nothing aliases.
"""

from __future__ import annotations

from typing import Literal

import numpy as np


def resized(
    pixels: np.ndarray, height: int, width: int, resample: Literal["bilinear", "lanczos"]
) -> np.ndarray:
    """Pixels [H, W, C] float32 at another size [height, width, C]; of the same size, the same array.

    Args:
        pixels: of any range; "lanczos" overshoots it at edges.
        height, width: 1 or more.
        resample: "bilinear" is the triangle that torchvision's ``Resize`` shows trained networks.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    from PIL import Image

    result = np.empty((height, width, pixels.shape[2]), np.float32)
    for channel in range(pixels.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(pixels[..., channel], np.float32))
        result[..., channel] = plane.resize((width, height), Image.Resampling[resample.upper()])
    return result
