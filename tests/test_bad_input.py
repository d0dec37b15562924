"""Bad input on the command line: one clear line, exit code 2, and nothing written."""

import hashlib
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dipedge import cli
from dipedge.errors import OutOfMemoryError


def chunk(kind, payload):
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def gigantic_png():
    """A header of 30,000 x 30,000 pixels and the beginning of a valid stream of them: under a kilobyte."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(90_001)))


@pytest.fixture
def folder(tmp_path, picture, monkeypatch):
    """A folder with good and bad files of every kind, as working folder."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(16, 20)).save("good.png")
    Image.fromarray(picture(16, 20, 4)).save("alpha.png")
    Image.fromarray(picture(16, 20, 0, "uint16")).save("deep.png")
    Image.fromarray(picture(12, 40)).save("flat.png")
    Image.fromarray(picture(16, 24)).save("wide.png")
    Image.fromarray(np.full((16, 20), np.nan, np.float32)).save("nan.tif")
    Image.fromarray(np.full((16, 20), 80.0, np.float32)).save("bright.tif")
    Image.new("L", (20, 16)).save("holes.png")
    Image.new("L", (21, 16), 255).save("mask_wide.png")
    good = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("these are words")
    (tmp_path / "gigantic.png").write_bytes(gigantic_png())
    os.mkdir("nothing")
    os.mkdir("folder.png")
    os.symlink("good.png", "link.png")
    return tmp_path


def fingerprint(folder):
    """Every path below a folder, and what its file holds."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in folder.rglob("*")
    }


CASES = {
    "missing file": ("denoise no.png -o out.png", "no.png: no such file"),
    "empty file": ("denoise empty.png -o out.png", "empty.png: the file is empty"),
    "truncated file": ("denoise cut.png -o out.png", "cut.png: a damaged picture"),
    "no picture": ("denoise text.png -o out.png", "text.png: not a picture"),
    "folder without pictures": ("denoise nothing -o out", "nothing: no picture in this folder"),
    "glob without match": ("denoise *.xyz -o out", "*.xyz: no file matches"),
    "gigantic header": ("denoise gigantic.png -o out.png", "gigantic.png: claims"),
    "flat picture": ("denoise flat.png -o out.png", "flat.png is 12 x 40 x 3; both sides must be 16"),
    "NaN": ("denoise nan.tif -o out.tif", "nan.tif holds NaN"),
    "floats beyond 1": ("denoise bright.tif -o out.tif", "bright.tif has values from 80 to 80"),
    "mask missing": ("inpaint good.png --mask no.png -o out.png", "no.png: no such file"),
    "mask damaged": ("inpaint good.png --mask cut.png -o out.png", "cut.png: a damaged picture"),
    "mask of another size": (
        "inpaint good.png --mask mask_wide.png -o out.png",
        "mask_wide.png is 16 x 21; it must be as large as the picture, 16 x 20",
    ),
    "mask of holes only": ("inpaint good.png --mask holes.png -o out.png", "every pixel as a hole"),
    "no mask": ("inpaint good.png -o out.png", "--mask"),
    "no output": ("denoise good.png", "--output"),
    "no input": ("denoise -o out.png", "IN"),
    "no command": ("", "Missing command"),
    "unknown task": ("sharpen good.png -o out.png", "sharpen"),
    "unknown option": ("denoise good.png -o out.png --strength 3", "--strength"),
    "unknown engine": ("denoise good.png -o out.png --engine warp", "engine is 'warp'"),
    "unknown prior": ("denoise good.png -o out.png --prior vit", "prior is 'vit'"),
    "unknown quality": ("denoise good.png -o out.png --quality best", "quality is 'best'"),
    "unknown precision": ("denoise good.png -o out.png --precision fp8", "precision 'fp8'"),
    "scale 5": ("superresolve good.png -o out.png --scale 5", "scale is 5; it must be one of 2, 3, 4, 8"),
    "scale in words": ("superresolve good.png -o out.png --scale four", "--scale"),
    "steps 0": ("denoise good.png -o out.png --steps 0", "steps is 0"),
    "steps in words": ("denoise good.png -o out.png --steps many", "--steps"),
    "sigma 0": ("denoise good.png -o out.png --sigma 0", "sigma is 0"),
    "sigma NaN": ("denoise good.png -o out.png --sigma nan", "sigma is nan"),
    "average 1": ("denoise good.png -o out.png --average 1", "average is 1"),
    "learning rate 0": ("denoise good.png -o out.png --learning-rate 0", "learning_rate is 0"),
    "seed below 0": ("denoise good.png -o out.png --seed -1", "seed is -1"),
    "threads 0": ("denoise good.png -o out.png --threads 0", "threads is 0"),
    "tiles in words": (
        "denoise good.png -o out.png --tiles large",
        "tiles is 'large'; it must be auto, none",
    ),
    "three numbers for tiles": ("denoise good.png -o out.png --tiles 64,8,8", "tiles is '64,8,8'"),
    "tiles below 0": ("denoise good.png -o out.png --tiles -64", "tiles is '-64'"),
    "tiles too small": ("denoise good.png -o out.png --tiles 16", "side is 16; it must be a whole number"),
    "overlap too large": ("denoise good.png -o out.png --tiles 64,40", "overlap is 40; it must be"),
    "output in no folder": ("denoise good.png -o no/out.png", "no/out.png: there is no folder no"),
    "output below a file": ("denoise good.png -o text.png/out.png", "there is no folder text.png"),
    "output of unknown kind": ("denoise good.png -o out.xyz", "out.xyz: cannot be written as '.xyz'"),
    "output without extension": ("denoise good.png -o out", "without extension"),
    "output without alpha": ("denoise alpha.png -o out.jpg", "out.jpg: JPEG does not hold transparency"),
    "output of 8 bits for 16": ("denoise deep.png -o out.jpg", "JPEG does not hold 16 bits"),
    "output over the input": ("denoise good.png -o good.png", "good.png: is also read"),
    "output over the input by another name": ("denoise good.png -o ./folder.png/../good.png", "is also read"),
    "output over the input by a link": ("denoise good.png -o link.png", "link.png: is also read"),
    "output over the mask": ("inpaint good.png --mask wide.png -o wide.png", "wide.png: is also read"),
    "output over the reference": ("denoise good.png --reference wide.png -o wide.png", "is also read"),
    "several over one file": ("denoise good.png wide.png -o text.png", "several pictures need a folder"),
    "several over the inputs": ("denoise good.png wide.png -o .", "good.png: is also read"),
    "json over the input": ("denoise good.png -o out.png --json good.png", "good.png: is also read"),
    "json over the output": ("denoise good.png -o out.png --json out.png", "two outputs"),
    "json in no folder": ("denoise good.png -o out.png --json no/a.json", "there is no folder no"),
    "json in a folder's place": ("denoise good.png -o out.png --json nothing", "nothing: a folder"),
    "side-by-side of several": ("denoise good.png wide.png -o new --side-by-side a.png", "takes one picture"),
    "side-by-side of unknown kind": ("denoise good.png -o out.png --side-by-side a.txt", "'.txt'"),
    "reference missing": ("denoise good.png -o out.png --reference no.png", "no.png: no such file"),
    "reference of another size": (
        "denoise good.png -o out.png --reference wide.png",
        "wide.png is 16 x 24 x 3; the restored picture to compare with it is 16 x 20 x 3",
    ),
    "reference of another depth": ("denoise good.png -o out.png --reference deep.png", "16 x 20 x 1"),
    "one reference for several": ("denoise good.png wide.png -o new --reference good.png", "a folder of"),
    "reference folder without it": ("denoise good.png -o out.png --reference nothing", "called good"),
}


@pytest.mark.parametrize(("command", "words"), CASES.values(), ids=CASES.keys())
def test_it_is_refused_in_one_line_and_nothing_is_written(folder, capsys, engine, command, words):
    before = fingerprint(folder)
    arguments = command.split()
    if "-o" in arguments and "--engine" not in arguments:
        arguments += ["--engine", engine]
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("dipedge: ")
    assert words in captured.err
    assert fingerprint(folder) == before


def test_two_inputs_that_would_be_written_to_one_place_are_refused(folder, capsys, picture):
    Image.fromarray(picture()).save("good.bmp")
    assert cli.main(["denoise", "good.png", "good.bmp", "-o", "new"]) == 2
    assert "good.png and good.bmp would both be written to new/good.png" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_known_before_the_fit(folder, capsys, engine):
    os.chmod("nothing", 0o500)
    assert cli.main(["denoise", "good.png", "-o", "nothing/out.png", "--engine", engine]) == 2
    assert "nothing/out.png: cannot be written" in capsys.readouterr().err


def test_out_of_memory_is_one_line_with_the_bytes_needed(folder, capsys, engine, monkeypatch):
    def refuse(self, image, reference=None):
        raise OutOfMemoryError("engine 'x' needs 123456789 bytes, which are not there", 123456789)

    monkeypatch.setattr("dipedge.session.Session.fit", refuse)
    assert cli.main(["denoise", "good.png", "-o", "out.png", "--engine", engine]) == 1
    captured = capsys.readouterr().err
    assert "123456789 bytes" in captured and captured.count("\n") == 1
    assert not os.path.exists("out.png")
