"""Whether a file is shorter than it says of itself.

FFmpeg takes the end of a cut-off file for the end of the video. The containers people use say how long they
are: ISO media (mp4, mov) and RIFF (avi) in the sizes of their outermost boxes, Matroska (mkv, webm) in that
of its segment. Streams (ts, raw codecs) have no such size; there the last frame is damaged or nothing is
missed.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO

ISO_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"styp", b"pnot")
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(path: Path) -> int:
    """How many bytes of what the file says of itself are not there; 0 where it does not say."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[4:8] in ISO_FIRST:
            return max(0, _end_of_boxes(file, size) - size)
        if head[:4] == EBML:
            return max(0, _end_of_segment(file) - size)
        if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"AVI ":
            return max(0, 8 + struct.unpack("<I", head[4:8])[0] - size)
    return 0


def _end_of_boxes(file: IO[bytes], size: int) -> int:
    """Where the last outermost box ends: [size, kind] each; size 1: the true one follows; 0: to the end."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = struct.unpack(">I", head[:4])[0]
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:16])[0]
        if length < 8:
            return size
        place += length
    return place if place > size else size


def _number(file: IO[bytes]) -> int | None:
    """An EBML size: leading zero bits say how many bytes it has; all ones mean unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    value = int.from_bytes(bytes([first[0] & (0xFF >> length)]) + rest, "big")
    return None if value == (1 << 7 * length) - 1 else value


def _end_of_segment(file: IO[bytes]) -> int:
    """Where the segment ends; 0 where that is unknown (live recordings)."""
    file.seek(4)
    header = _number(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return 0
    length = _number(file)
    return 0 if length is None else file.tell() + length
