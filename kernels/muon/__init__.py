"""Contract of ``muon``: one step of an orthogonalising optimiser for one convolution's weights.

Formula. The weights as a matrix P [out, in * k * k], their gradient G, the running mean M of gradients:

    M <- mu M + (1 - mu) G,   U = (1 - mu) G + mu M                                   (Nesterov)
    X = U / |U|, then five times  X <- a X + (b X X^T + c (X X^T)^2) X               (Newton-Schulz)
    P <- |P| (P - lr |P| X / |X|) / |P - lr |P| X / |X||

with (a, b, c) = (3.4445, -4.7750, 2.0315) and Frobenius norms (Jordan et al., "Muon", 2024). The last
line is ours: behind a BN the scale of P does not count, only its direction does, so the norm is held and
``lr`` is the angle of a step, in radians, for every matrix alike.

Shapes. P, G, M of one shape [out, in, k, k]; out and in * k * k at least 16.

Gradient. None: it is the end of a step.

Work. 5 (4 O^2 K + 2 O^3) flops for O outputs, K = in k k: 0.05 GFLOP for 128 x 128, 0.4 for a 3x3 of
128 channels; 1.2 GFLOP a step for the default PIP (20.8 at 256 x 256), 6 for DIP (116).

Versions. The reference takes the products on the outputs' side, X X^T; both sides give the same matrix.

CPU version. A matrix lies in memory as [k k in, out], so the same products are written X^T X and run
through conv_norm_act's ``multiply_outer`` and ``multiply``; zero padding stays zero. One task per matrix.

Triton version. One launch for all matrices of all fits, one program for each, with the iterates in a
workspace that stays in the caches; products take tf32 operands (4e-3 of a step). More than 128 outputs go
through the library's batched products, in place.
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.muon.operator import muon

    return muon(*arguments, **options)


@dataclass(frozen=True)
class Case:
    """One matrix to test and measure."""

    out: int
    into: int
    kernel: int = 1


CASES = (Case(16, 16), Case(17, 33), Case(128, 132), Case(128, 32), Case(24, 5, 3), Case(48, 20, 5))
