"""Whole clips against frame by frame and 3D-DIP, on two clips: python -m benchmarks.clips --data FOLDER.

FOLDER holds the clips as folders of frames (``davis480p``). Noise of sigma 25 is added to the first frames,
shrunk so that all of it takes about half an hour on two cores: 3D-DIP and DIP are slow. It is the table
``benchmarks.tables video`` with the settings that each method is best shown with; finished cells stand in
results/clips.csv with clips.md beside it, and the same command again goes on where the last one ended.

Ours and DIP per frame end by their own rules. 3D-DIP is given a number of steps, because no rule of ours was
made for it: ``--steps-3d``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import dipedge as de
from benchmarks.tables import __main__ as tables
from benchmarks.tables import report, rows, running
from benchmarks.tables.answers import Settings
from benchmarks.tables.methods import Method, methods_of
from benchmarks.tables.registry import protocol

CLIPS = ("soapbox", "bike-packing")
# The quickest first: a run that is ended early has compared something.
ORDER = (
    "PIP clip", "NLM over 5 frames", "BM3D per frame", "BM4D", "PIP stream", "PIP per frame", "DIP per frame",
    "3D-DIP",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    words = argparse.ArgumentParser(prog="python -m benchmarks.clips", description=__doc__)
    words.formatter_class = argparse.RawDescriptionHelpFormatter
    words.add_argument("--data", type=Path, required=True, help="folder of clips, each a folder of frames")
    words.add_argument("--clips", nargs="+", default=CLIPS, help="names of their folders")
    words.add_argument("--size", type=int, default=96, help="of the shorter side, before cropping to 32")
    words.add_argument("--frames", type=int, default=8)
    words.add_argument("--engine", default="auto")
    words.add_argument("--quality", default="balanced")
    words.add_argument("--steps-3d", type=int, default=800, help="of 3D-DIP")
    words.add_argument(
        "--paper-epochs", type=int, default=0, help="adds PIP as published, with so many epochs"
    )
    words.add_argument("--threads", type=int, default=2)
    words.add_argument(
        "--without", nargs="+", default=[], help=f"columns to leave out, of {', '.join(ORDER)}"
    )
    words.add_argument("--out", type=Path, default=tables.RESULTS, help="folder of the CSV and the Markdown")
    return words


def cells_of(options: argparse.Namespace) -> list[tuple[Method, Settings]]:
    """Methods with their settings, quickest first; what is not installed is told and left out."""
    settings = Settings(quality=options.quality, threads=options.threads)
    known = {method.name: method for method in methods_of("video", ["pip", "dip"])}
    cells = []
    for name in ORDER:
        method = known[name]
        if name in options.without:
            continue
        if missing := method.missing():
            print(missing, file=sys.stderr)
            continue
        own = settings
        if method.fitted:
            engine = method.engine(options.engine, de.Denoise(), options.quality, None)
            own = replace(settings, engine=engine, steps=options.steps_3d if name == "3D-DIP" else None)
        cells.append((method, own))
        if name == "PIP clip" and options.paper_epochs:
            cells.append((method, replace(own, quality="paper", steps=options.paper_epochs)))
    return cells


def planned(options: argparse.Namespace) -> running.Plan:
    """Checks what was asked for before the first fit begins."""
    chosen = protocol("video", frames=options.frames)
    missing = [name for name in options.clips if not (options.data / name).is_dir()]
    if missing:
        raise tables.UsageError(f"--data {options.data}: no clip {missing[0]!r} in it")
    unknown = sorted(set(options.without) - set(ORDER))
    if unknown:
        raise tables.UsageError(f"--without: no column {unknown[0]!r}; there are {', '.join(ORDER)}")
    tables.make_folder(options.out)
    files = [(name, options.data / name) for name in options.clips]
    return running.Plan(chosen, cells_of(options), files, options.out / "clips.csv", options.size)


def main(words: list[str]) -> int:
    """0 done, 1 some cells failed, 2 cannot be done, 130 interrupted; what was finished is kept."""
    options = parser().parse_args(words)
    try:
        plan = planned(options)
        rows.prepare(plan.results)
    except (tables.UsageError, rows.RowsError, de.DipedgeError) as problem:
        print(problem, file=sys.stderr)
        return 2

    def say(line: str) -> None:
        print(line, flush=True)
        tables.write_page(plan, [])

    outcome = running.run(plan, say)
    tables.write_page(plan, outcome.failures)
    if outcome.rows:
        print("", *report.summary(outcome.rows, plan.protocol.score), "", sep="\n", flush=True)
    return 130 if outcome.interrupted else int(bool(outcome.failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
