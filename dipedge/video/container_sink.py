"""Video files, written by PyAV frame by frame, so that what was written is in the file if the process is
killed.

The encoder counts frames: it is told a constant rate and gives each frame back under its number, and only
then the frame's own time is put on it. So every codec keeps variable rates exactly, also those whose own
clock is coarse (MPEG-4: 16 bits) or knows a table of rates only (MPEG-2); rate control sees frames as equals,
which they are.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dipedge.errors import FileError
from dipedge.video import colour, earlier, encoders
from dipedge.video.faults import load_av, named, why
from dipedge.video.passengers import Passengers
from dipedge.video.source import Looks

KEY_SECONDS = 1  # between pictures that need no other: where players can jump to
# Everything is on the disk with the next frame, for a killed run to be gone on from. ISO media: a fragmented
# file that becomes an ordinary one when it is finished. Its header waits for the first packets: sound often
# begins a moment before the picture, and without them the picture would be shifted instead.
_ISO = {"movflags": "+hybrid_fragmented+delay_moov+frag_every_frame"}
CONTAINER = {
    ".mp4": _ISO, ".m4v": _ISO, ".mov": _ISO, ".3gp": _ISO,
    ".mkv": {"cluster_time_limit": "1"}, ".webm": {"cluster_time_limit": "1"},
    ".png": {"f": "apng"}, ".mpg": {"f": "vob"}, ".mpeg": {"f": "vob"},
}  # fmt: skip
# How an animation's muxer is told how often it is shown (0: without end), and its word for once.
LOOPS = {".gif": ("loop", -1), ".webp": ("loop", 1), ".apng": ("plays", 1), ".png": ("plays", 1)}
QSCALE = 1 << 1  # AV_CODEC_FLAG_QSCALE
LAMBDA = 118  # FF_QP2LAMBDA: what quantisers are counted in


@dataclass(frozen=True)
class Plan:
    """What a sink writes.

    Args:
        shape: [H, W, C] of every frame.
        bit_depth: of a channel in the file, 8 to 16.
        rate, time_base: of the frames, and the unit of their times in seconds.
        looks: of the source.
        source_height: of the source's frames, by which its matrix is guessed where it is not tagged.
        source: path of the video whose sound, subtitles and tags come along; None for none.
        sound: whether its sound does, too.
        codec, crf: by the user's choice, or None.
    """

    shape: tuple[int, int, int]
    bit_depth: int
    rate: Fraction
    time_base: Fraction
    looks: Looks
    source_height: int
    source: str | None = None
    sound: bool = True
    codec: str | None = None
    crf: int | None = None

    def colour(self) -> colour.Colour:
        """The tags to write: the source's. A matrix that players would guess otherwise at the new size is
        tagged.
        """
        tags = self.looks.colour
        meant = tags.meant(self.source_height)
        if not self.looks.codec:  # single pictures: sRGB, whose primaries are BT.709's
            return colour.Colour(tags.meant(self.shape[0]), colour.LIMITED, 13, colour.BT709)
        return replace(tags, matrix=meant) if meant != tags.meant(self.shape[0]) else tags


class ContainerSink:
    """A video file that is being written.

    Args:
        path: where; its extension decides what kind of file.
        plan: what.
        keep: how many frames of an unfinished file at ``path`` are taken over, at most.

    Attributes:
        frames: how many are written.
        last: the time of the last of them; None before the first.
        notes: sentences about what could not be carried over.

    Raises:
        FileError: an extension nobody knows, a folder that is not there or not to be written.
        InputError: a codec that does not go in.
    """

    def __init__(self, path: Path, plan: Plan, keep: int = 0) -> None:
        load_av()
        self._earlier = earlier.set_aside(path) if keep else None
        logging.getLogger("av.container.output").setLevel(logging.ERROR)  # options that a muxer does not use
        self._notes: list[str] = []
        self.frames, self.last = 0, None
        self._path, self._plan = path, plan
        self._waiting: dict[int, tuple[Fraction, Fraction]] = {}
        self._last_tick: int | None = None
        self._passengers: Passengers | None = None
        self._container: Any = None
        try:
            self._start(path.suffix.lower())
            self._take_over(keep)
        except BaseException:
            self._abandon()
            if not self.frames:
                self.discard()
            raise

    def _start(self, extension: str) -> None:
        """Opens the file and begins it, without passengers if it does not get on with them."""
        self._open(extension)
        try:
            self._begin(extension, self._plan.source)
        except FileError:
            if self._passengers is None or not self._passengers.any:
                raise
            self._abandon()  # some containers notice only at their header that they cannot hold a stream
            self._open(extension)
            self._notes = ["the file cannot hold the sound and what else travels along; left out"]
            self._begin(extension, None)

    @property
    def notes(self) -> list[str]:
        return self._notes + (self._passengers.notes if self._passengers is not None else [])

    def _open(self, extension: str) -> None:
        """The file as PyAV's container, nothing in it."""
        av = load_av()
        options = {"flush_packets": "1", **CONTAINER.get(extension, {})}
        if options.get("movflags"):  # when its streams begin is counted in this unit
            options["movie_timescale"] = str(min(self._plan.time_base.denominator, 2**31 - 1))
        if extension in LOOPS:
            name, once = LOOPS[extension]
            looks = self._plan.looks  # an animation of a film runs without end, as people expect
            animated = looks.codec in ("gif", "webp", "apng")
            options[name] = str((once if looks.loop is None else looks.loop) if animated else 0)
        try:
            self._container = av.open(
                f"file:{self._path}", "w", format=options.pop("f", None), metadata_errors="surrogateescape",
                container_options=options,
            )  # fmt: skip
        except ValueError as error:
            usual = ", ".join(sorted(encoders.BY_EXTENSION))
            what = extension or "no extension"
            raise FileError(f"{self._path}: {what} is no video file; use {usual}") from error
        except (av.FFmpegError, OSError) as error:
            raise FileError(f"{self._path}: cannot be written ({why(error)})") from error

    def _begin(self, extension: str, source: str | None) -> None:
        """Everything up to the file's header; ``source`` of passengers, or None."""
        plan, container = self._plan, self._container
        looks = plan.looks
        held = container.supported_codecs | encoders.HELD_TOO.get(container.format.name, set())
        chosen = encoders.choose(
            container.format.name, extension, held, (looks.codec, looks.pixel_format), plan.shape,
            plan.bit_depth, plan.codec,
        )  # fmt: skip
        self.codec, self.pixel_format = chosen.codec, chosen.pixel_format
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder tells standard error its life otherwise
        if plan.shape[2] == 4 and not encoders.keeps(chosen.pixel_format, 4, 8):
            self._notes.append(f"{chosen.codec} in {extension} holds no transparency; it is left out")
        bits = encoders.bits_of(chosen.pixel_format)
        if bits < plan.bit_depth and chosen.codec != looks.codec:
            self._notes.append(f"{chosen.codec} is written with {bits} bits a channel, not {plan.bit_depth}")
        self._memory = colour.memory_format(plan.shape[2], plan.bit_depth)
        with named(self._path, f"cannot be written as {chosen.codec}"):
            self._stream = self._add_stream(chosen)
            self._passengers = Passengers(source, container, plan.sound)
            if self._passengers.subtitles:
                # FFmpeg's mp4 muxer ends the process where a piece ends within a subtitle; such a file is
                # written as a whole, and a killed run begins anew.
                container.container_options.pop("movflags", None)
            container.start_encoding()
        self._tick = Fraction(self._stream.time_base)

    def _add_stream(self, chosen: encoders.Choice) -> Any:
        """The video stream, its encoder set."""
        plan = self._plan
        options = encoders.settings(chosen, plan.crf)
        codec = load_av().Codec(chosen.encoder.name, "w")
        rate = encoders.rate_for(chosen, plan.rate, codec.frame_rates)
        stream = self._container.add_stream(chosen.encoder.name, rate=rate, options=options)
        stream.height, stream.width = plan.shape[:2]
        stream.pix_fmt = chosen.pixel_format
        context = stream.codec_context
        self._clocked = chosen.encoder.clock > 0
        context.time_base = Fraction(1, chosen.encoder.clock) if self._clocked else 1 / rate
        stream.time_base = plan.time_base
        context.gop_size = max(1, min(round(rate * KEY_SECONDS), 250))
        context.max_b_frames = 0
        if chosen.encoder.quantiser:
            context.flags |= QSCALE
            context.global_quality = LAMBDA * chosen.encoder.quantiser
        if plan.looks.aspect is not None:
            context.sample_aspect_ratio = plan.looks.aspect
        rgb = "rgb" in chosen.pixel_format or "gbr" in chosen.pixel_format or "bgr" in chosen.pixel_format
        tags = plan.colour()
        if not rgb:
            context.colorspace, context.color_range = tags.matrix, tags.range
            context.color_trc, context.color_primaries = tags.transfer, tags.primaries
        self._converter = colour.Converter(tags, plan.shape[0])
        if plan.looks.matrix is not None:
            if hasattr(stream, "set_display_matrix"):
                stream.set_display_matrix(plan.looks.matrix)
            else:
                self._notes.append(
                    "this PyAV cannot write how the picture is turned; it will be shown as stored"
                )
        return stream

    def write(self, pixels: np.ndarray, time: Fraction, duration: Fraction) -> None:
        """Writes one frame [H, W, C].

        Raises:
            FileError: the disk refused; what is there so far stays.
        """
        frame = self._converter.to_frame(pixels, self._memory, self.pixel_format)
        base = self._stream.codec_context.time_base
        frame.pts, frame.time_base = round(time / base) if self._clocked else self.frames, base
        tags = self._stream.codec_context
        frame.color_range, frame.colorspace = tags.color_range, tags.colorspace
        self._waiting[self.frames] = (time, duration)
        with named(self._path, "cannot be written"):
            self._passengers.carry(until=time)
            self._mux(self._stream.encode(frame))
        self.frames, self.last = self.frames + 1, time
        if self._earlier is not None and self.frames > self._safe:
            self._forget_earlier()

    def _mux(self, packets: list[Any]) -> None:
        """Packets into the file, with their frames' own times."""
        for packet in packets:
            if self._clocked:
                self._container.mux(packet)
                continue
            if packet.pts is None or packet.pts not in self._waiting:
                packet.pts = min(self._waiting)
            self._put(packet, *self._waiting.pop(packet.pts))

    def _put(self, packet: Any, time: Fraction, duration: Fraction) -> None:
        """One frame's packet into the file."""
        tick = round(time / self._tick)
        if self._last_tick is not None and tick <= self._last_tick:
            tick = self._last_tick + 1  # the container's clock is coarser than the source's
        self._last_tick = tick
        packet.stream = self._stream
        packet.time_base = self._tick
        packet.pts = packet.dts = tick
        packet.duration = max(1, round((time + duration) / self._tick) - tick)
        self._container.mux(packet)

    def _take_over(self, keep: int) -> None:
        """Copies what an earlier run left, frame by frame."""
        if self._earlier is None:
            return
        height, width, _ = self._plan.shape
        expected = (self.codec, self.pixel_format, width, height)
        with named(self._path, "cannot be written"):
            for kept in islice(earlier.frames(self._earlier, expected), keep):
                self._passengers.carry(until=kept.time)
                self._put(kept.packet, kept.time, kept.duration)
                self.frames, self.last = self.frames + 1, kept.time
        self._safe = self.frames + 1  # with the second frame from here all of the earlier are on the disk

    def _forget_earlier(self) -> None:
        with suppress(OSError):
            self._earlier.unlink()
        self._earlier = None

    def finish(self) -> None:
        """Writes what is still held back, and the file's end.

        Raises:
            FileError: the disk refused.
        """
        try:
            with named(self._path, "cannot be written"):
                self._mux(self._stream.encode(None))
                self._passengers.carry(until=None)
                self._container.close()
            if self._earlier is not None:
                self._forget_earlier()
        finally:
            self._abandon()

    def discard(self) -> None:
        """Takes the file away, in which there is no frame."""
        with suppress(OSError):
            self._path.unlink()

    def _abandon(self) -> None:
        """Lets go of the file after a failure; a second close does nothing."""
        if self._passengers is not None:
            self._passengers.close()
        with suppress(Exception):  # it was said why already
            self._container.close()
