"""Normalise, activate, convolve: the shapes that make up most of a step, and one of each border.

Backward gives the gradients by weights and by the normalised input; the norm's own affine map belongs to
the layer before, which applies it while reading.
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
from dipedge.kernels.conv_norm_act import Case

CASES = {
    "1x1 128 to 128, 65536 pixels": Case(128, 128, 256, 256, kernel=1),
    "1x1 128 to 128, stride 2": Case(128, 128, 256, 256, kernel=1, stride=2),
    "3x3 128 to 128, 128x128": Case(128, 128, 128, 128),
    "3x3 128 to 128, stride 2": Case(128, 128, 128, 128, stride=2),
    "1x1 128 to 4, a skip": Case(128, 4, 256, 256, kernel=1),
    "3x3 128 to 128, 8x8": Case(128, 128, 8, 8),
}


def arrays(case: Case) -> tuple[Arrays, np.ndarray]:
    draws = np.random.default_rng(0)
    made = {
        "x": draw_layer(draws, case.height, case.width, case.into),
        "weight": draws.standard_normal((case.out, case.into, case.kernel, case.kernel), np.float32) / 16,
        "x_gamma": draws.uniform(0.5, 1.5, case.into).astype(np.float32),
        "x_beta": draws.standard_normal(case.into, np.float32),
    }
    out = (-(-case.height // case.stride), -(-case.width // case.stride), case.out)
    return made, draws.standard_normal(out, np.float32)


def in_torch(name: str, dtype) -> TorchContestant:
    from dipedge.kernels.conv_norm_act.reference import convolve, norm_act

    case = CASES[name]

    def compute(x, weight, x_gamma, x_beta):
        active = norm_act(x, x_gamma, x_beta, 1e-5, 0.2)
        return convolve(active, weight, None, case.stride, case.padding)

    return TorchContestant(compute, *arrays(case), "y", dtype)


@cache
def wanted(name: str) -> Arrays | None:
    return None if torch is None else computed(in_torch(name, torch.float64))


def work(case: Case, direction: str, precision: str) -> Work:
    pixels = -(-case.height // case.stride) * -(-case.width // case.stride)
    flops = 2 * case.kernel**2 * case.into * case.out * pixels
    cells = case.into * case.height * case.width, case.out * pixels
    width = 2 if precision == "bf16" else 4
    if direction == "forward":
        return Work(flops, width * sum(cells), pixels)
    return Work(2 * flops, width * (2 * cells[0] + cells[1]), pixels)


@both_ways
@in_both
@pytest.mark.parametrize("name", CASES)
def test_time_of_the_convolution(benchmark, name, engine, direction):
    case = CASES[name]
    if engine[0] == "torch":
        contestant = in_torch(name, torch.float32)
    else:
        given, dy = arrays(case)
        ones = {"gamma": np.ones(case.out, np.float32), "beta": np.zeros(case.out, np.float32)}
        options = {"stride": case.stride, "padding": case.padding}
        contestant = native("conv_norm_act", {**given, **ones, "dy": dy}, options, engine[1])
    race(benchmark, contestant, direction, rounds=3 if engine[0] == "torch" else 10)
    names = ("y",) if direction == "forward" else ("dx", "dweight")
    off = error(computed(contestant), wanted(name), names)
    record(benchmark, f"conv_norm_act, {name}", direction, engine, work(case, direction, engine[1]), off)
