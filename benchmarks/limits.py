"""What this machine can do at most: the yardstick beside every time.

Measured in the same run as the times, with as many threads: a shared or throttled processor then lowers
both, and the share says how much of what was there a kernel has used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest

_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge.engines import get_engine  # noqa: E402
from dipedge.engines.native_processor import available_threads  # noqa: E402

THREADS = min(2, available_threads())
SECONDS_BETWEEN = 10.0  # measurements of one limit: a disturbed one is put right by a later one


def isa() -> str:
    """The best instruction set, which the native rows use."""
    return _native.runnable_isas().split()[-1]


def multiplies_bf16() -> bool:
    """Whether there are rows in bfloat16."""
    return _native.multiplies_bf16(isa())


def cpu() -> str:
    """The processor's name."""
    return get_engine("native").device()["device"]


_reached: dict[str, tuple[float, float]] = {}  # what was measured: when, and the best so far


def _best(name: str, measure: Callable[[], float]) -> float:
    """The best of several measurements over the run; each takes a quarter of a second."""
    when, value = _reached.get(name, (-math.inf, 0.0))
    now = time.monotonic()
    if now - when > SECONDS_BETWEEN:
        value = max(value, measure())
        _reached[name] = (now, value)
    return value


def gflops(precision: str = "fp32") -> float:
    """10^9 flops per second of multiply-adds that never leave the registers; "fp32" or "bf16"."""
    measure = _native.bf16_gflops if precision == "bf16" else _native.fma_gflops
    return _best(precision, lambda: measure(isa(), THREADS))


def gbytes() -> float:
    """10^9 bytes per second, read and written together, when 256 MB are copied."""
    return _best("copy", lambda: _native.copy_gbytes(THREADS))
