"""A Markdown table from pytest-benchmark's JSON: ``python -m benchmarks.report RUN.json > RUN.md``."""

from __future__ import annotations

import json
import sys
from typing import Any

Rows = list[dict[str, Any]]
WAYS = ("forward", "backward", "both", "step", "frame")
HEADINGS = (
    "kernel",
    "way",
    "engine",
    "time",
    "against torch",
    "Mpixel/s",
    "GFLOP/s",
    "of peak",
    "GB/s",
    "of copy",
    "error",
)


def _time(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def limits_reached(rows: Rows) -> dict[str, float]:
    """The best of each limit over the run: "fp32" and "bf16" in GFLOP/s, "copy" in GB/s."""
    best: dict[str, float] = {}
    for info in (row["extra_info"] for row in rows):
        for name, value in ((info["precision"], info["limit_gflops"]), ("copy", info["limit_gbytes"])):
            best[name] = max(best.get(name, 0.0), value)
    return best


def seconds_of(row: dict[str, Any]) -> float:
    """Of one pass, in the fastest round."""
    return row["extra_info"].get("seconds", row["stats"]["min"])


def cells(row: dict[str, Any], torch_seconds: float | None, best: dict[str, float]) -> list[str]:
    """One line of the table. Shares under a thousandth say nothing and are left out."""
    info, seconds = row["extra_info"], seconds_of(row)

    def rate(value: float, limit: float) -> tuple[str, str]:
        if not value:
            return "", ""
        return _number(value), f"{100 * value / limit:.1f} %" if value >= 0.001 * limit else ""

    return [
        info["what"], info["way"], f"{info['engine']} {info['precision']}", _time(seconds),
        f"{torch_seconds / seconds:.2f}x" if torch_seconds else "",
        _number(info["mpixels"]) if info["mpixels"] else "",
        *rate(info["gflops"], best[info["precision"]]), *rate(info["gbytes"], best["copy"]),
        f"{info['error']:.1e}" if info["error"] is not None else "not measured",
    ]  # fmt: skip


def described(rows: Rows) -> list[str]:
    """What the run was measured on."""
    infos = [row["extra_info"] for row in rows]
    isas = sorted({info["isa"] for info in infos if info["isa"]})
    best = limits_reached(rows)
    reached = ", ".join(f"{best[name]:.0f} GFLOP/s {name}" for name in sorted(best) if name != "copy")
    return [
        f"{infos[0]['cpu']}, {infos[0]['threads']} threads; native rows use {', '.join(isas) or 'nothing'}",
        f"limits in this run: {reached} in registers, {best['copy']:.1f} GB/s copied; "
        f"load of the machine up to {max(info['load'] for info in infos):.1f}",
    ]


def table(rows: Rows) -> list[str]:
    """The lines of a Markdown table with columns of equal width; torch's row of each kind is the measure."""

    def kind(row: dict[str, Any]) -> tuple[str, str]:
        return row["extra_info"]["what"], row["extra_info"]["way"]

    torch = {kind(row): seconds_of(row) for row in rows if row["extra_info"]["engine"] == "torch"}
    whats = list(dict.fromkeys(row["extra_info"]["what"] for row in rows))
    ordered = sorted(rows, key=lambda row: (whats.index(kind(row)[0]), WAYS.index(kind(row)[1])))
    best = limits_reached(rows)
    lines = [list(HEADINGS), *(cells(row, torch.get(kind(row)), best) for row in ordered)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    lines.insert(1, ["-" * width for width in widths])
    return [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]


def main(arguments: list[str]) -> int:
    """Writes the table to standard output; 2 when the file is no run of these benchmarks."""
    if len(arguments) != 1:
        print("usage: python -m benchmarks.report RUN.json", file=sys.stderr)
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as file:
            run = json.load(file)
        rows = [row for row in run["benchmarks"] if "what" in row["extra_info"]]
    except (OSError, ValueError, KeyError) as problem:
        print(f"{arguments[0]}: not a file of pytest-benchmark: {problem}", file=sys.stderr)
        return 2
    if not rows:
        print(f"{arguments[0]}: holds no row of these benchmarks", file=sys.stderr)
        return 2
    print("\n".join(["; ".join(described(rows)), "", *table(rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
