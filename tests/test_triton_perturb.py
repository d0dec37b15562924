"""The GPU's normal noise: its numbers, their order, and that every fit and step has its own."""

from __future__ import annotations

import numpy as np
import pytest

from tests.triton_kernels import DEVICE, arrays, empty, torch, vectors

# isort: split
import triton
import triton.language as tl

from dipedge.kernels.gpu import launch
from dipedge.kernels.perturb import CASES, Case
from dipedge.kernels.perturb import triton as kernel
from dipedge.kernels.perturb.reference import normal
from tests.native_kernels import draw, one_value_off, scaled
from tests.test_kernel_perturb import noise_faults
from tests.tolerance import faults, tolerance

pytestmark = pytest.mark.triton_interpret
WRONG = Case(7, 3, 1000)
cases = pytest.mark.parametrize("case", [case for case in CASES if case.count < 10_000], ids=str)


def words64(*values: int) -> torch.Tensor:
    """int64 tensor with the bits of unsigned numbers."""
    return torch.tensor(np.array(values, np.uint64).view(np.int64), device=DEVICE)


def noise(seeds: list[int], step: int, count: int) -> list[np.ndarray]:
    """What ``perturb`` adds to zero, one array per fit."""
    out = empty(len(seeds), count)
    kernel.perturb(torch.zeros_like(out), out, 1.0, words64(*seeds), words64(step))
    return arrays(out)


@triton.jit
def one_by_one(seeds, step, elements, out, count, BLOCK: tl.constexpr):
    """``normal_of`` in whatever order ``elements`` has."""
    i = tl.arange(0, BLOCK)
    wanted = tl.load(elements + i, mask=i < count, other=0)
    tl.store(out + i, kernel.normal_of(tl.load(seeds), tl.load(step), wanted), mask=i < count)


def single(seed: int, step: int, elements: np.ndarray) -> np.ndarray:
    out = empty(len(elements))
    chosen = torch.tensor(elements, dtype=torch.int64, device=DEVICE)
    grid, block = (1,), triton.next_power_of_2(len(elements))
    launch.launch(one_by_one, grid, words64(seed), words64(step), chosen, out, len(elements), BLOCK=block)
    return out.cpu().numpy()


@cases
def test_the_noise_is_that_of_the_reference(case):
    for seed, found in zip((case.seed, 12), noise([case.seed, 12], case.step, case.count), strict=True):
        assert noise_faults(found, normal(seed, case.step, case.count)) == []


@cases
def test_single_values_are_those_of_the_reference(case):
    found = single(case.seed, case.step, np.arange(case.count))
    assert noise_faults(found, normal(case.seed, case.step, case.count)) == []


def test_single_values_may_be_asked_for_in_any_order_and_far_away():
    """The block number takes two words; beyond 2^34 elements the upper one counts."""
    order = np.random.default_rng(0).permutation(96)
    near = single(3, 5, order)
    assert np.array_equal(near, single(3, 5, np.arange(96))[order])
    far = single(3, 5, np.arange(96) + 2**34)
    assert not np.isin(far, near).any()


@pytest.mark.parametrize("blocks", [16, 64])
def test_the_cut_into_programs_changes_no_bit(blocks, monkeypatch):
    whole = noise([1, 2**63 + 5], 4, 1001)
    monkeypatch.setattr(kernel, "BLOCKS", blocks)
    monkeypatch.setattr(launch, "MAX_PROGRAMS", 3)
    for one, other in zip(whole, noise([1, 2**63 + 5], 4, 1001), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5, 3)])
def test_noise_is_added_with_its_deviation(shape):
    z = [draw(seed, *shape) for seed in (1, 2)]
    out, seeds, step = empty(2, *shape), [2**63 + 5, 9], 2**35
    kernel.perturb(vectors(z), out, 0.5, words64(*seeds), words64(step))
    for found, base, seed in zip(arrays(out), z, seeds, strict=True):
        wanted = base + 0.5 * normal(seed, step, base.size).reshape(shape)
        assert faults(found, wanted, tolerance(1)) == []


def test_frequencies_in_float64_keep_their_digits():
    base = torch.full((1, 8), 256.0 / 3, dtype=torch.float64, device=DEVICE)
    out = torch.empty_like(base)
    kernel.perturb(base, out, 0.0, words64(1), words64(0))
    assert torch.equal(base, out)


@pytest.mark.parametrize(
    "wrong",
    [scaled, one_value_off, lambda values: np.roll(values, 1), lambda values: values[::-1]],
    ids=["scaled", "one value off", "one value late", "backwards"],
)
def test_wrong_noise_fails_the_judgement(wrong):
    found = noise([WRONG.seed], WRONG.step, WRONG.count)[0]
    wanted = normal(WRONG.seed, WRONG.step, WRONG.count)
    assert noise_faults(found, wanted) == []
    assert noise_faults(wrong(found), wanted) != []


def test_the_noise_of_another_seed_or_step_fails_the_judgement():
    wanted = normal(WRONG.seed, WRONG.step, WRONG.count)
    for seed, step in ((WRONG.seed + 2**32, WRONG.step), (WRONG.seed, WRONG.step + 2**32)):
        assert noise_faults(noise([seed], step, WRONG.count)[0], wanted) != []
