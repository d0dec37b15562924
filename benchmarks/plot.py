"""Draws a result of benchmarks.time_to_quality: PSNR over seconds, a panel per picture.

    python -m benchmarks.plot RESULT.json -o PICTURE.svg

The result does not say which engine fitted the reference. It is taken to be the default, the native one;
--reference says something else. Needs matplotlib (in the extra "dev").
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dipedge.errors import FileError
from dipedge.images import written_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEAR = 0.1  # dB, as in time_to_quality
SHOWN = 5.0  # dB below the reference's best: a tenth of a decibel must be visible in a small panel
MOST_POINTS = 200  # of a curve
REFERENCE = "published settings, float32, native engine"
GREY = "#444444"
# Okabe and Ito's colours, which the colour-blind can tell apart; the marker says the same once more.
STROKES = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"),
    ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"),
)  # fmt: skip
COLUMNS = {1: 1, 2: 2, 4: 2}  # by the number of panels; otherwise three
WIDTH = 7.3  # inches: 700 pixels in a browser
STYLE = {
    "svg.hashsalt": "dipedge",  # the same names inside every file
    "svg.fonttype": "none",  # text stays text: smaller, and it can be searched
    "text.parse_math": False,  # a dollar in a file name is a dollar
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "lines.linewidth": 1.4,
}


@dataclass(frozen=True)
class Course:
    """How one fit went."""

    points: list[tuple[float, float]]  # seconds, PSNR of the average
    best: float
    answer: tuple[float, float]  # when it came, and its PSNR


Courses = dict[str, dict[str, Course]]  # by picture, then by quality; "reference" is always there


def course_of(row: dict[str, Any]) -> Course:
    """What is drawn of a row. A logarithmic axis has no place for a time that was rounded to nothing."""
    points = [(float(seconds), float(psnr)) for _, seconds, psnr in row["curve"] if seconds > 0]
    if not points:
        raise ValueError("a curve without points")
    return Course(points, float(row["best"]), (float(row["seconds"]), float(row["psnr"])))


def read(path: Path) -> tuple[Courses, str]:
    """The fits in a result file, and a line on how they were measured; ValueError says what is wrong."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        pictures = {
            name: {quality: course_of(row) for quality, row in rows.items()}
            for name, rows in report["pictures"].items()
        }
        described = f"{report['cpu']}, {report['isa']}; {report['size']} × {report['size']} pixels"
        described += f"; precision of the solid lines: {report['precision']}"
    except KeyError as missing:
        raise ValueError(f"{missing} is missing") from missing
    except (TypeError, AttributeError) as wrong:
        raise ValueError(str(wrong)) from wrong
    if not pictures:
        raise ValueError("no picture in it")
    for name, courses in pictures.items():
        if "reference" not in courses:
            raise ValueError(f"{name} has no reference")
    return pictures, described


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS of them, evenly, with the first and the last."""
    if len(points) <= MOST_POINTS:
        return points
    stride = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(index * stride)] for index in range(MOST_POINTS)]


def strokes_of(pictures: Courses) -> dict[str, tuple[str, str]]:
    """Colour and marker of every quality, the same in all panels."""
    qualities = dict.fromkeys(name for courses in pictures.values() for name in courses)
    drawn = [name for name in qualities if name != "reference"]
    return {name: STROKES[index % len(STROKES)] for index, name in enumerate(drawn)}


def time_span(pictures: Courses) -> tuple[float, float]:
    """From where the first curve comes into view to the end of the last, for all panels alike."""
    first, last = inf, 0.0
    for courses in pictures.values():
        floor = courses["reference"].best - SHOWN
        for course in courses.values():
            first = min([first, *(seconds for seconds, psnr in course.points if psnr >= floor)])
            last = max(last, course.points[-1][0], course.answer[0])
    return min(first, last) / 1.3, last * 1.5


def draw_panel(
    axes: Axes, name: str, courses: dict[str, Course], strokes: dict[str, tuple[str, str]]
) -> None:
    """One picture: the reference, the line to reach, and every quality with its answer."""
    reference = courses["reference"]
    axes.set_title(name, loc="left")
    axes.axhline(reference.best - NEAR, color=GREY, linewidth=0.6)
    axes.plot(*zip(*thinned(reference.points), strict=True), color=GREY, linestyle=(0, (4, 2)))
    for quality, (colour, marker) in strokes.items():
        if quality not in courses:
            continue
        seconds, psnr = courses[quality].answer
        axes.plot(*zip(*thinned(courses[quality].points), strict=True), color=colour)
        axes.plot(seconds, psnr, color=colour, marker=marker, markersize=6, markeredgecolor="white", zorder=3)
        axes.annotate(
            f"{seconds:.3g} s", (seconds, psnr), (0, 6), textcoords="offset points", color=colour, ha="center"
        )
    answers = [course.answer[1] for course in courses.values()]
    highest = max([*answers, *(course.best for course in courses.values())])
    axes.set_ylim(
        min([reference.best - SHOWN, *(psnr - 0.5 for psnr in answers)]), highest + 0.8
    )  # room for the times


def draw_axes(axes: Axes, span: tuple[float, float]) -> None:
    """Seconds in plain numbers: 1, 3, 10, 30, ... fit below the narrowest panel."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(span)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)


def explain(figure: Figure, strokes: dict[str, tuple[str, str]], reference: str) -> None:
    """One legend for all panels: lines end too close to each other to be labelled where they are."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=GREY, linestyle=(0, (4, 2)), label=f"reference: {reference}")]
    lines += [Line2D([], [], color=GREY, linewidth=0.6, label=f"its best minus {NEAR} dB")]
    lines += [
        Line2D([], [], color=colour, marker=marker, markeredgecolor="white", label=f"{name}, with its answer")
        for name, (colour, marker) in strokes.items()
    ]
    figure.legend(handles=lines, loc="outside upper left", ncols=2, frameon=False)


def draw(pictures: Courses, described: str, reference: str, file: IO[bytes]) -> None:
    """Writes the drawing as SVG; equal results give equal bytes, whatever the user's own style is."""
    import matplotlib.style
    from matplotlib.figure import Figure

    columns = COLUMNS.get(len(pictures), 3)
    rows = ceil(len(pictures) / columns)
    strokes, span = strokes_of(pictures), time_span(pictures)
    with matplotlib.style.context("default"), matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.1 + 2.2 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for axes, (name, courses) in zip(panels, pictures.items(), strict=False):
            draw_panel(axes, name, courses, strokes)
            draw_axes(axes, span)
        for axes in list(panels)[len(pictures) :]:
            axes.remove()
        figure.supylabel("PSNR of the averaged output, dB", fontsize=8)
        figure.supxlabel(f"seconds\n{described}", fontsize=8)
        explain(figure, strokes, reference)
        figure.savefig(file, format="svg", metadata={"Date": None})


def main(words: list[str]) -> int:
    """Draws; 2 when there is nothing to draw, nothing to draw with, or nowhere to draw to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--reference", default=REFERENCE, help="what the dashed line is")
    options = parser.parse_args(words)
    try:
        import matplotlib  # noqa: F401
    except ImportError as missing:
        print(f"drawing needs matplotlib (pip install matplotlib): {missing}", file=sys.stderr)
        return 2
    try:
        pictures, described = read(options.result)
    except (OSError, ValueError) as problem:
        print(f"{options.result}: not a result of benchmarks.time_to_quality: {problem}", file=sys.stderr)
        return 2
    try:
        with written_beside(options.output) as file:
            draw(pictures, described, options.reference, file)
    except FileError as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
