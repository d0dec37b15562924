"""What travels along with the restored pictures: sound, subtitles, attachments, chapters, tags. Copied, never
recoded.

The source is opened a second time, and its packets are written as the pictures reach their time, so that a
player finds sound and picture side by side in the file; nothing but a packet is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from dipedge.video.faults import load_av
from dipedge.video.source import Looks

# Said by the container about itself, not about the film; the new one says its own.
OWN_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
WORDS = {"audio": "sound", "subtitle": "subtitles", "data": "data", "attachment": "an attachment"}


class Passengers:
    """The other streams of ``source`` on their way into ``container``.

    Args:
        source: path of a video file; None for no passengers.
        container: PyAV's, before its header is written.
        sound: whether sound is among them.
        looks: of the source; only its presence matters.

    Attributes:
        notes: a sentence for each stream that the new container does not take.
    """

    def __init__(self, source: str | None, container: Any, sound: bool, looks: Looks) -> None:
        self.notes: list[str] = []
        self._input: Any = None
        self._container = container
        self._streams: dict[int, Any] = {}
        self._next: Any = None
        self._packets: Iterator[Any] = iter(())
        if source is None:
            return
        av = load_av()
        from dipedge.video.container_reader import LOCAL

        self._input = av.open(f"file:{source}", options=dict(LOCAL), metadata_errors="surrogateescape")
        self._start = Fraction(self._input.start_time or 0, 1_000_000)
        for stream in self._input.streams:
            if stream.type == "video" or (stream.type == "audio" and not sound):
                continue
            self._take(stream, Path(container.name).suffix)
        self._copy_tags()
        if self._streams:
            wanted = [self._input.streams[index] for index in self._streams]
            self._packets = self._input.demux(wanted)
            self._next = self._following()

    def _take(self, stream: Any, extension: str) -> None:
        """Makes room for one stream, or says that there is none."""
        av = load_av()
        name = stream.codec_context.codec.canonical_name if stream.codec_context is not None else stream.type
        try:
            if stream.type == "data" and stream.codec_context is None:
                raise ValueError("unknown data")
            copied = self._container.add_stream_from_template(stream, opaque=True)
            copied.metadata.update(stream.metadata)
            copied.disposition = stream.disposition
            self._streams[stream.index] = copied
        except (ValueError, av.FFmpegError, NotImplementedError):
            what = WORDS.get(stream.type, stream.type)
            self.notes.append(f"{what} ({name}) does not go into a {extension} file; it is left out")

    def _copy_tags(self) -> None:
        """The film's title and the like, and its chapters."""
        tags = {key: text for key, text in self._input.metadata.items() if key.lower() not in OWN_TAGS}
        self._container.metadata.update(tags)
        if hasattr(self._container, "set_chapters") and (chapters := self._input.chapters()):
            self._container.set_chapters(chapters)

    def _following(self) -> Any:
        """The next packet that says when it belongs; None at the end."""
        for packet in self._packets:
            if packet.dts is not None:
                return packet
        return None

    def carry(self, until: Fraction | None) -> None:
        """Writes the packets up to a time in seconds; None for all that are left."""
        while self._next is not None:
            packet, base = self._next, Fraction(self._next.time_base)
            shift = round(self._start / base)
            if until is not None and (packet.dts - shift) * base > until:
                return
            packet.dts -= shift
            if packet.pts is not None:
                packet.pts -= shift
            packet.stream = self._streams[packet.stream_index]
            self._container.mux(packet)
            self._next = self._following()

    def close(self) -> None:
        if self._input is not None:
            self._input.close()
            self._input = None
