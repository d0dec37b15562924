"""Animated GIF, WebP and PNG go in and out as videos."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from dipedge.errors import FileError

av = pytest.importorskip("av", reason="PyAV is not installed")

from dipedge.video import VideoWriter, open_video  # noqa: E402
from tests.video_clips import picture, write_clip  # noqa: E402

DURATIONS = [100, 250, 40, 500, 70]  # milliseconds
PALETTE = 8  # of 255, on average: what 256 colours of a smooth pattern are off
TIMES = [Fraction(time, 1000) for time in (0, 100, 350, 390, 890)]


def animation(path, channels=3, loop=0, count=5):
    """An animated picture of ``count`` frames."""
    frames = [Image.fromarray(frame_of(index, channels)) for index in range(count)]
    exact = {"lossless": True} if path.suffix == ".webp" else {"disposal": 2} if path.suffix == ".gif" else {}
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=DURATIONS[:count], loop=loop, **exact
    )
    return path


def frame_of(index, channels):
    """A pattern; with alpha, of which GIF has on and off only, a hole in it that moves."""
    pixels = picture(index, 32, 48, 3)
    if channels == 3:
        return pixels
    alpha = np.full((32, 48, 1), 255, np.uint8)
    alpha[8:16, 4 + index : 20 + index] = 0
    return np.concatenate([pixels, alpha], axis=2)


def copied(source, target):
    reader = open_video(source)
    with VideoWriter(target, like=reader) as writer:
        for frame in reader:
            writer.write(frame.pixels, frame.time, frame.duration)
    assert writer.notes == []
    return reader, open_video(target)


def error(first, second):
    return np.abs(first.astype(int) - second.astype(int)).mean()


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animation_is_read_with_the_time_of_each_frame(tmp_path, name, channels):
    reader = open_video(animation(tmp_path / name, channels))
    assert reader.shape == (32, 48, channels) and reader.frames == 5 and reader.dtype == np.uint8
    assert [frame.time for frame in reader] == TIMES
    assert [frame.duration for frame in reader] == [Fraction(each, 1000) for each in DURATIONS]
    for frame in reader:
        truth = frame_of(frame.index, channels)
        shown = truth[..., 3] > 0 if channels == 4 else np.ones((32, 48), bool)
        assert error(frame.pixels[shown], truth[shown]) < (PALETTE if name.endswith("gif") else 0.01)
        if channels == 4:
            assert (frame.pixels[..., 3] == truth[..., 3]).all()


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
@pytest.mark.parametrize("loop", [0, 3])
def test_an_animation_is_written_as_it_was(tmp_path, name, channels, loop):
    before, after = copied(animation(tmp_path / name, channels, loop), tmp_path / f"b_{name}")
    assert after.shape == before.shape and after.frames == 5
    assert after.looks.codec == before.looks.codec
    assert after.looks.loop == before.looks.loop == loop
    assert [frame.time for frame in after] == TIMES
    for first, second in zip(before, after, strict=True):
        if channels == 4:
            assert (first.pixels[..., 3] == second.pixels[..., 3]).all()
        shown = first.pixels[..., -1] > 0 if channels == 4 else np.ones((32, 48), bool)
        assert error(first.pixels[shown], second.pixels[shown]) < (PALETTE if name.endswith("gif") else 0.01)


def test_an_animation_becomes_a_video_and_a_video_an_animation(tmp_path):
    _, video = copied(animation(tmp_path / "a.gif"), tmp_path / "b.mp4")
    assert [frame.time for frame in video] == TIMES
    for name in ("c.gif", "c.webp", "c.apng"):
        _, moving = copied(write_clip(tmp_path / "a.mkv", "ffv1", "yuv444p", rate=20), tmp_path / name)
        assert moving.looks.loop == 0
        assert [frame.time for frame in moving] == [Fraction(index, 20) for index in range(12)]
        for frame in moving:
            assert error(frame.pixels, picture(frame.index)) < (PALETTE if name == "c.gif" else 2)


def test_an_animation_becomes_frames_and_needs_no_pyav_for_it(tmp_path, monkeypatch):
    path = animation(tmp_path / "a.webp")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    reader = open_video(path)
    with VideoWriter(tmp_path / "out", like=reader) as writer:
        for frame in reader:
            writer.write(frame.pixels, frame.time)
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_a_frame_that_says_no_time_is_shown_as_browsers_do(tmp_path):
    frames = [Image.fromarray(picture(index)) for index in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=0)
    assert [frame.time for frame in open_video(tmp_path / "a.gif")] == [0, Fraction(1, 10), Fraction(2, 10)]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_a_single_picture_is_no_video(tmp_path, name):
    Image.fromarray(picture(0)).save(tmp_path / name)
    with pytest.raises(FileError, match="a single picture, no video"):
        open_video(tmp_path / name)


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_a_truncated_animation_gives_the_frames_before_the_damage(tmp_path, name):
    data = animation(tmp_path / name).read_bytes()
    (tmp_path / f"cut_{name}").write_bytes(data[: int(0.55 * len(data))])
    frames = []
    with pytest.raises(FileError) as raised:
        for frame in open_video(tmp_path / f"cut_{name}"):
            frames.append(frame)
    assert f"cut_{name}: is damaged after {len(frames)} frames (" in str(raised.value)
    assert 1 <= len(frames) < 5 and "\n" not in str(raised.value)
