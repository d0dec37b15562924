"""``dipedge text``: its arguments, its picture, its complaints."""

import pytest

import dipedge as de
from dipedge import cli
from dipedge.images import open_image

pytest.importorskip("torch")

from tests.stand_in_encoders import stand_in
from tests.tiny_clips import save_clip

ENCODER = ("--encoder", "huggingface:some/model")


@pytest.fixture
def make(folder, capsys, monkeypatch, tiny_pip):
    """``make(...)``: a quick fit with the tiny net; (exit code, standard output, standard error)."""
    monkeypatch.setattr("dipedge.session.chosen_preset", lambda task, *_: small(de.preset(task)))

    def small(chosen):
        return de.Preset(**(vars(chosen) | {"prior": tiny_pip}))

    def command(*arguments):
        code = cli.main(["text", *map(str, arguments), "--steps", "2", "--threads", "1"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def asked(monkeypatch):
    """What the makers of encoders were asked for; both give the stand-in."""
    found = []
    for name in ("open_clip", "hugging_face"):
        monkeypatch.setattr(de.encoders, name, lambda *of, name=name: found.append((name, *of)) or stand_in())
    return found


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("open_clip:ViT-B-32/laion2b", ("open_clip", "ViT-B-32", "laion2b")),
        ("open_clip:ViT-B-32/folder/file.pt", ("open_clip", "ViT-B-32", "folder/file.pt")),
        ("huggingface:openai/clip", ("hugging_face", "openai/clip")),
    ],
)
def test_a_text_becomes_a_picture(make, asked, encoder, expected):
    code, out, err = make("a red fox", "-o", "fox.png", "--size", "32", "--encoder", encoder)
    assert (code, err) == (0, "") and "fox.png" in out
    assert asked == [expected]
    assert open_image("fox.png").size == (32, 32)


def test_its_size_may_be_oblong_and_a_text_unwanted(make, asked):
    arguments = ("a fox | snow:0.5", "-o", "fox.png", *ENCODER, "--size", "20x36", "--negative", "blur")
    assert make(*arguments, "--cutouts", 2)[0] == 0
    assert open_image("fox.png").size == (36, 20)


def test_a_saved_model_makes_a_picture(make, tmp_path):
    save_clip(tmp_path)
    arguments = ("a red fox", "-o", "fox.png", "--size", "32", "--encoder", f"huggingface:{tmp_path}")
    assert make(*arguments)[0] == 0
    assert open_image("fox.png").size == (32, 32)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("", *ENCODER), "text holds ''"),
        (("fox:-1", *ENCODER), "the weight -1.0; it must be above 0"),
        (("fox", *ENCODER, "--size", "8"), "size is 8; it must be a whole number from 16 to 4096"),
        (("fox", *ENCODER, "--size", "32x32x3"), "size is '32x32x3'; it must be SIDE or HEIGHTxWIDTH"),
        (("fox", *ENCODER, "--cutouts", "0"), "cutouts is 0"),
        (("fox", *ENCODER, "--negative", " "), "negative holds ' '"),
        (("fox", "--encoder", "clip"), "encoder is 'clip'; it must be open_clip:MODEL/WEIGHTS or"),
        (("fox", "--encoder", "open_clip:ViT-B-32"), "encoder is 'open_clip:ViT-B-32'"),
        (("fox", *ENCODER, "--engine", "native"), "engine 'native' has no MADGRAD; engine='torch' does"),
        (("fox",), "--encoder"),
        (ENCODER, "TEXT"),
    ],
)
def test_wrong_input_is_one_line_and_no_picture(make, asked, folder, arguments, words):
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = make(*arguments, "-o", "fox.png")
    assert code == 2 and out == ""
    assert words in err and err.count("\n") == 1 and err.startswith("dipedge: ")
    assert sorted(path.name for path in folder.iterdir()) == before
