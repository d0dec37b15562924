"""Whole steps: forward, backward, Adam and averaging of the two default nets.

The error is that of one evaluation's output at 128 x 128, in the row's precision, against float64.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks import limits
from benchmarks.contest import Work, in_both, record, torch
from dipedge.engines import get_engine
from dipedge.engines.base import Program, Settings
from dipedge.priors import Prior, dip, pip
from dipedge.tasks import Denoise

PRIORS = {"pip": pip(), "dip": dip()}
ROWS = (("pip", 256), ("pip", 512), ("dip", 256))
CHECKED = 128


def begun(engine: str, precision: str, prior: str, side: int) -> Program:
    settings = Settings(precision=precision, threads=limits.THREADS)
    program = get_engine(engine).compile(PRIORS[prior], Denoise(), (side, side, 3), settings)
    program.set_target(np.random.default_rng(0).random((side, side, 3), np.float32))
    return program


def flops(prior: Prior, side: int) -> float:
    """Of all convolutions, forward and both gradients; everything else is passes over memory."""
    total, into, pixels = 0.0, prior.encoding.channels, side * side
    for index, level in enumerate(prior.network.levels):
        deeper = prior.network.levels[index + 1].up if index + 1 < len(prior.network.levels) else level.down
        lower = pixels // 4
        total += pixels * into * level.skip * level.kernel_skip**2
        total += lower * (into + level.down) * level.down * level.kernel_down**2
        total += pixels * (level.skip + deeper) * level.up * level.kernel_up**2
        total += pixels * level.up**2 * prior.network.need1x1_up
        into, pixels = level.down, lower
    return 3 * 2 * (total + side * side * prior.network.levels[0].up * 3)


@cache
def output(engine: str, precision: str, prior: str) -> np.ndarray:
    program = begun(engine, precision, prior, CHECKED)
    found = program.evaluate().output
    program.close()
    return found


@in_both
@pytest.mark.parametrize(("prior", "side"), ROWS)
def test_time_of_a_step(benchmark, prior, side, engine):
    program = begun(*engine, prior, side)
    # The published net takes seconds a step in PyTorch, and its first step allocates.
    rounds = 5 if engine[0] == "native" else (1 if side > 256 else 2)
    benchmark.pedantic(program.step, rounds=rounds, warmup_rounds=1)
    program.close()
    off = None
    if torch is not None:
        wanted = output("torch", "fp64", prior)
        off = float(np.linalg.norm(output(*engine, prior) - wanted) / np.linalg.norm(wanted))
    work = Work(flops(PRIORS[prior], side), 0, side * side)
    record(benchmark, f"{prior}, {side}x{side}", "step", engine, work, off)
