"""Every restoring command beyond the plain ones: its own arguments, its own files, its own complaints."""

import numpy as np
import pytest
from PIL import Image

from dipedge.images import open_image


def save(name, size=(20, 16), value=128):
    """A flat grey picture, [width, height]."""
    Image.new("RGB", size, (value,) * 3).save(name)


def hole():
    """A mask with a hole in it, as mask.png."""
    mask = np.full((16, 20), 255, np.uint8)
    mask[5:9] = 0
    Image.fromarray(mask).save("mask.png")


@pytest.mark.parametrize("preset", ["text", "large-hole", "large-hole-2", "half"])
def test_inpainting_takes_a_mask_and_a_preset(run, preset):
    hole()
    arguments = ("inpaint", "in.png", "-o", "out.png", "--mask", "mask.png", "--preset", preset)
    assert run(*arguments, "--prior", "dip")[0] == 0
    assert open_image("out.png").size == (20, 16)


def test_enhancing_writes_the_coarse_version_too(run):
    assert run("enhance", "in.png", "-o", "out.png", "--strength", 2, "--coarse", "coarse.png")[0] == 0
    image, coarse, out = (np.asarray(open_image(name), float) for name in ("in.png", "coarse.png", "out.png"))
    assert np.abs(np.clip(image + 2 * (image - coarse), 0, 255) - out).max() <= 2  # rounded, twice


def test_a_flash_picture_helps_the_one_without(run):
    open_image("in.png").transpose(Image.Transpose.ROTATE_180).save("flash.png")
    assert run("flash", "in.png", "-o", "out.png", "--flash", "flash.png")[0] == 0
    assert open_image("out.png").size == (20, 16)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("inpaint", "in.png", "--mask", "mask.png", "--preset", "big"),
            "preset is 'big'; it must be one of",
        ),
        (
            ("inpaint", "in.png", "--mask", "mask.png", "--preset", "large-hole-2", "--prior", "pip"),
            "one of dip",
        ),
        (("enhance", "in.png", "--strength", 0), "strength is 0"),
        (("enhance", "in.png", "--coarse", "out.png"), "two outputs"),
        (("enhance", "in.png", "in2.png", "--coarse", "coarse.png"), "coarse takes one picture"),
        (("enhance", "in.png", "--coarse", "coarse.docx"), "coarse.docx"),
        (("flash", "in.png", "--flash", "small.png"), "16 x 16; it must be as large as the picture, 16 x 20"),
        (("flash", "in.png", "--flash", "absent.png"), "absent.png"),
        (("flash", "in.png", "--flash", "in2.png"), "one colour everywhere"),
        (("flash", "in.png"), "--flash"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_no_file(run, folder, arguments, words):
    hole()
    save("in2.png")
    save("small.png", (16, 16))
    before = sorted(path.name for path in folder.iterdir())
    code, _, err = run(*arguments, "-o", "out.png")
    assert code == 2
    assert words in err and err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_output_never_overwrites_a_picture_that_the_task_reads(run):
    hole()
    save("flash.png")
    for option, command in (("mask", "inpaint"), ("flash", "flash")):
        code, _, err = run(command, "in.png", "-o", f"{option}.png", f"--{option}", f"{option}.png")
        assert code == 2 and "is also read" in err
