"""What the tests of native convolutions compare: a convolution alone, and between two layers with norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dipedge.kernels.conv_norm_act.reference import norm_act
from tests.native_kernels import (
    Arrays,
    before_centring,
    draw,
    draw_layer,
    gain,
    picture,
    reference,
    tensor,
    torch,
    with_norm,
)
from tests.tolerance import size

Convolve = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of x and weight, in float64
Comparison = tuple[Arrays, Arrays, dict[str, float]]  # what is given, what is wanted, scales to judge by


class Shapes(NamedTuple):
    """Of x [H, W, I], weight [O, I, k, k] and output."""

    x: tuple[int, ...]
    weight: tuple[int, ...]
    output: tuple[int, ...]


def plain(convolve: Convolve, shapes: Shapes) -> Comparison:
    """A convolution alone."""
    arrays = {"x": draw(1, *shapes.x), "weight": draw(2, *shapes.weight)}
    dy = draw(3, *shapes.output)
    y, wanted, scales = reference(convolve, arrays, dy)
    # A single weight's gradient is one random sum, which may come out near 0: judged by its terms.
    scales["dweight"] = np.sqrt(dy[..., 0].size) * size(arrays["x"]) * size(dy)
    return {**arrays, "dy": dy}, {"y": y, **wanted}, scales


def drawn_in_cells(shape: tuple[int, ...], side: int) -> np.ndarray:
    """A layer's y that is the same all over cells of side x side pixels."""
    rows, columns, channels = shape
    cells = draw_layer(1, -(-rows // side), -(-columns // side), channels, mean=0.3)
    return np.ascontiguousarray(cells.repeat(side, 0).repeat(side, 1)[:rows, :columns])


def chained(
    convolve: Convolve, shapes: Shapes, slope: float = 0.2, behind: bool = True, cell: int = 1
) -> Comparison:
    """Layer, convolution, and ``behind`` it another layer: what stands between two tensors in memory.

    A decimation averages noise away and leaves its mean, which the norm behind takes off: what is left would
    be rounding. ``cell`` is the side of the noise's grains.
    """
    arrays = {"x": drawn_in_cells(shapes.x, cell), "weight": draw(2, *shapes.weight)}
    with_norm(arrays, "x", 4)

    def before_norm(x, weight, x_gamma, x_beta):
        return convolve(norm_act(x, x_gamma, x_beta, 1e-5, slope), weight)

    y = picture(before_norm(**{name: tensor(values) for name, values in arrays.items()}))
    gradient = draw(3, *shapes.output)
    # A norm multiplies what it is given by its gain, rounding errors too, unless all pixels share them.
    of_x = before_centring(arrays["x"], arrays["x_gamma"])
    size_of_y = np.sqrt(np.prod(shapes.weight[1:])) * size(arrays["weight"]) * of_x
    if not behind:
        _, wanted, scales = reference(before_norm, arrays, gradient)
        scales |= {"y": size_of_y, "dweight": np.sqrt(gradient[..., 0].size) * of_x * size(gradient)}
        return {**arrays, "dy": gradient}, {"y": y, **wanted}, scales
    with_norm(arrays, "", 6, y)
    z, wanted, scales = reference(
        lambda gamma, beta, **rest: norm_act(before_norm(**rest), gamma, beta, 1e-5, slope), arrays, gradient
    )
    of_y = gain(y, arrays["gamma"])
    size_of_z = before_centring(y, arrays["gamma"]) + (y[..., 0].size > 1) * size(of_y) * size_of_y
    scales |= {"y": size_of_y, "z": size_of_z}
    scales["dweight"] = np.sqrt(gradient[..., 0].size) * of_x * size(of_y * gradient)
    return {**arrays, "dz": gradient}, {"y": y, "z": z, **wanted}, scales
