"""Prints the table of all rows at the end of a run."""

from __future__ import annotations

from benchmarks.report import described, table


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    rows = [bench for bench in getattr(session, "benchmarks", []) if "what" in bench.extra_info]
    if not rows:
        return
    rows = [{"extra_info": bench.extra_info, "stats": {"min": bench.stats.min}} for bench in rows]
    terminalreporter.section("beside PyTorch, the machine's limits and the error")
    for line in (*described(rows), "", *table(rows)):
        terminalreporter.write_line(line)
