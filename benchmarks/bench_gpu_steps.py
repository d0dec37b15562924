"""Whole steps on a GPU: the published code, the best that PyTorch gives, and ours; how good their fits are.

    pytest benchmarks/bench_gpu_steps.py -m gpu --benchmark-only

``benchmarks/device.sh`` runs this and collects the table. Rows are skipped, and the table says why, once
DIPEDGE_BENCH_SECONDS are used up.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from benchmarks import gpu_device as gpu  # noqa: E402
from benchmarks import gpu_fits  # noqa: E402
from benchmarks.gpu_fits import (  # noqa: E402
    COMPILED,
    EAGER,
    GRAPH,
    LIBRARY,
    OURS,
    OURS32,
    PUBLISHED,
    SAMPLED,
    Fit,
)  # fmt: skip
from benchmarks.step_work import flops, least_bytes  # noqa: E402
from dipedge.metrics import psnr  # noqa: E402

pytestmark = gpu.on_gpu
COMPILING = 150.0  # seconds that one torch.compile may take
FIT_SECONDS = 20.0  # a fit that takes longer is not made only for its PSNR
_compiled: dict[Fit, Any] = {}  # the compiled row's program, which the graph row goes on with


def _expected(fit: Fit, engine: str) -> float:
    """Seconds that a row takes, roughly; Triton compiles its kernels the first time."""
    if engine in (COMPILED, GRAPH):
        return 40 if engine == COMPILED else 10
    large = (fit.side / 512) ** 2
    return 3 + 6 * large if engine in (PUBLISHED, EAGER) else 12 + 3 * large


def _program(fit: Fit, engine: str) -> Any:
    if engine == COMPILED:
        _compiled.clear()
        program = gpu_fits.begun(fit, COMPILED)
        allowed = max(1.0, min(COMPILING, gpu.budget.left() - 10))
        begin = time.perf_counter()
        try:
            with gpu.ending_after(allowed):
                program.step(2)
        except Exception:  # whatever torch.compile makes of the interruption
            if time.perf_counter() - begin < allowed:
                raise
            reason = f"skipped: torch.compile takes more than {allowed:.0f} s"
            gpu.report.row(fit.what, engine, remark=reason)
            pytest.skip(reason)
        _compiled[fit] = program
    elif engine == GRAPH:
        if fit not in _compiled:
            gpu.report.row(fit.what, engine, remark="skipped: nothing was compiled")
            pytest.skip("nothing was compiled")
        program = _compiled[fit]
        program.capture()
    else:
        program = gpu_fits.begun(fit, engine)
    return program


def _fitted(fit: Fit, program: Any, engine: str, ms: float) -> float | None:
    """PSNR of the average after the preset's steps, counted from the first, where that takes little time."""
    clean = gpu_fits.pictures(fit)[1]
    steps = fit.preset().steps
    seconds = ms * steps / 1000
    if clean is None or engine not in (GRAPH, OURS, OURS32) or seconds > min(FIT_SECONDS, gpu.budget.left()):
        return None
    if engine == GRAPH:
        program.reset()
        program.step(steps)
        return psnr(program.estimate(), clean)
    program.close()
    fresh = gpu_fits.begun(fit, engine)
    fresh.step(steps)
    found = psnr(fresh.estimate(), clean)
    fresh.close()
    return found


@pytest.mark.filterwarnings("ignore")  # torch.compile warns of itself
@pytest.mark.parametrize(
    ("fit", "engine"), list(gpu_fits.rows()), ids=lambda value: getattr(value, "what", value)
)
def test_time_of_a_step(benchmark, fit, engine):
    gpu.need(fit.what, engine, _expected(fit, engine))
    limits = gpu.measured_limits()
    assert limits["bytes"] > 0 and limits["flops"] > 0
    torch.backends.cudnn.benchmark = True  # as published
    torch.backends.cudnn.allow_tf32 = True  # PyTorch's own default
    with gpu.row(fit.what, engine):
        torch.cuda.reset_peak_memory_stats()
        program = _program(fit, engine)
        ms, rounds = gpu.timed_steps(
            benchmark, program.step, 16 if engine in (OURS, OURS32, SAMPLED, LIBRARY) else 1
        )
        values = {"ms": ms, "rounds": rounds, "is_step": True, "memory": torch.cuda.max_memory_allocated()}
        values |= {"role": gpu_fits.ROLES.get(engine)}
        if engine != SAMPLED:  # which does other work
            prior = fit.preset().prior
            wide = 4 if engine in (PUBLISHED, EAGER, OURS32) else 2
            values |= {"flops": flops(prior, fit.side), "bytes": least_bytes(prior, fit.side, wide)}
        gpu.report.row(fit.what, engine, **values)
        gpu.report.row(fit.what, engine, psnr=_fitted(fit, program, engine, ms))
        if fit.side <= 512 and engine != SAMPLED:  # float64 at 1024 takes 100 GB
            compiled = program if engine in (COMPILED, GRAPH) else None
            gpu.report.row(fit.what, engine, **gpu_fits.errors(fit, engine, compiled))
        if engine != COMPILED:
            program.close()
            _compiled.clear()


@pytest.mark.parametrize(
    "fit",
    [gpu_fits.fits(512)[0], *gpu_fits.fits(256)[:2]],
    ids=lambda fit: fit.what,
)
def test_psnr_of_the_float32_fit(benchmark, fit):
    """Goes into the eager row: the published settings to their last step."""
    gpu.need(fit.what, "eager fp32, whole fit", 30 * (fit.side / 512) ** 2 + 12)
    with gpu.row(fit.what, EAGER):
        program = gpu_fits.reference(fit)
        program.capture()
        steps = fit.preset().steps
        begin = time.perf_counter()
        benchmark.pedantic(lambda: (program.step(steps), torch.cuda.synchronize()), rounds=1)
        seconds = time.perf_counter() - begin
        found = psnr(program.estimate(), gpu_fits.pictures(fit)[1])
        remark = f"PSNR without tf32, from a graph: {seconds:.1f} s for {steps} steps"
        gpu.report.row(fit.what, EAGER, psnr=found, remark=remark)
        program.close()
        assert found > 20  # a fit that went anywhere
