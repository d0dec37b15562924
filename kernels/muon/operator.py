"""``dipedge.kernels.muon`` as a torch operator: one step for one convolution's weights, no gradient."""

from __future__ import annotations

from torch import Tensor

from dipedge.errors import InputError
from dipedge.kernels.muon import reference
from dipedge.kernels.operators import check_beside, check_exact, check_whole, define

LEAST = 16  # rows and columns of a matrix


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
    "dipedge.kernels.muon.triton_operator.step", _fake_step, _step,
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

    All tensors are [out, in, k, k] or [out, in], float32 or float64, out and in k k at least 16; the results
    require no gradient. On a GPU a new learning rate compiles anew, and products round to tf32.
    """
    check_exact("parameter", parameter)
    if parameter.dim() in (2, 4) and min(parameter.shape[0], parameter[0].numel()) < LEAST:
        raise InputError(
            f"parameter: shape {tuple(parameter.shape)}; rows and columns must be {LEAST} or more"
        )
    if parameter.dim() not in (2, 4):
        raise InputError(
            f"parameter: shape {tuple(parameter.shape)} is neither [out, in] nor [out, in, k, k]"
        )
    for name, given in (("gradient", gradient), ("mean", mean)):
        check_beside(name, given, parameter.shape, parameter, "parameter")
    check_whole("iterations", iterations, 1)
    return run(parameter, gradient, mean, learning_rate, momentum, iterations)
