"""2x2 averages and maxima of a full-size layer, and their gradients."""

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

SHAPE = (256, 256, 128)
KINDS = ("averages", "maxima")


def arrays() -> tuple[Arrays, np.ndarray]:
    draws = np.random.default_rng(0)
    small = (SHAPE[0] // 2, SHAPE[1] // 2, SHAPE[2])
    return {"x": draws.standard_normal(SHAPE, np.float32)}, draws.standard_normal(small, np.float32)


def in_torch(kind: str, dtype) -> TorchContestant:
    from dipedge.kernels.pool.reference import avg, largest

    return TorchContestant(avg if kind == "averages" else largest, *arrays(), "y", dtype)


@cache
def wanted(kind: str) -> Arrays | None:
    return None if torch is None else computed(in_torch(kind, torch.float64))


@both_ways
@in_fp32
@pytest.mark.parametrize("kind", KINDS)
def test_time_of_the_pool(benchmark, kind, engine, direction):
    given, dy = arrays()
    if engine[0] == "torch":
        contestant = in_torch(kind, torch.float32)
    else:
        contestant = native("pool", {**given, "dy": dy}, {"maximum": kind == "maxima"})
    race(benchmark, contestant, direction, rounds=5 if engine[0] == "torch" else 10)
    off = error(computed(contestant), wanted(kind), ("y",) if direction == "forward" else ("dx",))
    # Maxima are sought again on the way back, which reads x.
    values = given["x"].size * (2 if direction == "backward" and kind == "maxima" else 1) + dy.size
    work = Work(given["x"].size, 4 * values, SHAPE[0] * SHAPE[1])
    record(benchmark, f"pool, {kind}, 256x256x128", direction, engine, work, off)
