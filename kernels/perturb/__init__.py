"""Contract of ``perturb``: z + sigma N(0, 1), drawn anew in every step from a counter.

Formula. Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a
128-bit counter and a 64-bit key to four 32-bit words. Value number e of step s under a seed comes from

    key     = (seed low word, seed high word)
    counter = (block low, block high, s low, s high),  block = e // 4  ->  r0, r1, r2, r3
    u_i     = (r_i + 1/2) 2^-32                               in (0, 1), exact in float64
    values 4 block + 0..3 = sqrt(-2 ln u0) (cos, sin)(2 pi u1), sqrt(-2 ln u2) (cos, sin)(2 pi u3)

(Box and Muller), and the result is z[e] + sigma value[e], e counting the flat elements of z in the
engine's own order: [H, W, C], or the frequencies [n]. No state but the step number: any thread can draw
any value, the same bits come whatever the thread count, and a restored fit goes on exactly. z takes
blocks from 0 on; noise on weights (``Prior.weight_noise``) takes them from 2^63 on, 2^32 for each
tensor, so that no two values of a fit come from one counter.

Shapes. z [count], any count; the last block may be used in part.

Gradient. One, to z (only learned frequencies need it).

Work. Per 4 values 10 rounds of two 32x32-bit products, two logarithms and roots, two cosine-sine pairs:
about 100 operations, hidden behind the memory traffic of 8 bytes per value only if vectorised.

Versions. The reference is numpy, exact integers and float64. The torch engine draws from its own
``torch.Generator`` instead, as the published code does: the same law, other numbers.

CPU version. 16 counters at a time in plain arrays, which the compiler vectorises; polynomial logarithm,
sine and cosine in float32, the angle reduced as an integer.

Triton version. ``perturb`` draws whole blocks and adds them in one launch, 32 registers and no stack on
sm_80 and sm_90; ``normal_of`` is a device function that draws single values for a kernel which makes its
perturbed input while it loads. The polynomials and the integers are those of the CPU version.
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.perturb.operator import perturb

    return perturb(*arguments, **options)


@dataclass(frozen=True)
class Case:
    """One size to test and measure: ``count`` values of step ``step`` under ``seed``."""

    seed: int
    step: int
    count: int


CASES = (
    Case(0, 0, 1),
    Case(0, 1, 16),
    Case(1, 0, 1023),
    Case(2**40 + 7, 2**33 + 1, 37),
    Case(5, 9, 65536),
    # Around groups of 16 blocks of 4 values, which are drawn together.
    Case(3, 2, 63),
    Case(3, 2, 64),
    Case(3, 2, 65),
    Case(2**64 - 1, 2**64 - 1, 1025),
)
