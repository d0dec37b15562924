"""A video that was interrupted is gone on from: the frames that were written stay, and nothing is written
twice.
"""

import os
import signal
import subprocess
import sys
import textwrap
from fractions import Fraction

import numpy as np
import pytest

from dipedge.errors import FileError

av = pytest.importorskip("av", reason="PyAV is not installed")

from dipedge.video import VideoWriter, open_video  # noqa: E402
from tests.video_clips import packets_of, write_clip  # noqa: E402

CODECS = [
    ("a.mp4", "libx264", "yuv420p", "aac"),
    ("a.mkv", "libx264", "yuv420p", "aac"),
    ("a.mov", "libx265", "yuv420p10le", "aac"),
    ("a.webm", "libvpx-vp9", "yuv420p", "libopus"),
    ("a.mp4", "libsvtav1", "yuv420p", None),
    ("a.mkv", "ffv1", "yuv420p", None),
    ("a.ts", "libx264", "yuv420p", "aac"),
    ("a.avi", "mpeg4", "yuv420p", None),
]


def left_behind(source, target, count, keep=0, **options):
    """Writes frames up to ``count`` in another process, which then kills itself; how many it began with."""
    code = f"""
        import os, signal
        from dipedge.video import VideoWriter, open_video
        reader = open_video({str(source)!r})
        writer = VideoWriter({str(target)!r}, like=reader, keep={keep}, **{options!r})
        print(writer.frames, flush=True)
        for frame in reader.frames_from(writer.frames):
            if frame.index == {count}:
                os.kill(os.getpid(), signal.SIGKILL)
            writer.write(frame.pixels, frame.time, frame.duration)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    return int(ran.stdout)


@pytest.mark.parametrize(("name", "codec", "pixel_format", "sound"), CODECS)
def test_a_killed_run_is_gone_on_from_with_at_most_its_last_frame_lost(
    tmp_path, name, codec, pixel_format, sound
):
    source = write_clip(tmp_path / name, codec, pixel_format, sound=sound, count=40, size=(64, 80))
    target = tmp_path / f"out_{name}"
    assert left_behind(source, target, 30) == 0
    assert not target.exists()
    reader = open_video(source)
    with VideoWriter(target, like=reader, keep=1000) as writer:
        assert 30 - (2 if name.endswith(".ts") else 1) <= writer.frames <= 30
        for frame in reader.frames_from(writer.frames):
            writer.write(frame.pixels, frame.time, frame.duration)
    before, after = list(reader), list(open_video(target))
    assert [frame.time for frame in after] == [frame.time for frame in before]
    worst = max(
        np.abs(a.pixels.astype(float) - b.pixels).mean() / np.iinfo(a.pixels.dtype).max
        for a, b in zip(before, after, strict=True)
    )
    assert worst < 0.02
    assert [data for _, data in packets_of(source, "audio")] == [
        data for _, data in packets_of(target, "audio")
    ]
    assert sorted(os.listdir(tmp_path)) == sorted([name, target.name])


def test_only_as_many_frames_are_kept_as_asked_for(tmp_path):
    source = write_clip(tmp_path / "a.mp4", count=20)
    left_behind(source, tmp_path / "b.mp4", 15)
    reader = open_video(source)
    with VideoWriter(tmp_path / "b.mp4", like=reader, keep=6) as writer:
        assert writer.frames == 6
        writer.write(next(reader.frames_from(6)).pixels)
    times = [frame.time for frame in open_video(tmp_path / "b.mp4")]
    assert times == [Fraction(index, 25) for index in range(7)]


def test_a_run_may_be_killed_again_and_again(tmp_path):
    source = write_clip(tmp_path / "a.mkv", sound="aac", count=40)
    began = [left_behind(source, tmp_path / "b.mkv", count, keep=1000) for count in (10, 11, 25, 26, 40 - 1)]
    assert began == sorted(began) and began[0] == 0 and began[-1] >= 24
    reader = open_video(source)
    with VideoWriter(tmp_path / "b.mkv", like=reader, keep=1000) as writer:
        for frame in reader.frames_from(writer.frames):
            writer.write(frame.pixels, frame.time, frame.duration)
    assert [frame.time for frame in open_video(tmp_path / "b.mkv")] == [frame.time for frame in reader]


def test_without_keep_an_unfinished_file_is_begun_anew(tmp_path):
    source = write_clip(tmp_path / "a.mp4")
    left_behind(source, tmp_path / "b.mp4", 10)
    with VideoWriter(tmp_path / "b.mp4", like=open_video(source)) as writer:
        assert writer.frames == 0
        writer.write(next(iter(open_video(source))).pixels)
    assert len(list(open_video(tmp_path / "b.mp4"))) == 1


def test_frames_of_another_codec_or_size_are_not_gone_on_from(tmp_path):
    source = write_clip(tmp_path / "a.mkv")
    left_behind(source, tmp_path / "b.mkv", 10)
    with pytest.raises(
        FileError, match="an earlier run wrote h264 yuv420p 48 x 32, this one would write ffv1"
    ):
        VideoWriter(tmp_path / "b.mkv", like=open_video(source), codec="ffv1", keep=10)
    # What was refused is still there.
    reader = open_video(source)
    with VideoWriter(tmp_path / "b.mkv", like=reader, keep=10) as writer:
        assert writer.frames >= 9


def test_a_program_stream_is_begun_anew(tmp_path):
    source = write_clip(tmp_path / "a.mpg", "mpeg2video", count=30)
    left_behind(source, tmp_path / "b.mpg", 25)
    reader = open_video(source)
    with VideoWriter(tmp_path / "b.mpg", like=reader, keep=10) as writer:
        assert writer.frames == 0
        for frame in reader:
            writer.write(frame.pixels, frame.time, frame.duration)
    assert [frame.time for frame in open_video(tmp_path / "b.mpg")] == [frame.time for frame in reader]


def test_rubbish_in_the_place_of_an_unfinished_file_counts_as_no_frame(tmp_path):
    source = write_clip(tmp_path / "a.mp4")
    (tmp_path / "b.partial.mp4").write_bytes(b"not a video at all")
    with VideoWriter(tmp_path / "b.mp4", like=open_video(source), keep=10) as writer:
        assert writer.frames == 0
        writer.write(next(iter(open_video(source))).pixels)
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4"]


def test_a_folder_of_frames_is_gone_on_from(tmp_path):
    source = write_clip(tmp_path / "a.mp4", count=20)
    left_behind(source, tmp_path / "out", 8)
    assert not (tmp_path / "out").exists()
    reader = open_video(source)
    with VideoWriter(tmp_path / "out", like=reader, keep=5) as writer:
        assert writer.frames == 5 and len(list(writer.partial.iterdir())) == 5
        for frame in reader.frames_from(5):
            writer.write(frame.pixels, frame.time)
    for before, after in zip(reader, open_video(tmp_path / "out"), strict=True):
        assert (before.pixels == after.pixels).all()
