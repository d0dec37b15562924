"""What benchmarks on a GPU do without one: the table, the budget, the counting, and the script as a whole.

The contestants' arithmetic is compared here too, in the interpreter at tiny sizes: a row that is fast because
it computes something else would be worth nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # a plain ``pytest`` does not put it there
    sys.path.append(str(ROOT))

spec = spec_from_file_location("gpu_report", ROOT / "benchmarks" / "gpu_report.py")
gpu_report = module_from_spec(spec)
spec.loader.exec_module(gpu_report)

LIMITS = {"bytes": 4e12, "flops": 8e14}


def report_of(path: Path) -> gpu_report.Report:
    """A run of one group: both baselines, ours, and a row that was skipped."""
    report = gpu_report.Report(path)
    report.run["machine"] = {"device": "NVIDIA H200", "date": "2026-11-21", "torch": "2.11"}
    report.run["limits"] = LIMITS
    report.row("PIP 512x512", "eager as published", ms=20.0, role="eager", is_step=True)
    report.row("PIP 512x512", "compiled in a CUDA graph", ms=2.0, role="compiled", is_step=True)
    report.row(
        "PIP 512x512", "ours bf16", ms=0.5, bytes=1e9, flops=1e11, is_step=True, memory=2**29, error=2e-3
    )
    report.row("DIP 512x512", "eager", remark="skipped: takes about 9 s, 2 s were left")
    return report


def cells_of(markdown: str) -> list[dict[str, str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    heading, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(heading, row, strict=True)) for row in rows]


# The table --------------------------------------------------------------------------------------------


def test_a_row_shows_time_ratios_shares_and_error(tmp_path):
    report_of(tmp_path / "run.json").row("PIP 512x512", "ours bf16", psnr=29.876)
    rows = cells_of((tmp_path / "run.md").read_text())
    assert rows[2] == {
        "what": "PIP 512x512", "engine": "ours bf16", "ms": "0.5", "s for 1800": "0.9",
        "against eager": "40.00x", "against compiled": "4.00x", "of copy": "50.0 %", "of matmul": "25.0 %",
        "memory": "512 MiB", "PSNR": "29.88", "error": "2.0e-03", "remark": "",
    }  # fmt: skip
    assert rows[0]["against eager"] == "1.00x" and rows[0]["against compiled"] == "0.10x"


def test_a_row_that_was_skipped_says_why_and_shows_no_number(tmp_path):
    report_of(tmp_path / "run.json")
    row = cells_of((tmp_path / "run.md").read_text())[3]
    assert row["remark"] == "skipped: takes about 9 s, 2 s were left"
    assert [row[key] for key in ("ms", "against eager", "of copy", "PSNR", "error")] == [""] * 5


def test_there_is_one_table_and_it_stands_below_device_and_limits(tmp_path):
    report_of(tmp_path / "run.json").stage("steps", 61.4, "passed")
    text = (tmp_path / "run.md").read_text()
    assert text.startswith("# NVIDIA H200, 2026-11-21\n")
    assert "4.00 TB/s" in text and "800 TFLOP/s" in text and "- steps: passed (61 s)" in text
    assert len([line for line in text.splitlines() if line.startswith("| what")]) == 1


def test_every_row_is_in_the_files_at_once_and_a_later_process_goes_on(tmp_path):
    path = tmp_path / "run.json"
    report_of(path)
    later = gpu_report.Report(path)  # what the next stage of the script does
    later.row("PIP 512x512", "ours bf16", psnr=30.0)
    later.row("PIP 256x256", "ours bf16", ms=0.2)
    rows = json.loads(path.read_text())["rows"]
    assert [row["engine"] for row in rows].count("ours bf16") == 2
    assert rows[2]["ms"] == 0.5 and rows[2]["psnr"] == 30.0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.json", "run.md"]


def test_rows_of_one_group_stand_together_however_they_came(tmp_path):
    report = report_of(tmp_path / "run.json")
    report.row("PIP 512x512", "ours fp32", ms=1.0)
    found = [row["what"] for row in cells_of((tmp_path / "run.md").read_text())]
    assert found == ["PIP 512x512"] * 4 + ["DIP 512x512"]


def test_a_remark_cannot_break_the_table(tmp_path):
    report_of(tmp_path / "run.json").row("DIP 512x512", "eager", remark="failed: a | b\nc")
    assert cells_of((tmp_path / "run.md").read_text())[3]["remark"] == "failed: a / b c"


def test_files_are_named_after_device_and_date():
    name = gpu_report.file_name({"device": "NVIDIA GeForce RTX 4090", "date": "2026-11-21"})
    assert name == "nvidia_geforce_rtx_4090_2026-11-21"


@pytest.mark.parametrize("words", [[], ["name", "x"], ["stage", "run.json"], ["table", "absent.json"]])
def test_wrong_usage_is_answered_with_the_text(words, capsys):
    assert gpu_report.main(words) == 2
    assert "python -m benchmarks.gpu_report" in capsys.readouterr().err


# The budget -------------------------------------------------------------------------------------------


def test_a_row_may_begin_only_if_its_time_is_left():
    now = [100.0]
    budget = gpu_report.Budget(10.0, clock=lambda: now[0])
    assert budget.why_not(10.0) is None
    now[0] = 106.5
    assert budget.why_not(3.0) is None
    assert budget.why_not(4.0) == "skipped: takes about 4 s, 4 s were left"
    now[0] = 120.0
    assert budget.left() == 0.0 and budget.why_not(1.0) is not None


# What a step must do ----------------------------------------------------------------------------------


def test_bytes_of_a_step_are_those_of_every_layer_counted_by_hand():
    from benchmarks.step_work import least_bytes
    from dipedge.priors import Hourglass, Level, Noise, Prior

    prior = Prior(Noise(8), Hourglass((Level(16, 32, 4),)))  # one level: 10 x 10 pixels above 5 x 5
    large, small = 100, 25
    forward = (
        large * (8 + 4)  # skip
        + (large * 8 + small * 16)  # 3x3 of stride 2 reads all of z
        + small * (16 + 16)
        + (large * 4 + small * 16 + large * 32)  # the merge is never written
        + large * (32 + 32)
        + large * (32 + 3)
    )  # fmt: skip
    parameters = sum(int(np.prod(shape)) for shape in prior.parameter_shapes(3).values())
    assert least_bytes(prior, 10, 2) == 3 * forward * 2 + parameters * 28
    assert least_bytes(prior, 10, 4) == 3 * forward * 4 + parameters * 28


def test_fourier_features_and_skipped_pixels_of_pointwise_layers_cost_nothing():
    from benchmarks.step_work import layers
    from dipedge.priors import Fourier, Hourglass, Level, Prior

    level = Level(16, 16, 4, kernel_down=1, kernel_up=1)
    found = list(layers(Prior(Fourier(), Hourglass((level, level))), 8))
    assert found[0] == (0, 64 * 4) and found[1] == (0, 16 * 16)
    assert found[6] == (4 * 16, 4 * 16)  # the second level's down layer: 2 x 2 of its 4 x 4 pixels


def test_most_of_the_work_of_a_pip_step_is_at_its_largest_level():
    """A step of 1 ms at 512 x 512 is some 1.1 GB at least: 0.26 ms of an H200's memory."""
    from benchmarks.step_work import flops, least_bytes
    from dipedge.priors import pip

    assert 0.8e9 < least_bytes(pip(), 512, 2) < 1.4e9
    assert 3.9 < least_bytes(pip(), 512, 2) / least_bytes(pip(), 256, 2) < 4.01
    assert flops(pip(), 512) == pytest.approx(4 * flops(pip(), 256))


# The contestants --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PIP", "DIP", "SR x4"])
def test_the_baseline_makes_the_torch_engine_s_steps(name):
    """In float32 and with z at rest; with a step too many it does not.

    The deepest norm is over a single pixel, which leaves of float32's 24 bits some 16.
    """
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks import gpu_fits

    fit = next(fit for fit in gpu_fits.fits(32) if fit.name == name)
    program = gpu_fits.reference(fit, device="cpu")
    wanted = gpu_fits.begun(fit, "float64", perturbed=False, device="cpu")
    program.perturbation.zero_()
    program.step(1)
    wanted.step(1)
    right = wanted.estimate(averaged=False)
    assert gpu_fits.relative(program.estimate(averaged=False), right) < 1e-4
    program.step(1)
    assert gpu_fits.relative(program.estimate(averaged=False), right) > 1e-3
    wanted.step(1)
    assert gpu_fits.relative(program.estimate(), wanted.estimate()) < 1e-2
    program.reset()
    program.step(1)
    assert gpu_fits.relative(program.estimate(), right) < 1e-4


def test_the_published_row_makes_the_same_steps_as_the_eager_one():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks import gpu_fits

    fit = gpu_fits.fits(16)[0]
    published = gpu_fits.begun(fit, gpu_fits.PUBLISHED, device="cpu")
    eager = gpu_fits.begun(fit, gpu_fits.EAGER, device="cpu")
    published.step(2)
    eager.step(2)
    np.testing.assert_array_equal(published._program.estimate(), eager.estimate())


def test_rows_begin_with_512_and_compile_only_there():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks.gpu_fits import COMPILED, GRAPH, rows

    found = list(rows())
    assert len(found) == len(set(found))
    assert {fit.side for fit, _ in found[:12]} == {512}
    assert {fit.side for fit, engine in found if engine in (COMPILED, GRAPH)} == {512}
    for at, (fit, engine) in enumerate(found):
        if engine == GRAPH:  # it goes on with the program of the row before
            assert found[at - 1] == (fit, COMPILED)


@pytest.mark.triton_interpret
@pytest.mark.parametrize("side", [16])
def test_all_contestants_of_a_kernel_compute_the_same(side):
    """Within what bfloat16's 8 bits explain (``Prepared.allowed``); with two channels exchanged it is not."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from benchmarks.bench_gpu_kernels import NAMES
    from benchmarks.gpu_fits import relative
    from benchmarks.gpu_kernels import ENTRIES
    from tests.triton_kernels import DEVICE

    assert set(NAMES) == set(ENTRIES)
    for name, (prepare, _) in ENTRIES.items():
        prepared = prepare(side, DEVICE)
        wanted = prepared.wanted.double().cpu().numpy()
        assert prepared.bytes > 0 and prepared.flops > 0
        assert {"torch", "triton"} <= set(prepared.contestants)
        for engine, contestant in prepared.contestants.items():
            contestant.run()
            found = contestant.result().cpu().numpy()
            assert found.shape == wanted.shape, (name, engine)
            assert relative(found, wanted) < prepared.allowed, (name, engine)
            assert relative(np.roll(found, 1, axis=1), wanted) > prepared.allowed, (name, engine)


# The script -------------------------------------------------------------------------------------------


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="CUDA devices are a matter of Linux here")


def device_sh(out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "benchmarks" / "device.sh"], capture_output=True, text=True, cwd=out,
        env={**os.environ, "OUT": str(out), "PYTHON": sys.executable, **environment},
    )  # fmt: skip


@on_linux
def test_the_script_is_valid_bash():
    checked = subprocess.run(["bash", "-n", ROOT / "benchmarks" / "device.sh"], capture_output=True)
    assert checked.returncode == 0 and checked.stderr == b""


@on_linux
def test_without_a_gpu_the_script_says_so_in_the_table_and_ends_with_3(tmp_path):
    ran = device_sh(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert ran.returncode == 3, ran.stderr
    (markdown,) = tmp_path.glob("no_cuda_device_*.md")
    text = markdown.read_text()
    assert ran.stdout.rstrip().endswith(text.rstrip())  # the table comes last
    assert text.count(": no CUDA device (") == 6
    assert "The numbers are still to be taken." in text
    run = json.loads(markdown.with_suffix(".json").read_text())
    assert [stage["name"] for stage in run["stages"]][2:] == ["GPU tests", "steps", "kernels", "quality"]
    assert run["rows"] == []


FAKE = """#!/bin/bash
# Stands for a Python on a machine with a GPU: names one, and lets the stage "steps" fail and "kernels" hang.
case "$*" in
    *"gpu_report name"*) echo fake_gpu_2026-11-21 ;;
    *gpu_report*) exec "$REAL" "$@" ;;
    *"import xdist"*) exit 1 ;;
    *bench_gpu_steps*) echo "FAILED benchmarks/bench_gpu_steps.py::test - AssertionError"; exit 1 ;;
    *bench_gpu_kernels*) sleep 60 ;;
    *bench_gpu_quality*) echo "3 passed, $DIPEDGE_BENCH_SECONDS s" ;;
    *pytest*) echo "9 passed"; [ -z "${TRITON_INTERPRET:-}" ] ;;
esac
"""


@on_linux
def test_a_stage_that_fails_or_hangs_stops_no_other_and_the_script_ends_with_1(tmp_path):
    fake = tmp_path / "python"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    script = (ROOT / "benchmarks" / "device.sh").read_text()
    copy = tmp_path / "repository" / "benchmarks" / "device.sh"  # with a shorter limit
    copy.parent.mkdir(parents=True)
    copy.write_text(script.replace('stage "kernels" 40', 'stage "kernels" 11'))
    assert copy.read_text() != script
    for room in ("dipedge", "kernels", "export", "tests"):
        (copy.parent.parent / room).symlink_to(ROOT / room)
    for file in ("__init__.py", "gpu_report.py"):
        (copy.parent / file).symlink_to(ROOT / "benchmarks" / file)
    ran = subprocess.run(
        ["bash", copy], capture_output=True, text=True,
        env={**os.environ, "OUT": str(out), "PYTHON": str(fake), "REAL": sys.executable,
             "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    stages = json.loads((out / "fake_gpu_2026-11-21.json").read_text())["stages"]
    found = {stage["name"]: stage["outcome"] for stage in stages}
    assert found["GPU tests"] == "passed, 9 passed"
    assert found["steps"].startswith("failed (1): FAILED benchmarks/bench_gpu_steps.py")
    assert found["kernels"].startswith("cut off after 11 s")
    assert found["quality"] == "passed, 3 passed, 288 s"


@on_linux
def test_a_dry_run_shows_the_stages_and_runs_none(tmp_path):
    fake = tmp_path / "python"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    ran = device_sh(tmp_path, PYTHON=str(fake), REAL=sys.executable, DRY_RUN="1")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("not run (DRY_RUN)") == 12  # as it goes, and above the table
    assert "== steps, at most 250 s:" in ran.stdout


def test_the_limits_of_all_stages_together_stay_under_nine_minutes(tmp_path):
    script = (ROOT / "benchmarks" / "device.sh").read_text()
    total = int(re.search(r"^total=(\d+)", script, re.M)[1])
    reserves = [(int(a), int(b)) for a, b in re.findall(r'^stage ".*?" (\d+) (\d+)', script, re.M)]
    assert total <= 530 and len(reserves) == 6
    for limit, reserve in reserves:  # no stage can take what is reserved for those behind it
        assert min(limit, total - reserve) + reserve <= total
    behind = [reserve for _, reserve in reserves]
    assert behind == sorted(behind, reverse=True) and behind[-1] >= 5
