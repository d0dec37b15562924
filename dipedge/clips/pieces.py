"""Pieces: a segment's frames as one program sees them: whole, or a tile of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dipedge.arrays import Picture
from dipedge.clips.segments import Segment
from dipedge.errors import InputError
from dipedge.tasks import Task
from dipedge.tiles import Grid, Tiles, chosen_grid
from dipedge.views import View

WHOLE = (slice(None), slice(None))


@dataclass(frozen=True)
class Piece:
    """One tile of every frame of a segment.

    Args:
        frames: of the segment, whole.
        place: rows and columns of the tile in a frame.
        masks: bool, of the tile in each frame; None for a task without holes.
        views: of the tile in each frame, in its own pixels.
    """

    frames: Sequence[Picture]
    place: tuple[slice, slice]
    masks: Sequence[np.ndarray] | None
    views: Sequence[View]

    def target(self, task: Task, frame: int) -> np.ndarray:
        """What is fitted of a frame, float32; converted when a step asks for it."""
        return task.target(self.pixels(frame))

    def pixels(self, frame: int) -> np.ndarray:
        """The tile of a frame, float32 [H, W, C] in [0, 1]."""
        return self.frames[frame].window(*self.place)

    @property
    def known(self) -> float:
        """Share of the pixels that the data term counts."""
        if self.masks is None:
            return 1.0
        return float(np.mean([mask.mean() for mask in self.masks]))


class Cutting:
    """How the frames of a clip are cut into tiles.

    Args:
        task: what degraded them.
        shape: [H, W, C] of a frame.
        tiles: as ``chosen_grid`` takes it.
    """

    def __init__(self, task: Task, shape: tuple[int, int, int], tiles: Tiles | str | None) -> None:
        self.scale = task.data_term.scale
        grid = chosen_grid(tiles, shape, scale=self.scale, block=task.block)
        self._grid: Grid | None = grid
        self.places = [WHOLE] if grid is None else list(grid.places())
        self.shape = shape if grid is None else (*grid.shape, shape[2])
        self._answer = [side * self.scale for side in shape[:2]] + [shape[2]]

    def piece(self, segment: Segment, number: int) -> Piece:
        """Tile ``number`` of a segment's frames.

        Raises:
            InputError: it lies in a hole in all of them.
        """
        place = self.places[number]
        masks = [frame.mask[place] for frame in segment.frames if frame.mask is not None] or None
        if masks is not None and not any(mask.any() for mask in masks):
            where = self._grid.name(number) if self._grid else "the picture"
            raise InputError(f"{where} has no known pixel in {len(masks)} frames; take larger tiles")
        views = [inside(view, place, self.scale) for view in segment.views]
        return Piece([frame.picture for frame in segment.frames], place, masks, views)

    def join(self, answers: list[np.ndarray], number: int, own: list[np.ndarray]) -> list[np.ndarray]:
        """Adds a tile's answers, cross-faded, to those of whole frames: ``answers``, empty at first."""
        if self._grid is None:
            return own
        if not answers:
            answers = [np.zeros(self._answer, np.float32) for _ in own]
        grid = self._grid.enlarged(self.scale)
        place, (down, across) = list(grid.places())[number], list(grid.weights())[number]
        for answer, part in zip(answers, own, strict=True):
            answer[place] += part * (down * across)
        return answers


def inside(view: View, place: tuple[slice, slice], scale: int) -> View:
    """The view of a tile, or of an answer, in its own pixels: whoever looks there knows no others.

    Args:
        view: of the frame.
        place: rows and columns of the tile.
        scale: how many of the answer's pixels are one of the frame's; their centres lie half a pixel apart.
    """
    rows, columns = place
    there = np.diag([scale, scale, 1.0])
    half = (scale - 1) / 2
    there[:2, 2] = half - scale * (columns.start or 0), half - scale * (rows.start or 0)
    whole = np.vstack([np.reshape(view.matrix, (2, 3)), (0.0, 0.0, 1.0)])
    return View(tuple((there @ whole @ np.linalg.inv(there))[:2].reshape(-1)), view.time)
