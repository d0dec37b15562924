"""``dipedge.kernels.muon`` as a torch operator: one step for one convolution's weights, no gradient.

There is no Triton version: the products of matrices are the library's on every device.
"""

from __future__ import annotations

from torch import Tensor

from dipedge.errors import InputError
from dipedge.kernels.muon import reference
from dipedge.kernels.operators import check_beside, check_exact, check_whole, define


def _step(
    parameter: Tensor, gradient: Tensor, mean: Tensor, learning_rate: float, momentum: float, iterations: int
) -> tuple[Tensor, ...]:
    rates = {"learning_rate": learning_rate, "momentum": momentum, "iterations": iterations}
    return tuple(values.contiguous() for values in reference.muon_step(parameter, gradient, mean, **rates))


def _fake_step(parameter: Tensor, *rest: object) -> tuple[Tensor, ...]:
    return parameter.new_empty(parameter.shape), parameter.new_empty(parameter.shape)


run = define(
    "muon(Tensor parameter, Tensor gradient, Tensor mean, float learning_rate, float momentum, "
    "int iterations) -> (Tensor, Tensor)",
    _step, _fake_step,
)  # fmt: skip


def muon(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    *,
    learning_rate: float = 0.02,
    momentum: float = 0.95,
    iterations: int = 5,
) -> tuple[Tensor, Tensor]:
    """The parameter and the gradients' mean after one step.

    All tensors are [out, in, k, k] or [out, in], float32 or float64; the results require no gradient.
    """
    check_exact("parameter", parameter)
    if parameter.dim() not in (2, 4):
        raise InputError(
            f"parameter: shape {tuple(parameter.shape)} is neither [out, in] nor [out, in, k, k]"
        )
    for name, given in (("gradient", gradient), ("mean", mean)):
        check_beside(name, given, parameter.shape, parameter, "parameter")
    check_whole("iterations", iterations, 1)
    return run(parameter, gradient, mean, learning_rate, momentum, iterations)
