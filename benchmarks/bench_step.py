"""Whole steps: forward, backward, update and averaging of the two default nets.

Beside the published code's step (torch) stand the strongest one PyTorch gives without kernels of one's own
(torch compiled: bfloat16 autocast, channels-last, torch.compile), the native engine kept to AVX2, and the
step that sees a quarter of the pixels, which quality "fast" makes. The error is that of one evaluation's
output at 128 x 128, in the row's precision, against float64, for the other rows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks import limits
from benchmarks.contest import FP32, Work, no_bf16, no_torch, record, torch
from benchmarks.step_work import flops
from dipedge import _native
from dipedge.engines import get_engine
from dipedge.engines.base import Program, Settings
from dipedge.optimisers import Muon
from dipedge.priors import dip, pip
from dipedge.tasks import Denoise

PRIORS = {"pip": pip(), "dip": dip()}
ROWS = (("pip", 256), ("pip", 512), ("dip", 256))
CHECKED = 128


def begun(engine: str, precision: str, prior: str, side: int) -> Program:
    settings = Settings(precision=precision, threads=limits.THREADS)
    shape, task = (side, side, 3), Denoise()
    if engine == "torch compiled":
        from benchmarks.compiled_torch import CompiledProgram

        program = CompiledProgram(PRIORS[prior], shape, replace(settings, precision="fp32"))
    elif engine == "native sampled":
        sampled = replace(settings, subsample=True, optimiser=Muon())
        program = get_engine("native").compile(PRIORS[prior], task, shape, sampled)
    else:
        program = get_engine(engine.split()[0]).compile(PRIORS[prior], task, shape, settings)
    program.set_target(np.random.default_rng(0).random(shape, np.float32))
    return program


CONTESTANTS = (
    *FP32,
    pytest.param(("torch compiled", "bf16"), id="torch-compiled-bf16", marks=no_torch),
    pytest.param(("native avx2", "fp32"), id="native-avx2-fp32"),
    pytest.param(("native", "bf16"), id="native-bf16", marks=no_bf16),
    pytest.param(("native sampled", "bf16"), id="native-sampled-bf16", marks=no_bf16),
)
CYCLE = 4  # steps of a sampled fit, of which one computes the whole output


@cache
def output(engine: str, precision: str, prior: str) -> np.ndarray:
    program = begun(engine, precision, prior, CHECKED)
    found = program.evaluate().output
    program.close()
    return found


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch.compile warns of itself
@pytest.mark.parametrize("engine", CONTESTANTS)
@pytest.mark.parametrize(("prior", "side"), ROWS)
def test_time_of_a_step(benchmark, prior, side, engine, monkeypatch):
    if engine[0] == "native sampled" and prior == "dip":
        pytest.skip("3x3 layers need every pixel")
    if engine[0] == "native avx2":
        if "avx2" not in _native.runnable_isas().split():
            pytest.skip("this processor has no AVX2")
        monkeypatch.setenv("DIPEDGE_ISA", "avx2")
    program = begun(*engine, prior, side)
    # The published net takes seconds a step in PyTorch, and its first step allocates.
    rounds = 5 if engine[0] != "torch" else (1 if side > 256 else 2)
    steps = CYCLE if engine[0] == "native sampled" else 1
    benchmark.pedantic(program.step, args=(steps,), rounds=rounds, warmup_rounds=1)
    program.close()
    off = None
    if torch is not None and engine[0] in ("torch", "native"):
        wanted = output("torch", "fp64", prior)
        off = float(np.linalg.norm(output(*engine, prior) - wanted) / np.linalg.norm(wanted))
    done = 0 if engine[0] == "native sampled" else flops(PRIORS[prior], side)
    record(benchmark, f"{prior}, {side}x{side}", "step", engine, Work(done, 0, side * side), off, steps)
