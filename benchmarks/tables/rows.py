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
        machine: the processor, or the GPU for fits made there.
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
    steps: str = ""
    seconds: str = ""
    reason: str = ""
    machine: str = ""
    isa: str = ""
    threads: str = ""
    version: str = ""
    date: str = ""

    def key(self) -> tuple[str, ...]:
        """What two runs must have in common for the second to skip the cell."""
        return tuple(getattr(self, name) for name in COLUMNS[: COLUMNS.index("width")])


COLUMNS = [field.name for field in fields(Row)]


def _line(values: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def read(path: Path) -> list[Row]:
    """The cells of a file; none if there is no such file.

    Raises:
        RowsError: another file's columns stand in it.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]  # a torn last line has no end
    lines = list(csv.reader(whole.splitlines()))
    if not lines:
        return []
    if lines[0] != COLUMNS:
        raise RowsError(f"{path}: its columns are not those of benchmarks.tables; give another --out")
    return [Row(*line) for line in lines[1:] if len(line) == len(COLUMNS)]


def append(path: Path, row: Row) -> None:
    """Adds a cell and waits until it is on the disk."""
    mend(path)
    with open(path, "a", encoding="utf-8") as file:
        if file.tell() == 0:
            file.write(_line(COLUMNS))
        file.write(_line(list(asdict(row).values())))
        file.flush()
        os.fsync(file.fileno())


def mend(path: Path) -> None:
    """Cuts a torn last line off, so that the next one does not go on from it."""
    if not path.exists():
        return
    with open(path, "r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
