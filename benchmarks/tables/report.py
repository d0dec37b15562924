"""Markdown of a table: a summary by method, every picture, and where each cell comes from."""

from __future__ import annotations

from benchmarks.tables import published
from benchmarks.tables.rows import Row

SCORES = {
    "psnr": "PSNR over all channels, dB",
    "psnr_y": "PSNR of luma, dB",
    "psnr_holes": "PSNR where nothing was known, dB",
    "ssim3d": "3D-SSIM",
    "flicker": "Flicker, of 255",
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


def lines_of(header: list[str], body: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *body)]


def _grid(rows: list[Row]) -> tuple[list[str], list[str], dict[tuple[str, str], Row]]:
    """Pictures and variants in the order they came, ours first; and the cell of each pair (the latest)."""
    pictures = list(dict.fromkeys(row.picture for row in rows))
    variants = list(dict.fromkeys(variant(row) for row in sorted(rows, key=lambda row: not row.engine)))
    return pictures, variants, {(row.picture, variant(row)): row for row in rows}


def summary(rows: list[Row], score: str) -> list[str]:
    """One line a method: its mean over the pictures it has, beside the published mean over the same."""
    pictures, variants, cells = _grid(rows)
    also = [other for other in SCORES if other != score and any(getattr(row, other) for row in rows)]
    one = "clip" if rows[0].frames else "picture"
    header = ["method", one + "s", SCORES[score], "published", "difference"]
    header += [*(SCORES[other] for other in also), f"seconds a {one}"]
    body = []
    for name in variants:
        own = [cells[p, name] for p in pictures if (p, name) in cells]
        ours = _mean_of(own, score)
        names = [] if own[0].side else [row.picture for row in own]  # shrunk pictures are other pictures
        theirs = published.mean_of(own[0].table, own[0].method, own[0].ensemble, names)
        beside = ["", ""] if theirs is None else [f"{theirs:.2f}", f"{ours - theirs:+.2f}"]
        others = [_shown(_mean_of(own, other), other) for other in also]
        seconds = _shown(_mean_of(own, "seconds"))
        body.append([name, str(len(own)), _shown(ours, score), *beside, *others, seconds])
    return lines_of(header, body)


def _mean_of(rows: list[Row], column: str) -> float | None:
    """Over the rows that say something in this column."""
    values = [float(getattr(row, column)) for row in rows if getattr(row, column)]
    return sum(values) / len(values) if values else None


def _shown(value: float | None, column: str = "") -> str:
    digits = 3 if column == "ssim3d" else 2
    return "" if value is None else f"{value:.{digits}f}"


def by_picture(rows: list[Row], score: str, with_published: bool = True) -> list[str]:
    """One line a picture, one column a method, then the published columns; means over complete lines."""
    pictures, variants, cells = _grid(rows)
    columns = published.TABLES[rows[0].table] if with_published and not rows[0].side else {}
    columns = {name: column for name, column in columns.items() if any(p in column for p in pictures)}

    def line(start: list[str], of: list[str]) -> list[str]:
        """Means over the pictures ``of``, which may be one."""
        ours = [_mean_of([cells[p, name] for p in of if (p, name) in cells], score) for name in variants]
        theirs = [published.mean_over(column, of) for column in columns.values()]
        return start + [_shown(value, score) for value in ours + theirs]

    sizes = {row.picture: f"{row.width}x{row.height}" for row in rows}
    body = [line([picture, sizes[picture]], [picture]) for picture in pictures]
    complete = [p for p in pictures if all((p, name) in cells for name in variants)]
    if len(complete) > 1:
        which = "" if complete == pictures else ": " + ", ".join(complete)
        body.append(line([f"**mean of {len(complete)}**{which}", ""], complete))
    return lines_of(["picture", "size", *variants, *(f"published: {name}" for name in columns)], body)


def origins(rows: list[Row]) -> list[str]:
    """Seconds, steps, engine, machine and date of every cell."""
    header = ["picture", "method", "seconds", "steps", "ended by", "machine", "threads", "load", "date"]
    return lines_of(header, [
        [row.picture, variant(row), row.seconds, row.steps, row.reason,
         row.machine + (f", {row.isa}" if row.isa else ""), row.threads, row.load, row.date]
        for row in rows
    ])  # fmt: skip


def grouped(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """(heading, cells) of what can be compared with each other: one size and length; whole pictures first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row.side or 0)):
        groups.setdefault((row.side, row.frames), []).append(row)
    return [(_heading(*key), cells) for key, cells in groups.items()]


def _heading(side: str, frames: str) -> str:
    size = f"Shrunk to {side} pixels on the shorter side" if side else "In the mean"
    return f"{size}, {frames} frames" if frames else size


def markdown(rows: list[Row], title: str, score: str, notes: list[str], failures: list[str]) -> str:
    """The whole page."""
    made = "Made by `python -m benchmarks.tables`; every cell stands in the CSV beside this file."
    text = [f"# {title}", "", made, "", *(f"- {note}" for note in notes if note)]
    if any(row.engine == "native" and row.precision == "auto" for row in rows):
        text.append("- The native engine computes in bfloat16 where the machine says amx, else in float32.")
    for heading, cells in grouped(rows):
        text += ["", f"## {heading}", "", *summary(cells, score)]
        for kind in [score, *(other for other in SCORES if other != score)]:
            if any(getattr(row, kind) for row in cells):
                text += ["", f"### {SCORES[kind]}", "", *by_picture(cells, kind, kind == score)]
        text += ["", "### Where each cell comes from", "", *origins(cells)]
    if failures:
        text += ["", "## Failed", "", *(f"- {sentence}" for sentence in failures)]
    return "\n".join(text) + "\n"
