"""Picture files: what survives the way through them, what is refused, and that nothing is half-written."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from dipedge import arrays, images
from dipedge.errors import FileError

RNG = np.random.default_rng(0)
COLOUR = Image.fromarray(RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8))


def chunk(kind, payload):
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_header(width, height, depth=8, colour=2):
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    )


# A header is believed only once pixels begin: this is a valid start of them, and no more.
PIXELS_BEGIN = struct.pack(">I", 1000) + b"IDAT" + zlib.compress(b"\0" * 100)


def names_in(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("extension", [".png", ".tif", ".webp", ".bmp"])
def test_lossless_files_bring_back_the_same_pixels(tmp_path, extension):
    path = tmp_path / f"picture{extension}"
    images.save_image(COLOUR, path)
    np.testing.assert_array_equal(np.asarray(images.open_image(path)), np.asarray(COLOUR))
    assert names_in(tmp_path) == [path.name]


def test_16_bit_gray_stays_16_bit(tmp_path):
    values = RNG.integers(0, 65536, (16, 18), dtype=np.uint16)
    images.save_image(Image.fromarray(values), tmp_path / "deep.png")
    picture = arrays.read(images.open_image(tmp_path / "deep.png"))
    back = picture.give_back(picture.pixels)
    assert back.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(back), values)


def test_16_bit_colour_is_read_as_8_and_says_so(tmp_path):
    rows = b"".join(b"\0" + bytes(RNG.integers(0, 256, 16 * 6, dtype=np.uint8)) for _ in range(16))
    png = png_header(16, 16, depth=16) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(png)
    image = images.open_image(tmp_path / "deep.png")
    assert image.mode == "RGB"
    assert "16 bits" in image.info["note"]


def test_ordinary_files_carry_no_note(tmp_path):
    images.save_image(COLOUR, tmp_path / "a.png")
    assert "note" not in images.open_image(tmp_path / "a.png").info


def test_of_an_animation_the_first_frame_is_taken_and_said(tmp_path):
    first, second = (Image.new("L", (16, 16), value) for value in (10, 200))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    image = images.open_image(tmp_path / "a.gif")
    assert "first of 2" in image.info["note"]
    assert arrays.read(image).pixels.max() < 0.1


def test_colour_profile_and_exif_survive_a_round_through_files(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 8, "a camera"
    COLOUR.save(tmp_path / "in.jpg", icc_profile=profile, exif=exif)
    picture = arrays.read(images.open_image(tmp_path / "in.jpg"))
    assert picture.pixels.shape == (24, 20, 3)  # orientation 8: a quarter turn
    for name in ("out.png", "out.jpg", "out.tif", "out.webp"):
        images.save_image(picture.give_back(picture.pixels), tmp_path / name)
        written = images.open_image(tmp_path / name)
        assert written.info["icc_profile"] == profile, name
        assert written.getexif().get(0x0112, 1) == 1, name
        assert written.size == (20, 24), name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"this is a text and no picture at all", "not a picture"),
        (png_header(30000, 30000) + PIXELS_BEGIN, "claims.*67,108,864"),
        (png_header(9000, 9000) + PIXELS_BEGIN, "9000 x 9000.*67,108,864"),
        (png_header(64, 64) + PIXELS_BEGIN, "damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n", "not a picture"),
    ],
)
def test_files_that_hold_no_picture_are_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(FileError, match=f"bad.png: .*{words}") as caught:
        images.open_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_truncated_files_are_refused_whatever_their_format(tmp_path, extension, share):
    path = tmp_path / f"cut{extension}"
    COLOUR.save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(FileError, match=f"cut{extension}: "):
        images.open_image(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        images.open_image(tmp_path / "none.png")
    with pytest.raises(FileError, match="a folder"):
        images.open_image(tmp_path)
    with pytest.raises(FileError, match="cannot be read"):
        images.open_image("a\0b.png")


def test_large_pictures_below_the_limit_open_without_a_warning(tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", (8192, 8192)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.open_image(path).size == (8192, 8192)


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("out.xyz", "RGB", "'.xyz'; use"),
        ("out", "RGB", "without extension"),
        ("out.jpg", "RGBA", "JPEG does not hold transparency"),
        ("out.jpg", "I;16", "JPEG does not hold 16 bits"),
        ("out.bmp", "RGBA", "transparency"),
        ("none/out.png", "RGB", "no folder"),
        ("file/out.png", "RGB", "no folder"),
        ("folder.png", "RGB", "a folder"),
        ("n" * 300 + ".png", "RGB", "cannot be written"),
    ],
)
def test_outputs_that_cannot_be_written_are_known_beforehand(tmp_path, name, mode, words):
    (tmp_path / "file").write_text("a file where a folder is asked for")
    (tmp_path / "folder.png").mkdir()
    before = names_in(tmp_path)
    with pytest.raises(FileError, match=words):
        images.check_writable(tmp_path / name, mode)
    assert names_in(tmp_path) == before


def test_checking_an_output_leaves_it_alone(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"before")
    images.check_writable(path, "RGB")
    assert path.read_bytes() == b"before"
    assert names_in(tmp_path) == ["out.png"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), images.written_beside(path) as file:
        file.write(b"half of it")
        raise RuntimeError
    with pytest.raises(FileError, match="cannot be written"), images.written_beside(path) as file:
        raise OSError(28, "No space left on device")
    assert path.read_bytes() == b"before"
    assert names_in(tmp_path) == ["out.png"]


def test_written_files_have_the_rights_the_user_asked_for(tmp_path):
    old = os.umask(0o027)
    try:
        images.save_image(COLOUR, tmp_path / "out.png")
    finally:
        os.umask(old)
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == 0o640
