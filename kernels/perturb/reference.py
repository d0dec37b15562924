"""Counter-based normal numbers in numpy: the specification, exact in its integers."""

from __future__ import annotations

import numpy as np

ROUNDS = 10
# Multipliers and key increments of Philox4x32 (Random123; the increments are the fractional parts of the
# golden ratio and of the square root of 3).
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW_WORD = np.uint64(0xFFFFFFFF)
WORD = np.uint64(32)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 of counters [4, blocks] (words, low first) under a key of two words -> [4, blocks]."""
    c0, c1, c2, c3 = counter.astype(np.uint64)
    k0, k1 = (int(word) for word in key)
    for _ in range(ROUNDS):
        # A product of two 32-bit words fits into 64 bits: high and low half change places below.
        product0 = c0 * np.uint64(MULTIPLIERS[0])
        product1 = c2 * np.uint64(MULTIPLIERS[1])
        c0, c2 = (
            (product1 >> WORD) ^ c1 ^ np.uint64(k0),
            (product0 >> WORD) ^ c3 ^ np.uint64(k1),
        )
        c1, c3 = product1 & LOW_WORD, product0 & LOW_WORD
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack((c0, c1, c2, c3)).astype(np.uint32)


def normal(seed: int, step: int, count: int, first_block: int = 0) -> np.ndarray:
    """``count`` standard normal values of one step, float64.

    Args:
        seed: 0 to 2**64 - 1; the key.
        step: 0 to 2**64 - 1; the upper half of every counter.
        count: how many values; value e comes from block ``first_block`` + e // 4.
        first_block: 0 for the noise of z; others see ``kernels/engine/weight_noise.h``.
    """
    blocks = np.arange(-(-count // 4), dtype=np.uint64) + np.uint64(first_block)
    upper = np.array([step & 0xFFFFFFFF, step >> 32], np.uint64)
    counter = np.stack(
        (blocks & LOW_WORD, blocks >> WORD, np.full_like(blocks, upper[0]), np.full_like(blocks, upper[1]))
    )
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-32
    values = np.empty((len(blocks), 4))
    for pair in (0, 2):
        radius = np.sqrt(-2.0 * np.log(uniform[pair]))
        angle = 2.0 * np.pi * uniform[pair + 1]
        values[:, pair], values[:, pair + 1] = radius * np.cos(angle), radius * np.sin(angle)
    return values.reshape(-1)[:count]


def perturb(z: np.ndarray, sigma: float, seed: int, step: int) -> np.ndarray:
    """z (any shape) + sigma N(0, 1), the noise numbered along z's flat elements."""
    return z + sigma * normal(seed, step, z.size).reshape(z.shape)
