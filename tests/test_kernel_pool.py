"""The native 2x2 maxima with their gradients, against the reference; averages: test_kernel_lanczos_conv."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dipedge.kernels.conv_norm_act.reference import norm_act
from dipedge.kernels.pool import CASES, Case
from dipedge.kernels.pool.reference import largest
from tests.native_kernels import (
    BF16_ISAS,
    ISAS,
    Arrays,
    assert_threads_change_nothing,
    draw,
    draw_layer,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    run,
    scaled,
    tensor,
    with_norm,
)
from tests.tolerance import all_faults, cell_tolerance, tolerance

WRONG = Case(3, 9, 11)
IN_BOTH = [(isa, False) for isa in ISAS] + [(isa, True) for isa in BF16_ISAS]


@cache
def prepared(case: Case) -> tuple[Arrays, Arrays]:
    """Values that bfloat16 holds exactly: then nothing is rounded in either precision, only chosen."""
    x = draw_layer(1, case.height, case.width, case.channels, mean=0)
    dy = draw_layer(2, -(-case.height // 2), -(-case.width // 2), case.channels, mean=0)
    y, wanted, _ = reference(largest, {"x": x}, dy)
    return {"x": x, "dy": dy}, {"y": y, **wanted}


def differing(found: Arrays, wanted: Arrays) -> list[str]:
    return [name for name, values in wanted.items() if not np.array_equal(found[name], values)]


@pytest.mark.parametrize(("isa", "bf16"), IN_BOTH)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_maxima_and_their_gradient_are_those_of_the_reference_to_the_bit(case, isa, bf16):
    arrays, wanted = prepared(case)
    found = run("pool", arrays, {"bf16": bf16}, isa)
    assert differing(found, wanted) == []
    assert_threads_change_nothing("pool", arrays, {"bf16": bf16}, isa, found)


@pytest.mark.parametrize(("isa", "bf16"), IN_BOTH)
def test_the_gradient_of_a_tie_goes_to_the_first_value(isa, bf16):
    arrays = {"x": np.ones((3, 3, 2), np.float32), "dy": np.ones((2, 2, 2), np.float32)}
    found = run("pool", arrays, {"bf16": bf16}, isa)
    assert found["dx"][..., 0].tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]


@pytest.mark.parametrize(("isa", "bf16"), IN_BOTH)
def test_the_statistics_behind_the_maxima_are_those_of_what_is_stored(isa, bf16):
    """A layer follows: z is normalised with its own mean and variance, and dz comes back through both."""
    x = draw_layer(1, 21, 197, 19, mean=0.3)
    arrays = {"x": x}
    y = picture(largest(tensor(x)))
    with_norm(arrays, "", 3, y)
    dz = draw(5, *y.shape)
    z, wanted, scales = reference(
        lambda x, gamma, beta: norm_act(largest(x), gamma, beta, 1e-5, 0.2), arrays, dz
    )
    found = run("pool", {**arrays, "dz": dz}, {"bf16": bf16}, isa)
    length = y[..., 0].size
    allowed = cell_tolerance(length, cells=2) if bf16 else tolerance(length)
    assert all_faults(found, {"z": z, **wanted}, allowed, scales) == {}
    wrong = {**found, "dx": 1.03 * found["dx"]}
    assert set(all_faults(wanted={"z": z, **wanted}, found=wrong, allowed=allowed, scales=scales)) == {"dx"}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    arrays, wanted = prepared(WRONG)
    found = run("pool", arrays, {})
    assert differing(found, wanted) == []
    assert differing({**found, name: wrong(found[name])}, wanted) == [name]
