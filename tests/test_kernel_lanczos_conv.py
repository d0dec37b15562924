"""The native Lanczos decimation and its adjoint, alone and after a convolution, against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from dipedge.kernels.lanczos_conv import CASES, Case
from dipedge.kernels.lanczos_conv.reference import conv_decimate, decimate, phase_of, weights
from tests.native_kernels import (
    ISAS,
    Arrays,
    _native,
    assert_threads_change_nothing,
    draw,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    run,
    scaled,
    tensor,
)
from tests.tolerance import all_faults, faults, size, tolerance

WRONG = Case(2, 2, 3, 9, 12)


@cache
def prepared(case: Case) -> tuple[Arrays, Arrays]:
    x = draw(1, case.height, case.width, case.channels)
    dy = draw(2, -(-case.height // case.factor), -(-case.width // case.factor), case.channels)
    y, wanted, _ = reference(lambda x: decimate(x, case.factor, case.lobes), {"x": x}, dy)
    return {"x": x, "dy": dy}, {"y": y, **wanted}


def allowed(case: Case) -> float:
    """Over the taps of both sides; where the ends are replicated, several outputs' taps add up."""
    return tolerance(4 * (2 * case.lobes * case.factor + 1))


def options(case: Case) -> dict:
    return {"scale": case.factor, "lobes": case.lobes}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_decimation_and_its_adjoint_are_those_of_the_reference(case, isa):
    arrays, wanted = prepared(case)
    found = run("lanczos_conv", arrays, options(case), isa)
    assert all_faults(found, wanted, allowed(case), {}) == {}
    assert_threads_change_nothing("lanczos_conv", arrays, options(case), isa, found)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_adjoint_is_the_transpose_of_the_decimation(case, isa):
    """<d x, y> = <x, d^T y> needs no reference: it holds the two native halves against each other."""
    arrays, _ = prepared(case)
    found = run("lanczos_conv", arrays, options(case), isa)
    x, dy, y, dx = (a.astype(np.float64) for a in (arrays["x"], arrays["dy"], found["y"], found["dx"]))
    scale = np.sqrt(y.size) * size(y) * size(dy) + np.sqrt(x.size) * size(x) * size(dx)
    assert abs((y * dy).sum() - (x * dx).sum()) < allowed(case) * scale


@pytest.mark.parametrize("lobes", [2, 3])
@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_the_weights_are_those_of_the_reference_in_float64(factor, lobes):
    found = _native.lanczos_weights(factor, lobes, phase_of(factor))
    wanted = weights(factor, lobes, phase_of(factor)).numpy()
    assert faults(np.array(found), wanted, tolerance(len(wanted), dtype=np.float64)) == []


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("kernel", "factor", "lobes"), [(1, 2, 2), (3, 2, 3), (5, 4, 2)])
def test_decimation_after_a_convolution_is_that_of_the_reference(kernel, factor, lobes, isa):
    x, weight, bias = draw(1, 19, 22, 3), draw(2, 5, 3, kernel, kernel), draw(3, 5)
    full = _native.conv_forward(x, weight, bias, 1, "reflection", isa)
    found = _native.lanczos_decimate(full, factor, lobes, isa)
    of_weights = (torch.tensor(values, dtype=torch.float64) for values in (weight, bias))
    wanted = picture(conv_decimate(tensor(x), *of_weights, factor, lobes))
    length = kernel**2 * 3 + 4 * (2 * lobes * factor + 1)
    assert faults(found, wanted, tolerance(length), kernel * np.sqrt(3) * size(weight)) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    arrays, wanted = prepared(WRONG)
    found = run("lanczos_conv", arrays, options(WRONG))
    assert all_faults(found, wanted, allowed(WRONG), {}) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed(WRONG), {})) == [name]


def test_the_other_window_fails_the_judgement():
    arrays, wanted = prepared(WRONG)
    found = run("lanczos_conv", arrays, {**options(WRONG), "lobes": 3})
    assert set(all_faults(found, wanted, allowed(WRONG), {})) == {"y", "dx"}
