"""Contract of ``adam``: one step of Adam, as ``torch.optim.Adam`` without its options.

Formula. With gradient g and step number s = 1, 2, ...:

    m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
    p <- p - lr / (1 - beta1^s) * m / (sqrt(v) / sqrt(1 - beta2^s) + eps)

(Kingma and Ba 2015, algorithm 1, with eps outside the corrected root, as PyTorch has it.) The two
corrections are computed in float64 once per step; everything per value is float32, under bf16 too.

Shapes. p, m, v, g flat [count] each; all parameters of a net may lie in one buffer.

Gradient. None: it is the end of a step. Its sensitivity matters in tests: where |g| is rounding, the
first steps move p by about lr whatever the size of g, so parameters whose exact gradient is zero (a
bias ahead of a BN) differ between engines without any effect on the output.

Work. About 12 flops and 28 bytes per value (read p, g, m, v; write p, m, v): bound by memory, and
small beside the net (0.3 to 2.2 million values).

Versions. The reference writes out the formula; the torch engine uses ``torch.optim.Adam`` itself.

CPU version. All parameters lie in one flat array; one call updates them all. Padding has gradient 0 and
stays 0.

Triton version. Two launches for all parameters of all fits: ``collect`` adds partial weight gradients in
order, ``adam_step`` updates what a mask of groups of 16 values marks as Adam's and copies everything to
cells. The step number is read from device memory, so that a captured step can be replayed.
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.adam.operator import adam

    return adam(*arguments, **options)


@dataclass(frozen=True)
class Case:
    """One size to test and measure: ``count`` values at step number ``step``."""

    count: int
    step: int


CASES = (
    Case(1, 1),
    Case(15, 1),
    Case(16, 3),
    Case(17, 1),
    Case(128, 2),
    Case(257, 100_000),
    Case(1023, 10),
    Case(4096, 1000),
)
