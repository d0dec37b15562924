"""--reference, --history, --measure-every and --report of the restoring commands."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipedge import cli
from tests.test_report_page import Page


@pytest.fixture
def truth(noisy):
    """The true picture of in.png's size, as a file."""
    Image.fromarray(np.rint(255 * noisy()[1]).astype(np.uint8)).save("truth.png")
    return "truth.png"


def test_the_json_file_has_the_history_only_when_it_is_asked_for(run, truth):
    arguments = ["in.png", "-o", "out.png", "--reference", truth, "--json", "out.json"]
    assert run("denoise", *arguments)[0] == 0
    assert "history" not in json.loads(Path("out.json").read_text())
    assert run("denoise", *arguments, "--history", "--measure-every", 1)[0] == 0
    text = Path("out.json").read_text()
    told = json.loads(text)
    assert told["history"]["steps_measured"] == [1, 2]
    assert told["history"]["psnr"][-1] == pytest.approx(told["psnr"], abs=1e-3)
    assert told["history"]["ssim"][-1] == pytest.approx(told["ssim"], abs=1e-5)
    assert told["history"]["loss"][-1] == pytest.approx(told["loss"], rel=1e-5)
    assert '"steps_measured": [1, 2]' in text  # in one line
    assert "\n  " in text  # the rest is not


def test_numbers_in_names_are_left_as_they_are(tmp_path):
    from dipedge.cli.report import write_json

    told = {
        "name": "[\n 1,\n 2 ]",
        "empty": [],
        "none": [None, 1.5e-7, -2],
        "words": ["a", "b"],
        "deep": [[1, 2]],
    }
    write_json(tmp_path / "out.json", told)
    assert json.loads((tmp_path / "out.json").read_text()) == told


def test_history_without_a_json_file_is_one_sentence(run):
    code, _, err = run("denoise", "in.png", "-o", "out.png", "--history")
    assert code == 2
    assert err == "dipedge: history goes into the JSON file, and there is none; add --json FILE\n"


def test_a_command_writes_a_report(run, truth):
    assert run("denoise", "in.png", "-o", "out.png", "--reference", truth, "--report", "out.html")[0] == 0
    page = Page("out.html")
    assert page.texts["h2"] == ["in.png"]
    assert [len(told["points"].split()) for told in page.every("polyline")] == [2, 2, 2]
    assert len(page.every("img", "under")) == 2
    assert sorted(os.listdir()) == ["in.png", "out.html", "out.png", "truth.png"]


COMMANDS = (
    ("jpeg",), ("superresolve", "--scale", 2), ("enhance",), ("inpaint", "--mask", "in.png"),
    ("flash", "--flash", "other.png"), ("dehaze", "--airlight", "0.8,0.85,0.9", "--longest", 64),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_task_has_its_report(run, command, picture):
    Image.fromarray(picture(48, 64)[::-1]).save("other.png")
    Image.fromarray(picture(48, 64)).save("in.png")
    code, _, err = run(command[0], "in.png", "-o", "out.png", *command[1:], "--report", "out.html")
    assert (code, err) == (0, "")
    assert len(Page("out.html").every("img", "over")) == 1


def test_a_batch_has_one_page_and_a_picture_that_fails_its_sentence(run, picture):
    os.mkdir("many")
    Image.fromarray(picture(16, 20)).save("many/a.png")
    Path("many/b.png").write_bytes(b"not a picture")
    Image.fromarray(picture(20, 16)).save("many/c.png")
    code, _, _ = run("denoise", "many", "-o", "restored", "--report", "out.html")
    assert code == 2
    page = Page("out.html")
    assert page.texts["h2"] == ["many/a.png", "many/b.png", "many/c.png"]
    assert len(page.every("img", "over")) == 2
    assert "not a picture in a format" in page.source
    assert "report of 3 pictures" in page.source


@pytest.mark.parametrize("target", ["in.png", "out.png", "no/out.html"])
def test_a_report_never_takes_the_place_of_a_picture(run, target):
    before = Path("in.png").read_bytes()
    code, _, err = run("denoise", "in.png", "-o", "out.png", "--report", target)
    assert code == 2 and err.count("\n") == 1
    assert os.listdir() == ["in.png"] and Path("in.png").read_bytes() == before


def test_ctrl_c_leaves_a_report_of_what_was_done(run, monkeypatch):
    from dipedge.session import Session

    fit = Session.fit

    def interrupted(self, image, reference):
        self._progress = _ctrl_c
        return fit(self, image, reference)

    def _ctrl_c(step):
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "fit", interrupted)
    assert run("denoise", "in.png", "-o", "out.png", "--report", "out.html")[0] == 130
    page = Page("out.html")
    assert "it was interrupted" in page.source.lower()
    assert [len(told["points"].split()) for told in page.every("polyline")] == [1]


def test_a_reference_of_another_size_is_one_sentence_before_any_fit(run, picture):
    Image.fromarray(picture(20, 20)).save("other.png")
    code, _, err = run("denoise", "in.png", "-o", "out.png", "--reference", "other.png")
    assert code == 2
    assert (
        err == "dipedge: other.png is 20 x 20 x 3; the restored picture to compare with it is 16 x 20 x 3\n"
    )
    assert not os.path.exists("out.png")


def test_measure_every_below_one_is_one_sentence(run):
    code, _, err = run("denoise", "in.png", "-o", "out.png", "--measure-every", 0)
    assert (code, err.count("\n")) == (2, 1) and "measure_every is 0" in err


def test_help_tells_of_reports(capsys):
    assert cli.main(["denoise", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--report", "--history", "--measure-every"))
