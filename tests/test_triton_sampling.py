"""The positions that the GPU draws for a sampled step are those that every other engine draws."""

from __future__ import annotations

import numpy as np
import pytest

from tests.triton_kernels import DEVICE, torch

# isort: split
from dipedge.engines.sampling import CYCLE, seen
from dipedge.kernels.gpu import launch, sampling

pytestmark = pytest.mark.triton_interpret
SEEDS = [0, 1, 2**31, 2**32 - 1, 2**40 + 7, 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 1]
STEPS = [0, 1, 2, 3, 4, 5, 7, 1799, 2**32, 2**40 + 2]


def drawn(seeds: list[int], step: int, other: int, height: int, width: int) -> list[tuple]:
    """Rows and columns of every fit."""
    bits = torch.tensor(np.array(seeds, np.uint64).view(np.int64), device=DEVICE)
    now = torch.tensor([step], dtype=torch.int64, device=DEVICE)
    rows, columns = (
        torch.full((len(seeds), (count + 1) // 2), -1, dtype=torch.int32, device=DEVICE)
        for count in (height, width)
    )
    sampling.draw_positions(bits, now, other, rows, columns, height, width)
    return list(zip(rows.cpu().numpy(), columns.cpu().numpy(), strict=True))


def same(found: tuple, height: int, width: int, seed: int, step: int, other: int) -> bool:
    wanted = seen(height, width, seed, step, other)
    return np.array_equal(found[0], wanted.rows) and np.array_equal(found[1], wanted.columns)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("other", range(CYCLE))
def test_positions_are_those_of_the_other_engines(step, other):
    height, width = 37, 50
    for seed, found in zip(SEEDS, drawn(SEEDS, step, other, height, width), strict=True):
        assert same(found, height, width, seed, step, other), seed


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (16, 17), (3, 200)])
def test_positions_are_right_on_any_side_and_in_any_number_of_programs(shape, monkeypatch):
    monkeypatch.setattr(sampling, "BLOCK", 16)
    for most in (1, 3):
        monkeypatch.setattr(launch, "MAX_PROGRAMS", most)
        for step in range(4):
            for seed, found in zip(SEEDS[:2], drawn(SEEDS[:2], step, 0, *shape), strict=True):
                assert same(found, *shape, seed, step, 0)


def test_positions_of_another_seed_step_or_turn_are_not_the_same():
    (found,) = drawn([5], 2, 1, 64, 64)
    assert same(found, 64, 64, 5, 2, 1)
    for seed, step, other in ((5 + 2**63, 2, 1), (5, 6, 1), (5, 3, 1), (5, 2, 2)):
        assert not same(found, 64, 64, seed, step, other)
