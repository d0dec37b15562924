"""The native normal noise: its numbers, their order along a picture, and what threads do to them."""

from __future__ import annotations

import numpy as np
import pytest

from dipedge.kernels.perturb import CASES, Case
from dipedge.kernels.perturb.reference import normal, perturb
from tests.native_kernels import (
    ISAS,
    _native,
    assert_threads_change_nothing,
    draw,
    one_value_off,
    run,
    scaled,
)
from tests.tolerance import faults, tolerance

WRONG = Case(7, 3, 1000)
UNIT = 2.0**-24  # half the spacing of float32 numbers at 1


def error_allowed(values: np.ndarray) -> np.ndarray:
    """How far float32 may move each value of a Box-Muller transform, element by element.

    u has 24 digits, so its logarithm is known to UNIT absolutely and to a few UNIT relatively. Half of it
    reaches the radius relatively, and as UNIT / radius where u is close to 1. Angles are exact to UNIT.
    """
    pairs = np.append(values, np.zeros(-len(values) % 4)).reshape(-1, 2)
    radius = np.maximum(np.sqrt((pairs**2).sum(1)), np.sqrt(UNIT))
    bound = 8 * UNIT * (1 + radius) + 2 * UNIT / radius
    return np.repeat(bound, 2)[: len(values)]


def noise_faults(found: np.ndarray, wanted: np.ndarray) -> list[str]:
    """As ``tolerance.faults``, with the bound above in place of one relative to the result's size."""
    whole = len(wanted) // 2 * 2  # the radius of a halved pair is not known
    bound, error = error_allowed(wanted[:whole]), (found - wanted)[:whole]
    said = [
        f"element {i} is {found[i]} in place of {wanted[i]}" for i in np.flatnonzero(np.abs(error) > bound)
    ]
    bias = float((error * np.sign(wanted[:whole])).sum())
    if abs(bias) > 0.25 * bound.sum() + bound.max(initial=0):
        said.append(f"off by {bias / max(whole, 1):+.2e} in the mean")
    return said


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_noise_is_that_of_the_reference(case, isa):
    found = _native.normal(case.seed, case.step, case.count, isa)
    assert found.shape == (case.count,)
    assert noise_faults(found, normal(case.seed, case.step, case.count)) == []


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 1, 3), (9, 7, 17), (3, 97, 3), (33, 65, 1), (64, 33, 16), (5, 193, 33), (16, 1, 2)],
)
def test_noise_is_numbered_along_the_flat_picture_and_added(shape, isa):
    z, options = draw(1, *shape), {"sigma": 0.5, "seed": 2**63 + 5, "step": 2**35}
    found = run("perturb", {"z": z}, options, isa)
    wanted = perturb(z.astype(np.float64), 0.5, options["seed"], options["step"])
    assert faults(found["z"], wanted, tolerance(1)) == []
    assert_threads_change_nothing("perturb", {"z": z}, options, isa, found)


@pytest.mark.parametrize("isa", ISAS)
def test_no_noise_leaves_every_bit_of_z(isa):
    z = draw(1, 9, 7, 5)
    assert np.array_equal(run("perturb", {"z": z}, {"sigma": 0.0}, isa)["z"], z)


@pytest.mark.parametrize("isa", ISAS)
def test_native_noise_is_standard_normal(isa):
    values = _native.normal(3, 11, 1_000_000, isa).astype(np.float64)
    # Standard errors of mean, variance and fourth moment of a million normal values.
    assert abs(values.mean()) < 5 / np.sqrt(1e6)
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / 1e6)
    assert abs((values**4).mean() - 3) < 5 * np.sqrt(96 / 1e6)
    assert np.abs(values).max() > 4  # 63 in a million are expected beyond


@pytest.mark.parametrize(
    "wrong",
    [
        scaled,
        one_value_off,
        lambda values: np.roll(values, 1),
        lambda values: np.append(values[4:], values[:4]),
        lambda values: values[::-1],
        lambda values: values.reshape(-1, 2)[:, ::-1].ravel(),
    ],
    ids=["scaled", "one value off", "one value late", "one block late", "backwards", "sine for cosine"],
)
def test_wrong_noise_fails_the_judgement(wrong):
    found = _native.normal(WRONG.seed, WRONG.step, WRONG.count)
    wanted = normal(WRONG.seed, WRONG.step, WRONG.count)
    assert noise_faults(found, wanted) == []
    assert noise_faults(wrong(found), wanted) != []


@pytest.mark.parametrize(("seed", "step"), [(WRONG.seed + 1, WRONG.step), (WRONG.seed, WRONG.step + 2**32)])
def test_the_noise_of_another_seed_or_step_fails_the_judgement(seed, step):
    found = _native.normal(seed, step, WRONG.count)
    assert noise_faults(found, normal(WRONG.seed, WRONG.step, WRONG.count)) != []
