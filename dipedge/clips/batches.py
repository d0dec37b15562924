"""Which frames a step sees: batches of consecutive frames, in an order drawn anew in every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import numpy as np


def epoch(frames: int, size: int, draw: np.random.Generator) -> list[np.ndarray]:
    """The batches of one epoch: every frame is in at least one.

    Frames of a batch follow one another, as published for PIP, so that the network is asked about times
    close together. Where the batches begin is drawn, and the last may run over the end to the first frames:
    batch norm then sees other groups in every epoch, and no two frames always share their statistics. Nothing
    in a step looks from one frame to another, so that frames need not be neighbours in truth.

    Args:
        frames: how many there are, 1 or more.
        size: frames of a batch, 1 or more; where there are fewer frames, some are in it twice.
        draw: random numbers.

    Returns:
        ceil(frames / size) arrays of ``size`` frame numbers.
    """
    count = -(-frames // size)
    # Equal spacing: where frames are no multiple of the size, batches overlap alike instead of one wholly.
    begins = draw.integers(frames) + np.arange(count) * frames // count
    return [(begin + np.arange(size)) % frames for begin in draw.permutation(begins)]


def in_order(frames: int, size: int) -> Iterator[np.ndarray]:
    """One batch without end: the frames as they come, and back again where there are fewer than ``size``.

    For networks that look from one frame to the next: they must not see the last beside the first.
    """
    there_and_back = np.concatenate((np.arange(frames), np.arange(frames - 2, 0, -1)))
    yield from repeat(np.resize(there_and_back, size))


def epochs(frames: int, size: int, seed: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Batches without end, epoch after epoch; the same for the same seed."""
    draw = np.random.default_rng(seed)
    while True:
        yield from epoch(frames, size, draw)
