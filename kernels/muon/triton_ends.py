"""Before and after Newton-Schulz: the update to be made orthogonal, and the step along the result.

Both walk over a matrix [rows, columns] of the flat vectors in tiles of ``COLUMNS`` columns, beside its block
[ROWS, PITCH] of the workspace. Together they read p twice, g and the mean once, and write p, the mean and the
copy in cells: 30 bytes a value, and the workspace, which stays in the caches.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def rate_of(now, RATE: tl.constexpr, HOLD: tl.constexpr, DECAY: tl.constexpr, FINAL: tl.constexpr):
    """The learning rate of step number ``now``, int64 from 0; float32."""
    past = (now - HOLD).to(tl.float64)
    if DECAY > 0:
        fallen = tl.minimum(tl.maximum(past / DECAY, 0.0), 1.0)
    else:
        fallen = tl.where(now >= HOLD, tl.full((), 1.0, tl.float64), 0.0)
    return (tl.full((), RATE, tl.float64) * (1.0 - fallen * (1.0 - FINAL))).to(tl.float32)


@triton.jit
def update_of(
    g, mean, x, rows, columns, whole, KEEP: tl.constexpr, REST: tl.constexpr,
    ROWS: tl.constexpr, PITCH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Moves the mean and writes Nesterov's update, divided by its norm, to x.

    x gets zeros around the matrix, up to ``whole`` columns: its readers need no masks.
    """
    r, i = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    of_update = tl.zeros((ROWS,), tl.float32)
    for start in range(0, whole, COLUMNS):
        k = start + i
        inside = (r < rows)[:, None] & (k < columns)[None, :]
        at = r[:, None] * columns + k[None, :]
        gradient = tl.load(g + at, mask=inside, other=0.0)
        m = tl.load(mean + at, mask=inside, other=0.0)
        m += REST * (gradient - m)
        tl.store(mean + at, m, mask=inside)
        update = gradient + KEEP * (m - gradient)
        tl.store(x + r[:, None] * PITCH + k[None, :], update)
        of_update += tl.sum(update * update, axis=1)
    factor = 1.0 / (tl.sqrt(tl.sum(of_update, axis=0)) + 1e-20)
    tl.debug_barrier()
    for start in range(0, whole, COLUMNS):
        at = x + r[:, None] * PITCH + (start + i)[None, :]
        tl.store(at, factor * tl.load(at))


@triton.jit
def move(
    p, cells, x, rows, columns, rate, COPY: tl.constexpr,
    ROWS: tl.constexpr, PITCH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """p <- the matrix of p's norm along p - rate |p| x / |x|, and its copy in cells."""
    r, i = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    squares = tl.zeros((ROWS,), tl.float32)
    along = tl.zeros((ROWS,), tl.float32)
    own = tl.zeros((ROWS,), tl.float32)
    for start in range(0, columns, COLUMNS):
        k = start + i
        inside = (r < rows)[:, None] & (k < columns)[None, :]
        direction = tl.load(x + r[:, None] * PITCH + k[None, :])
        squares += tl.sum(direction * direction, axis=1)
        value = tl.load(p + r[:, None] * columns + k[None, :], mask=inside, other=0.0)
        along += tl.sum(direction * value, axis=1)
        own += tl.sum(value * value, axis=1)
    norm = tl.sqrt(tl.sum(own, axis=0))
    length = tl.maximum(tl.sqrt(tl.sum(squares, axis=0)), 1e-30)
    # |p - s x|^2 from the three products; the step is short, so nothing cancels.
    cosine = tl.sum(along, axis=0) / (tl.maximum(norm, 1e-30) * length)
    held = 1.0 / tl.sqrt(tl.maximum(1.0 - 2.0 * rate * cosine + rate * rate, 1e-12))
    step = rate * norm / length
    for start in range(0, columns, COLUMNS):
        k = start + i
        inside = (r < rows)[:, None] & (k < columns)[None, :]
        at = r[:, None] * columns + k[None, :]
        direction = tl.load(x + r[:, None] * PITCH + k[None, :])
        value = held * (tl.load(p + at, mask=inside, other=0.0) - step * direction)
        tl.store(p + at, value, mask=inside)
        if COPY:
            tl.store(cells + at, value.to(cells.dtype.element_ty), mask=inside)
