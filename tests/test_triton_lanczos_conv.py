"""Decimation as Triton kernels, alone and as one operation with a convolution, against the reference."""

from __future__ import annotations

from functools import cache
from unittest.mock import patch

import numpy as np
import pytest

from dipedge.kernels.gpu import launch
from dipedge.kernels.lanczos_conv import Case
from dipedge.kernels.lanczos_conv import triton as lanczos
from dipedge.kernels.lanczos_conv.reference import decimate
from dipedge.kernels.lanczos_conv.triton_tables import filter_of
from tests.native_kernels import (
    Arrays,
    draw,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    reference,
    scaled,
    size,
)
from tests.tolerance import all_faults, tolerance
from tests.triton_kernels import DEVICE, arrays, empty, vectors

pytestmark = pytest.mark.triton_interpret
CASES = (
    Case(2, 2, 3, 14, 23),
    Case(4, 2, 3, 17, 18),
    Case(8, 2, 1, 9, 35),
    Case(3, 3, 2, 10, 11),
    Case(4, 3, 5, 6, 3),
    Case(2, 2, 4, 1, 1),
)
WRONG = Case(2, 2, 3, 9, 12)


# Decimation alone -------------------------------------------------------------------------------------


@cache
def prepared(case: Case, fit: int) -> tuple[Arrays, Arrays]:
    x = draw(10 * fit + 1, case.height, case.width, case.channels)
    dy = draw(10 * fit + 2, -(-case.height // case.factor), -(-case.width // case.factor), case.channels)
    y, wanted, _ = reference(lambda x: decimate(x, case.factor, case.lobes), {"x": x}, dy)
    return {"x": x, "dy": dy}, {"y": y, **wanted}


def allowed(case: Case) -> float:
    """Over the taps of both sides; where the ends are replicated, several outputs' taps add up."""
    return tolerance(4 * (2 * case.lobes * case.factor + 2))


def filtered(case: Case, lobes: int | None = None) -> list[Arrays]:
    """y and dx of two fits, several rows per program."""
    given = [prepared(case, fit)[0] for fit in (0, 1)]
    x, dy = (vectors([one[name] for one in given]) for name in ("x", "dy"))
    y, dx = empty(*dy.shape), empty(*x.shape)
    tables = filter_of(case.height, case.width, case.factor, case.lobes if lobes is None else lobes, DEVICE)
    lines = empty(*lanczos.lines_shape(2, case.width, case.channels))
    with patch.object(launch, "MAX_PROGRAMS", 3), patch.object(lanczos, "FLOATS", 64):
        lanczos.decimate(x, y, tables, lines)
        lanczos.decimate_adjoint(dy, dx, tables, lines)
    return [{"y": a, "dx": b} for a, b in zip(arrays(y), arrays(dx), strict=True)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_decimation_and_its_adjoint_are_those_of_the_reference(case):
    for fit, found in enumerate(filtered(case)):
        assert all_faults(found, prepared(case, fit)[1], allowed(case), {}) == {}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_adjoint_is_the_transpose_of_the_decimation(case):
    """<d x, y> = <x, d^T y> needs no reference: it holds the two kernels against each other."""
    given, _ = prepared(case, 1)
    y, dx = (np.float64(values) for values in filtered(case)[1].values())
    x, dy = np.float64(given["x"]), np.float64(given["dy"])
    scale = np.sqrt(y.size) * size(y) * size(dy) + np.sqrt(x.size) * size(x) * size(dx)
    assert abs((y * dy).sum() - (x * dx).sum()) < allowed(case) * scale


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_decimation_fails_the_judgement(name, wrong):
    wanted, found = prepared(WRONG, 0)[1], filtered(WRONG)[0]
    assert all_faults(found, wanted, allowed(WRONG), {}) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed(WRONG), {})) == [name]


def test_the_other_window_fails_the_judgement():
    assert set(all_faults(filtered(WRONG, 3)[0], prepared(WRONG, 0)[1], allowed(WRONG), {})) == {"y", "dx"}
