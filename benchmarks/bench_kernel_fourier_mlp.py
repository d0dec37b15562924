"""The first layers of PIP at 512x512: the wide one with stride 2 and the skip.

The torch engine makes the features once and convolves them; natively they are two tables and an add.
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
    error,
    in_both,
    native,
    race,
    record,
    torch,
)
from dipedge.kernels.fourier_mlp import Case

CASES = {
    "32 features to 128, 512x512, stride 2": Case(8, 512, 512, 128, stride=2),
    "32 features to 4, 512x512": Case(8, 512, 512, 4),
}
FREQUENCIES = (256.0 ** (np.arange(8) / 7)).astype(np.float32)


def arrays(case: Case) -> tuple[Arrays, np.ndarray]:
    draws = np.random.default_rng(0)
    weight = draws.standard_normal((case.out, 4 * case.count, 1, 1), np.float32) / 6
    size = (-(-case.height // case.stride), -(-case.width // case.stride), case.out)
    return {"weight": weight}, draws.standard_normal(size, np.float32)


def in_torch(name: str, dtype) -> TorchContestant:
    from dipedge.kernels.conv_norm_act.reference import convolve
    from dipedge.kernels.fourier_mlp.reference import features

    case = CASES[name]
    exact = torch.tensor(FREQUENCIES, dtype=torch.float64)
    z = features(exact, case.height, case.width).to(dtype)
    return TorchContestant(
        lambda weight: convolve(z, weight, None, case.stride, "reflection"), *arrays(case), "y", dtype
    )


@cache
def wanted(name: str) -> Arrays | None:
    return None if torch is None else computed(in_torch(name, torch.float64))


@both_ways
@in_both
@pytest.mark.parametrize("name", CASES)
def test_time_of_the_first_layer(benchmark, name, engine, direction):
    case = CASES[name]
    given, dy = arrays(case)
    if engine[0] == "torch":
        contestant = in_torch(name, torch.float32)
    else:
        options = {"height": case.height, "width": case.width, "stride": case.stride, "learned": False}
        contestant = native(
            "fourier_mlp", {**given, "frequencies": FREQUENCIES, "dy": dy}, options, engine[1]
        )
    race(benchmark, contestant, direction, rounds=3 if engine[0] == "torch" else 10)
    off = error(computed(contestant), wanted(name), ("y",) if direction == "forward" else ("dweight",))
    # The least there is to do: one addition a value, and writing it once (backward: reading it).
    work = Work(dy.size, dy.size * (2 if engine[1] == "bf16" else 4), dy[..., 0].size)
    record(benchmark, f"fourier_mlp, {name}", direction, engine, work, off)
