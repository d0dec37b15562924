"""The published tables, ours beside them: python -m benchmarks.tables sr4 --data FOLDER.

Finished cells stand in a CSV below benchmarks/results, with a Markdown page beside it; the same command again
goes on where the last one ended, and other options add their columns.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import dipedge as de
from benchmarks.tables import published, report, rows, running
from benchmarks.tables.answers import Settings
from benchmarks.tables.methods import Method, methods_of
from benchmarks.tables.protocols import Protocol
from benchmarks.tables.registry import TABLES, protocol
from dipedge.images import written_beside
from dipedge.presets import QUALITIES

RESULTS = Path(__file__).resolve().parent.parent / "results"


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    words = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__.splitlines()[0])
    words.add_argument("table", choices=TABLES)
    words.add_argument("--data", type=Path, required=True, help="folder of clean pictures")
    words.add_argument("--prior", nargs="*", default=["pip", "dip"], help="ours; none for baselines alone")
    words.add_argument("--engine", default="auto")
    words.add_argument("--quality", default="paper", choices=QUALITIES)
    words.add_argument("--precision", default="auto")
    words.add_argument("--steps", type=int, help="instead of the preset's")
    words.add_argument("--seeds", nargs="+", type=int, default=[0])
    words.add_argument("--ensemble", type=int, default=1, help="so many fits, averaged")
    words.add_argument("--threads", type=int)
    words.add_argument("--limit", type=int, help="so many pictures at most")
    words.add_argument("--only", nargs="+", help="names of pictures, as the table has them")
    words.add_argument("--frames", type=int, default=8, help="of every clip")
    words.add_argument("--size", type=int, help="pictures with a shorter side above it are shrunk to it")
    words.add_argument(
        "--pairs", action="store_true", help="sr4: the ready LR/HR pairs in or below the folder"
    )
    words.add_argument("--without", nargs="+", default=[], help="columns to leave out, such as BM3D")
    words.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV and the Markdown")
    return words


class UsageError(Exception):
    """What cannot be done, in one line."""


def chosen_files(options: argparse.Namespace, chosen: Protocol) -> list[tuple[str, Path]]:
    """What of the folder is asked for."""
    if not options.data.is_dir():
        raise UsageError(f"--data {options.data}: no such folder")
    files = chosen.files(options.data)
    if not files:
        what = "ready LR/HR pairs" if options.pairs else "pictures"
        raise UsageError(f"--data {options.data}: no {what} in it")
    unknown = sorted(set(options.only or []) - {name for name, _ in files})
    if unknown:
        known = ", ".join(name for name, _ in files)
        raise UsageError(f"--only: no {', '.join(unknown)} in {options.data}; there are {known}")
    return [file for file in files if options.only is None or file[0] in options.only][: options.limit]


def chosen_cells(options: argparse.Namespace, chosen: Protocol) -> list[tuple[Method, Settings]]:
    """Methods with their settings. What cannot be run shows here and not in the middle of a night."""
    settings = Settings(
        quality=options.quality,
        precision=options.precision,
        steps=options.steps,
        ensemble=options.ensemble,
        threads=options.threads,
    )
    cells = []
    for method in methods_of(options.table, options.prior):
        if method.name in options.without:
            continue
        if missing := method.missing():
            print(missing, file=sys.stderr)
        elif method.fitted:
            engine = method.engine(options.engine, chosen.example_task, options.quality, chosen.regime)
            cells += [(method, replace(settings, engine=engine, seed=seed)) for seed in options.seeds]
        else:
            cells.append((method, settings))
    return cells


def make_folder(out: Path) -> None:
    """The folder of the results; UsageError where it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"--out {out}: {problem.strerror}") from problem


def planned(options: argparse.Namespace) -> running.Plan:
    """Checks what was asked for before the first fit begins."""
    for name in ("limit", "size", "frames", "steps"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UsageError(f"--{name} is {getattr(options, name)}; it must be 1 or more")
    chosen = protocol(options.table, options.pairs, options.frames)
    files, cells = chosen_files(options, chosen), chosen_cells(options, chosen)
    make_folder(options.out)
    results = options.out / (f"tables_{options.table}" + "_pairs" * options.pairs + ".csv")
    return running.Plan(chosen, cells, files, results, options.size)


def write_page(plan: running.Plan, failures: list[str]) -> None:
    """The Markdown of all cells in the file, beside it."""
    chosen = plan.protocol
    notes = [*chosen.notes, published.NOTES.get(chosen.name, "")]
    page = report.markdown(rows.read(plan.results), chosen.title, chosen.score, notes, failures)
    with written_beside(plan.results.with_suffix(".md")) as file:
        file.write(page.encode())


def main(words: list[str]) -> int:
    """0 done, 1 some cells failed, 2 cannot be done, 130 interrupted; what was finished is kept."""
    options = parser().parse_args(words)
    try:
        plan = planned(options)
        rows.prepare(plan.results)
    except (UsageError, rows.RowsError, de.DipedgeError) as problem:
        print(problem, file=sys.stderr)
        return 2

    def say(line: str) -> None:
        print(line, flush=True)
        write_page(plan, [])  # it can be read, and is whole, while the next cell is being made

    outcome = running.run(plan, say)
    write_page(plan, outcome.failures)
    if outcome.rows:
        print("", *report.summary(outcome.rows, plan.protocol.score), "", sep="\n", flush=True)
    print(f"{plan.results.with_suffix('.md')}" + (" (interrupted)" if outcome.interrupted else ""))
    return 130 if outcome.interrupted else int(bool(outcome.failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
