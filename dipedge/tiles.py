"""How a picture too large for one fit is cut into overlapping tiles, and how the answers are joined.

A fit's memory grows with its pixels (docs/performance.md), so a large picture is fitted piece by piece. What
is here is geometry alone: no pixel is touched.

All tiles of a picture have one shape, so that one program, compiled once, serves them all. Their number
along an axis is the least that ``side`` and ``overlap`` allow; then they are made as small as that number
allows and spread evenly, which costs less than shifting the last full tile inwards (600 pixels: two tiles of
352, not two of 512).

Where tiles overlap, the answer is a cross-fade: weights that add up to 1 and rise as a raised cosine. It is
flat at both ends, so that the rows next to a tile's border, where the network saw no neighbours, count for
almost nothing (under 4 % in the outer eighth of the overlap, 12 % under a straight ramp).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dipedge.errors import InputError

SMALLEST_SIDE = 32
LARGEST_SIDE = 2**14
# Tiles are a multiple of this along a side where that needs no more of them: 32 is what the usual net of five
# levels halves without a remainder.
MULTIPLE = 32
# tiles="auto" cuts answers of more pixels than this: every default net fits 1024 x 1024 in 4 GB, in float32
# too. A number of pixels, not the memory at hand, so that a picture gives the same bits on every machine.
AUTO_PIXELS = 2**20
# Sides that "auto" tries, one after the other, until no tile lies wholly in a hole of an inpainting's mask.
AUTO_SIDES = (512, 768, 1024)


@dataclass(frozen=True)
class Tiles:
    """Fit a picture in overlapping tiles.

    Args:
        side: the most pixels of the answer that a tile has along a side, 32 to 16384 (JPEG tiles may have 15
            more, so that all of them begin with a block).
        overlap: pixels of the answer, at least, over which neighbours are cross-faded; 0 to half of ``side``,
            None for an eighth of it.

    Raises:
        InputError: a value outside its range.
    """

    side: int = 512
    overlap: int | None = None

    def __post_init__(self) -> None:
        _check("side", self.side, SMALLEST_SIDE, LARGEST_SIDE)
        if self.overlap is None:
            object.__setattr__(self, "overlap", self.side // 8)
        _check("overlap", self.overlap, 0, self.side // 2)


def _check(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"tiles: {name} is {value!r}; it must be a whole number from {low} to {high}")


@dataclass(frozen=True)
class Axis:
    """Tiles along one side of a picture.

    Args:
        length: of the picture, in pixels.
        side: of every tile.
        starts: first pixel of each tile, ascending; the last one ends with the picture.
    """

    length: int
    side: int
    starts: tuple[int, ...]

    def enlarged(self, scale: int) -> Axis:
        """The same tiles in a picture ``scale`` times as large."""
        return Axis(self.length * scale, self.side * scale, tuple(start * scale for start in self.starts))

    def weights(self) -> np.ndarray:
        """Weight of every pixel of every tile, float32 [tiles, side]; they add up to 1 at each pixel."""
        profiles = np.ones((len(self.starts), self.side))
        for index, (before, after) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            width = before + self.side - after
            rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(width) + 0.5) / max(width, 1))
            profiles[index + 1, :width] *= rise
            profiles[index, self.side - width :] *= rise[::-1]
        # Small tiles with a wide overlap may meet three at a time; then the cosines alone do not add up to 1.
        total = np.zeros(self.length)
        for start, profile in zip(self.starts, profiles, strict=True):
            total[start : start + self.side] += profile
        shares = [total[start : start + self.side] for start in self.starts]
        return (profiles / np.array(shares)).astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """All tiles of a picture, counted row by row from the top left."""

    rows: Axis
    columns: Axis

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every tile."""
        return self.rows.side, self.columns.side

    def places(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each tile."""
        for top in self.rows.starts:
            for left in self.columns.starts:
                yield slice(top, top + self.rows.side), slice(left, left + self.columns.side)

    def weights(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each tile's rows [height, 1, 1] and columns [1, width, 1]; a pixel's weight is their product."""
        rows, columns = self.rows.weights(), self.columns.weights()
        for row in rows:
            for column in columns:
                yield row[:, None, None], column[None, :, None]

    def enlarged(self, scale: int) -> Grid:
        """The same tiles in a picture ``scale`` times as large."""
        return Grid(self.rows.enlarged(scale), self.columns.enlarged(scale))

    def name(self, index: int) -> str:
        """What messages call the tile at ``index`` (from 0)."""
        rows, columns = list(self.places())[index]
        place = f"rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}"
        return f"tile {index + 1} of {len(self)} ({place})"


def cut(shape: tuple[int, ...], tiles: Tiles, *, scale: int = 1, block: int = 1) -> Grid:
    """The tiles of a picture.

    Args:
        shape: of the picture, [H, W, ...]. A side that is not longer than a tile is not cut.
        tiles: how large they may be, in pixels of the answer.
        scale: how many times larger the answer is than the picture; the grid is the picture's.
        block: every tile begins at a multiple of it.
    """
    side, overlap = tiles.side // scale, -(-tiles.overlap // scale)
    multiple = max(1, MULTIPLE // scale)
    return Grid(*(_axis(length, side, overlap, block, multiple) for length in shape[:2]))


def _axis(length: int, side: int, overlap: int, block: int, multiple: int) -> Axis:
    def grown(side: int) -> int:
        """So that the last tile, too, begins with a block and ends with the picture."""
        return side + (length - side) % block

    def stride(side: int) -> int:
        """The farthest from tile to tile."""
        return (side - overlap) // block * block

    largest = grown(side)
    if length <= max(side, largest):
        return Axis(length, length, (0,))
    count = 1 + math.ceil((length - largest) / stride(largest))
    # The least multiple that needs no more tiles; the largest side itself if there is none.
    smaller = (grown(side) for side in range(multiple, side, multiple) if side >= overlap + block)
    side = next((s for s in smaller if s + (count - 1) * stride(s) >= length), largest)
    blocks = (length - side) // block
    return Axis(length, side, tuple(block * (blocks * i // (count - 1)) for i in range(count)))


def chosen_grid(
    tiles: Tiles | str | None,
    shape: tuple[int, ...],
    *,
    scale: int = 1,
    block: int = 1,
    mask: np.ndarray | None = None,
) -> Grid | None:
    """The tiles a picture is fitted in; None where it is fitted in one piece.

    Args:
        tiles: None, a description, or "auto": one piece up to AUTO_PIXELS pixels of the answer, else tiles of
            the usual size, or larger ones where such a tile would lie wholly in a hole of the mask.
        shape, scale, block: as ``cut`` takes them.
        mask: bool [H, W], True = known, or None.

    Raises:
        InputError: a tile without a known pixel; the message names it.
    """
    if tiles is None or (tiles == "auto" and shape[0] * shape[1] * scale**2 <= AUTO_PIXELS):
        return None
    wanted = [Tiles(side) for side in AUTO_SIDES] if tiles == "auto" else [tiles]
    for description in wanted:
        grid = cut(shape, description, scale=scale, block=block)
        if len(grid) == 1:
            return None
        empty = None if mask is None else _tile_in_a_hole(grid, mask)
        if empty is None:
            return grid
    raise InputError(f"{grid.name(empty)} has no known pixel; take larger tiles, or tiles=None for one piece")


def _tile_in_a_hole(grid: Grid, mask: np.ndarray) -> int | None:
    places = enumerate(grid.places())
    return next((index for index, (rows, columns) in places if not mask[rows, columns].any()), None)
