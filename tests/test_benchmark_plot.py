"""The picture of a time-to-quality result: what it shows, that it repeats, and what a wrong file is told."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from math import exp
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib", reason="drawing results needs matplotlib")

# By its path: the repository's root is not on the path of a plain ``pytest``.
ROOT = Path(__file__).resolve().parent.parent
spec = spec_from_file_location("benchmark_plot", ROOT / "benchmarks" / "plot.py")
plot = module_from_spec(spec)
sys.modules[spec.name] = plot  # where a dataclass looks for its annotations
spec.loader.exec_module(plot)

NAMES = ("harbour.png", "a & b $1$.png", "café.png", "leaves.png")


def row(quality: str, steps: int, step_seconds: float, best: float, rise: float) -> dict:
    """A fit that rises to ``best``, shaped as benchmarks/time_to_quality.py writes it."""
    curve = [
        [step, round(step * step_seconds, 1), round(best - 20 * exp(-step / rise), 3)]
        for step in range(0, steps + 1, 4)
    ]
    return {
        "quality": quality, "steps": steps, "seconds": curve[-1][1], "psnr": curve[-1][2],
        "best": best, "best_step": steps, "best_seconds": curve[-1][1], "curve": curve,
    }  # fmt: skip


def report(names: tuple[str, ...] = NAMES) -> dict:
    pictures = {
        name: {
            "reference": row("paper, fp32", 3000, 0.3, 28.0 + index, 350.0),
            "fast": row("fast", 120, 0.15, 27.95 + index, 20.0),
            "balanced": row("balanced", 400, 0.15, 28.2 + index, 60.0),
        }
        for index, name in enumerate(names)
    }
    return {
        "cpu": "A processor", "isa": "avx2", "threads": 2, "size": 512, "precision": "auto",
        "pictures": pictures,
    }  # fmt: skip


@pytest.fixture
def drawn(tmp_path):
    """``drawn(report, name)``: the bytes of its picture."""

    def draw(content: dict, name: str = "picture.svg") -> bytes:
        (tmp_path / "result.json").write_text(json.dumps(content))
        assert plot.main([str(tmp_path / "result.json"), "-o", str(tmp_path / name)]) == 0
        assert not list(tmp_path.glob(".*"))
        return (tmp_path / name).read_bytes()

    return draw


@pytest.mark.parametrize("count", [1, 3, 4])
def test_the_picture_names_every_picture_quality_and_the_reference(count, drawn):
    svg = drawn(report(NAMES[:count]))
    said = "\n".join(ElementTree.fromstring(svg).itertext())
    for words in (*NAMES[:count], "fast", "balanced", plot.REFERENCE, "A processor", "18 s", "60 s"):
        assert words in said
    assert len(svg) < 40_000 * count


def test_the_same_result_gives_the_same_bytes(drawn):
    assert drawn(report(), "one.svg") == drawn(report(), "two.svg")


def test_a_thinned_curve_keeps_its_ends_and_its_order():
    points = [(float(index), 0.0) for index in range(1001)]
    few = plot.thinned(points)
    assert len(few) == 200 and few == sorted(set(few)) and (few[0], few[-1]) == (points[0], points[-1])
    assert plot.thinned(points[:200]) == points[:200]


def test_a_quality_that_one_picture_lacks_is_left_out_there(drawn):
    content = report(NAMES[:2])
    del content["pictures"][NAMES[0]]["balanced"]
    assert drawn(content).count(b"60 s") == 1


WITHOUT_REFERENCE = report(NAMES[:1])
del WITHOUT_REFERENCE["pictures"][NAMES[0]]["reference"]
WITHOUT_POINTS = report(NAMES[:1])
WITHOUT_POINTS["pictures"][NAMES[0]]["fast"]["curve"] = []
WRONG = [None, "", "{", "{}", "[]", '{"pictures": 3}', '{"pictures": {"a": {"fast": {"curve": [1]}}}}']
WRONG += [json.dumps(content) for content in (report(()), WITHOUT_REFERENCE, WITHOUT_POINTS)]


@pytest.mark.parametrize("content", WRONG, ids=range(len(WRONG)))
def test_a_file_that_is_no_result_is_refused_in_one_line(content, tmp_path, capsys):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content)
    assert plot.main([str(path), "-o", str(tmp_path / "picture.svg")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith(str(path))
    assert not list(tmp_path.glob("*.svg"))


def test_a_picture_that_cannot_be_written_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "result.json").write_text(json.dumps(report(NAMES[:1])))
    target = tmp_path / "missing" / "picture.svg"
    assert plot.main([str(tmp_path / "result.json"), "-o", str(target)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(str(target))


def test_without_matplotlib_one_line_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot.main(["result.json", "-o", str(tmp_path / "picture.svg")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install matplotlib" in said
