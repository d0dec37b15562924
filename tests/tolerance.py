"""The judgement every native kernel is held to: how far rounding may move a result, and whether it did.

Sums of n products in random order of sign grow like sqrt(n), and rounding every partial sum (of size
sqrt(k) after k terms) adds u sqrt(k): together u n / sqrt(2), which is u sqrt(n / 2) of the sum's own size
(u: half the spacing of numbers at 1). A kernel that keeps several running sums, or keeps them in float64,
does better, never worse.
"""

from __future__ import annotations

import math

import numpy as np

BF16 = 2.0**-8  # half the spacing of bfloat16 numbers at 1


def tolerance(length: int, roundings: int = 8, dtype: type = np.float32) -> float:
    """The relative L2 error that rounding may cause.

    Args:
        length: how many terms all sums on the way to one value have together.
        roundings: operations on the way that are no sums; 8 covers a normalisation and what is around it.
        dtype: what the values are kept in.
    """
    return float(np.finfo(dtype).eps) / 2 * (roundings + math.sqrt(length))


def cell_tolerance(length: int, cells: int = 6) -> float:
    """The same for layers and weights kept in bfloat16, with sums in float32.

    Args:
        length: as in ``tolerance``.
        cells: how often a value on the way is rounded to bfloat16; their squares add up.
    """
    return BF16 * math.sqrt(cells) + tolerance(length)


def size(values: np.ndarray) -> float:
    """Root of the mean square; 0 for no values."""
    values = np.asarray(values, np.float64)
    return float(np.sqrt((values**2).mean())) if values.size else 0.0


def faults(found: np.ndarray, wanted: np.ndarray, allowed: float, scale: float = 0.0) -> list[str]:
    """Sentences on what is wrong with ``found``; none when it may be ``wanted`` in rounded arithmetic.

    Four views, because each misses what another sees: the whole (relative L2), the direction (cosine),
    every element, and the mean along the result's own sign, which no rounding moves much, but a gradient
    with a wrong factor does.

    Args:
        found: what the kernel made.
        wanted: the float64 reference, of the same shape.
        allowed: relative error, from ``tolerance``.
        scale: the size of what cancelled on the way to the result, if that is more than the result's own:
            batch norm subtracts two means from its gradient, and may leave nothing of it.
    """
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if found.shape != wanted.shape:
        return [f"shape {found.shape} in place of {wanted.shape}"]
    if not np.isfinite(found).all():
        return ["values that are not finite"]
    error, scale = found - wanted, max(scale, size(wanted))
    if scale == 0:
        return [] if not error.any() else ["values where all are 0"]
    said = []
    if (relative := size(error) / scale) > allowed:
        said.append(f"relative L2 error {relative:.2e}, allowed {allowed:.2e}")
    # The largest of n normal deviations stays under 6 for any n that a test can have.
    excess = np.abs(error) / (6 * allowed * np.maximum(np.abs(wanted), scale))
    if excess.max() > 1:
        place = tuple(int(i) for i in np.unravel_index(excess.argmax(), excess.shape))
        said.append(f"element {place} is {found[place]:.7g} in place of {wanted[place]:.7g}")
    if size(wanted) == scale and size(found) > 0:
        cosine = float((found * wanted).mean() / (size(found) * size(wanted)))
        if 1 - cosine > allowed**2 + 1e-14:
            said.append(f"cosine {cosine:.9f}")
    bias = float((error * np.sign(wanted)).mean()) / scale
    if abs(bias) > allowed * max(0.5, 4 / math.sqrt(wanted.size)):
        said.append(f"off by {bias:+.2e} of its size in the mean")
    return said


def all_faults(
    found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], allowed: float, scales: dict[str, float]
) -> dict[str, list[str]]:
    """``faults`` of every result that is ``wanted``, by name, without those that have none."""
    said = {
        name: faults(found[name], values, allowed, scales.get(name, 0)) for name, values in wanted.items()
    }
    return {name: sentences for name, sentences in said.items() if sentences}
