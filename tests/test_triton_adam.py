"""The GPU's Adam over flat vectors, and the ordered sums of partial gradients before it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.triton_kernels import DEVICE, arrays, empty, torch, vectors

# isort: split
from dipedge.kernels.adam import CASES
from dipedge.kernels.adam import triton as kernel
from dipedge.kernels.adam.reference import adam_step
from tests.native_kernels import draw, one_value_off, scaled
from tests.test_kernel_adam import ALLOWED, SETTINGS, scales
from tests.tolerance import all_faults, faults, tolerance

pytestmark = pytest.mark.triton_interpret
NAMES = ("parameter", "mean", "square")
DEFAULT = {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
Arrays = dict[str, np.ndarray]


def padded(values: np.ndarray) -> np.ndarray:
    """Zeros up to a multiple of 16, as parameters lie."""
    return np.pad(values, (0, -len(values) % 16))


def given(count: int, step: int, fit: int) -> Arrays:
    """A fit in its middle; every fit differs."""
    seed = 10 * fit
    past = float(step > 1)
    return {
        "parameter": padded(0.01 * draw(seed + 1, count)),
        "gradient": padded(1e-3 * draw(seed + 2, count)),
        "mean": padded(past * 1e-3 * draw(seed + 3, count)),
        "square": padded(past * 1e-6 * draw(seed + 4, count) ** 2),
    }


def stepped(
    fits: list[Arrays], step: int, settings: dict, active: np.ndarray | None = None, cells: str = "bfloat16"
) -> list[Arrays]:
    """Every fit after one launch, with its copy in cells."""
    flat = {name: vectors([fit[name] for fit in fits]) for name in fits[0]}
    count = flat["parameter"].shape[1]
    mask = np.ones(count // 16, np.uint8) if active is None else active
    copy = empty(len(fits), count, dtype=getattr(torch, cells)) if cells else None
    kernel.adam_step(
        *(flat[name] for name in ("parameter", "gradient", "mean", "square")),
        copy, torch.tensor(mask, device=DEVICE), torch.tensor([step - 1], device=DEVICE),
        **{**DEFAULT, **settings},
    )  # fmt: skip
    found = [{name: arrays(flat[name])[i] for name in NAMES} for i in range(len(fits))]
    for i, fit in enumerate(found):
        fit["cells"] = arrays(copy)[i] if cells else fit["parameter"]
    return found


def expected(fit: Arrays, step: int, settings: dict) -> Arrays:
    tensors = (torch.tensor(values, dtype=torch.float64) for values in fit.values())
    return dict(zip(NAMES, (t.numpy() for t in adam_step(*tensors, step, **settings)), strict=True))


def in_cells(values: np.ndarray) -> np.ndarray:
    return torch.tensor(values).to(torch.bfloat16).to(torch.float32).numpy()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_of_two_fits_is_that_of_the_reference(case, settings):
    fits = [given(case.count, case.step, fit) for fit in range(2)]
    for fit, found in zip(fits, stepped(fits, case.step, settings), strict=True):
        assert np.array_equal(found.pop("cells"), in_cells(found["parameter"]))
        assert all_faults(found, expected(fit, case.step, settings), ALLOWED, scales(settings)) == {}


def test_bias_corrections_are_right_after_a_billion_steps_and_at_the_first():
    """beta^s in float32 would be off by s half spacings; the correction of beta2 would show it."""
    settings = {"beta2": 0.9999999}
    for step in (1, 2, 10**6, 10**9):
        fit = given(64, step, 0)
        found = stepped([fit], step, settings)[0]
        assert faults(found["parameter"], expected(fit, step, settings)["parameter"], ALLOWED, 0.02) == []


@pytest.mark.parametrize("cells", ["", "float32"])
def test_a_float32_copy_is_the_parameters_and_may_be_left_out(cells):
    fit = given(48, 3, 0)
    found = stepped([fit], 3, {}, cells=cells)[0]
    assert np.array_equal(found["cells"], found["parameter"])
    assert np.array_equal(found["parameter"], stepped([fit], 3, {})[0]["parameter"])


def test_groups_that_are_not_active_are_copied_and_nothing_else():
    """Not even their gradients are read: Muon's and unused ones may hold anything."""
    fit = given(80, 3, 0)
    still = np.repeat(np.array([0, 1, 0, 0, 1], bool) == 0, 16)
    fit["gradient"][still] = np.nan
    found = stepped([fit], 3, {}, np.array([0, 1, 0, 0, 1], np.uint8))[0]
    for name in NAMES:
        assert np.array_equal(found[name][still], fit[name][still])
        assert (found[name][~still] != fit[name][~still]).all()
    assert np.array_equal(found["cells"], in_cells(found["parameter"]))


def test_a_parameter_without_gradient_stays_where_it_is():
    fit = given(32, 1, 0)
    fit["gradient"] *= 0
    assert np.array_equal(stepped([fit], 1, {})[0]["parameter"], fit["parameter"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [scaled, one_value_off, lambda values: np.roll(values, 1)])
def test_a_wrong_result_fails_the_judgement(name, wrong):
    fit = given(96, 3, 0)
    found, wanted = stepped([fit], 3, {})[0], expected(fit, 3, {})
    assert all_faults({**found, name: wrong(found[name])}, wanted, ALLOWED, scales({})).keys() == {name}


@pytest.mark.parametrize("other", [{"beta1": 0.901}, {"beta2": 0.9991}, {"learning_rate": 0.01001}], ids=str)
def test_a_step_with_another_setting_fails_the_judgement(other):
    fit = given(96, 3, 0)
    assert all_faults(stepped([fit], 3, other)[0], expected(fit, 3, {}), ALLOWED, scales({})) != {}


# Partial sums ---------------------------------------------------------------------------------------------

# Sizes around a program's 256 values, and numbers of partial sums around those loaded together.
SHAPES = ((1, 3), (256, 1), (257, 16), (40, 17), (600, 5), (16, 40))


def laid_out(shapes: tuple[tuple[int, int], ...], fits: int) -> tuple[list, int, list[list[np.ndarray]]]:
    """Plan, flat size and partial sums [fit][parameter] [P, size]; parameters begin at multiples of 16."""
    plan, begin, offset = [], 0, 16
    for size, count in shapes:
        plan.append(kernel.Partials(offset, size, begin, count))
        begin += fits * count * size
        offset += -(-size // 16) * 16 + 16  # a parameter without partial sums lies between
    sums = [
        [draw(100 * fit + i, count, size) for i, (size, count) in enumerate(shapes)] for fit in range(fits)
    ]
    return plan, offset, sums


def collected(plan: list, flat: int, sums: list[list[np.ndarray]]) -> np.ndarray:
    """Gradients [B, F], 7 where nothing was written."""
    partials = np.concatenate([np.stack(of_all).ravel() for of_all in zip(*sums, strict=True)])
    gradients = torch.full((len(sums), flat), 7.0, device=DEVICE)
    kernel.collect(kernel.Collected(plan, DEVICE), torch.tensor(partials, device=DEVICE), gradients)
    return gradients.cpu().numpy()


@pytest.mark.parametrize("shapes", [SHAPES, ((64, 20), (768, 3))], ids=["any size", "whole groups of four"])
def test_gradients_are_the_sums_of_their_parts_and_no_other_value_is_touched(shapes):
    plan, flat, sums = laid_out(shapes, 2)
    found = collected(plan, flat, sums)
    for fit in range(2):
        rest = np.ones(flat, bool)
        for at, parts in zip(plan, sums[fit], strict=True):
            own = slice(at.offset, at.offset + at.size)
            wanted = parts.astype(np.float64).sum(0)
            assert faults(found[fit, own], wanted, tolerance(at.count), np.sqrt(at.count)) == []
            rest[own] = False
        assert (found[fit, rest] == 7).all()


def test_a_partial_sum_that_is_missing_or_counted_twice_fails_the_judgement():
    plan, flat, sums = laid_out(SHAPES, 1)
    found = collected(plan, flat, sums)
    for at, parts in zip(plan, sums[0], strict=True):
        own = found[0, at.offset : at.offset + at.size]
        for wrong in (own - parts[-1], own + parts[0]):
            wanted = parts.astype(np.float64).sum(0)
            assert faults(wrong, wanted, tolerance(at.count), np.sqrt(at.count)) != []


def test_the_order_of_the_sum_is_fixed_by_the_plan_alone():
    plan, flat, sums = laid_out(SHAPES, 2)
    together = collected(plan, flat, sums)
    plan, flat, _ = laid_out(SHAPES, 1)
    for fit in range(2):
        assert np.array_equal(collected(plan, flat, sums[fit : fit + 1])[0], together[fit])


def test_a_plan_without_partial_sums_does_nothing():
    gradients = torch.full((2, 32), 7.0, device=DEVICE)
    kernel.collect(kernel.Collected([], DEVICE), torch.zeros(1, device=DEVICE), gradients)
    assert (gradients == 7).all()
