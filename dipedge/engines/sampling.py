"""Which pixels a subsampled step sees: one of each 2 x 2 block, drawn anew every four steps.

The same positions as ``kernels/engine/sampling.h`` draws, so that engines can be compared step by step.
Rows are drawn apart from columns: the pixels stand in rows and columns, but on no grid, because features
near a grid's own frequency would alias to a constant. Stratified sampling of the data term is SGD with the
variance of a quarter's mean taken out; what it does to a fit is measured in docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CYCLE = 4  # steps until every pixel has been seen


@dataclass(frozen=True)
class Seen:
    """Pixels of one step: ``rows`` [ceil(H/2)] and ``columns`` [ceil(W/2)], ascending, int64."""

    rows: np.ndarray
    columns: np.ndarray


def seen(height: int, width: int, seed: int, step: int, other: int = 0) -> Seen:
    """The pixels of step number ``step`` (from 0).

    Args:
        height, width: of the whole picture, 1 or more.
        seed: of the fit.
        step: from 0.
        other: 0, or 1 to 3 for those the cycle's other steps see. The four together are every pixel; at the
            end of an odd side the last row or column is seen twice.
    """
    key = _mix(np.array(seed & (2**64 - 1), np.uint64) ^ _mix(np.array(step // CYCLE, np.uint64)))
    corner = (step % CYCLE) ^ int(key & np.uint64(3)) ^ other
    return Seen(_places(key, 1, corner >> 1, height), _places(key, 2, corner & 1, width))


def completes(step: int) -> bool:
    """Whether step number ``step`` computes the whole output: the first, and the last of every cycle."""
    return step == 0 or (step + 1) % CYCLE == 0


def _mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), modulo 2^64."""
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _places(key: np.ndarray, axis: int, flip: int, count: int) -> np.ndarray:
    pairs = np.arange((count + 1) // 2, dtype=np.uint64)
    with np.errstate(over="ignore"):
        second = (_mix(_mix(key + np.uint64(axis)) + pairs) & np.uint64(1)).astype(np.int64) ^ flip
    return np.minimum(2 * pairs.astype(np.int64) + second, count - 1)
