"""What the native engine runs on: the processor, its instruction sets and threads; and the module itself."""

from __future__ import annotations

import os
import platform

from dipedge.errors import EngineError

try:
    from dipedge import _native
except ImportError as error:
    raise EngineError(
        f"engine 'native' is not built: {error}; reinstall dipedge with a C++ compiler"
    ) from error


def available_threads() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def chosen_isa() -> str:
    """The instruction set in use: DIPEDGE_ISA, or the best this processor has.

    Raises:
        EngineError: DIPEDGE_ISA names a set that is unknown or cannot run here.
    """
    runnable = _native.runnable_isas().split()
    wanted = os.environ.get("DIPEDGE_ISA", "").strip()
    if wanted and wanted not in runnable:
        raise EngineError(f"DIPEDGE_ISA is {wanted!r}; this processor runs {', '.join(runnable)}")
    return wanted or runnable[-1]


def uses_bf16(precision: str) -> bool:
    """Whether activations are kept and multiplied in bfloat16.

    "auto" takes it where the processor multiplies it in tiles (AMX), four times as fast as float32. The
    vector instructions alone (avx512bf16) are slower than float32 on some processors that have them, so
    they are used only when asked for.

    Raises:
        EngineError: "bf16" was asked for and cannot be had.
    """
    isa = chosen_isa()
    if precision == "bf16" and not _native.multiplies_bf16(isa):
        raise EngineError(
            f"precision 'bf16' needs a processor that multiplies bf16; instruction set {isa!r} does not"
        )
    return precision == "bf16" or (precision == "auto" and isa == "amx")


def processor_name() -> str:
    """As the operating system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
            for line in info:
                if line.lower().startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
