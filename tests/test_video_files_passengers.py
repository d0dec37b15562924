"""What travels along with restored pictures: sound, subtitles, covers, attachments, chapters, tags."""

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av", reason="PyAV is not installed")

from dipedge.video import VideoWriter, open_video  # noqa: E402
from tests.video_clips import frame_of, packets_of, picture, tone, write_clip  # noqa: E402

SRT = "1\n00:00:00,000 --> 00:00:00,400\nHello\n\n2\n00:00:01,000 --> 00:00:01,400\nAgain\n"
CHAPTERS = [
    {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}},
    {"id": 2, "start": 500, "end": 2000, "time_base": Fraction(1, 1000), "metadata": {"title": "Two"}},
]


def copied(source, target, **options):
    """A video's every frame in another file; the writer's notes."""
    reader = open_video(source)
    with VideoWriter(target, like=reader, **options) as writer:
        for frame in reader:
            writer.write(frame.pixels, frame.time, frame.duration)
    return writer.notes


@pytest.fixture
def film(tmp_path):
    """``film("a.mkv", sound="aac")``: a clip of two seconds with all that can travel along."""

    def make(name, sound="aac", cover=False):
        path, subtitles = tmp_path / name, tmp_path / "words.srt"
        subtitles.write_text(SRT)
        with av.open(str(path), "w") as container, av.open(str(subtitles)) as words:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
            voice = container.add_stream(sound, rate=48000)
            voice.layout = "mono"
            voice.metadata.update(language="deu", title="Comment")
            matroska = path.suffix == ".mkv"
            text = (
                container.add_stream_from_template(words.streams[0]) if matroska else
                container.add_mux_stream("mov_text")
            )  # fmt: skip
            text.metadata["language"] = "fra"
            if matroska:
                container.add_attachment("letters.ttf", "font/ttf", b"letters" * 9)
            if cover:
                data = io.BytesIO()
                Image.fromarray(picture(0, 64, 64)).save(data, "PNG")
                container.add_attachment("cover.png", "image/png", data.getvalue())
            container.metadata.update(title="A film", artist="Someone")
            container.set_chapters(CHAPTERS)
            for index in range(50):
                frame = frame_of(index, (32, 48), "yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            for packet in tone(voice, 2):
                container.mux(packet)
            for index in range(2):
                words_said = b"Hello %d" % index
                packet = av.Packet(words_said if matroska else bytes([0, len(words_said)]) + words_said)
                packet.stream, packet.time_base = text, Fraction(1, 1000)
                packet.pts = packet.dts = 1000 * index
                packet.duration = 400
                container.mux(packet)
        return path

    return make


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_everything_a_container_holds_is_in_the_copy(film, tmp_path, name):
    source = film(name)
    target = tmp_path / f"b_{name}"
    assert copied(source, target) == []
    for kind in ("audio", "subtitle"):
        before, after = packets_of(source, kind), packets_of(target, kind)
        assert len(before) >= 2 and [data for _, data in before] == [data for _, data in after]
        assert max(abs(a[0] - b[0]) for a, b in zip(before, after, strict=True)) <= Fraction(1, 1000)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.metadata["title"] == "A film"
        kinds = [stream.type for stream in before.streams]
        assert [stream.type for stream in after.streams] == kinds
        for one, other in zip(before.streams, after.streams, strict=True):
            for key in ("language", "title", "name", "filename"):
                assert other.metadata.get(key) == one.metadata.get(key)
            assert other.disposition == one.disposition
            if one.type == "attachment":
                assert other.data == one.data
        shown = [
            [
                (c["metadata"]["title"], c["start"] * c["time_base"], c["end"] * c["time_base"])
                for c in chapters
            ]
            for chapters in (before.chapters(), after.chapters())
        ]
        assert shown[0] == shown[1] and len(shown[0]) == 2


@pytest.mark.parametrize(
    ("name", "sound", "target", "notes"),
    [
        ("a.mkv", "aac", "b.mp4", ["no subrip subtitles", "no attachments"]),
        ("a.mkv", "aac", "b.webm", ["no aac sound", "no subrip subtitles", "no attachments"]),
        ("a.mkv", "pcm_s16le", "b.ts", ["no pcm_s16le sound", "no subrip subtitles", "no attachments"]),
        ("a.mp4", "aac", "b.mkv", ["no mov_text subtitles"]),
        ("a.mp4", "aac", "b.avi", ["no mov_text subtitles"]),
    ],
)
def test_what_a_container_cannot_hold_is_left_out_with_a_sentence(film, tmp_path, name, sound, target, notes):
    said = copied(film(name, sound), tmp_path / target)
    assert said == [f"a .{target.split('.')[1]} file holds {note} of this kind; left out" for note in notes]
    assert len(list(open_video(tmp_path / target))) == 50


def test_a_stream_that_a_container_notices_at_its_header_costs_no_pictures(tmp_path):
    source = write_clip(tmp_path / "a.mkv", sound="flac")
    notes = copied(source, tmp_path / "b.mov")
    assert notes == ["the file cannot hold the sound and what else travels along; left out"]
    assert len(list(open_video(tmp_path / "b.mov"))) == 12


def test_a_cover_is_no_frame_and_stays_a_cover(film, tmp_path):
    source = film("a.mkv", cover=True)
    assert open_video(source).shape == (32, 48, 3)
    assert copied(source, tmp_path / "b.mkv") == []
    with av.open(str(tmp_path / "b.mkv")) as container:
        covers = [s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic]
        pixels = next(container.decode(covers[0])).to_ndarray(format="rgb24")
    assert (pixels == picture(0, 64, 64)).all()
    assert "the cover picture is not written into a .mp4 file; left out" in copied(source, tmp_path / "b.mp4")


def test_a_video_that_begins_later_than_its_sound_still_does(tmp_path):
    times = [Fraction(12 + index, 25) for index in range(20)]
    source = write_clip(tmp_path / "a.mkv", times=times, base=Fraction(1, 1000), sound="libopus", count=20)
    assert copied(source, tmp_path / "b.mkv") == []
    assert [frame.time for frame in open_video(tmp_path / "b.mkv")] == times
    first, second = packets_of(source, "audio"), packets_of(tmp_path / "b.mkv", "audio")
    assert first == second


def test_a_broadcast_that_began_at_another_time_begins_at_0(tmp_path):
    source = write_clip(tmp_path / "a.ts", "mpeg2video", sound="mp2", count=20)
    with av.open(str(source)) as container:
        assert container.start_time > 0
    copied(source, tmp_path / "b.mp4")
    assert next(iter(open_video(source))).time < Fraction(1, 10)
    before, after = open_video(source), open_video(tmp_path / "b.mp4")
    assert [frame.time for frame in before] == [frame.time for frame in after]


def test_names_that_are_no_utf8_come_through(tmp_path):
    path = tmp_path / "a.avi"
    write_clip(path, "mpeg4", tags={"title": "naive"}, count=2)
    path.write_bytes(path.read_bytes().replace(b"naive", b"na\xefve"))
    copied(path, tmp_path / "b.avi")
    assert b"na\xefve" in (tmp_path / "b.avi").read_bytes()


def test_sound_is_beside_its_pictures_in_the_file_and_not_after_them(tmp_path):
    source = write_clip(tmp_path / "a.mkv", sound="aac", count=100)
    copied(source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as container:
        packets = [packet for packet in container.demux() if packet.dts is not None]
        places = np.array([float(packet.dts * packet.time_base) for packet in packets])
    assert np.max(np.maximum.accumulate(places) - places) < 0.1
