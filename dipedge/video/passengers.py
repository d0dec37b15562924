"""What travels along with the restored pictures: sound, subtitles, covers, attachments, chapters, tags.

All of it is copied, nothing is encoded anew. The source is opened a second time, and its packets are written
as the pictures reach their time, so that a player finds sound and picture side by side in the file, and
nothing but a packet is in memory. What the new container cannot hold is left out with a sentence: no reason
to lose the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from dipedge.video.container_reader import LOCAL, is_cover
from dipedge.video.faults import load_av, why

# Said by the container about itself, not about the film; the new one says its own.
OWN_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
WORDS = {"audio": "sound", "subtitle": "subtitles", "attachment": "attachments"}
# A transport stream takes everything, and calls what it does not know data.
IN_TRANSPORT = ("aac", "mp2", "mp3", "ac3", "eac3", "dts", "truehd", "opus", "dvb_subtitle", "dvb_teletext")


class Passengers:
    """The other streams of ``source`` on their way into ``container``.

    Args:
        source: path of a video file; None for no passengers.
        container: PyAV's, before its header is written.
        sound: whether sound is among them.

    Attributes:
        notes: a sentence for each stream that the new container does not take.
    """

    def __init__(self, source: str | None, container: Any, sound: bool) -> None:
        self.notes: list[str] = []
        self._input: Any = None
        self._container = container
        self._streams: dict[int, Any] = {}
        self._next: Any = None
        self._packets: Iterator[Any] = iter(())
        if source is None:
            return
        av = load_av()
        self._input = av.open(f"file:{source}", options=dict(LOCAL), metadata_errors="surrogateescape")
        self._start = Fraction(self._input.start_time or 0, 1_000_000)
        for stream in self._input.streams:
            if stream.type == "video" and is_cover(stream):
                self._take_cover(stream, source, Path(container.name).suffix)
            elif stream.type != "video" and (stream.type != "audio" or sound):
                self._take(stream, Path(container.name).suffix)
        self._copy_tags()
        if self._streams:
            self._packets = self._input.demux([self._input.streams[index] for index in self._streams])
            self._next = self._following()

    def _take(self, stream: Any, extension: str) -> None:
        """Makes room for one stream, or says that there is none."""
        av = load_av()
        name = stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""
        try:
            if not self._has_room(stream.type, name):
                raise ValueError("no room")
            copied = self._container.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.FFmpegError, NotImplementedError):
            if not (stream.type == "data" and self._input.chapters()):  # a list of chapters, which are copied
                what = " ".join(filter(None, (name, WORDS.get(stream.type, stream.type))))
                self._note(f"a {extension} file holds no {what} of this kind; left out")
            return
        copied.metadata.update(stream.metadata)
        if "name" in stream.metadata:  # how mp4 reads a title, which it writes under that name only
            copied.metadata.setdefault("title", stream.metadata["name"])
        copied.disposition = stream.disposition
        self._streams[stream.index] = copied

    def _take_cover(self, stream: Any, source: str, extension: str) -> None:
        """A picture for the shelf: Matroska has it as an attachment, which is all that PyAV can write."""
        av = load_av()
        kind = {"mjpeg": "jpeg", "png": "png"}.get(stream.codec_context.codec.canonical_name)
        if kind is None or self._container.format.name != "matroska":
            self._note(f"the cover picture is not written into a {extension} file; left out")
            return
        with av.open(f"file:{source}", options=dict(LOCAL)) as container:
            picture = bytes(next(container.demux(container.streams[stream.index])))
        name = f"cover.{kind.replace('jpeg', 'jpg')}"
        self._container.add_attachment(name, f"image/{kind}", picture)

    def _has_room(self, kind: str, name: str) -> bool:
        """Whether the container is one for such streams; whether for this codec, PyAV finds out."""
        container = self._container.format.name
        if kind == "attachment":
            return container == "matroska"
        if container == "mpegts":
            return name in IN_TRANSPORT
        return kind in ("audio", "subtitle")

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    @property
    def any(self) -> bool:
        return bool(self._streams)

    @property
    def subtitles(self) -> bool:
        """Whether there are subtitles among them."""
        return any(stream.type == "subtitle" for stream in self._streams.values())

    def _copy_tags(self) -> None:
        """The film's title and the like, and its chapters."""
        tags = {key: text for key, text in self._input.metadata.items() if key.lower() not in OWN_TAGS}
        self._container.metadata.update(tags)
        if hasattr(self._container, "set_chapters") and (chapters := self._input.chapters()):
            self._container.set_chapters(chapters)

    def _following(self) -> Any:
        """The next packet that says when it belongs; None at the end, and where the source is damaged."""
        av = load_av()
        try:
            return next((packet for packet in self._packets if packet.dts is not None), None)
        except av.FFmpegError as error:
            self._note(
                f"the sound and what else travels along is damaged; the rest is left out ({why(error)})"
            )
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
            self._put(packet)
            self._next = self._following()

    def _put(self, packet: Any) -> None:
        av = load_av()
        copied = self._streams[packet.stream_index]
        packet.stream = copied
        try:
            self._container.mux(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:
            self._note(f"some of the {WORDS.get(copied.type, 'data')} could not be copied ({why(error)})")

    def close(self) -> None:
        if self._input is not None:
            self._input.close()
            self._input = None
