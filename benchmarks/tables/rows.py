"""One finished cell of a table, and a CSV that grows by one line at a time.

A line is on the disk before the next cell begins, so that an end at any moment loses at most the cell in
hand; a line that a power cut tore in two is dropped when the file is opened again.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dipedge.images import written_beside


class RowsError(Exception):
    """A file that is not one of ours."""


@dataclass(frozen=True)
class Row:
    """A cell. What decides it comes first (``key``); an empty string where a column says nothing.

    Args:
        degradation: "lanczos", "pairs" or what else the protocol has several of.
        side: what larger pictures were shrunk to.
        steps_asked: of ``--steps``.
        width, height: of the answer.
        psnr, psnr_y, psnr_holes, ssim3d: dB over all channels; of luma; where nothing was known; of 1.
        flicker: in units of 1/255 of white; less is better.
        machine: the processor, or the GPU for fits made there.
        load: of the machine over the minute before the cell was finished.
    """

    table: str
    picture: str
    method: str
    degradation: str = ""
    side: str = ""
    frames: str = ""
    engine: str = ""
    precision: str = ""
    quality: str = ""
    steps_asked: str = ""
    seed: str = ""
    ensemble: str = ""
    width: str = ""
    height: str = ""
    psnr: str = ""
    psnr_y: str = ""
    psnr_holes: str = ""
    ssim3d: str = ""
    flicker: str = ""
    steps: str = ""
    seconds: str = ""
    reason: str = ""
    machine: str = ""
    isa: str = ""
    threads: str = ""
    load: str = ""
    version: str = ""
    date: str = ""

    def key(self) -> tuple[str, ...]:
        """What two runs must have in common for the second to skip the cell."""
        return tuple(getattr(self, name) for name in COLUMNS[: COLUMNS.index("width")])


COLUMNS = [field.name for field in fields(Row)]


def _text(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def read(path: Path) -> list[Row]:
    """The cells of a file; none if there is no such file. Columns it lacks, being older, are empty.

    Raises:
        RowsError: it is not a file of ours.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise RowsError(f"{path}: cannot be read as a table of ours ({problem})") from problem
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))  # a torn last line has no end
    if not lines:
        return []
    columns, *cells = lines
    if not set(COLUMNS[:3]) <= set(columns) <= set(COLUMNS):
        raise RowsError(f"{path}: its columns are not those of benchmarks.tables; give another --out")
    whole = (line for line in cells if len(line) == len(columns))
    return [Row(**dict(zip(columns, line, strict=True))) for line in whole]


def prepare(path: Path) -> list[Row]:
    """Reads a file and, if it is torn or has fewer columns, writes it anew: then it can be added to.

    Raises:
        RowsError, FileError: it is not ours, or cannot be written.
    """
    rows = read(path)
    text = _text([COLUMNS, *(list(asdict(row).values()) for row in rows)])
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with written_beside(path) as file:
            file.write(text.encode())
    return rows


def append(path: Path, row: Row) -> None:
    """Adds a cell to a prepared file, in one piece, and waits until it is on the disk."""
    with open(path, "ab") as file:
        file.write(_text([list(asdict(row).values())]).encode())
        file.flush()
        os.fsync(file.fileno())
