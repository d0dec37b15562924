"""Every kernel of a step compiles for GPUs that are not here, uses their tensor cores and does not spill.

In processes of their own: this one may have the interpreter switched on. Both architectures side by side,
because compiling is most of the time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

ROOT = Path(__file__).resolve().parent.parent
SPILLED = 64  # bytes of stack a thread, at the most
FITS = ("PIP sampled, Muon", "DIP x4")


def started(capability: int, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks.compiled_kernels", "--capability", str(capability), *options]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "0", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def rows(report: str) -> list[list[str]]:
    """Name, grid, warps, registers, stack, shared, products of each kernel."""
    return [line.strip("| ").split(" | ") for line in report.splitlines() if line.startswith("| `")]


def assert_compiled(fits: tuple[str, ...], *options: str) -> None:
    chosen = [word for name in fits for word in ("--fit", name)]
    running = {c: started(c, *chosen, "--stack", str(SPILLED), *options) for c in (80, 90)}
    for capability, process in running.items():
        report, said = process.communicate()
        found = rows(report)
        assert process.returncode == 0, said or [row for row in found if int(row[4]) > SPILLED]
        names = {row[0].strip("`") for row in found}
        assert {"pointwise_kernel", "pointwise_backward_kernel", "adam_kernel", "collect_kernel"} <= names
        assert all(0 < int(row[3]) <= 255 for row in found)
        wanted = "wgmma" if capability == 90 else "mma"
        large = [row for row in found if row[0] == "`pointwise_backward_kernel`" and row[1].startswith("132")]
        assert large and {row[6].strip(" |") for row in large} <= {wanted, "mma"}
        assert any(wanted in row[6] for row in large)


@pytest.mark.timeout(600)
def test_the_largest_level_compiles_for_both_architectures_without_spilling():
    assert_compiled(FITS, "--levels", "1")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_whole_steps_compile_for_both_architectures_without_spilling():
    assert_compiled(("PIP", *FITS, "DIP"))
