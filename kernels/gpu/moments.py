"""Mean, variance and sums over a picture, in equal bits however the programs are scheduled.

Statistics are kept as (count, mean, sum of squared deviations) and joined by the formula of Chan, Golub and
LeVeque (1979): no difference of large numbers, so float32 is enough for any picture.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_moments(values, valid):
    """Of a tile [M, C] float32 with ``valid`` rows [M, 1]: count, mean [C], squared deviations [C]."""
    count = tl.sum(tl.sum(valid.to(tl.float32), axis=1), axis=0)
    mean = tl.sum(tl.where(valid, values, 0.0), axis=0) / tl.maximum(count, 1.0)
    deviations = tl.where(valid, values - mean[None, :], 0.0)
    return count, mean, tl.sum(deviations * deviations, axis=0)


@triton.jit
def joined(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    """The moments of two sets together; either may be empty."""
    count = count_a + count_b
    share = count_b / tl.maximum(count, 1.0)
    apart = mean_b - mean_a
    return count, mean_a + apart * share, squares_a + squares_b + apart * apart * (count_a * share)


@triton.jit
def is_last(counter, programs):
    """Whether this program is the last of ``programs`` to come here; what the others stored is visible then.

    The barrier puts this program's own stores before the count; the count is left at 0 for the next launch.
    """
    tl.debug_barrier()
    last = tl.atomic_add(counter, 1, sem="acq_rel") == programs - 1
    if last:
        tl.store(counter, 0)
    return last


@triton.jit
def store_moments(row, c, inside, count, mean, squares, C: tl.constexpr):
    """Writes one program's moments to ``row`` [3, C]."""
    tl.store(row + c, mean, mask=inside)
    tl.store(row + C + c, squares, mask=inside)
    tl.store(row + 2 * C + c, mean * 0 + count, mask=inside)


@triton.jit
def all_moments(rows, programs, c, inside, C: tl.constexpr, P: tl.constexpr):
    """Count, mean and biased variance [C] of what ``programs`` rows [3, C] hold, P rows at a time."""
    # Deviations from the first row's mean: small numbers, so their squares lose nothing.
    first = tl.load(rows + c, mask=inside, other=0.0, cache_modifier=".cg")
    one = tl.min(c, axis=0)  # a program counts the same pixels for each of its channels
    count = 0.0
    moved = first * 0
    squares = first * 0
    for start in range(0, programs, P):
        p = start + tl.arange(0, P)
        there = (p < programs)[:, None] & inside[None, :]
        at = rows + p[:, None] * (3 * C) + c[None, :]
        counts = tl.load(rows + p * (3 * C) + 2 * C + one, mask=p < programs, other=0.0, cache_modifier=".cg")
        means = tl.load(at, mask=there, other=0.0, cache_modifier=".cg")
        own = tl.load(at + C, mask=there, other=0.0, cache_modifier=".cg")
        apart = means - first[None, :]
        count += tl.sum(counts, axis=0)
        moved += tl.sum(counts[:, None] * apart, axis=0)
        squares += tl.sum(own + counts[:, None] * apart * apart, axis=0)
    count = tl.maximum(count, 1.0)
    variance = tl.maximum((squares - moved * moved / count) / count, 0.0)
    return count, first + moved / count, variance


@triton.jit
def finish_norm(rows, counter, programs, gamma, beta, norm, c, inside, eps, C: tl.constexpr, P: tl.constexpr):
    """The last program turns all rows [programs, 3, C] into ``norm`` [4, C]; see ``Layer``.

    ``c`` are this program's channels, ``inside`` which of them exist; ``counter`` belongs to these channels.
    """
    if is_last(counter, programs):
        _, mean, variance = all_moments(rows, programs, c, inside, C, P)
        rstd = 1.0 / tl.sqrt(variance + eps)
        scale = tl.load(gamma + c, mask=inside, other=0.0) * rstd
        tl.store(norm + c, mean, mask=inside)
        tl.store(norm + C + c, rstd, mask=inside)
        tl.store(norm + 2 * C + c, scale, mask=inside)
        tl.store(norm + 3 * C + c, tl.load(beta + c, mask=inside, other=0.0) - mean * scale, mask=inside)


@triton.jit
def store_sums(row, c, inside, first, second, C: tl.constexpr):
    """Writes one program's two sums to ``row`` [2, C]."""
    tl.store(row + c, first, mask=inside)
    tl.store(row + C + c, second, mask=inside)


@triton.jit
def all_sums(rows, programs, c, inside, C: tl.constexpr, P: tl.constexpr):
    """Both sums [C] of ``programs`` rows [2, C], added in order."""
    first = tl.zeros_like(c).to(tl.float32)
    second = tl.zeros_like(c).to(tl.float32)
    for start in range(0, programs, P):
        p = start + tl.arange(0, P)
        there = (p < programs)[:, None] & inside[None, :]
        at = rows + p[:, None] * (2 * C) + c[None, :]
        first += tl.sum(tl.load(at, mask=there, other=0.0, cache_modifier=".cg"), axis=0)
        second += tl.sum(tl.load(at + C, mask=there, other=0.0, cache_modifier=".cg"), axis=0)
    return first, second


@triton.jit
def finish_gradient(
    rows, counter, programs, means, dgamma, dbeta, c, inside, pixels, C: tl.constexpr, P: tl.constexpr
):
    """The last program turns rows [programs, 2, C] of sums of g and g h into ``Gradient.means`` [2, C] and
    the gradients by gamma and beta [C]."""
    if is_last(counter, programs):
        of_g, of_gh = all_sums(rows, programs, c, inside, C, P)
        tl.store(means + c, of_g / pixels, mask=inside)
        tl.store(means + C + c, of_gh / pixels, mask=inside)
        tl.store(dbeta + c, of_g, mask=inside)
        tl.store(dgamma + c, of_gh, mask=inside)
