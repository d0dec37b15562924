"""Lanczos decimation: of an estimate, as super-resolution's data term, and of a convolution's result."""

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
    in_fp32,
    native,
    race,
    record,
    torch,
)
from dipedge.kernels.lanczos_conv import Case, ConvCase

CASES = {
    "512x512x3 by 4": Case(4, 2, 3, 512, 512),
    "512x512x3 by 8": Case(8, 2, 3, 512, 512),
    "256x256x16 by 2": Case(2, 2, 16, 256, 256),
}
CONV_CASES = {
    "3x3 128 to 128, lanczos2": ConvCase(128, 128, 256, 256),
    "3x3 128 to 128, lanczos3": ConvCase(128, 128, 256, 256, lobes=3),
    "3x3 128 to 128, averages": ConvCase(128, 128, 256, 256, lobes=0),
    "1x1 128 to 128, lanczos2": ConvCase(128, 128, 256, 256, kernel=1),
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


def conv_arrays(case: ConvCase) -> tuple[Arrays, np.ndarray]:
    draws = np.random.default_rng(0)
    made = {
        "x": draw_layer(draws, case.height, case.width, case.into),
        "weight": draws.standard_normal((case.out, case.into, case.kernel, case.kernel), np.float32) / 16,
        "x_gamma": draws.uniform(0.5, 1.5, case.into).astype(np.float32),
        "x_beta": draws.standard_normal(case.into, np.float32),
    }
    small = (case.height // case.factor, case.width // case.factor, case.out)
    return made, draws.standard_normal(small, np.float32)


def conv_in_torch(name: str, dtype) -> TorchContestant:
    from dipedge.kernels.conv_norm_act.reference import norm_act
    from dipedge.kernels.lanczos_conv.reference import conv_decimate

    case = CONV_CASES[name]

    def compute(x, weight, x_gamma, x_beta):
        return conv_decimate(norm_act(x, x_gamma, x_beta, 1e-5, 0.2), weight, None, case.factor, case.lobes)

    return TorchContestant(compute, *conv_arrays(case), "y", dtype)


@cache
def conv_wanted(name: str) -> Arrays | None:
    return None if torch is None else computed(conv_in_torch(name, torch.float64))


def conv_work(case: ConvCase, direction: str, precision: str) -> Work:
    """Products at the small size, and the filter's taps over the source down and across."""
    inputs, pixels = case.height * case.width, case.height * case.width // case.factor**2
    taps = 2 * case.lobes * case.factor or 2
    products = 2 * case.kernel**2 * case.into * case.out * pixels
    filtering = 2 * 2 * taps * case.into * inputs * min(case.kernel, case.factor) / case.factor
    cells, width = (case.into * inputs, case.out * pixels), 2 if precision == "bf16" else 4
    if direction == "forward":
        return Work(products + filtering, width * sum(cells), inputs)
    return Work(2 * (products + filtering), width * (2 * cells[0] + cells[1]), inputs)


@both_ways
@in_both
@pytest.mark.parametrize("name", CONV_CASES)
def test_time_of_the_decimated_convolution(benchmark, name, engine, direction):
    case = CONV_CASES[name]
    if engine[0] == "torch":
        contestant = conv_in_torch(name, torch.float32)
    else:
        given, dy = conv_arrays(case)
        ones = {"gamma": np.ones(case.out, np.float32), "beta": np.zeros(case.out, np.float32)}
        options = {"scale": case.factor, "lobes": case.lobes}
        contestant = native("lanczos_conv", {**given, **ones, "dy": dy}, options, engine[1])
    race(benchmark, contestant, direction, rounds=3 if engine[0] == "torch" else 10)
    names = ("y",) if direction == "forward" else ("dx", "dweight")
    off = error(computed(contestant), conv_wanted(name), names)
    record(benchmark, f"lanczos_conv, {name}", direction, engine, conv_work(case, direction, engine[1]), off)
