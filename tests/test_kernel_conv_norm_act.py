"""The native convolution with batch norm and LeakyReLU before and behind it, against its reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dipedge.kernels.conv_norm_act import CASES, Case
from dipedge.kernels.conv_norm_act.reference import convolve, norm_act
from tests.native_kernels import (
    ISAS,
    Arrays,
    assert_threads_change_nothing,
    before_centring,
    draw,
    first_row_missing,
    gain,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    run,
    scaled,
    tensor,
    with_norm,
)
from tests.tolerance import all_faults, size, tolerance

WRONG = Case(3, 5, 9, 12)  # what the deliberately wrong results are made from


def shapes(case: Case) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Of x, weight and output."""
    out = (-(-case.height // case.stride), -(-case.width // case.stride), case.out)
    return (case.height, case.width, case.into), (case.out, case.into, case.kernel, case.kernel), out


@cache
def plain(case: Case) -> tuple[Arrays, Arrays, dict[str, float]]:
    """A convolution alone: arrays, wanted results, scales."""
    of_x, of_weight, of_out = shapes(case)
    arrays = {"x": draw(1, *of_x), "weight": draw(2, *of_weight)}
    dy = draw(3, *of_out)
    y, wanted, scales = reference(
        lambda x, weight: convolve(x, weight, None, case.stride, case.padding), arrays, dy
    )
    # A single weight's gradient is one random sum, which may come out near 0: judged by its terms.
    scales["dweight"] = np.sqrt(dy[..., 0].size) * size(arrays["x"]) * size(dy)
    return {**arrays, "dy": dy}, {"y": y, **wanted}, scales


@cache
def chained(case: Case) -> tuple[Arrays, Arrays, dict[str, float]]:
    """Layer, convolution, layer: what stands between two tensors in memory."""
    of_x, of_weight, of_out = shapes(case)
    arrays = {"x": draw(1, *of_x, mean=0.3), "weight": draw(2, *of_weight)}
    with_norm(arrays, "x", 4)

    def before_norm(x, weight, x_gamma, x_beta):
        return convolve(norm_act(x, x_gamma, x_beta, 1e-5, 0.2), weight, None, case.stride, case.padding)

    y = picture(before_norm(**{name: tensor(values) for name, values in arrays.items()}))
    with_norm(arrays, "", 6, y)
    dz = draw(3, *of_out)
    z, wanted, scales = reference(
        lambda gamma, beta, **rest: norm_act(before_norm(**rest), gamma, beta, 1e-5, 0.2), arrays, dz
    )
    # A norm multiplies what it is given by its gain, rounding errors too, unless all pixels share them.
    of_x = before_centring(arrays["x"], arrays["x_gamma"])
    scales["y"] = np.sqrt(case.kernel**2 * case.into) * size(arrays["weight"]) * of_x
    of_y = gain(y, arrays["gamma"])
    scales["z"] = before_centring(y, arrays["gamma"]) + (y[..., 0].size > 1) * size(of_y) * scales["y"]
    scales["dweight"] = np.sqrt(dz[..., 0].size) * of_x * size(of_y * dz)
    return {**arrays, "dz": dz}, {"y": y, "z": z, **wanted}, scales


def allowed(case: Case) -> float:
    """Over all sums of the chain: taps and channels both ways, and the pixels of the statistics."""
    taps = case.kernel**2
    return tolerance(taps * (case.into + case.out) + case.height * case.width, roundings=16)


def options(case: Case) -> dict:
    return {"stride": case.stride, "padding": case.padding}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_convolution_and_its_gradients_are_those_of_the_reference(case, isa):
    arrays, wanted, scales = plain(case)
    found = run("conv_norm_act", arrays, options(case), isa)
    assert all_faults(found, wanted, allowed(case), scales) == {}
    assert_threads_change_nothing("conv_norm_act", arrays, options(case), isa, found)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_chain_of_norms_and_convolution_is_that_of_the_reference(case, isa):
    arrays, wanted, scales = chained(case)
    found = run("conv_norm_act", arrays, options(case), isa)
    assert all_faults(found, wanted, allowed(case), scales) == {}
    assert_threads_change_nothing("conv_norm_act", arrays, options(case), isa, found)


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
