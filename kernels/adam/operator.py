"""``dipedge.kernels.adam`` as a torch operator: one step, nothing changed in place, no gradient."""

from __future__ import annotations

from torch import Tensor

from dipedge.errors import InputError
from dipedge.kernels.adam import reference
from dipedge.kernels.operators import check_beside, check_exact, check_whole, define

KERNELS = "dipedge.kernels.adam.triton_operator"


def _step(
    parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int, learning_rate: float,
    beta1: float, beta2: float, eps: float,
) -> tuple[Tensor, ...]:  # fmt: skip
    rates = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "eps": eps}
    found = reference.adam_step(parameter, gradient, first, second, step, **rates)
    return tuple(values.contiguous() for values in found)


def _fake_step(parameter: Tensor, *rest: object) -> tuple[Tensor, ...]:
    return tuple(parameter.new_empty(parameter.shape) for _ in range(3))


run = define(
    "adam(Tensor parameter, Tensor gradient, Tensor first, Tensor second, SymInt step, float learning_rate, "
    "float beta1, float beta2, float eps) -> (Tensor, Tensor, Tensor)",
    f"{KERNELS}.step", _fake_step, _step,
)  # fmt: skip


def adam(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    *,
    learning_rate: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Tensor, Tensor, Tensor]:
    """The parameter, first and second moment after step number ``step`` (1 for the first).

    All four tensors have one shape and dtype, float32 or float64; the results require no gradient. On a GPU
    the rates are constants of the compiled kernel: a new value compiles anew.
    """
    check_exact("parameter", parameter)
    for name, given in (("gradient", gradient), ("first", first), ("second", second)):
        check_beside(name, given, parameter.shape, parameter, "parameter")
    check_whole("step", step, 1)
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= beta < 1:
            raise InputError(f"{name}={beta}: must be at least 0 and less than 1")
    return run(parameter, gradient, first, second, step, learning_rate, beta1, beta2, eps)
