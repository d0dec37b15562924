"""Lanczos decimation of an estimate, as the data term of super-resolution, and its adjoint."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.contest import (
    Arrays,
    TorchContestant,
    Work,
    both_ways,
    computed,
    error,
    in_fp32,
    native,
    race,
    record,
    torch,
)
from dipedge.kernels.lanczos_conv import Case

CASES = {
    "512x512x3 by 4": Case(4, 2, 3, 512, 512),
    "512x512x3 by 8": Case(8, 2, 3, 512, 512),
    "256x256x16 by 2": Case(2, 2, 16, 256, 256),
}


def arrays(case: Case) -> tuple[Arrays, np.ndarray]:
    draws = np.random.default_rng(0)
    x = draws.standard_normal((case.height, case.width, case.channels), np.float32)
    small = (case.height // case.factor, case.width // case.factor, case.channels)
    return {"x": x}, draws.standard_normal(small, np.float32)


def in_torch(name: str, dtype) -> TorchContestant:
    from dipedge.kernels.lanczos_conv.reference import decimate

    case = CASES[name]
    return TorchContestant(lambda x: decimate(x, case.factor, case.lobes), *arrays(case), "y", dtype)


@cache
def wanted(name: str) -> Arrays | None:
    return None if torch is None else computed(in_torch(name, torch.float64))


@both_ways
@in_fp32
@pytest.mark.parametrize("name", CASES)
def test_time_of_the_decimation(benchmark, name, engine, direction):
    case = CASES[name]
    given, dy = arrays(case)
    if engine[0] == "torch":
        contestant = in_torch(name, torch.float32)
    else:
        options = {"scale": case.factor, "lobes": case.lobes}
        contestant = native("lanczos_conv", {**given, "dy": dy}, options)
    race(benchmark, contestant, direction, rounds=5 if engine[0] == "torch" else 20)
    off = error(computed(contestant), wanted(name), ("y",) if direction == "forward" else ("dx",))
    taps = 2 * case.lobes * case.factor
    # Rows first: each of 1/t of the rows is a sum over the taps, then the same within a row.
    flops = 2 * taps * (given["x"].size / case.factor + dy.size)
    work = Work(flops, 4 * (given["x"].size + dy.size), case.height * case.width)
    record(benchmark, f"lanczos_conv, {name}", direction, engine, work, off)
