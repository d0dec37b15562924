"""The comparison of clips: which methods with which settings, and that it goes on where it ended."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # a plain ``pytest`` does not put it there
    sys.path.append(str(ROOT))

pytest.importorskip("dipedge._native")
pytest.importorskip("torch")
from benchmarks import clips  # noqa: E402
from benchmarks.tables import rows  # noqa: E402
from tests.conftest import smooth_picture  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    """Two clips of three frames each, 40 x 40."""
    scene = np.rint(smooth_picture(40, 50) * 255).astype(np.uint8)
    for name in ("first", "second"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(scene[:, index : index + 40]).save(tmp_path / "data" / name / f"{index}.png")
    return tmp_path


def words(folder, *more):
    given = ["--data", str(folder / "data"), "--clips", "first", "second", "--size", "32", "--frames", "2"]
    return [*given, "--threads", "1", "--out", str(folder / "out"), *more]


def test_every_method_has_its_settings_and_the_quick_ones_come_first(folder):
    options = clips.parser().parse_args(words(folder, "--steps-3d", "7", "--paper-epochs", "5"))
    cells = clips.cells_of(options)
    names = [method.name for method, _ in cells]
    assert [name for name in clips.ORDER if name in names] == list(dict.fromkeys(names))
    assert (names[0], names[1], names[-1]) == ("PIP clip", "PIP clip", "3D-DIP")
    settings = {(method.name, own.quality): own for method, own in cells if method.fitted}
    assert settings["PIP clip", "balanced"].steps is None
    assert settings["PIP clip", "paper"].steps == 5
    assert (settings["3D-DIP", "balanced"].steps, settings["3D-DIP", "balanced"].engine) == (7, "torch")
    assert settings["DIP per frame", "balanced"].steps is None


def test_a_second_run_makes_only_what_is_missing(folder, capsys):
    slow = ["PIP clip", "PIP stream", "PIP per frame", "DIP per frame", "BM3D per frame", "BM4D"]
    assert clips.main(words(folder, "--steps-3d", "2", "--without", *slow, "NLM over 5 frames")) == 0
    capsys.readouterr()
    assert clips.main(words(folder, "--steps-3d", "2", "--without", *slow)) == 0
    said = capsys.readouterr().out
    assert said.count("finished earlier") == 2
    found = rows.read(folder / "out" / "clips.csv")
    fitted = [row for row in found if row.engine]
    assert [(row.picture, row.method, row.steps, row.engine) for row in fitted] == [
        ("first", "3D-DIP", "2", "torch"),
        ("second", "3D-DIP", "2", "torch"),
    ]
    assert all(0 < float(row.flicker) < 60 and row.ssim3d == "" for row in found)  # of two frames
    assert "Flicker" in (folder / "out" / "clips.md").read_text()


def test_a_clip_that_is_not_there_is_refused_by_name(folder, capsys):
    assert clips.main(words(folder, "--clips", "first", "third")) == 2
    assert "no clip 'third'" in capsys.readouterr().err
    assert clips.main(words(folder, "--without", "4D-DIP")) == 2
    assert "no column '4D-DIP'" in capsys.readouterr().err
