"""The table of a run on a GPU: kept in one JSON file, written again after every row.

    python -m benchmarks.gpu_report name                 device and date, as files are named
    python -m benchmarks.gpu_report start RUN.json       begins an empty run
    python -m benchmarks.gpu_report stage RUN.json NAME SECONDS OUTCOME
    python -m benchmarks.gpu_report table RUN.json       prints the Markdown

A run may be killed at any moment, so there is no state but the file, and beside RUN.json the table RUN.md is
as new as the last row. Nothing of dipedge is imported here: what went wrong must be sayable even if nothing
else works.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
NO_DEVICE = "no CUDA device"
HEADINGS = (
    "what", "engine", "ms", "s for 1800", "against eager", "against compiled", "of copy", "of matmul",
    "memory", "PSNR", "error", "remark",
)  # fmt: skip
LEGEND = (
    "ms: of a step or a pass, median of the rounds. against: times as fast as the group's eager row (of "
    "steps: as published, PSNRs on the CPU) and as its compiled one (of steps: in a CUDA graph). of copy, of "
    "matmul: share of the limits above by the least bytes and flops (benchmarks/step_work.py). memory: most "
    "that was allocated at once. error: relative L2 of the first step's output (of a kernel: of its result) "
    "against float64. Eager rows multiply as PyTorch does by default (convolutions in tf32)."
)


class Budget:
    """Seconds for rows; whoever wants to begin one asks first.

    Args:
        seconds: in all, from now.
        clock: seconds, monotonic.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    def left(self) -> float:
        """Seconds, never negative."""
        return max(0.0, self._end - self._clock())

    def why_not(self, seconds: float) -> str | None:
        """None if ``seconds`` are there, else the reason to skip."""
        left = self.left()
        return None if seconds <= left else f"skipped: takes about {seconds:.0f} s, {left:.0f} s were left"


class Report:
    """Rows and stages of a run.

    Args:
        path: of the JSON file, which may exist; None keeps everything in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.run: dict[str, Any] = {"machine": {}, "limits": {}, "stages": [], "rows": []}
        if path is not None and path.is_file():
            self.run = json.loads(path.read_text(encoding="utf-8"))

    def row(self, what: str, engine: str, **values: Any) -> None:
        """Adds a row, or new values to the one of this name."""
        rows = self.run["rows"]
        known = next((row for row in rows if (row["what"], row["engine"]) == (what, engine)), None)
        if known is None:
            known = {"what": what, "engine": engine}
            rows.append(known)
        known.update(values)
        self.write()

    def stage(self, name: str, seconds: float, outcome: str) -> None:
        """Notes how a stage of device.sh ended."""
        self.run["stages"].append({"name": name, "seconds": seconds, "outcome": outcome})
        self.write()

    def write(self) -> None:
        """Both files, each replaced as a whole: a kill leaves the old or the new one."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        markdown = "\n".join(described(self.run)) + "\n"
        for path, text in (
            (self._path, json.dumps(self.run, indent=1) + "\n"),
            (self._path.with_suffix(".md"), markdown),
        ):
            fresh = path.with_suffix(path.suffix + ".new")
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, path)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _share(amount: float | None, ms: float | None, limit: float | None) -> str:
    """Of ``limit`` per second, reached by doing ``amount`` in ``ms``."""
    if not amount or not ms or not limit:
        return ""
    return f"{100 * amount / (ms * 1e-3) / limit:.1f} %"


def cells(row: Row, rows: list[Row], limits: dict[str, float]) -> list[str]:
    """One line of the table; what was not measured stays empty, and the remark says why."""
    ms = row.get("ms")
    of_group = {other.get("role"): other.get("ms") for other in rows if other["what"] == row["what"]}

    def against(role: str) -> str:
        base = of_group.get(role)
        return f"{base / ms:.2f}x" if base and ms else ""

    return [
        row["what"], row["engine"], _number(ms) if ms else "",
        _number(1.8 * ms) if ms and row.get("is_step") else "", against("eager"), against("compiled"),
        _share(row.get("bytes"), ms, limits.get("bytes")), _share(row.get("flops"), ms, limits.get("flops")),
        f"{row['memory'] / 2**20:.0f} MiB" if row.get("memory") else "",
        f"{row['psnr']:.2f}" if row.get("psnr") is not None else "",
        f"{row['error']:.1e}" if row.get("error") is not None else "",
        row.get("remark") or "",
    ]  # fmt: skip


def table(run: dict[str, Any]) -> list[str]:
    """The Markdown table; rows of one group stand together, groups in the order they came."""
    rows = run["rows"]
    groups = list(dict.fromkeys(row["what"] for row in rows))
    ordered = sorted(rows, key=lambda row: groups.index(row["what"]))
    lines = [list(HEADINGS), *(cells(row, rows, run["limits"]) for row in ordered)]
    lines = [[cell.replace("|", "/").replace("\n", " ") for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    lines.insert(1, ["-" * width for width in widths])
    return [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]


def described(run: dict[str, Any]) -> list[str]:
    """The whole file: machine, limits, stages, table."""
    machine, limits = run["machine"], run["limits"]
    lines = [f"# {machine.get('device', 'GPU')}, {machine.get('date', '')}", ""]
    lines += [", ".join(f"{key} {value}" for key, value in machine.items() if key not in ("device", "date"))]
    if limits:
        lines += [
            f"limits in this run: {limits['bytes'] / 1e12:.2f} TB/s copied (read and written), "
            f"{limits['flops'] / 1e12:.0f} TFLOP/s in bf16 products of random numbers"
        ]
    lines += [
        "",
        *(f"- {stage['name']}: {stage['outcome']} ({stage['seconds']:.0f} s)" for stage in run["stages"]),
    ]
    if not run["rows"]:
        reason = NO_DEVICE if machine.get("device") == NO_DEVICE else "no row was finished"
        return [*lines, "", f"Nothing was measured: {reason}. The numbers are still to be taken."]
    return [*lines, "", *table(run), "", LEGEND]


def machine() -> dict[str, str]:
    """Device, date and versions; a device that is not there is said to be so."""
    found = {"device": NO_DEVICE, "date": time.strftime("%Y-%m-%d")}
    found["python"] = ".".join(map(str, sys.version_info[:3]))
    try:
        import torch
    except ImportError:
        return {**found, "torch": "not installed"}
    found["torch"] = torch.__version__
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["multiprocessors"] = str(torch.cuda.get_device_properties(0).multi_processor_count)
    try:
        import triton

        found["triton"] = triton.__version__
    except ImportError:
        found["triton"] = "not installed"
    return found


def file_name(found: dict[str, str]) -> str:
    """Such as nvidia_h200_2026-11-21."""
    return f"{re.sub(r'[^a-z0-9]+', '_', found['device'].lower()).strip('_')}_{found['date']}"


def main(arguments: list[str]) -> int:
    """See the module's text; 2 for wrong usage."""
    word, *rest = arguments or [""]
    if word == "name" and not rest:
        print(file_name(machine()))
    elif word == "start" and len(rest) == 1:
        path = Path(rest[0])
        path.unlink(missing_ok=True)
        report = Report(path)
        report.run["machine"] = machine()
        report.write()
    elif word == "stage" and len(rest) == 4:
        Report(Path(rest[0])).stage(rest[1], float(rest[2]), rest[3])
    elif word == "table" and len(rest) == 1 and Path(rest[0]).is_file():
        print("\n".join(described(Report(Path(rest[0])).run)))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
