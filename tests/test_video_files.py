"""Video files and folders of frames: what is read is what is written, and nothing unfinished has a finished
name.
"""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from dipedge.errors import FileError, InputError

av = pytest.importorskip("av", reason="PyAV is not installed")

from dipedge.video import VideoWriter, open_video  # noqa: E402
from tests.video_clips import packets_of, picture, write_clip  # noqa: E402


def copy(source, target, **options):
    """Every frame of a video written to another; (reader, writer)."""
    reader = open_video(source)
    with VideoWriter(target, like=reader, **options) as writer:
        for frame in reader:
            writer.write(frame.pixels, frame.time, frame.duration)
    return reader, writer


def mean_error(first, second):
    """Mean absolute difference as a share of white."""
    white = np.iinfo(first.dtype).max
    return np.abs(
        first.astype(np.float64) / white - second.astype(np.float64) / np.iinfo(second.dtype).max
    ).mean()


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "sound"),
    [
        ("a.mp4", "libx264", "yuv420p", "aac"),
        ("a.mkv", "libx264", "yuv444p", "libopus"),
        ("a.mov", "libx265", "yuv420p10le", "aac"),
        ("a.webm", "libvpx-vp9", "yuv420p", "libopus"),
        ("a.avi", "mpeg4", "yuv420p", "libmp3lame"),
        ("a.ts", "mpeg2video", "yuv420p", "aac"),
        ("a.mkv", "ffv1", "yuv422p10le", None),
        ("a.mp4", "libsvtav1", "yuv420p", None),
        ("a.mkv", "libvpx", "yuv420p", None),
        ("a.avi", "mjpeg", "yuvj420p", None),
        ("a.mpg", "mpeg1video", "yuv420p", "mp2"),
        ("a.nut", "utvideo", "gbrp", None),
        ("a.mov", "prores_ks", "yuv422p10le", None),
        ("a.mov", "png", "rgb24", None),
    ],
)  # fmt: skip
def test_a_copied_clip_has_the_same_frames_times_codec_and_sound(tmp_path, name, codec, pixel_format, sound):
    source = write_clip(tmp_path / name, codec, pixel_format, sound=sound, size=(64, 80))
    reader, writer = copy(source, tmp_path / f"out_{name}")
    again = open_video(writer.path)
    assert again.shape == reader.shape and again.dtype == reader.dtype and again.rate == reader.rate
    assert again.looks.codec == reader.looks.codec
    assert again.looks.pixel_format == reader.looks.pixel_format
    assert again.audio == (sound is not None)
    before, after = list(reader), list(again)
    assert len(before) == len(after) == 12
    assert [frame.time for frame in before] == [frame.time for frame in after]
    assert max(mean_error(a.pixels, b.pixels) for a, b in zip(before, after, strict=True)) < 0.012
    assert writer.notes == []


def test_a_reader_knows_size_depth_and_rate_before_the_first_frame(tmp_path):
    reader = open_video(write_clip(tmp_path / "a.mp4", pixel_format="yuv420p10le", rate=30))
    assert (reader.width, reader.height, reader.channels, reader.bit_depth) == (48, 32, 3, 10)
    assert (reader.rate, reader.frames, reader.audio, reader.has_alpha) == (30, 12, False, False)
    assert [frame.index for frame in reader] == list(range(12))
    assert [frame.index for frame in reader.frames_from(9)] == [9, 10, 11]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
def test_how_many_frames_there_are_is_known_though_the_sound_is_longer(tmp_path, name):
    codec, sound = {"a.webm": ("libvpx-vp9", "libopus"), "a.avi": ("mpeg4", "mp2")}.get(
        name, ("libx264", "aac")
    )
    source = write_clip(tmp_path / name, codec, sound=sound, count=7, rate=60)
    assert open_video(source).frames == 7


def test_pixels_are_those_of_the_picture_that_was_written(tmp_path):
    frames = list(open_video(write_clip(tmp_path / "a.mkv", "ffv1", "yuv444p")))
    for frame in frames:
        assert np.abs(frame.pixels.astype(int) - picture(frame.index)).max() <= 3


def test_variable_rates_keep_every_timestamp(tmp_path):
    steps = [0, 40, 55, 130, 131, 200, 500, 510, 560, 900, 901, 1000]
    times = [Fraction(step, 1000) for step in steps]
    source = write_clip(tmp_path / "a.mkv", times=times, base=Fraction(1, 1000))
    for name in ("b.mkv", "b.mp4", "b.mov", "b.nut"):
        _, writer = copy(source, tmp_path / name)
        assert [frame.time for frame in open_video(writer.path)] == times


def test_sound_is_copied_packet_by_packet(tmp_path):
    source = write_clip(tmp_path / "a.mp4", sound="aac", count=40)
    _, writer = copy(source, tmp_path / "b.mkv")
    first, second = packets_of(source, "audio"), packets_of(writer.path, "audio")
    assert len(first) > 50
    assert [data for _, data in first] == [data for _, data in second]
    # Matroska's clock has milliseconds, and begins at 0.
    shift = second[0][0] - first[0][0]
    assert max(abs(b[0] - a[0] - shift) for a, b in zip(first, second, strict=True)) <= Fraction(1, 1000)


def test_sound_can_be_left_out(tmp_path):
    _, writer = copy(write_clip(tmp_path / "a.mp4", sound="aac"), tmp_path / "b.mp4", audio=False)
    assert not open_video(writer.path).audio


def test_until_it_is_closed_a_video_has_its_partial_name_only(tmp_path):
    reader = open_video(write_clip(tmp_path / "a.mp4"))
    writer = VideoWriter(tmp_path / "b.mp4", like=reader)
    for frame in reader:
        writer.write(frame.pixels, frame.time)
        assert (tmp_path / "b.partial.mp4").exists() and not (tmp_path / "b.mp4").exists()
    assert writer.close() == tmp_path / "b.mp4"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_what_was_written_before_a_failure_can_be_played_under_the_partial_name(tmp_path):
    reader = open_video(write_clip(tmp_path / "a.mp4", sound="aac"))
    with (
        pytest.raises(RuntimeError, match="the fit broke"),
        VideoWriter(tmp_path / "b.mp4", like=reader) as writer,
    ):
        for frame in reader:
            if frame.index == 7:
                raise RuntimeError("the fit broke")
            writer.write(frame.pixels, frame.time)
    assert not (tmp_path / "b.mp4").exists()
    assert len(list(open_video(tmp_path / "b.partial.mp4"))) == 7


def test_frames_twice_as_large_and_twice_as_many_are_written_at_their_times(tmp_path):
    reader = open_video(write_clip(tmp_path / "a.mp4", rate=25))
    with VideoWriter(tmp_path / "b.mp4", reader, width=96, height=64, times=2) as writer:
        for frame in reader:
            large = np.repeat(np.repeat(frame.pixels, 2, axis=0), 2, axis=1)
            writer.write(large, frame.time, frame.duration / 2)
            writer.write(large, frame.time + frame.duration / 2, frame.duration / 2)
    again = open_video(tmp_path / "b.mp4")
    assert again.shape == (64, 96, 3) and again.rate == 50
    assert [frame.time for frame in again] == [Fraction(index, 50) for index in range(24)]


def frames_in(folder, count=5, extension=".png", first=8, **options):
    """A folder of numbered pictures."""
    folder.mkdir()
    for index in range(first, first + count):
        pixels = picture(index, **options)
        Image.fromarray(np.squeeze(pixels)).save(folder / f"shot{index}{extension}")
    return folder


def test_a_folder_is_a_video_in_natural_order_and_keeps_its_names(tmp_path):
    folder = frames_in(tmp_path / "in")
    reader, writer = copy(folder, tmp_path / "out")
    assert reader.frames == 5 and reader.rate == 25 and not reader.audio
    assert [frame.time for frame in reader] == [Fraction(index, 25) for index in range(5)]
    names = ["shot8.png", "shot9.png", "shot10.png", "shot11.png", "shot12.png"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(names)
    assert not writer.partial.exists()
    for index, name in enumerate(names):
        with Image.open(tmp_path / "out" / name) as image:
            assert (np.asarray(image) == picture(index + 8)).all()


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (4, "uint8"), (1, "uint16")])
def test_gray_alpha_and_deep_frames_come_back_to_the_bit(tmp_path, channels, dtype):
    folder = frames_in(tmp_path / "in", channels=channels, dtype=dtype)
    reader, _ = copy(folder, tmp_path / "out")
    assert reader.dtype == dtype and reader.channels == channels
    for before, after in zip(reader, open_video(tmp_path / "out"), strict=True):
        assert (before.pixels == after.pixels).all()


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_of_colour_go_in_and_out_of_folders(tmp_path, extension, channels):
    source = write_clip(
        tmp_path / "a.mkv", "ffv1", "yuva444p10le" if channels == 4 else "yuv444p10le", count=3
    )
    reader, _ = copy(source, tmp_path / "out" / f"*{extension}")
    again = open_video(tmp_path / "out")
    assert again.dtype == np.uint16 and again.channels == channels
    for before, after in zip(reader, again, strict=True):
        assert (before.pixels == after.pixels).all()


def test_a_glob_is_a_video_with_a_rate_of_ones_choice(tmp_path):
    folder = frames_in(tmp_path / "in")
    (folder / "notes.txt").write_text("not a frame")
    reader = open_video(f"{folder}/shot1*.png", rate=10)
    assert [frame.time for frame in reader] == [0, Fraction(1, 10), Fraction(2, 10)]
    with VideoWriter(tmp_path / "b.mp4", like=reader) as writer:
        for frame in reader:
            writer.write(frame.pixels)
    again = open_video(tmp_path / "b.mp4")
    assert again.rate == 10 and len(list(again)) == 3


def test_a_writer_refuses_frames_of_another_kind_and_times_that_go_back(tmp_path):
    reader = open_video(write_clip(tmp_path / "a.mp4"))
    with VideoWriter(tmp_path / "b.mp4", like=reader) as writer:
        writer.write(picture(0), Fraction(1))
        with pytest.raises(InputError, match="this video takes"):
            writer.write(picture(0, 16))
        with pytest.raises(InputError, match="this video takes"):
            writer.write(picture(0, dtype="uint16"))
        with pytest.raises(InputError, match="must be later"):
            writer.write(picture(0), Fraction(1))
    with pytest.raises(InputError, match="is closed"):
        writer.write(picture(0))


def test_the_output_may_not_be_the_input(tmp_path):
    source = write_clip(tmp_path / "a.mp4")
    (tmp_path / "link.mp4").symlink_to(source)
    for name in ("a.mp4", "link.mp4"):
        with pytest.raises(FileError, match="is also what is read"):
            VideoWriter(tmp_path / name, like=open_video(source))
