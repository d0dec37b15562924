"""The native layer of Fourier features that are never made, and the features, against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from dipedge.kernels.conv_norm_act.reference import norm_act
from dipedge.kernels.fourier_mlp import CASES, Case
from dipedge.kernels.fourier_mlp.reference import coordinates, features, first_layer
from tests.native_kernels import (
    ISAS,
    Arrays,
    _native,
    assert_right,
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
    with_bf16,
    with_norm,
)
from tests.tolerance import all_faults, cell_tolerance, faults, size, tolerance

WRONG = Case(4, 9, 12, 5)


def frequencies(count: int) -> np.ndarray:
    """Powers up to 2^8, as a fit begins."""
    return (256.0 ** (np.arange(count) / (count - 1))).astype(np.float32)


@cache
def prepared(case: Case, slope: float = 0.2) -> tuple[Arrays, Arrays, dict[str, float]]:
    """The layer with its norm and activation: arrays, wanted results, scales."""
    arrays = {"frequencies": frequencies(case.count), "weight": draw(1, case.out, 4 * case.count, 1, 1)}

    def before_norm(frequencies, weight):
        bias = torch.zeros(case.out, dtype=torch.float64)
        return first_layer(frequencies, weight, bias, case.height, case.width, case.stride)

    y = picture(before_norm(*(tensor(values) for values in arrays.values())))
    with_norm(arrays, "", 2, y)
    dz = draw(4, *y.shape)
    z, wanted, scales = reference(
        lambda gamma, beta, **rest: norm_act(before_norm(**rest), gamma, beta, 1e-5, slope), arrays, dz
    )
    of_y = gain(y, arrays["gamma"])
    scales["y"] = np.sqrt(4 * case.count) * size(arrays["weight"])
    scales["z"] = before_centring(y, arrays["gamma"]) + (y[..., 0].size > 1) * size(of_y) * scales["y"]
    scales["dweight"] = np.sqrt(dz[..., 0].size) * size(of_y * dz)
    # df_k is a random sum over pixels, outputs and the two features of f_k, coordinates up to 1.
    scales["dfrequencies"] = np.sqrt(2 * case.out) * size(arrays["weight"]) * scales["dweight"]
    if case.height == case.width == 1:
        scales["dfrequencies"] = 0  # coordinate 0, whatever the frequency
    return {**arrays, "dz": dz}, {"y": y, "z": z, **wanted}, scales


def length(case: Case) -> int:
    """The features, the outputs, and the pixels of statistics and tables."""
    return 4 * case.count + case.out + case.height * case.width


def allowed(case: Case) -> float:
    return tolerance(length(case), roundings=16)


def options(case: Case) -> dict:
    return {"height": case.height, "width": case.width, "stride": case.stride}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_layer_and_its_gradients_are_those_of_the_reference(case, isa):
    arrays, wanted, scales = prepared(case)
    assert_right("fourier_mlp", arrays, options(case), isa, wanted, allowed(case), scales)


@with_bf16
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_layer_in_bfloat16_is_that_of_the_reference(case, isa):
    """With slope 1: a y that is rounded may lie on the other side of LeakyReLU's corner."""
    arrays, wanted, scales = prepared(case, slope=1.0)
    settings = {**options(case), "bf16": True, "slope": 1.0}
    assert_right("fourier_mlp", arrays, settings, isa, wanted, cell_tolerance(length(case), cells=4), scales)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_features_are_computed_in_float64_and_rounded_once(case):
    exact = frequencies(case.count).astype(np.float64)
    found = _native.fourier_features(exact, case.height, case.width)
    wanted = picture(features(torch.tensor(exact), case.height, case.width))
    # The angles reach 256; their float64 rounding may tip a value that lies between two float32 numbers.
    np.testing.assert_allclose(found, wanted, rtol=2.0**-24, atol=1e-13)


def test_features_computed_in_float32_fail_the_judgement():
    """Angles rounded to float32, as the published code has them, are off by up to 1.5e-5 rad."""
    wanted = picture(features(torch.tensor(frequencies(8).astype(np.float64)), 33, 17))
    u = coordinates(17, torch.zeros(1)).numpy()
    found = wanted.copy()
    found[..., :8] = np.cos(u[:, None] * frequencies(8))
    assert faults(found, wanted, tolerance(1, roundings=1)) != []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("z", first_row_missing), ("z", one_value_off),
        ("dweight", scaled), ("dweight", one_value_off), ("dgamma", scaled), ("dbeta", one_value_off),
        ("dfrequencies", scaled), ("dfrequencies", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    arrays, wanted, scales = prepared(WRONG)
    found = run("fourier_mlp", arrays, options(WRONG))
    assert all_faults(found, wanted, allowed(WRONG), scales) == {}
    wrong_results = {**found, name: wrong(found[name])}
    assert list(all_faults(wrong_results, wanted, allowed(WRONG), scales)) == [name]


def test_rows_in_place_of_columns_fail_the_judgement():
    arrays, wanted, scales = prepared(WRONG)
    half = 2 * WRONG.count
    swapped = {**arrays, "weight": np.roll(arrays["weight"], half, axis=1)}
    found = run("fourier_mlp", swapped, options(WRONG))
    assert {"y", "z", "dfrequencies"} <= set(all_faults(found, wanted, allowed(WRONG), scales))


@pytest.mark.parametrize("isa", ISAS)
def test_fixed_frequencies_get_no_gradient_and_change_nothing_else(isa):
    arrays, _, _ = prepared(WRONG)
    learned, fixed = (
        run("fourier_mlp", arrays, {**options(WRONG), "learned": on}, isa) for on in (True, False)
    )
    assert not fixed.pop("dfrequencies").any() and learned.pop("dfrequencies").any()
    assert [name for name in fixed if not np.array_equal(fixed[name], learned[name])] == []
