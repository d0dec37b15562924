"""The native Adam step over flat arrays, against the reference, which is held against torch.optim.Adam."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dipedge.kernels.adam import CASES, Case
from dipedge.kernels.adam.reference import adam_step
from tests.native_kernels import (
    ISAS,
    Arrays,
    assert_threads_change_nothing,
    draw,
    one_value_off,
    run,
    scaled,
)
from tests.tolerance import all_faults, tolerance

WRONG = Case(100, 3)
ALLOWED = tolerance(2, roundings=6)
SETTINGS = (
    {},
    {"learning_rate": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
    {"learning_rate": 1e-4, "beta1": 0.0, "beta2": 0.0},
    {"beta2": 0.99999},
)


def prepared(case: Case, settings: dict) -> tuple[Arrays, Arrays]:
    """Arrays as in the middle of a fit, and what one step makes of them in float64."""
    arrays = {
        "parameter": 0.01 * draw(1, case.count),  # so that the step is not lost beside it
        "gradient": 1e-3 * draw(2, case.count),
        "mean": 1e-3 * draw(3, case.count) if case.step > 1 else np.zeros(case.count, np.float32),
        "square": 1e-6 * draw(4, case.count) ** 2 if case.step > 1 else np.zeros(case.count, np.float32),
    }
    tensors = (torch.tensor(values, dtype=torch.float64) for values in arrays.values())
    moved = adam_step(*tensors, case.step, **settings)
    return arrays, {
        name: values.numpy() for name, values in zip(("parameter", "mean", "square"), moved, strict=True)
    }


def scales(settings: dict) -> dict[str, float]:
    """Parameter and step may cancel each other; a step is of the size of the learning rate."""
    return {"parameter": 0.01 + settings.get("learning_rate", 0.01)}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_is_that_of_the_reference(case, settings, isa):
    arrays, wanted = prepared(case, settings)
    options = {**settings, "step": case.step}
    found = run("adam", arrays, options, isa)
    assert all_faults(found, wanted, ALLOWED, scales(settings)) == {}
    assert_threads_change_nothing("adam", arrays, options, isa, found)


@pytest.mark.parametrize("isa", ISAS)
def test_fifty_steps_follow_the_optimiser_of_torch(isa):
    """The error of one step goes into the next; gradients come anew, so nothing is amplified."""
    count, steps = 100, 50
    parameter = torch.tensor(0.01 * draw(1, count), dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([parameter], lr=0.01)
    found = {"parameter": 0.01 * draw(1, count), "mean": np.zeros(count), "square": np.zeros(count)}
    for step in range(1, steps + 1):
        gradient = 1e-3 * draw(10 + step, count)
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
        found = run("adam", {**found, "gradient": gradient}, {"step": step}, isa)
    wanted = {"parameter": parameter.detach().numpy()}
    assert all_faults(found, wanted, tolerance(2 * steps), {}) == {}


@pytest.mark.parametrize("isa", ISAS)
def test_a_parameter_without_gradient_stays_where_it_is(isa):
    zeros = np.zeros(40, np.float32)
    arrays = {"parameter": draw(1, 40), "gradient": zeros, "mean": zeros, "square": zeros}
    assert np.array_equal(run("adam", arrays, {}, isa)["parameter"], arrays["parameter"])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (name, wrong)
        for name in ("parameter", "mean", "square")
        for wrong in (scaled, one_value_off, lambda values: np.roll(values, 1))
    ],
)
def test_a_wrong_result_fails_the_judgement(name, wrong):
    arrays, wanted = prepared(WRONG, {})
    found = run("adam", arrays, {"step": WRONG.step})
    assert all_faults(found, wanted, ALLOWED, scales({})) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, ALLOWED, scales({}))) == [name]


@pytest.mark.parametrize(
    "other",
    [{"beta1": 0.901}, {"beta2": 0.9991}, {"learning_rate": 0.01001}, {"eps": 1e-6}, {"step": 4}],
    ids=str,
)
def test_a_step_with_another_setting_fails_the_judgement(other):
    arrays, wanted = prepared(WRONG, {})
    found = run("adam", arrays, {"step": WRONG.step, **other})
    assert "parameter" in all_faults(found, wanted, ALLOWED, scales({}))
