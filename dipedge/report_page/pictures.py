"""Pictures on the page: 8 bits, PNG, reduced where they are large; and differences, amplified.

PNG, because a lossy format would draw its own damage into the very differences that the page is for. A
reduced picture shows no noise (averaging takes it out), so beside it stands a detail at full size.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

LARGEST_SIDE = 1024  # of a picture alone on its page: up to 3 MB each, where it is noise
SIDE_OF_MANY = 512
DETAIL = 384  # pixels a side of the detail of a reduced picture
ROWS = 256  # converted at a time
FACTORS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class View:
    """A part of the answer, and the size it is shown in.

    Args:
        box: left, top, right, bottom in pixels of the answer.
        width, height: in pixels of the page's picture; less than the box's where it is reduced.
    """

    box: tuple[int, int, int, int]
    width: int
    height: int

    @property
    def reduced(self) -> bool:
        return self.width < self.box[2] - self.box[0]


def views(height: int, width: int, side: int) -> list[View]:
    """The whole answer and, where that has to be reduced to ``side``, a detail from its middle."""
    longest = max(height, width)
    if longest <= side:
        return [View((0, 0, width, height), width, height)]
    smaller = [max(1, round(one * side / longest)) for one in (width, height)]
    across, down = min(DETAIL, width), min(DETAIL, height)
    left, top = (width - across) // 2, (height - down) // 2
    detail = View((left, top, left + across, top + down), across, down)
    return [View((0, 0, width, height), *smaller), detail]


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Values [H, W, C] of any kind pictures have, as uint8 [H, W, C]."""
    if values.dtype == np.uint8:
        return values
    white = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    result = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), ROWS):
        band = values[top : top + ROWS].astype(np.float32)
        result[top : top + ROWS] = np.rint(255 * np.clip(band / white, 0, 1))
    return result


def shown(picture: np.ndarray, view: View, size: tuple[int, int]) -> np.ndarray:
    """What ``view`` shows of a uint8 picture [h, w, C]: Lanczos where it has to be enlarged, else means.

    Args:
        picture: the answer, or another picture of the same scene.
        view: in pixels of the answer.
        size: the answer's height and width.
    """
    from PIL import Image

    height, width = size
    down, across = picture.shape[0] / height, picture.shape[1] / width
    left, top, right, bottom = view.box
    box = (left * across, top * down, right * across, bottom * down)
    if down == across == 1 and not view.reduced:
        return np.ascontiguousarray(picture[top:bottom, left:right])
    filtering = Image.Resampling.LANCZOS if box[2] - box[0] < view.width else Image.Resampling.BOX
    image = _pil(picture).resize((view.width, view.height), filtering, box=box)
    return np.asarray(image).reshape(view.height, view.width, picture.shape[2])


def difference(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
    """``first - second`` of uint8 pictures around middle grey, and how many times it is amplified.

    As much as leaves 95 of 100 values within the scale, at most 32 times: beyond that one sees the rounding.
    """
    values = first.astype(np.float32) - second
    typical = max(float(np.percentile(np.abs(values), 95)), 1e-3)
    factor = max((one for one in FACTORS if one * typical <= 127), default=1)
    return np.clip(np.rint(127.5 + factor * values), 0, 255).astype(np.uint8), factor


def data_uri(picture: np.ndarray) -> str:
    """A uint8 picture [H, W, C] as the source of an <img>."""
    file = io.BytesIO()
    _pil(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _pil(picture: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
