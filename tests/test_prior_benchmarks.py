"""The benchmarks about priors: learning curves and samples, what they write and what they show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="drawing results needs matplotlib")
pytest.importorskip("dipedge._native")
torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # a plain ``pytest`` does not put it there
    sys.path.append(str(ROOT))

from PIL import Image  # noqa: E402

import dipedge as de  # noqa: E402
from benchmarks import learning_curves, prior_samples  # noqa: E402


def test_the_targets_are_one_picture_in_four_states():
    clean, noisy, shuffled, white = learning_curves.targets(learning_curves.PICTURE, 40).values()
    assert clean.shape == noisy.shape == shuffled.shape == white.shape == (40, 40, 3)
    assert 15 / 255 < (noisy - clean).std() < 26 / 255
    # The same pixels, colours kept together, elsewhere.
    assert np.array_equal(np.unique(clean.reshape(-1, 3), axis=0), np.unique(shuffled.reshape(-1, 3), axis=0))
    assert np.corrcoef(clean.ravel(), shuffled.ravel())[0, 1] < 0.5
    assert abs(white.mean() - 0.5) < 0.02 and white.std() == pytest.approx(12**-0.5, rel=0.02)


def test_a_picture_is_learned_sooner_than_its_shuffled_pixels():
    levels = (de.Level(16, 16, 2),) * 3
    prior = de.Prior(de.Noise(8), de.Hourglass(levels))
    left = {}
    for word, target in learning_curves.targets(learning_curves.PICTURE, 64).items():
        _, losses = learning_curves.curve(prior, target, 60, "native", 0)
        left[word] = losses[-1] / target.var()
    picture, noisy, shuffled, white = left.values()
    assert picture < noisy < 0.5 * shuffled
    assert white > 0.5


def test_curves_are_written_and_drawn_and_drawn_again(tmp_path):
    json_file, first, second = tmp_path / "r.json", tmp_path / "a.svg", tmp_path / "b.svg"
    words = ["--size", "16", "--steps", "5", "--priors", "pip", "pixels", "--json", str(json_file)]
    assert learning_curves.main([*words, "-o", str(first)]) == 0
    report = json.loads(json_file.read_text())
    assert report["steps"] == [1, 2, 3, 4, 5]
    assert {name: fits["engine"] for name, fits in report["priors"].items()} == {
        "pip": "native",
        "pixels": "torch",
    }
    for fits in report["priors"].values():
        assert len(fits["losses"]) == 4
        assert all(len(losses) == 5 and losses[-1] < losses[0] for losses in fits["losses"].values())
    assert learning_curves.main(["--drawn", str(json_file), "-o", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    text = "".join(ElementTree.fromstring(first.read_bytes()).itertext())
    assert "PIP" in text and "its pixels, shuffled" in text


def test_a_wrong_result_file_is_told_in_one_line(tmp_path, capsys):
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{")
    assert learning_curves.main(["--drawn", str(wrong), "-o", str(tmp_path / "a.svg")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_samples_are_drawn_as_a_grid(tmp_path, monkeypatch):
    level = de.Level(4, 4, 2, 1, 1)
    tiny = de.Prior(de.Fourier(2), de.Hourglass((level,)))
    monkeypatch.setattr(prior_samples, "PRIORS", {"one": tiny, "two": de.pixels()})
    assert prior_samples.main(["-o", str(tmp_path / "grid.png"), "--size", "16", "--seeds", "3"]) == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width < grid.height  # two columns, three rows
        assert np.asarray(grid.convert("RGB")).std() > 20


def test_the_learning_curves_run_as_a_command():
    command = [sys.executable, "-m", "benchmarks.learning_curves", "--size", "16", "--steps", "2"]
    done = subprocess.run([*command, "--priors", "pixels"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("after 2 steps (torch)") == 4
