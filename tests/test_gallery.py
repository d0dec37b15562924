"""The gallery's page: its commands run on the files that are made for them, and its pictures are there."""

import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.gallery import PAGE, sections
from benchmarks.gallery_inputs import MAKERS
from dipedge import cli

TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = sections(TEXT)


def test_every_section_has_a_maker_and_every_maker_a_section():
    assert sorted(section.name for section in SECTIONS) == sorted(MAKERS)


def test_every_command_on_the_page_belongs_to_a_section():
    assert len(re.findall(r"^dipedge ", TEXT, re.M)) == len(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_the_page_shows_its_picture(section):
    with Image.open(PAGE.parent / "gallery" / f"{section.name}.jpg") as picture:
        assert picture.width > picture.height


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_every_command_runs_on_the_files_made_for_it(section, tmp_path, monkeypatch, capsys):
    if section.weights is not None:
        pytest.skip(f"{section.weights}: a trained network's weights are not part of this project")
    monkeypatch.chdir(tmp_path)
    degraded, true = MAKERS[section.name](Path("."))
    assert degraded in section.command and Path(degraded).is_file()
    assert true is None or Path(true).is_file()
    code = cli.main([*section.command, "--steps", "1", "--threads", "1"])
    assert code == 0, capsys.readouterr().err
    assert Path(section.output).is_file()
