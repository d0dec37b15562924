"""Contract of ``residual_loss``: head, sigmoid, data term and running average.

Formula. From the last level's activations a [1, I, H, W]:

    x = sigmoid(weight a + bias)                     head, 1x1, [O, I, 1, 1]; or without the sigmoid
    E = mean(r^2), r = x - x0                        identity
        r = (x - x0) m                               mask: m [H, W] in {0, 1}, 1 = known
        r = d_t(x) - x0                              lanczos: x0 [1, O, ceil(H/t), ceil(W/t)]
    average <- average w + x (1 - w)                 the first output starts it

(Deep Image Prior, section 3.) The mean runs over all values of r, unknown pixels included, as published.
The average takes the output before the step's update, in the same pass that computes the loss.

Gradient. dE/dr = 2 r / count; mask multiplies by m again; lanczos applies the adjoint of d_t; then
dx x (1 - x) through the sigmoid, dweight = dlogit a^T, dbias = sum dlogit, da = weight^T dlogit.

Work. 2 I O flops per pixel forward and 4 I O backward (O is 1 to 3): bound by reading a once, 4 I bytes
per pixel, and writing da once. Loss and average touch only O values per pixel.

Versions. The reference composes standard operators; the sum for the loss is taken in the dtype given.

CPU version. For identity and mask terms head, loss and backward run tile by tile, so the last layer is
read once. The gradient by that layer has 128 channels but follows from 3 numbers a pixel: it is not
stored but made again (`head_gradient`) by the layer below, which saves 134 MB of memory and two passes
over it at 512x512.

Triton version. `triton_loss.head_loss` does all of it in one launch that reads the last layer once; g is
made again there too. Sums over the pixels are products, and what batch norm needs follows from them by
algebra (``triton.py``). The Lanczos term takes four launches: output, decimation with residual and loss, its
adjoint with the sigmoid's derivative, and the way back (``triton_lanczos.py``).
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.residual_loss.operator import residual_loss

    return residual_loss(*arguments, **options)


@dataclass(frozen=True)
class Case:
    """One size to test and measure; ``kind`` as in ``dipedge.tasks.DataTerm``, with its ``scale``."""

    kind: str
    into: int
    out: int
    height: int
    width: int
    scale: int = 1
    sigmoid: bool = True


CASES = (
    Case("identity", 128, 3, 16, 16),
    Case("identity", 17, 1, 9, 31, sigmoid=False),
    Case("mask", 16, 3, 24, 15),
    Case("mask", 5, 1, 1, 7),
    Case("lanczos", 16, 3, 16, 24, scale=4),
    Case("lanczos", 8, 1, 9, 12, scale=3),
    Case("lanczos", 8, 3, 16, 8, scale=8),
    Case("identity", 1, 4, 1, 1),
    # Around one and two tiles of 96 columns, whole vectors of channels, and outputs beyond the four at once.
    Case("identity", 15, 2, 3, 95),
    Case("mask", 33, 6, 5, 96),
    Case("identity", 16, 5, 97, 2, sigmoid=False),
    Case("mask", 3, 3, 2, 97),
    Case("lanczos", 17, 3, 6, 193, scale=2),
    Case("lanczos", 1, 1, 3, 191, scale=8),
    Case("lanczos", 3, 6, 2, 2, scale=4, sigmoid=False),
)
