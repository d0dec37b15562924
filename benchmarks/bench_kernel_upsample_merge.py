"""Upsample, concatenate, normalise: the outermost level of a 256x256 picture, and a deep one.

Natively the result is never stored; here it is, so that both rows end with the same array.
"""

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
    draw_layer,
    error,
    in_both,
    native,
    race,
    record,
    torch,
)
from dipedge.kernels.upsample_merge import Case

CASES = {
    "4 + 128, 256x256, bilinear": Case(4, 128, 256, 256),
    "4 + 128, 256x256, nearest": Case(4, 128, 256, 256, mode="nearest"),
    "4 + 128, 16x16, bilinear": Case(4, 128, 16, 16),
}


def arrays(case: Case) -> tuple[Arrays, np.ndarray]:
    draws = np.random.default_rng(0)
    sizes = {
        "deep": (case.height // 2, case.width // 2, case.deep),
        "skip": (case.height, case.width, case.skip),
    }
    made: Arrays = {}
    for name, size in sizes.items():
        made[name] = draw_layer(draws, *size)
        made[f"{name}_gamma"] = draws.uniform(0.5, 1.5, size[2]).astype(np.float32)
        made[f"{name}_beta"] = draws.standard_normal(size[2], np.float32)
    channels = case.skip + case.deep
    made["gamma"] = draws.uniform(0.5, 1.5, channels).astype(np.float32)
    made["beta"] = draws.standard_normal(channels, np.float32)
    return made, draws.standard_normal((case.height, case.width, channels), np.float32)


def in_torch(name: str, dtype) -> TorchContestant:
    from dipedge.kernels.conv_norm_act.reference import norm_act
    from dipedge.kernels.upsample_merge.reference import upsample_merge

    case = CASES[name]

    def compute(deep, deep_gamma, deep_beta, skip, skip_gamma, skip_beta, gamma, beta):
        deep = norm_act(deep, deep_gamma, deep_beta, 1e-5, 0.2)
        skip = norm_act(skip, skip_gamma, skip_beta, 1e-5, 0.2)
        return upsample_merge(skip, deep, gamma, beta, size=(case.height, case.width), mode=case.mode)

    return TorchContestant(compute, *arrays(case), "y", dtype)


@cache
def wanted(name: str) -> Arrays | None:
    return None if torch is None else computed(in_torch(name, torch.float64))


def work(case: Case, direction: str, precision: str) -> Work:
    """12 flops a value (interpolation, two norms); what is read and written once."""
    pixels, width = case.height * case.width, 2 if precision == "bf16" else 4
    large, small = (case.skip + case.deep) * pixels, case.deep * pixels // 4 + case.skip * pixels
    passes = 1 if direction == "forward" else 2
    return Work(12 * passes * large, width * (large + passes * small), pixels)


@both_ways
@in_both
@pytest.mark.parametrize("name", CASES)
def test_time_of_the_merge(benchmark, name, engine, direction):
    case = CASES[name]
    if engine[0] == "torch":
        contestant = in_torch(name, torch.float32)
    else:
        given, dy = arrays(case)
        options = {"height": case.height, "width": case.width, "mode": case.mode}
        contestant = native("upsample_merge", {**given, "dy": dy}, options, engine[1])
    race(benchmark, contestant, direction, rounds=3 if engine[0] == "torch" else 10)
    off = error(computed(contestant), wanted(name), ("y",) if direction == "forward" else ("ddeep", "dskip"))
    record(benchmark, f"upsample_merge, {name}", direction, engine, work(case, direction, engine[1]), off)
