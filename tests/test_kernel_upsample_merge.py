"""The native upsampling, concatenation and batch norm of two layers, against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from dipedge.engines.sampling import seen
from dipedge.kernels.conv_norm_act.reference import norm_act
from dipedge.kernels.upsample_merge import CASES, Case
from dipedge.kernels.upsample_merge.reference import upsample_crop, upsample_merge
from tests.native_kernels import (
    ISAS,
    Arrays,
    assert_right,
    before_centring,
    draw,
    draw_gamma,
    draw_layer,
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
from tests.tolerance import all_faults, cell_tolerance, size, tolerance

WRONG = Case(3, 5, 9, 12)


def wanted_pixels(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the result: all, or those of a subsampled fit's first step."""
    if not case.sampled:
        return np.arange(case.height), np.arange(case.width)
    places = seen(case.height, case.width, seed=0, step=0)
    return places.rows, places.columns


@cache
def prepared(case: Case) -> tuple[Arrays, Arrays, dict[str, float]]:
    """Two layers with norm and activation, merged: arrays, wanted results, scales."""
    arrays = {"deep": draw_layer(1, -(-case.height // 2), -(-case.width // 2), case.deep, mean=0.3)}
    with_norm(arrays, "deep", 2)
    height, width = (len(axis) for axis in wanted_pixels(case))
    if case.skip:
        arrays["skip"] = draw_layer(4, height, width, case.skip, mean=-0.2)
        with_norm(arrays, "skip", 5)
    channels = case.skip + case.deep
    arrays |= {"gamma": draw_gamma(7, channels), "beta": draw(8, channels)}
    dy = draw(9, height, width, channels)
    rows, columns = map(torch.from_numpy, wanted_pixels(case))

    def branches(deep, deep_gamma, deep_beta, skip=None, skip_gamma=None, skip_beta=None):
        deep = norm_act(deep, deep_gamma, deep_beta, 1e-5, 0.2)
        return deep, None if skip is None else norm_act(skip, skip_gamma, skip_beta, 1e-5, 0.2)

    def merged(gamma, beta, **layers):
        deep, skip = branches(**layers)
        whole = (case.height, case.width)
        return upsample_merge(skip, deep, gamma, beta, size=whole, mode=case.mode, rows=rows, columns=columns)

    y, wanted, scales = reference(merged, arrays, dy)
    layers = {name: values for name, values in arrays.items() if name not in ("gamma", "beta")}
    deep, skip = branches(**{name: tensor(values) for name, values in layers.items()})
    enlarged = upsample_crop(deep, case.height, case.width, case.mode)[:, :, rows][:, :, :, columns]
    joined = picture(enlarged if skip is None else torch.cat((skip, enlarged), dim=1))
    # A norm multiplies what it is given by its gain, the rounding errors of the layers too.
    of_layers = sum(
        before_centring(arrays[name], arrays[f"{name}_gamma"]) for name in layers if "_" not in name
    )
    scales["y"] = before_centring(joined, arrays["gamma"]) + size(gain(joined, arrays["gamma"])) * of_layers
    return {**arrays, "dy": dy}, {"y": y, **wanted}, scales


def length(case: Case) -> int:
    """The pixels of the statistics and of the gradients' sums; interpolation adds up 4 x 4 values."""
    return case.height * case.width + 16


def allowed(case: Case) -> float:
    return tolerance(length(case), roundings=24)


def options(case: Case) -> dict:
    return {"height": case.height, "width": case.width, "mode": case.mode, "sampled": case.sampled}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_merge_and_its_gradients_are_those_of_the_reference(case, isa):
    arrays, wanted, scales = prepared(case)
    assert_right("upsample_merge", arrays, options(case), isa, wanted, allowed(case), scales)


@with_bf16
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_merge_in_bfloat16_is_that_of_the_reference(case, isa):
    arrays, wanted, scales = prepared(case)
    settings = {**options(case), "bf16": True}
    assert_right("upsample_merge", arrays, settings, isa, wanted, cell_tolerance(length(case)), scales)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("ddeep", scaled), ("ddeep", last_column_repeated), ("ddeep", first_row_missing),
        ("dskip", scaled), ("dskip", last_column_repeated), ("dskip", one_value_off),
        ("ddeep_gamma", scaled), ("dskip_beta", one_value_off), ("dgamma", scaled), ("dbeta", scaled),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    arrays, wanted, scales = prepared(WRONG)
    found = run("upsample_merge", arrays, options(WRONG))
    assert all_faults(found, wanted, allowed(WRONG), scales) == {}
    wrong_results = {**found, name: wrong(found[name])}
    assert list(all_faults(wrong_results, wanted, allowed(WRONG), scales)) == [name]


def test_the_other_interpolation_fails_the_judgement():
    arrays, wanted, scales = prepared(WRONG)
    found = run("upsample_merge", arrays, {**options(WRONG), "mode": "nearest"})
    assert {"y", "ddeep"} <= set(all_faults(found, wanted, allowed(WRONG), scales))
