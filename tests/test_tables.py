"""``python -m benchmarks.tables``: what it finishes, keeps, skips, and says."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # a plain ``pytest`` does not put it there
    sys.path.append(str(ROOT))

from benchmarks.tables import published, report, rows, running  # noqa: E402
from benchmarks.tables.__main__ import main  # noqa: E402
from benchmarks.tables.answers import Answer, Settings  # noqa: E402
from benchmarks.tables.baselines import Baseline, bicubic  # noqa: E402
from benchmarks.tables.methods import Fit, methods_of  # noqa: E402
from benchmarks.tables.registry import TABLES, protocol  # noqa: E402
from benchmarks.tables.rows import Row  # noqa: E402
from tests.conftest import smooth_picture  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    """Three pictures of Set5's names, 64 x 64."""
    data = tmp_path / "data"
    data.mkdir()
    for index, name in enumerate(("baby", "bird", "woman")):
        values = np.roll(smooth_picture(64, 64), 9 * index, axis=0)
        Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(data / f"{name}.png")
    return data


class Counted(Fit):
    """Stands for a fit: enlarges, counts its calls, and does what ``then`` says at the call number ``at``."""

    calls = 0
    at = 0
    then: BaseException | None = None

    def run(self, case, settings, progress):
        type(self).calls += 1
        if self.calls == self.at:
            raise self.then
        return Answer(bicubic(case), 1.5, 10, "steps")


@pytest.fixture
def counted():
    """A fresh class of counted fits."""
    return type("Fresh", (Counted,), {})


@pytest.fixture
def plan(folder, tmp_path, counted):
    chosen = protocol("sr4")
    method = counted("PIP", "pip")
    cells = [(method, Settings()), (Baseline("bicubic", bicubic), Settings())]
    return running.Plan(chosen, cells, chosen.files(folder), tmp_path / "cells.csv")


def test_a_second_run_skips_what_the_first_has_finished(plan, counted):
    first = running.run(plan, lambda line: None)
    assert (counted.calls, len(first.rows)) == (3, 6)
    said = []
    second = running.run(plan, said.append)
    assert counted.calls == 3
    assert second.rows == first.rows == rows.read(plan.results)
    assert all("finished earlier" in line for line in said)


def test_other_settings_are_other_cells(plan, counted):
    running.run(plan, lambda line: None)
    method = plan.cells[0][0]
    for changed in ({"steps": 7}, {"seed": 1}, {"quality": "fast"}, {"ensemble": 2}, {"engine": "torch"}):
        running.run(replace(plan, cells=[(method, Settings(**changed))]), lambda line: None)
    assert counted.calls == 18
    running.run(replace(plan, cells=[(method, Settings())], side=32), lambda line: None)
    assert counted.calls == 21
    # A baseline has no settings: its cells are those of the first run.
    assert running.run(replace(plan, cells=[(plan.cells[1][0], Settings(seed=1))]), print).failures == []
    assert sum(row.method == "bicubic" for row in rows.read(plan.results)) == 3


def test_an_interruption_keeps_what_was_finished_and_the_next_run_goes_on(plan, counted):
    counted.at, counted.then = 3, KeyboardInterrupt()
    first = running.run(plan, lambda line: None)
    assert first.interrupted
    assert [row.picture for row in rows.read(plan.results)] == ["baby", "baby", "bird", "bird"]
    second = running.run(plan, lambda line: None)
    assert not second.interrupted and counted.calls == 4
    assert [row.picture for row in rows.read(plan.results)] == [
        "baby",
        "baby",
        "bird",
        "bird",
        "woman",
        "woman",
    ]


def test_a_method_that_fails_is_reported_and_tried_again(plan, counted):
    counted.at, counted.then = 2, MemoryError("no\nroom")
    first = running.run(plan, lambda line: None)
    assert first.failures == ["bird, PIP: no room"]
    assert len(first.rows) == 5
    assert running.run(plan, lambda line: None).failures == []
    assert len(rows.read(plan.results)) == 6


def test_a_damaged_picture_is_reported_and_the_rest_goes_on(folder, tmp_path, capsys):
    (folder / "bird.png").write_bytes(b"no picture")
    words = ["sr4", "--data", str(folder), "--prior", "--out", str(tmp_path)]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "FAILED bird" in printed and "Traceback" not in printed
    assert {row.picture for row in rows.read(tmp_path / "tables_sr4.csv")} == {"baby", "woman"}
    assert "bird.png" in (tmp_path / "tables_sr4.md").read_text().split("## Failed")[1]


def test_a_line_torn_by_a_power_cut_is_made_again(plan, counted):
    running.run(plan, lambda line: None)
    whole = plan.results.read_bytes()
    plan.results.write_bytes(whole[:-20])
    assert len(rows.read(plan.results)) == 5
    running.run(plan, lambda line: None)
    assert counted.calls == 3  # the torn cell was a baseline's
    assert len(rows.read(plan.results)) == 6
    assert plan.results.read_bytes().count(b"\n") == 7


def test_a_file_with_fewer_columns_is_read_and_added_to(plan, counted):
    running.run(plan, lambda line: None)
    lines = plan.results.read_text().splitlines()
    load = rows.COLUMNS.index("load")
    older = [",".join(cell for i, cell in enumerate(line.split(",")) if i != load) for line in lines]
    plan.results.write_text("\n".join(older) + "\n")
    running.run(replace(plan, cells=[(plan.cells[0][0], Settings(seed=1))]), lambda line: None)
    assert counted.calls == 6
    every = rows.read(plan.results)
    assert [bool(row.load) for row in every] == [False] * 6 + [True] * 3


def test_a_file_of_somebody_else_is_left_alone(folder, tmp_path, capsys):
    (tmp_path / "tables_sr4.csv").write_text("my,own,numbers\n1,2,3\n")
    assert main(["sr4", "--data", str(folder), "--prior", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "tables_sr4.csv").read_text() == "my,own,numbers\n1,2,3\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--data", "empty"], "empty: no pictures in it"),
        (["--data", "data", "--pairs"], "no ready LR/HR pairs"),
        (["--data", "data", "--only", "head"], "no head in data; there are baby, bird, woman"),
        (["--data", "data", "--engine", "abacus"], "abacus"),
        (["--data", "data", "--prior", "magic"], "magic"),
        (["--data", "data", "--steps", "0"], "--steps is 0"),
        (["--data", "data", "--out", "data/baby.png"], "baby.png"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(folder, monkeypatch, capsys, words, part):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "empty").mkdir()
    assert main(["sr4", *words, *(["--out", "out"] if "--out" not in words else [])]) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1


def test_a_library_that_is_not_installed_costs_its_column_only(folder, tmp_path, monkeypatch, capsys):
    from benchmarks.tables import baselines

    monkeypatch.setattr(baselines.importlib.util, "find_spec", lambda name: None)
    assert main(["denoise", "--data", str(folder), "--prior", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in told] == ["TV", "NLM", "BM3D"]
    assert "pip install bm3d; its licence is for non-commercial use only" in told[2]


def test_a_method_with_an_engine_of_its_own_takes_it_whatever_is_asked_for(monkeypatch):
    pytest.importorskip("torch")
    prior = next(method for method in methods_of("sr4", []) if method.name == "no prior")
    assert prior.engine("native", protocol("sr4").example_task, "paper", None) == "torch"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "'torch' only" in prior.missing()


def cell(picture: str, method: str, value: float, **more: str) -> Row:
    fitted = {"engine": "native", "quality": "paper", "precision": "auto", "seed": "0", "ensemble": "1"}
    more = (fitted if method in ("PIP", "DIP") else {}) | {"seconds": "2.0"} | more
    return Row("sr4", picture, method, width="256", height="256", psnr="20", psnr_y=str(value), **more)


def cells_of(lines: list[str]) -> dict[str, dict[str, str]]:
    heading, _, *body = ([part.strip() for part in line.strip("| ").split(" | ")] for line in lines)
    return {line[0]: dict(zip(heading, line, strict=False)) for line in body}


def test_means_are_over_the_pictures_run_beside_the_published_mean_over_the_same():
    every = [
        cell("baby", "DIP", 31.0),
        cell("bird", "DIP", 32.5, seconds="4.0"),
        cell("baby", "bicubic", 32.0),
    ]
    lines = cells_of(report.summary(every, "psnr_y"))
    dip = lines["DIP paper native"]
    assert (dip["pictures"], dip["PSNR of luma, dB"], dip["seconds a picture"]) == ("2", "31.75", "3.00")
    assert (dip["published"], dip["difference"]) == ("31.64", "+0.11")  # (31.49 + 31.80) / 2 = 31.645
    assert (lines["bicubic"]["published"], lines["bicubic"]["difference"]) == ("31.78", "+0.22")


def test_the_last_line_is_the_mean_over_pictures_that_every_method_finished():
    every = [cell(p, m, v) for p, m, v in (
        ("baby", "PIP", 30.0), ("baby", "bicubic", 31.0), ("bird", "PIP", 31.0), ("bird", "bicubic", 30.0),
        ("woman", "PIP", 90.0),
    )]  # fmt: skip
    lines = cells_of(report.by_picture(every, "psnr_y"))
    mean = lines["**mean of 2**: baby, bird"]
    assert (mean["PIP paper native"], mean["bicubic"]) == ("30.50", "30.50")
    assert mean["published: bicubic"] == "30.99"
    assert lines["woman"]["bicubic"] == "" and lines["woman"]["published: DIP"] == "28.93"


def test_a_shrunk_picture_is_never_beside_a_published_number():
    every = [cell("baby", "DIP", 31.0, side="128"), cell("baby", "DIP", 30.0)]
    page = report.markdown(every, "title", "psnr_y", ["a note"], [])
    whole, shrunk = page.split("## Shrunk to 128 pixels")
    assert "31.49" in whole and "| 30.00 |" in whole
    assert "31.49" not in shrunk and "published:" not in shrunk and "| 31.00 |" in shrunk


def test_every_choice_that_makes_another_fit_makes_another_column():
    plain = cell("baby", "DIP", 30.0)
    changes = ({"steps_asked": "7"}, {"seed": "1"}, {"precision": "bf16"}, {"ensemble": "2"})
    columns = [report.variant(row) for row in (plain, *(replace(plain, **change) for change in changes))]
    assert columns == [
        "DIP paper native",
        "DIP paper native 7 steps",
        "DIP paper native seed 1",
        "DIP paper native bf16",
        "DIP paper native mean of 2",
    ]


def test_published_means_stand_beside_ours_only_where_all_their_pictures_were_run():
    assert published.mean_of("denoise", "DIP", "2", list(published.NINE)) == 31.00
    assert published.mean_of("denoise", "DIP", "1", list(published.NINE)) == 30.43
    assert published.mean_of("denoise", "DIP", "1", list(published.NINE[1:])) is None
    assert published.mean_of("denoise", "DIP", "1", ["f16"]) == 30.2
    assert published.mean_of("sr4", "DIP", "2", ["baby"]) is None


@pytest.mark.parametrize("table", TABLES)
def test_every_table_runs_from_the_command_line(table, tmp_path, capsys):
    pytest.importorskip("dipedge._native")
    pytest.importorskip("torch")
    folder = tmp_path / "data" / "clip" if table == "video" else tmp_path / "data"
    folder.mkdir(parents=True)
    side = 128 if table == "sr8" else 64
    for index in range(2):
        values = np.rint(smooth_picture(side, side) * 255).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{index}.png")
    words = [table, "--data", str(tmp_path / "data"), "--engine", "native", "--steps", "1", "--limit", "1"]
    words += ["--threads", "1", "--out", str(tmp_path / "out"), "--without", "BM3D", "BM3D per frame", "BM4D"]
    assert main(words) == 0
    every = rows.read(tmp_path / "out" / f"tables_{table}.csv")
    fits = [row for row in every if row.engine]
    assert len(fits) == {"video": 6, "denoise": 2, "inpaint50": 3}.get(table, 4)
    assert {row.method for row in fits if row.engine == "torch"} <= {"TV", "no prior", "3D-DIP"}
    assert {row.threads for row in fits} == {"1"} and all(float(row.psnr) > 3 for row in every)
    streams = {row.method: row.steps for row in fits if table == "video"}
    if streams:  # the second frame: one step from scratch, or 30 from the first one's weights
        assert streams["PIP per frame"] == "2" and streams["PIP stream"] == "31"
        assert streams["PIP clip"] == streams["3D-DIP"] == "1"  # a step for all frames
    assert capsys.readouterr().out.count("FAILED") == 0


def test_a_fit_takes_the_published_settings_of_its_table():
    half = protocol("inpaint50")
    case = half.case("x", ROOT / "examples" / next(p.name for p in (ROOT / "examples").glob("*.png")), 32)
    with methods_of("inpaint50", ["dip"])[0].session(case, Settings(), None) as session:
        assert session._preset.steps == 11000 and session._preset.optimiser.learning_rate == 0.001
    stream = next(method for method in methods_of("video", ["pip"]) if method.name == "PIP stream")
    with stream.session(
        replace(case, regime=None, task=protocol("video").example_task), Settings(), None
    ) as s:
        assert s._settings.average == 0.9
