"""One call of ``pool``'s maxima by the Triton kernels. Their norm is made too (the kernel cannot help it) and
not used; on the way back it is one that changes nothing."""

from __future__ import annotations

from torch import Tensor

from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.gpu.pictures import (
    cells_of,
    empty_cells,
    floats,
    no_means,
    picture_of,
    plain_norm,
    scratch_for,
)
from dipedge.kernels.pool.triton import largest, largest_backward


def forward(x: Tensor) -> Tensor:
    """The maxima."""
    fits, channels, height, width = x.shape
    room = empty_cells(x, fits, -(-height // 2), -(-width // 2), channels)
    nothing = floats(x, fits, channels).zero_()
    output = Layer(room, channels, floats(x, fits, 4, channels))
    largest(cells_of(x), output, nothing, nothing, 1.0, scratch_for(x, fits, channels))
    return picture_of(room, channels)


def backward(x: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by x: each window's goes to the first of its largest values."""
    fits, channels, height, width = x.shape
    output = Layer(cells_of(result), channels, plain_norm(x, fits, channels))
    g = Gradient(cells_of(gradient, x.dtype), no_means(x, fits, channels))
    dx = empty_cells(x, fits, height, width, channels)
    largest_backward(g, output, cells_of(x), dx, (0, 0))
    return picture_of(dx, channels)
