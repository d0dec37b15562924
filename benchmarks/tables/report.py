"""Markdown of a table: a summary by method, every picture, and where each cell comes from."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.tables import published
from benchmarks.tables.rows import Row

SCORES = {
    "psnr": "PSNR over all channels",
    "psnr_y": "PSNR of luma",
    "psnr_holes": "PSNR where nothing was known",
    "ssim3d": "3D-SSIM",
}


def variant(row: Row) -> str:
    """A method with all that was chosen for it: one column."""
    if not row.engine:
        return row.method
    words = [row.method, row.quality, row.engine]
    words += [row.precision] if row.precision != "auto" else []
    words += [f"{row.steps_asked} steps"] if row.steps_asked else []
    words += [f"seed {row.seed}"] if row.seed != "0" else []
    words += [f"mean of {row.ensemble}"] if row.ensemble != "1" else []
    return " ".join(words)


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def lines_of(header: list[str], body: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *body)]


def _grid(rows: list[Row]) -> tuple[list[str], list[str], dict[tuple[str, str], Row]]:
    """Pictures and variants in the order they came, and the cell of each pair (the latest)."""
    pictures = list(dict.fromkeys(row.picture for row in rows))
    variants = list(dict.fromkeys(variant(row) for row in rows))
    return pictures, variants, {(row.picture, variant(row)): row for row in rows}


def summary(rows: list[Row], score: str) -> list[str]:
    """One line a method: its mean over the pictures it has, beside the published mean over the same."""
    pictures, variants, cells = _grid(rows)
    columns = published.TABLES[rows[0].table]
    also = [other for other in SCORES if other != score and any(getattr(row, other) for row in rows)]
    header = ["method", "pictures", SCORES[score], "published", "difference"]
    header += [*(SCORES[other] for other in also), "seconds a picture"]
    body = []
    for name in variants:
        own = [cells[p, name] for p in pictures if (p, name) in cells]
        ours = _mean_of(own, score)
        theirs = published.mean_over(columns.get(own[0].method, {}), [row.picture for row in own])
        beside = ["", ""] if theirs is None else [f"{theirs:.2f}", f"{ours - theirs:+.2f}"]
        others = [_shown(_mean_of(own, other), other) for other in also]
        body.append(
            [name, str(len(own)), _shown(ours, score), *beside, *others, _shown(_mean_of(own, "seconds"))]
        )
    return lines_of(header, body)


def _mean_of(rows: list[Row], column: str) -> float | None:
    """Over the rows that say something in this column."""
    values = [float(getattr(row, column)) for row in rows if getattr(row, column)]
    return mean(values) if values else None


def _shown(value: float | None, column: str = "") -> str:
    digits = 3 if column == "ssim3d" else 2
    return "" if value is None else f"{value:.{digits}f}"


def by_picture(rows: list[Row], score: str, with_published: bool = True) -> list[str]:
    """One line a picture, one column a method, then the published columns; means over complete lines."""
    pictures, variants, cells = _grid(rows)
    columns = published.TABLES[rows[0].table] if with_published else {}
    columns = {name: column for name, column in columns.items() if any(p in column for p in pictures)}
    header = ["picture", "size", *variants, *(f"published: {name}" for name in columns)]
    body = []
    for picture in pictures:
        one = next(row for row in rows if row.picture == picture)
        line = [picture, f"{one.width}x{one.height}"]
        for name in variants:
            value = getattr(cells[picture, name], score) if (picture, name) in cells else ""
            line.append(f"{float(value):.2f}" if value else "")
        body.append(line + [f"{c[picture]:.2f}" if picture in c else "" for c in columns.values()])
    complete = [p for p in pictures if all((p, name) in cells for name in variants)]
    if len(complete) > 1:
        line = [
            f"**mean of {len(complete)}**" + ("" if complete == pictures else ": " + ", ".join(complete)),
            "",
        ]
        line += [f"{mean(float(getattr(cells[p, name], score)) for p in complete):.2f}" for name in variants]
        theirs = [published.mean_over(column, complete) for column in columns.values()]
        body.append(line + ["" if value is None else f"{value:.2f}" for value in theirs])
    return lines_of(header, body)


def origins(rows: list[Row]) -> list[str]:
    """Seconds, steps, engine, machine and date of every cell."""
    header = ["picture", "method", "seconds", "steps", "ended by", "machine", "threads", "date"]
    return lines_of(header, [
        [row.picture, variant(row), row.seconds, row.steps, row.reason,
         row.machine + (f", {row.isa}" if row.isa else ""), row.threads, row.date]
        for row in rows
    ])  # fmt: skip


def markdown(rows: list[Row], title: str, score: str, notes: list[str], failures: list[str]) -> str:
    """The whole page."""
    made = "Made by `python -m benchmarks.tables`; every cell stands in the CSV beside this file."
    text = [f"# {title}", "", made, ""]
    text += [f"- {note}" for note in notes if note]
    if rows:
        text += ["", *summary(rows, score), "", f"## {SCORES[score]}, dB", "", *by_picture(rows, score)]
        for other in SCORES:
            if other != score and any(getattr(row, other) for row in rows):
                text += ["", f"## {SCORES[other]}", "", *by_picture(rows, other, with_published=False)]
        text += ["", "## Where each cell comes from", "", *origins(rows)]
    if failures:
        text += ["", "## Failed", "", *(f"- {sentence}" for sentence in failures)]
    return "\n".join(text) + "\n"
