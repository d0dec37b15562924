"""What an interrupted run left behind: its frames are taken over as they are, packet by packet.

Frames are written in order and none is held back, so a file that was cut off anywhere is whole up to some
frame, and every packet of it stands in for one frame. The encoder that goes on begins with a picture that
needs no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from dipedge.errors import FileError
from dipedge.video.faults import load_av

# In mp4 and mkv these codecs' packets have no start codes, and what they refer to stands in the file's
# header; a muxer whose own encoder writes start codes wants both in the packets.
WITH_START_CODES = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}

UNMARKED = "mpegts"  # a packet that was cut off looks like any other
NO_PACKETS = "mpeg"  # program streams: neither where a picture ends nor when each is shown


@dataclass(frozen=True)
class Kept:
    """One frame of an earlier run: its packet, and its time and duration in seconds."""

    packet: Any
    time: Fraction
    duration: Fraction


def set_aside(partial: Path) -> Path | None:
    """Moves an unfinished file out of the way of the one that goes on from it; None where there is none.

    A run that was killed while it took frames over has left both; then the one with more frames counts.

    Raises:
        FileError: it cannot be moved.
    """
    earlier = partial.with_name(f"{partial.name.removesuffix(partial.suffix)}.earlier{partial.suffix}")
    try:
        if partial.is_file() and not (earlier.is_file() and count(earlier) >= count(partial)):
            os.replace(partial, earlier)
    except OSError as error:
        raise FileError(f"{partial}: cannot be moved ({error.strerror})") from error
    return earlier if earlier.is_file() else None


def count(path: Path) -> int:
    """How many frames of a file can be taken over."""
    return sum(1 for _ in frames(path))


def frames(path: Path, expected: tuple[str, str, int, int] | None = None) -> Iterator[Kept]:
    """The frames of an unfinished file, up to where it is damaged.

    Args:
        path: of the file.
        expected: codec, pixel format, width and height that they must have.

    Raises:
        FileError: they are something else.
    """
    av = load_av()
    try:
        container = av.open(f"file:{path}")
    except (av.FFmpegError, ValueError):
        return  # killed before there was a frame in it
    with container:
        if not container.streams.video or container.format.name == NO_PACKETS:
            return
        stream = container.streams.video[0]
        context = stream.codec_context
        found = (context.codec.canonical_name, context.pix_fmt, context.width, context.height)
        if expected is not None and found != expected:
            was, wanted = ("{} {} {} x {}".format(*each) for each in (found, expected))
            raise FileError(f"{path}: an earlier run wrote {was}, this one would write {wanted}; begin anew")
        packets = _packets(container, stream)
        if container.format.name == UNMARKED:
            packets = _without_last(packets)
        with suppress(av.FFmpegError):  # where it was cut off
            yield from packets


def _packets(container: Any, stream: Any) -> Iterator[Kept]:
    from av.bitstream import BitStreamFilterContext

    name = WITH_START_CODES.get(stream.codec_context.codec.canonical_name)
    extradata = stream.codec_context.extradata
    opened = (
        BitStreamFilterContext(name, in_stream=stream) if name and extradata and extradata[0] == 1 else None
    )
    base = Fraction(stream.time_base)
    usual = 1 / Fraction(stream.guessed_rate or 25)
    begin = (
        round(Fraction(container.start_time or 0, 1_000_000) / base) * base
    )  # MPEG's streams begin later than 0
    for packet in container.demux(stream):
        if packet.is_corrupt or not packet.size or packet.pts is None:
            return
        time = packet.pts * base - begin
        duration = packet.duration * base if packet.duration else usual
        for ready in opened.filter(packet) if opened is not None else (packet,):
            yield Kept(ready, time, duration)


def _without_last(packets: Iterator[Kept]) -> Iterator[Kept]:
    yield from (packet for packet, _ in pairwise(packets))
