"""The table of the benchmarks: what it makes of pytest-benchmark's file, and what it says of a wrong one."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

# By its path: the repository's root is not on the path of a plain ``pytest``.
ROOT = Path(__file__).resolve().parent.parent
spec = spec_from_file_location("benchmark_report", ROOT / "benchmarks" / "report.py")
report = module_from_spec(spec)
spec.loader.exec_module(report)

INFO = {
    "what": "pool, averages", "way": "forward", "precision": "fp32", "threads": 2, "cpu": "A processor",
    "load": 0.5, "mpixels": 2.0, "gflops": 50.0, "gbytes": 10.0, "limit_gflops": 100.0, "limit_gbytes": 20.0,
}  # fmt: skip


def row(engine: str, seconds: float, **info) -> dict:
    isa = "avx2" if engine == "native" else ""
    return {
        "extra_info": {**INFO, "engine": engine, "isa": isa, "error": 1e-7, **info},
        "stats": {"min": seconds},
    }


@pytest.fixture
def file(tmp_path):
    """``file(rows)``: a run of these rows, and one of another project's, as pytest-benchmark stores it."""

    def write(rows: list[dict]) -> str:
        path = tmp_path / "run.json"
        path.write_text(json.dumps({"benchmarks": [*rows, {"extra_info": {}, "stats": {"min": 1.0}}]}))
        return str(path)

    return write


def table_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_row_shows_time_throughput_shares_and_error(file, capsys):
    assert report.main([file([row("torch", 0.5), row("native", 0.002)])]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "A processor, 2 threads; native rows use avx2; limits in this run: 100 GFLOP/s fp32"
    )
    heading, _, torch, native = table_of(said)
    assert dict(zip(heading, native, strict=True)) == {
        "kernel": "pool, averages", "way": "forward", "engine": "native fp32", "time": "2 ms",
        "against torch": "250.00x", "Mpixel/s": "2", "GFLOP/s": "50", "of peak": "50.0 %", "GB/s": "10",
        "of copy": "50.0 %", "error": "1.0e-07",
    }  # fmt: skip
    assert torch[2:5] == ["torch fp32", "500 ms", "1.00x"]


def test_shares_are_of_the_best_limit_that_was_measured_in_the_run(file, capsys):
    """A limit that was disturbed would flatter the rows beside it."""
    rows = [row("native", 1.0, limit_gflops=10.0), row("native", 1.0, way="backward", limit_gflops=200.0)]
    report.main([file(rows)])
    assert [line[7] for line in table_of(capsys.readouterr().out)[2:]] == ["25.0 %", "25.0 %"]


def test_rows_of_one_kind_stand_together_and_forward_comes_first(file, capsys):
    rows = [
        row("torch", 1.0, way="backward"), row("native", 1.0, what="adam"),
        row("torch", 1.0), row("native", 0.5, way="backward"), row("native", 0.25),
    ]  # fmt: skip
    report.main([file(rows)])
    found = [(line[0], line[1], line[4]) for line in table_of(capsys.readouterr().out)[2:]]
    assert found == [
        ("pool, averages", "forward", "1.00x"), ("pool, averages", "forward", "4.00x"),
        ("pool, averages", "backward", "1.00x"), ("pool, averages", "backward", "2.00x"),
        ("adam", "forward", ""),
    ]  # fmt: skip


def test_a_row_without_torch_says_that_its_error_is_not_measured(file, capsys):
    report.main([file([row("native", 1.0, error=None)])])
    assert table_of(capsys.readouterr().out)[2][-1] == "not measured"


@pytest.mark.parametrize("content", [None, "", "{", "{}", '{"benchmarks": []}'])
def test_a_file_that_is_no_run_is_refused_in_one_line(content, tmp_path, capsys):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    assert report.main([str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith(str(path))


def test_a_missing_argument_is_answered_with_the_usage(capsys):
    assert report.main([]) == 2
    assert capsys.readouterr().err == "usage: python -m benchmarks.report RUN.json\n"


def test_the_report_runs_as_a_module(file):
    command = [sys.executable, "-m", "benchmarks.report", file([row("native", 0.5)])]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "pool, averages" in ran.stdout
