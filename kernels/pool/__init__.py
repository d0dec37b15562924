"""Contract of ``pool``: decimation by 2x2 averages or maxima.

Formula. x [1, C, H, W] -> y [1, C, ceil(H/2), ceil(W/2)]; y[i, j] is the average or the maximum of the
values of x at rows 2i, 2i+1 and columns 2j, 2j+1 that exist. A window cut off by the end of an odd side
averages over what is there, so a constant picture stays constant. (The published code drops the odd
row or column instead and then fails to join the branches; on even sizes the two are the same.)

Gradient. avg: dy divided by the number of values its window had. max: all of dy to the first largest
value in row-major order of the window.

Work. At most 4 flops per output value; reads C H W, writes a quarter of it. It follows a stride-1
convolution (padding, convolution, then decimation, as published), whose result it can consume in place.

Versions. The reference is ``F.avg_pool2d`` / ``F.max_pool2d`` with ceil_mode.

CPU version. Averages are a separable filter with replicated borders, and so one operation with the
convolution ahead of them: ``lanczos_conv`` with ``lobes`` 0. Maxima are taken of the convolution's result
in memory, 2x2 pixels at a time by whole vectors of channels, in float32 or bfloat16, with the statistics
of the layer behind; backward compares again instead of remembering 2 bits a value, and makes the gradient
by the maxima (batch norm's affine map) on the fly. Nothing is rounded: results equal the reference's to
the bit.

Triton version. The same two passes, one launch each: maxima with the statistics of the layer behind, and the
gradient by the convolution's output straight into the zero-bordered buffer that its backward pass reads.
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.pool.operator import pool

    return pool(*arguments, **options)


@dataclass(frozen=True)
class Case:
    """One size to test and measure."""

    channels: int
    height: int
    width: int


CASES = (
    Case(16, 16, 16),
    Case(3, 17, 12),
    Case(33, 5, 9),
    Case(1, 1, 1),
    Case(2, 1, 6),
    Case(8, 31, 1),
    Case(15, 2, 97),
    Case(17, 96, 2),
    Case(1, 3, 193),
)
