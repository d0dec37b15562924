"""2x2 maxima of a full-size layer, and their gradient; averages: bench_kernel_lanczos_conv."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.contest import (
    Arrays,
    TorchContestant,
    Work,
    both_ways,
    computed,
    draw_layer,
    error,
    in_both,
    native,
    race,
    record,
    torch,
)

SHAPE = (256, 256, 128)


def arrays() -> tuple[Arrays, np.ndarray]:
    draws = np.random.default_rng(0)
    small = (SHAPE[0] // 2, SHAPE[1] // 2, SHAPE[2])
    return {"x": draw_layer(draws, *SHAPE)}, draw_layer(draws, *small)


def in_torch(dtype) -> TorchContestant:
    from dipedge.kernels.pool.reference import largest

    return TorchContestant(largest, *arrays(), "y", dtype)


@cache
def wanted() -> Arrays | None:
    return None if torch is None else computed(in_torch(torch.float64))


@both_ways
@in_both
def test_time_of_the_pool(benchmark, engine, direction):
    given, dy = arrays()
    if engine[0] == "torch":
        contestant = in_torch(torch.float32)
    else:
        contestant = native("pool", {**given, "dy": dy}, {}, engine[1])
    race(benchmark, contestant, direction, rounds=5 if engine[0] == "torch" else 10)
    off = error(computed(contestant), wanted(), ("y",) if direction == "forward" else ("dx",))
    # Maxima are sought again on the way back, which reads x.
    values = given["x"].size * (2 if direction == "backward" else 1) + dy.size
    width = 2 if engine[1] == "bf16" else 4
    work = Work(given["x"].size, width * values, SHAPE[0] * SHAPE[1])
    record(benchmark, "pool, maxima, 256x256x128", direction, engine, work, off)
