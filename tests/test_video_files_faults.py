"""What is wrong with a video is one line that names it; the frames before it are there, and named."""

import errno
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from dipedge.errors import FileError, InputError

av = pytest.importorskip("av", reason="PyAV is not installed")

from dipedge.video import VideoWriter, open_video, truncation  # noqa: E402
from tests.video_clips import picture, tone, write_clip  # noqa: E402

AS_ROOT = os.geteuid() == 0


def line_of(raised):
    """The error's one line."""
    text = str(raised.value)
    assert "\n" not in text
    return text


def read_until_damage(path):
    """(frames that came, the error's line)."""
    frames = []
    with pytest.raises(FileError) as raised:
        for frame in open_video(path):
            frames.append(frame)
    return frames, line_of(raised)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mp4", b"", "the file is empty"),
        ("a.mp4", b"nothing of the kind" * 99, "not a video that can be read (data that cannot be decoded)"),
        ("a.txt", b"words, words, words\n" * 99, "not a video"),
        ("missing.mp4", None, "no such file"),
        ("a:b.mp4", b"x" * 999, "not a video that can be read"),
    ],
)
def test_a_file_that_is_no_video_is_named(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError) as raised:
        open_video(tmp_path / name)
    assert line_of(raised).startswith(f"{tmp_path / name}: {said}")


def test_a_picture_is_no_video(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "a.jpg")
    with pytest.raises(FileError, match=r"a\.jpg: not a video \(piped jpeg sequence\)"):
        open_video(tmp_path / "a.jpg")


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        stream.layout = "mono"
        for packet in tone(stream, 1):
            container.mux(packet)
    with pytest.raises(FileError, match=r"a\.m4a: no video stream \(only audio in it\)"):
        open_video(tmp_path / "a.m4a")


def test_a_video_without_frames_is_named(tmp_path):
    path = write_clip(tmp_path / "a.mkv", count=0, prepare=lambda container, _: container.start_encoding())
    with pytest.raises(
        FileError, match=r"a\.mkv: (no frame in it|not a video that can be read \(it ends too early)"
    ):
        open_video(path)


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    if AS_ROOT:
        pytest.skip("root may read everything")
    path = write_clip(tmp_path / "a.mp4")
    path.chmod(0)
    with pytest.raises(FileError, match="Permission denied"):
        open_video(path)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mpeg4"),
        ("a.mov", "mjpeg"),
        ("a.mkv", "ffv1"),
        ("a.ts", "mpeg2video"),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.75, 0.95])
def test_a_truncated_file_gives_its_whole_frames_and_says_after_how_many_it_ends(
    tmp_path, name, codec, share
):
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    whole = write_clip(tmp_path / name, codec, pixel_format, count=40, size=(128, 160))
    if name.endswith(".mov"):  # the index stands first, as in files for the web
        faststart = av.open(str(tmp_path / "w.mov"), "w", options={"movflags": "faststart"})
        with av.open(str(whole)) as source, faststart as target:
            stream = target.add_stream_from_template(source.streams[0])
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        whole = tmp_path / "w.mov"
    expected = list(open_video(whole))
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    if name.endswith(".ts"):  # says nothing of its length; what there is is read, damaged or not
        try:
            frames = list(open_video(cut))
        except FileError as error:
            assert "after" in str(error)
            return
    else:
        frames, said = read_until_damage(cut)
        assert said.startswith(f"{cut}: ") and f"after {len(frames)} frames (" in said
    assert 0 < len(frames) <= 40  # all of them where only the index is missing
    for frame, truth in zip(frames, expected, strict=False):
        assert frame.time == truth.time
        assert np.abs(frame.pixels.astype(int) - truth.pixels).mean() < 1


def test_an_mp4_whose_index_is_cut_off_cannot_be_read(tmp_path):
    data = write_clip(tmp_path / "a.mp4", count=40).read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError, match="not a video that can be read") as raised:
        open_video(tmp_path / "b.mp4")
    line_of(raised)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mkv", "ffv1"), ("a.mkv", "mjpeg")]
)
def test_a_corrupt_packet_ends_the_reading_with_the_frames_before_it(tmp_path, name, codec):
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_clip(tmp_path / name, codec, pixel_format, count=30, size=(64, 80))
    expected = list(open_video(path))
    with av.open(str(path)) as container:
        sizes = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    place, size = sizes[17]
    data = bytearray(path.read_bytes())
    begin = place + size // 3
    noise = np.random.default_rng(0).integers(0, 256, place + size - begin, np.uint8)
    data[begin : place + size] = noise.tobytes()
    bad = tmp_path / f"bad_{name}"
    bad.write_bytes(data)
    frames, said = read_until_damage(bad)
    assert "is damaged after" in said and str(len(frames)) in said
    assert 10 <= len(frames) <= 19
    for frame, truth in zip(frames[:17], expected, strict=False):
        assert (frame.pixels == truth.pixels).all()


def joined(first, second, target):
    """Two clips in one file, one after the other."""
    with av.open(str(first)) as a, av.open(str(second)) as b, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(a.streams.video[0], opaque=True)
        shift = 0
        for container in (a, b):
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = stream
                    last = packet.pts + packet.duration
                    out.mux(packet)
            shift = last


def test_a_size_that_changes_ends_the_reading(tmp_path):
    first = write_clip(tmp_path / "a.ts", "mpeg2video", count=10, size=(32, 48))
    second = write_clip(tmp_path / "b.ts", "mpeg2video", count=10, size=(64, 80))
    joined(first, second, tmp_path / "c.ts")
    frames, said = read_until_damage(tmp_path / "c.ts")
    assert 5 <= len(frames) <= 10
    assert said.endswith(
        f"has another size after {len(frames)} frames (its size changes from 48 x 32 to 80 x 64)"
    )


def test_what_was_restored_before_the_damage_is_kept_and_plays(tmp_path):
    data = write_clip(tmp_path / "a.mkv", count=40, size=(64, 80)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    reader = open_video(tmp_path / "cut.mkv")
    with pytest.raises(FileError, match="after"), VideoWriter(tmp_path / "b.mkv", like=reader) as writer:
        for frame in reader:
            writer.write(frame.pixels, frame.time)
    assert not (tmp_path / "b.mkv").exists() and writer.frames > 5
    assert len(list(open_video(writer.partial))) == writer.frames


@pytest.mark.parametrize("name", ["b.mkv", "b.mp4", "b.avi", "frames"])
def test_a_full_disk_is_said_and_what_fitted_on_it_is_kept(tmp_path, name):
    """The system refuses files above 60 kB, as a full disk would."""
    source = write_clip(tmp_path / "a.mkv", "ffv1", count=40, size=(128, 160))
    code = f"""
        import resource
        from dipedge.errors import FileError
        from dipedge.video import VideoWriter, open_video
        reader = open_video({str(source)!r})
        size = 60_000 if {name != "frames"} else 1000
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        writer = None
        try:
            with VideoWriter({str(tmp_path / name)!r}, like=reader) as writer:
                for frame in reader:
                    writer.write(frame.pixels, frame.time)
        except FileError as error:
            print(writer.frames, error)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    count, said = ran.stdout.strip().split(" ", 1)
    assert f"cannot be written ({os.strerror(errno.EFBIG)})" in said and "\n" not in said
    assert not (tmp_path / name).exists()
    if name == "frames":
        assert count == "0"
        return
    assert int(count) > 2
    left = tmp_path / name.replace(".", ".partial.")
    frames = []
    try:
        for frame in open_video(left):
            frames.append(frame)
    except FileError as error:
        assert "after" in str(error)
    assert int(count) - 2 <= len(frames) <= int(count)


def test_memory_stays_the_same_however_long_the_video(tmp_path):
    source = write_clip(tmp_path / "a.mkv", "ffv1", count=160, size=(160, 240), sound="aac")
    code = f"""
        import resource
        from dipedge.video import VideoWriter, open_video
        reader = open_video({str(source)!r})
        taken = []
        with VideoWriter({str(tmp_path / "b.mkv")!r}, like=reader) as writer:
            for frame in reader:
                writer.write(frame.pixels, frame.time, frame.duration)
                if frame.index in (40, 159):
                    taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(*taken)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    early, late = map(int, ran.stdout.split())
    assert late - early < 4_000  # kB; 120 frames are 13,500


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("b.xyz", "b.partial.xyz: .xyz is no video file; use .3gp"),
        ("no/b.mp4", "there is no folder"),
        ("folder.mp4/", "a folder with something in it"),
        ("out/*.xyz", ".xyz cannot be written; use .bmp"),
        ("file", "a file; frames need a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_any_frame(tmp_path, target, said):
    reader = open_video(write_clip(tmp_path / "a.mp4"))
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "folder.mp4" / "something").write_text("")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileError) as raised:
        VideoWriter(tmp_path / target, like=reader)
    assert said in line_of(raised)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"codec": "h266"}, "codec is 'h266'; it must be one of apng, av1, "),
        ({"codec": "prores"}, "codec 'prores' does not go into a .mp4 file"),
        ({"crf": 99}, "crf is 99; for h264 it must be 0 (best) to 51"),
        ({"codec": "mpeg4", "crf": 3}, "crf is 3, but mpeg4 has no such scale; av1, h264, hevc, vp8, vp9"),
    ],
)
def test_a_codec_or_quality_that_does_not_fit_is_named_before_any_frame(tmp_path, options, said):
    reader = open_video(write_clip(tmp_path / "a.mp4"))
    with pytest.raises(InputError) as raised:
        VideoWriter(tmp_path / "b.mp4", like=reader, **options)
    assert said in line_of(raised)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_frame_that_cannot_be_read_is_named_by_its_own_file(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(5):
        Image.fromarray(picture(index)).save(folder / f"f{index}.png")
    (folder / "f3.png").write_bytes((folder / "f3.png").read_bytes()[:200])
    frames, said = read_until_damage(folder)
    assert len(frames) == 3 and said.startswith(f"{folder / 'f3.png'}: a damaged picture")
    Image.fromarray(picture(3, 40, 40)).save(folder / "f3.png")
    frames, said = read_until_damage(folder)
    assert len(frames) == 3
    assert said == f"{folder / 'f3.png'}: is 40 x 40 x 3 uint8; the first frame is 32 x 48 x 3 uint8"


def test_a_folder_without_pictures_and_a_glob_without_files_are_named(tmp_path):
    with pytest.raises(FileError, match="no picture in this folder"):
        open_video(tmp_path)
    with pytest.raises(FileError, match="no file matches"):
        open_video(f"{tmp_path}/*.png")


@pytest.mark.parametrize("rate", [0, -5])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="it must be above 0"):
        open_video(tmp_path, rate=rate)


def test_a_file_without_damage_misses_nothing(tmp_path):
    for name, codec in (
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.ts", "mpeg2video"),
    ):
        path = write_clip(tmp_path / name, codec)
        assert truncation.missing_bytes(path) == 0
        with path.open("ab") as file:
            file.write(b"\0" * 5)  # appended rubbish is nobody's loss
        assert truncation.missing_bytes(path) == 0


def test_without_pyav_a_line_says_what_to_install_and_folders_still_work(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4")
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'dipedge\[video\]'"):
        open_video(path)
    with VideoWriter(tmp_path / "out", like=open_video(f"{tmp_path}/*.png")) as writer:
        writer.write(picture(0))
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]
