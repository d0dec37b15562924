"""Colours, depth, transparency, shape and turn of a video come out as they went in."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from dipedge.video import VideoWriter, open_video  # noqa: E402
from dipedge.video.colour import BT601, BT709, FULL, LIMITED, Colour, Converter, layout  # noqa: E402
from dipedge.video.encoders import ENCODERS, nearest  # noqa: E402
from tests.video_clips import frame_of, picture, write_clip  # noqa: E402


def copied(source, target, **options):
    """A video's every frame in another file; both as readers."""
    reader = open_video(source)
    with VideoWriter(target, like=reader, **options) as writer:
        for frame in reader:
            writer.write(frame.pixels, frame.time, frame.duration)
    return reader, open_video(target), writer.notes


def tagged(**tags):
    """Sets colour tags of a clip's encoder."""

    def prepare(_, stream):
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)

    return prepare


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts"])
def test_matrix_range_transfer_and_primaries_are_kept(tmp_path, name):
    tags = {"colorspace": 9, "color_range": 2, "color_trc": 16, "color_primaries": 9}
    source = write_clip(tmp_path / name, pixel_format="yuv420p10le", prepare=tagged(**tags))
    before, after, _ = copied(source, tmp_path / f"b_{name}")
    assert before.looks.colour == Colour(9, 2, 16, 9)
    assert after.looks.colour == before.looks.colour


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("full", [LIMITED, FULL])
def test_white_black_and_pure_colours_have_their_values_in_every_matrix_and_range(matrix, full):
    """Against the formula of H.273: Y = KR R + KG G + KB B, 219 or 255 steps of it above 16 or 0."""
    if matrix == 9 and int(av.__version__.split(".")[0]) < 18:
        pytest.skip("PyAV 17 does not tell the scaler of BT.2020; it is BT.601 both ways there")
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    colours = np.array(
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 130, 200]], np.uint8
    )
    pixels = np.repeat(np.repeat(colours[None], 16, axis=0), 16, axis=1)
    frame = Converter(Colour(matrix, full), 16).to_frame(pixels, "rgb24", "yuv444p")
    luma = frame.to_ndarray()[0, :, ::16]
    share = pixels[:, ::16].astype(float)[0] @ [kr, 1 - kr - kb, kb] / 255
    expected = 255 * share if full == FULL else 16 + 219 * share
    assert np.abs(luma[0] - expected).max() <= 1
    back = Converter(Colour(matrix, full), 16).to_pixels(frame, "rgb24")
    assert np.abs(back.astype(int) - pixels).max() <= 2


def test_an_untagged_matrix_is_taken_as_players_take_it():
    assert Colour().meant(576) == BT601 and Colour().meant(720) == BT709
    assert Colour(matrix=9).meant(576) == 9


def test_a_guess_that_another_size_would_change_becomes_a_tag(tmp_path):
    source = write_clip(tmp_path / "a.mp4", count=2, size=(360, 48))
    reader = open_video(source)
    assert reader.looks.colour.matrix == 2
    with VideoWriter(tmp_path / "b.mp4", like=reader, width=96, height=720) as writer:
        for frame in reader:
            writer.write(np.repeat(np.repeat(frame.pixels, 2, axis=0), 2, axis=1))
    after = open_video(tmp_path / "b.mp4")
    assert after.looks.colour.matrix == BT601
    first = next(iter(after)).pixels[::2, ::2].astype(int)
    assert np.abs(first - next(iter(reader)).pixels).mean() < 3


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mkv", "ffv1", "yuva420p"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mkv", "ffv1", "yuva444p16le"),
        ("a.mov", "png", "rgba"),
        ("a.mov", "qtrle", "argb"),
    ],
)
def test_transparency_is_read_and_written(tmp_path, name, codec, pixel_format):
    source = write_clip(tmp_path / name, codec, pixel_format, count=4, size=(64, 80))
    before, after, notes = copied(source, tmp_path / f"b_{name}")
    assert before.has_alpha and after.has_alpha and notes == []
    for frame, again in zip(before, after, strict=True):
        truth = picture(frame.index, 64, 80, 4)[..., 3] / 255
        white = np.iinfo(frame.pixels.dtype).max
        assert np.abs(frame.pixels[..., 3] / white - truth).mean() < 0.01
        assert np.abs(frame.pixels[..., 3] / white - again.pixels[..., 3] / white).mean() < 0.01


def test_a_codec_without_transparency_gives_way_to_one_with_it(tmp_path):
    source = write_clip(tmp_path / "a.mkv", "ffv1", "yuva420p", count=2)
    _, after, notes = copied(source, tmp_path / "b.mov")
    assert (after.looks.codec, after.has_alpha, notes) == ("prores", True, [])
    source = write_clip(tmp_path / "a.webm", "libvpx-vp9", "yuva420p", count=2)
    _, after, notes = copied(source, tmp_path / "b.mp4")
    assert not after.has_alpha
    assert notes == ["vp9 in .mp4 holds no transparency; it is left out"]


@pytest.mark.parametrize(
    ("pixel_format", "full"), [("gray", 0), ("gray", 1), ("gray", 2), ("gray16le", 0), ("gray10le", 1)]
)
def test_gray_stays_gray_to_the_bit(tmp_path, pixel_format, full):
    codec = "libx265" if pixel_format == "gray10le" else "ffv1"
    tags = tagged(color_range=full)
    source = write_clip(tmp_path / "a.mkv", codec, pixel_format, count=4, size=(64, 80), prepare=tags)
    before, after, _ = copied(source, tmp_path / "b.mkv", codec="ffv1")
    assert before.channels == after.channels == 1
    assert after.looks.pixel_format == pixel_format
    for frame, again in zip(before, after, strict=True):
        assert (frame.pixels == again.pixels).all()


def test_gray_in_a_codec_that_players_take_in_colour_only_is_written_as_colour(tmp_path):
    source = write_clip(tmp_path / "a.mkv", "ffv1", "gray", count=2)
    before, after, _ = copied(source, tmp_path / "b.mp4", codec="h264")
    assert after.looks.pixel_format == "yuv420p"
    for frame, again in zip(before, after, strict=True):
        assert np.abs(frame.pixels.astype(int) - again.pixels).max() < 20
        assert np.abs(frame.pixels.astype(int) - again.pixels).mean() < 2


@pytest.mark.parametrize(
    "pixel_format",
    ["yuv444p", "yuv422p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "gbrp10le", "bgr0", "yuv411p"],
)
def test_a_copy_through_rgb_differs_by_a_step_of_the_files_depth_at_most_on_average(tmp_path, pixel_format):
    source = write_clip(tmp_path / "a.mkv", "ffv1", pixel_format, count=2, size=(64, 80))
    before, after, _ = copied(source, tmp_path / "b.mkv")
    assert after.looks.pixel_format == pixel_format
    with av.open(str(source)) as first, av.open(str(tmp_path / "b.mkv")) as second:
        for a, b in zip(first.decode(video=0), second.decode(video=0), strict=True):
            for one, other in zip(a.planes, b.planes, strict=True):
                dtype = np.uint8 if before.bit_depth == 8 else np.uint16
                values = [np.frombuffer(bytes(plane), dtype).astype(int) for plane in (one, other)]
                assert np.abs(values[0] - values[1]).mean() < 1


def test_ten_bits_are_read_as_more_than_256_levels_and_written_as_such(tmp_path):
    def ramp(container, stream):
        stream.codec_context.color_range = 1

    source = write_clip(tmp_path / "a.mp4", pixel_format="yuv420p10le", count=1, size=(64, 512), prepare=ramp)
    before, after, _ = copied(source, tmp_path / "b.mp4")
    for reader in (before, after):
        assert reader.dtype == np.uint16 and reader.bit_depth == 10
        assert len(np.unique(next(iter(reader)).pixels)) > 400


def test_pixels_that_are_not_square_stay_so(tmp_path):
    def anamorphic(_, stream):
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    for name in ("a.mp4", "a.mkv"):
        source = write_clip(tmp_path / name, prepare=anamorphic, count=2)
        before, after, _ = copied(source, tmp_path / f"b_{name}")
        assert before.looks.aspect == after.looks.aspect == Fraction(16, 11)


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_matrix"), reason="PyAV 18 can, this not"
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_a_turned_video_stays_turned(tmp_path, name):
    source = write_clip(tmp_path / name, prepare=lambda _, stream: stream.set_display_rotation(90), count=2)
    before, after, _ = copied(source, tmp_path / f"b_{name}")
    assert before.looks.matrix is not None and before.shape == (32, 48, 3)
    assert after.looks.matrix == before.looks.matrix


def test_odd_sides_are_written_whole(tmp_path):
    source = write_clip(tmp_path / "a.mkv", "ffv1", "yuv420p", count=2, size=(33, 47))
    for name in ("b.mp4", "b.webm", "b.mkv"):
        _, after, _ = copied(source, tmp_path / name)
        assert after.shape == (33, 47, 3)


def test_layouts_of_all_pixel_formats_are_known():
    from av.video.format import names

    software = [name for name in names if not any(word in name for word in ("cuda", "vaapi", "vdpau", "qsv"))]
    assert len(software) > 200
    for name in software:
        try:
            described = av.VideoFormat(name)
        except ValueError:
            continue
        if not described.components:
            continue  # hardware surfaces
        channels, bits = layout(name)
        assert channels in (1, 3, 4) and 8 <= bits <= 16, name
    assert layout("yuv420p") == (3, 8) and layout("yuva444p12le") == (4, 12) and layout("ya8") == (4, 8)
    assert layout("pal8") == (4, 8) and layout("gray10le") == (1, 10) and layout("bgr0") == (3, 8)


def test_the_nearest_format_loses_nothing_if_it_can():
    formats = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "yuva420p"]
    assert nearest(formats, "yuv411p") == "yuv422p"
    assert nearest(formats, "yuvj420p") == "yuv420p"
    assert nearest(formats, "yuv420p12le") == "yuv420p10le"
    assert nearest(formats, "yuva444p") == "yuva420p"
    assert nearest(formats, "gbrp") == "yuv444p"
    assert nearest(formats, "gray") == "gray"
    assert nearest([], "anything") == "anything"


def test_a_frame_of_the_tests_is_what_it_says():
    """The other tests compare with it."""
    frame = frame_of(3, (32, 48), "yuv444p16le").reformat(
        format="rgb48le", src_colorspace=5, dst_colorspace=5
    )
    truth = picture(3, 32, 48, 3, "uint16")
    assert np.abs(frame.to_ndarray().astype(int) - truth).max() < 200


def test_the_docs_name_every_codec_with_its_quality():
    text = (Path(__file__).parent.parent / "docs" / "video_files.md").read_text()
    rows = text.split("| codec | as | quality |")[1].split("\n\n")[0]
    described = {}
    for row in rows.splitlines()[2:]:
        names, _, quality = (cell.strip() for cell in row.strip("|").split("|"))
        values = [int(value) for value in re.findall(r"\d+", quality)]
        names = names.split(", ")
        values = values or [None]
        values = values * len(names) if len(values) == 1 else values
        described |= dict(zip(names, values, strict=True))
    assert described.keys() == ENCODERS.keys()
    for name, encoder in ENCODERS.items():
        expected = encoder.crf if encoder.crf is not None else encoder.quantiser or None
        assert described[name] == expected or name in ("gif", "prores"), name
