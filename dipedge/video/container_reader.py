"""Video files, read by PyAV as a stream: one frame in memory at a time.

FFmpeg hides damage where it can: a packet that cannot be decoded is skipped, a picture with missing pieces is
patched from its neighbours, a file that was cut off just ends. For a restorer that is wrong: it would take
the patches for the scene. So damaged frames are asked for, and end the reading with an error that says how
many came before.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from dipedge.errors import FileError
from dipedge.images import check_is_file
from dipedge.video import colour, truncation
from dipedge.video.faults import load_av, named, why
from dipedge.video.source import USUAL_RATE, Frame, Looks, VideoReader

# FFmpeg takes these for videos: text files that it draws, single pictures, descriptions of scenes.
NO_VIDEOS = ("tty", "bin", "xbin", "adf", "idf", "lavfi", "image2", "ico", "alias_pix", "brender_pix")
OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT: hand out damaged frames (marked), instead of none
COVER = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC
LOCAL = {"protocol_whitelist": "file,crypto,data"}  # a playlist may not make this program reach into the net
HDR = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DOVI_METADATA")


def is_cover(stream: Any) -> bool:
    """Whether a stream is a picture for the shelf."""
    disposition = stream.disposition
    return bool(int(getattr(disposition, "value", disposition)) & COVER)  # PyAV 17's is no number


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as PyAV's container; "file:" because a colon in a name would make FFmpeg take it for a
    protocol.
    """
    av = load_av()
    with named(path, "not a video that can be read"):
        container = av.open(f"file:{path}", options=dict(LOCAL), metadata_errors="surrogateescape")
    try:
        yield container
    finally:
        container.close()


def video_stream(container: Any, path: Path) -> Any:
    """The stream that is restored: the first that is no cover picture.

    Raises:
        FileError: there is none, or nothing that decodes it.
    """
    name = container.format.name
    if name in NO_VIDEOS or name.endswith("_pipe"):
        raise FileError(f"{path}: not a video ({container.format.long_name})")
    streams = [s for s in container.streams.video if not is_cover(s)]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        what = f"only {' and '.join(kinds)}" if kinds else "nothing"
        raise FileError(f"{path}: no video stream ({what} in it)")
    if streams[0].codec_context is None:
        raise FileError(f"{path}: nothing here decodes its video")
    return streams[0]


class ContainerReader(VideoReader):
    """A video file.

    Args:
        path: of any file PyAV knows.

    Raises:
        InputError: PyAV is not installed.
        FileError: it is missing, empty, no video, or its first frame cannot be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        load_av()
        self.path = str(path)
        self._file = Path(path)
        check_is_file(self._file, "video")
        with opened(self._file) as container:
            stream = video_stream(container, self._file)
            self._describe(container, stream)
            first = next(self._decoded(container, stream), None)
        if first is None:
            raise FileError(f"{path}: no frame in it")
        self._look_at(first, stream)

    def _describe(self, container: Any, stream: Any) -> None:
        """What the container says, before anything is decoded."""
        self.time_base = Fraction(stream.time_base)
        self.rate = Fraction(stream.guessed_rate or stream.average_rate or stream.base_rate or USUAL_RATE)
        self.audio = bool(container.streams.audio)
        self.frames = stream.frames or None
        if self.frames is None and (length := _length(container, stream)):
            self.frames = max(1, round(length * self.rate))
        # What the container begins with is 0: broadcasts count from when the sender was switched on.
        start = Fraction(
            container.start_time or 0, 1_000_000
        )  # known to a microsecond, the frames' times exactly
        self._start = round(start / self.time_base) * self.time_base
        self._codec = stream.codec_context.codec.canonical_name
        self._aspect = stream.sample_aspect_ratio
        others = [s for s in container.streams.video if s.index != stream.index and not is_cover(s)]
        if others:
            self.note(f"only the first of {len(others) + 1} video streams is restored; no other is kept")

    def _look_at(self, first: Any, stream: Any) -> None:
        """What only a decoded frame tells."""
        self.width, self.height = first.width, first.height
        pixel_format = first.format.name
        self.channels, self.bit_depth = colour.layout(pixel_format)
        self._memory = colour.memory_format(self.channels, self.bit_depth)
        aspect = Fraction(self._aspect) if self._aspect else None
        turned = first.side_data.get("DISPLAYMATRIX")
        matrix = struct.unpack("=9i", bytes(turned)) if turned is not None else None
        tags = colour.of_frame(first, pixel_format)
        self.looks = Looks(self._codec, pixel_format, tags, None if aspect == 1 else aspect, matrix)
        if first.interlaced_frame:
            self.note(
                "interlaced: its frames are restored as they are stored, two half pictures woven together"
            )
        if any(first.side_data.get(kind) is not None for kind in HDR):
            self.note("HDR: the brightness of the display it was made on is not carried over")

    def __iter__(self) -> Iterator[Frame]:
        """The frames from the beginning.

        Raises:
            FileError: damage, a change of size, an end that comes too early; all frames before it have come.
        """
        previous, usual = None, 1 / self.rate
        index = 0
        with opened(self._file) as container:
            stream = video_stream(container, self._file)
            converter = colour.Converter(self.looks.colour, self.height)
            for decoded in self._decoded(container, stream):
                if (decoded.width, decoded.height) != (self.width, self.height):
                    raise self._damage(
                        index, f"its size changes from {self.width} x {self.height} to "
                        f"{decoded.width} x {decoded.height}", "has another size",
                    )  # fmt: skip
                time, duration = self._when(decoded, previous, usual)
                previous = (time, duration)
                self.handed_out = index + 1
                yield Frame(converter.to_pixels(decoded, self._memory), time, duration, index)
                index += 1

    def _when(self, decoded: Any, previous: Any, usual: Fraction) -> tuple[Fraction, Fraction]:
        """Time and duration of a frame, in seconds; made up where the file says none or counts backwards."""
        base = Fraction(decoded.time_base or self.time_base)
        duration = decoded.duration * base if decoded.duration else usual
        if decoded.pts is not None:
            time = decoded.pts * base - self._start
            if previous is None or time > previous[0]:
                return time, duration
        return (previous[0] + previous[1] if previous else Fraction(0)), duration

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Whole frames, as FFmpeg gives them.

        What cannot be decoded before the first whole frame is passed over: a recording that begins in the
            middle
        of a broadcast has such frames, and nothing is wrong with it.
        """
        av = load_av()
        decoder = decoder_of(stream)
        count = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is not None and packet.is_corrupt and count:
                    raise self._damage(count, "data that is not all there")
                frames = decoder.decode(packet) if packet is not None else []
            except (av.FFmpegError, ValueError) as error:
                if count == 0 and isinstance(error, av.InvalidDataError):
                    self.note("it begins with frames that cannot be decoded; these are left out")
                    continue
                raise self._damage(count, why(error)) from error
            if packet is None:
                break
            for frame in frames:
                if frame.is_corrupt and count == 0:
                    self.note("it begins with frames that cannot be decoded; these are left out")
                    continue
                if frame.is_corrupt:
                    raise self._damage(count, "data that cannot be decoded")
                yield frame
                count += 1
        missing = truncation.missing_bytes(self._file)
        if missing:
            raise self._damage(count, f"the file is cut off: {missing:,} bytes are missing", "ends too early")

    def _damage(self, count: int, reason: str, what: str = "is damaged") -> FileError:
        if count == 0:
            return FileError(f"{self.path}: no frame of it can be decoded ({reason})")
        return FileError(f"{self.path}: {what} after {count} frames ({reason})")


def decoder_of(stream: Any) -> Any:
    """The decoder of a stream, set to say what is damaged.

    VP8 and VP9 keep transparency in a second picture beside each packet, which FFmpeg's own decoders pass
    over; libvpx's do not.
    """
    from av.codec import CodecContext

    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1":
        name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(decoder.codec.canonical_name)
        if name is not None:
            decoder = CodecContext.create(name, "r")
            decoder.extradata = stream.codec_context.extradata
    decoder.flags |= OUTPUT_CORRUPT
    return decoder


def _length(container: Any, stream: Any) -> Fraction | None:
    """Seconds of the stream, or of the file, if either says."""
    said = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if said:  # Matroska, of which FFmpeg takes the file's length for that of each stream
        hours, minutes, seconds = said.groups()
        return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    if stream.duration:
        return stream.duration * Fraction(stream.time_base)
    return Fraction(container.duration, 1_000_000) if container.duration else None
