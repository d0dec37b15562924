"""The GPU as benchmarks see it: whether it is there, what it can do at most, and how steps are timed."""

from __future__ import annotations

import gc
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_report import NO_DEVICE, Budget, Report, machine

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

THERE = torch.cuda.is_available()
on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not THERE, reason=NO_DEVICE)]
ROUND = 0.1  # seconds of a round: far above what a synchronisation costs
ROUNDS = 7
COPIED = 2**31  # bytes: far above any cache
PRODUCT = 8192  # rows and columns

_path = os.environ.get("DIPEDGE_BENCH_REPORT")
report = Report(Path(_path) if _path else None)
budget = Budget(float(os.environ.get("DIPEDGE_BENCH_SECONDS", "480")))


def need(what: str, engine: str, seconds: float) -> None:
    """Skips the row, in the table too, if less than ``seconds`` are left."""
    reason = budget.why_not(seconds)
    if reason is not None:
        report.row(what, engine, remark=reason)
        pytest.skip(reason)


@contextmanager
def row(what: str, engine: str) -> Iterator[None]:
    """A failure inside stands in the row before the test fails; all memory is given back afterwards."""
    try:
        yield
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        report.row(what, engine, remark=f"failed: {type(error).__name__}: {said[0][:120]}")
        raise
    finally:
        gc.collect()
        if THERE:
            torch.cuda.empty_cache()


@contextmanager
def ending_after(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside after ``seconds``: a compiler may take longer than all the rest together."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def event_ms(work: Callable[[], Any], rounds: int = 9) -> float:
    """Median milliseconds of ``work`` on the device, after three warm-ups."""
    for _ in range(3):
        work()
    found = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end))
    return statistics.median(found)


def _copy_ms() -> float:
    source = torch.randint(0, 256, (COPIED,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return event_ms(lambda: target.copy_(source))


@cache
def measured_limits() -> dict[str, float]:
    """Bytes a second of a large copy (read and written), flops a second of a large bf16 product.

    Of random numbers: a chip that switches fewer bits clocks higher.
    """
    known = report.run["limits"]
    if known:
        return known
    copied = 2 * COPIED / (_copy_ms() * 1e-3)
    a, b = (torch.randn(PRODUCT, PRODUCT, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    multiplied = 2 * PRODUCT**3 / (event_ms(lambda: a @ b) * 1e-3)
    report.run["limits"] = {"bytes": copied, "flops": multiplied}
    report.run["machine"] = report.run["machine"] or machine()
    report.write()
    return report.run["limits"]


def timed_steps(benchmark: Any, step: Callable[[int], None], multiple: int = 16) -> tuple[float, list[float]]:
    """Milliseconds of one step: the median over rounds of many steps with one synchronisation each.

    Args:
        benchmark: pytest-benchmark's fixture.
        step: makes so many steps; what compiles or captures has been done by the warm-up here.
        multiple: of steps, in a round: what a program replays at once.
    """

    def run(count: int) -> float:
        begin = time.perf_counter()
        step(count)
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    run(multiple)
    run(multiple)
    one = run(multiple) / multiple
    count = max(1, round(ROUND / one / multiple)) * multiple
    benchmark.pedantic(run, args=(count,), rounds=ROUNDS, warmup_rounds=1)
    rounds = [1e3 * seconds / count for seconds in benchmark.stats.stats.data]
    return statistics.median(rounds), rounds
