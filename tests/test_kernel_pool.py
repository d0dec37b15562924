"""The native 2x2 averages and maxima with their gradients, against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dipedge.kernels.pool import CASES, Case
from dipedge.kernels.pool.reference import avg, largest
from tests.native_kernels import (
    ISAS,
    Arrays,
    assert_threads_change_nothing,
    draw,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    reference,
    run,
    scaled,
)
from tests.tolerance import all_faults, tolerance

WRONG = Case(3, 9, 11)
ALLOWED = tolerance(4, roundings=2)


@cache
def prepared(case: Case, maximum: bool) -> tuple[Arrays, Arrays]:
    x = draw(1, case.height, case.width, case.channels)
    dy = draw(2, -(-case.height // 2), -(-case.width // 2), case.channels)
    y, wanted, _ = reference(largest if maximum else avg, {"x": x}, dy)
    return {"x": x, "dy": dy}, {"y": y, **wanted}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("maximum", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_pooling_and_its_gradient_are_those_of_the_reference(case, maximum, isa):
    arrays, wanted = prepared(case, maximum)
    found = run("pool", arrays, {"maximum": maximum}, isa)
    if maximum:  # nothing is computed, only chosen
        assert [name for name, values in wanted.items() if not np.array_equal(found[name], values)] == []
    assert all_faults(found, wanted, ALLOWED, {}) == {}
    assert_threads_change_nothing("pool", arrays, {"maximum": maximum}, isa, found)


@pytest.mark.parametrize("isa", ISAS)
def test_the_gradient_of_a_tie_goes_to_the_first_value(isa):
    arrays = {"x": np.ones((3, 3, 2), np.float32), "dy": np.ones((2, 2, 2), np.float32)}
    found = run("pool", arrays, {"maximum": True}, isa)
    assert found["dx"][..., 0].tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    arrays, wanted = prepared(WRONG, False)
    found = run("pool", arrays, {"maximum": False})
    assert all_faults(found, wanted, ALLOWED, {}) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, ALLOWED, {})) == [name]


def test_averages_over_windows_that_count_missing_pixels_fail_the_judgement():
    """The last column of an odd width has windows of two pixels, not four."""
    arrays, wanted = prepared(WRONG, False)
    found = run("pool", arrays, {"maximum": False})
    counted = found["y"].copy()
    counted[:, -1] /= 2
    assert list(all_faults({**found, "y": counted}, wanted, ALLOWED, {})) == ["y"]
