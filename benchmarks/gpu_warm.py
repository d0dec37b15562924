"""Compiles the Triton kernels of all our rows at once: ``python -m benchmarks.gpu_warm``.

One after the other, in the process that measures them, they would take minutes of one processor. Here every
row gets a process that makes its first steps; Triton keeps what was compiled on disk, where the rows find it.
Nothing is measured, so they may disturb each other. PyTorch's compiled rows are left out: their compiler
measures as it goes.

    python -m benchmarks.gpu_warm "PIP 512x512" "ours bf16"      one of them
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

STEPS = 18  # a single one, some in a graph, and of a sampled fit whole cycles


def warm(what: str, engine: str) -> None:
    """Makes the first steps of one row."""
    from benchmarks import gpu_fits

    fit = next(fit for fit, name in gpu_fits.rows() if (fit.what, name) == (what, engine))
    program = gpu_fits.begun(fit, engine)
    program.step(STEPS)
    program.estimate()
    program.close()


def warmed(row: tuple[str, str]) -> str | None:
    """What went wrong in the process of this row, in one line; None if nothing."""
    ran = subprocess.run([sys.executable, "-m", "benchmarks.gpu_warm", *row], capture_output=True, text=True)
    if ran.returncode == 0:
        return None
    said = ran.stderr.strip().splitlines() or [f"ended with {ran.returncode}"]
    return f"error: {row[0]}, {row[1]}: {said[-1]}"


def main(arguments: list[str]) -> int:
    """1 if a process failed."""
    if len(arguments) == 2:
        warm(*arguments)
        return 0
    from benchmarks import gpu_fits

    ours = (gpu_fits.OURS, gpu_fits.OURS32, gpu_fits.SAMPLED, gpu_fits.LIBRARY)
    rows = [(fit.what, engine) for fit, engine in gpu_fits.rows() if engine in ours]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = [fault for fault in pool.map(warmed, rows) if fault]
    print(*faults, f"{len(rows) - len(faults)} of {len(rows)} rows are compiled", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
