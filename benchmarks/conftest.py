"""Prints the table of all rows at the end of a run."""

from __future__ import annotations

import os
import sys

# OpenMP's threads spin while they wait for each other. On a machine that is busy with something else every
# parallel region of PyTorch then takes a time slice (10 ms for a convolution of 0.4); asleep they lose a few
# microseconds on an idle one. Set before PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from benchmarks.gpu_report import described as gpu_described
from benchmarks.report import described, table


def pytest_terminal_summary(terminalreporter, config):
    on_gpu = sys.modules.get("benchmarks.gpu_device")  # only where its files were collected
    if on_gpu is not None and on_gpu.report.run["rows"]:
        terminalreporter.section("on the GPU")
        for line in gpu_described(on_gpu.report.run):
            terminalreporter.write_line(line)
    session = getattr(config, "_benchmarksession", None)
    rows = [bench for bench in getattr(session, "benchmarks", []) if "what" in bench.extra_info]
    if not rows:
        return
    rows = [{"extra_info": bench.extra_info, "stats": {"min": bench.stats.min}} for bench in rows]
    terminalreporter.section("beside PyTorch, the machine's limits and the error")
    for line in (*described(rows), "", *table(rows)):
        terminalreporter.write_line(line)
