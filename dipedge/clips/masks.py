"""The masks of a clip's frames: one for all, or one for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from dipedge import arrays, images
from dipedge.errors import InputError
from dipedge.images import WRITABLE
from dipedge.video import open_video


def masks_of(given: Any, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """A mask, bool [H, W] with True = known, for every frame; read as they are asked for.

    Args:
        given: as ``Inpaint.mask``: an array H x W, a PIL image or a picture's path, for all frames; or for
            each its own: a list, an array [N, H, W], or the path of a video, a folder or a glob.
        shape: [H, W, C] of the frames.

    Raises:
        InputError: a mask of another size, without a known pixel, or fewer masks than frames.
    """
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if path.suffix.lower() in WRITABLE and "*" not in path.name:
            return repeat(arrays.read_mask(images.open_image(path), shape, str(path)))
        return _each((frame.pixels for frame in open_video(path)), shape, str(path))
    if isinstance(given, list | tuple | Iterator):
        return _each(given, shape, "mask")
    sides = np.shape(given)
    if len(sides) == 4 or (len(sides) == 3 and tuple(sides[:2]) != tuple(shape[:2])):
        return _each(given, shape, "mask")
    return repeat(arrays.read_mask(given, shape))


def _each(given: Iterable[Any], shape: tuple[int, int, int], name: str) -> Iterator[np.ndarray]:
    number = -1
    for number, mask in enumerate(given):
        yield arrays.read_mask(mask, shape, f"frame {number} of {name}")
    raise InputError(f"{name} ends after {number + 1} frames and the clip goes on")
