"""The native convolution with batch norm and LeakyReLU before and behind it, against its reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dipedge.kernels.conv_norm_act import CASES, Case
from dipedge.kernels.conv_norm_act.reference import convolve, norm_act
from tests import native_convolutions
from tests.native_convolutions import Comparison, Convolve, Shapes
from tests.native_kernels import (
    ISAS,
    assert_right,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    reference,
    run,
    scaled,
    with_bf16,
)
from tests.tolerance import all_faults, cell_tolerance, tolerance

WRONG = Case(3, 5, 9, 12)  # what the deliberately wrong results are made from


def shapes(case: Case) -> Shapes:
    out = (-(-case.height // case.stride), -(-case.width // case.stride), case.out)
    return Shapes((case.height, case.width, case.into), (case.out, case.into, case.kernel, case.kernel), out)


def of(case: Case) -> tuple[Convolve, Shapes]:
    return lambda x, weight: convolve(x, weight, None, case.stride, case.padding), shapes(case)


@cache
def plain(case: Case) -> Comparison:
    return native_convolutions.plain(*of(case))


@cache
def chained(case: Case, slope: float = 0.2, behind: bool = True) -> Comparison:
    return native_convolutions.chained(*of(case), slope, behind)


def length(case: Case) -> int:
    """Of all sums of the chain: taps and channels both ways, and the pixels of the statistics."""
    return case.kernel**2 * (case.into + case.out) + case.height * case.width


def allowed(case: Case) -> float:
    return tolerance(length(case), roundings=16)


def options(case: Case) -> dict:
    return {"stride": case.stride, "padding": case.padding}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_convolution_and_its_gradients_are_those_of_the_reference(case, isa):
    arrays, wanted, scales = plain(case)
    assert_right("conv_norm_act", arrays, options(case), isa, wanted, allowed(case), scales)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_chain_of_norms_and_convolution_is_that_of_the_reference(case, isa):
    arrays, wanted, scales = chained(case)
    assert_right("conv_norm_act", arrays, options(case), isa, wanted, allowed(case), scales)


# In bfloat16 a y that is rounded once more may lie on LeakyReLU's other side, so the norm behind it is
# tested with slope 1, and the activation with the layer before it, which is given exactly.
BF16_CHAINS = {
    "a picture": lambda case: plain(case),
    "a layer": lambda case: chained(case, 0.2, False),
    "a layer, with a norm behind": lambda case: chained(case, 1.0),
}


@with_bf16
@pytest.mark.parametrize("chain", BF16_CHAINS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_convolution_in_bfloat16_is_that_of_the_reference(case, chain, isa):
    arrays, wanted, scales = BF16_CHAINS[chain](case)
    settings = {**options(case), "bf16": True, "slope": 1.0 if "dz" in arrays else 0.2}
    assert_right("conv_norm_act", arrays, settings, isa, wanted, cell_tolerance(length(case)), scales)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("z", scaled), ("z", last_column_repeated), ("z", first_row_missing),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
        ("dweight", scaled), ("dweight", one_value_off),
        ("dgamma", scaled), ("dbeta", scaled), ("dx_gamma", scaled), ("dx_beta", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    arrays, wanted, scales = chained(WRONG)
    found = run("conv_norm_act", arrays, options(WRONG))
    assert all_faults(found, wanted, allowed(WRONG), scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed(WRONG), scales)) == [name]


@pytest.mark.parametrize("axis", [2, 3])
def test_a_kernel_with_its_taps_shifted_fails_the_judgement(axis):
    arrays, wanted, scales = plain(WRONG)
    shifted = {**arrays, "weight": np.roll(arrays["weight"], 1, axis)}
    found = run("conv_norm_act", shifted, options(WRONG))
    assert set(all_faults(found, wanted, allowed(WRONG), scales)) == {"y", "dx"}


def test_the_other_padding_fails_the_judgement():
    arrays, wanted, scales = plain(WRONG)
    found = run("conv_norm_act", arrays, {"stride": 1, "padding": "zero"})
    assert set(all_faults(found, wanted, allowed(WRONG), scales)) == {"y", "dx", "dweight"}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("slope", [0.0, 0.01, 1.0])
def test_the_slope_of_the_activation_is_the_one_asked_for(slope, isa):
    arrays, _, _ = chained(WRONG)
    z, wanted, scales = reference(
        lambda x, weight, x_gamma, x_beta, gamma, beta: norm_act(
            convolve(norm_act(x, x_gamma, x_beta, 1e-5, slope), weight, None, 1, "reflection"),
            gamma, beta, 1e-5, slope,
        ),
        {name: values for name, values in arrays.items() if name != "dz"}, arrays["dz"],
    )  # fmt: skip
    found = run("conv_norm_act", arrays, {"slope": slope}, isa)
    assert all_faults(found, {"z": z, **wanted}, allowed(WRONG), scales) == {}


@with_bf16
@pytest.mark.parametrize("wrong", [last_column_repeated, first_row_missing, lambda values: 1.03 * values])
@pytest.mark.parametrize("name", ["y", "dx"])
def test_a_wrong_result_fails_the_judgement_in_bfloat16(name, wrong, isa):
    arrays, wanted, scales = chained(WRONG, 0.2, False)
    found = run("conv_norm_act", arrays, {**options(WRONG), "bf16": True}, isa)
    allowed = cell_tolerance(length(WRONG))
    assert all_faults(found, wanted, allowed, scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed, scales)) == [name]
