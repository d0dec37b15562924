"""The command line: ``python -m benchmarks.tables sr4 --data FOLDER``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import dipedge as de
from benchmarks.tables import methods, published, report, rows, running
from benchmarks.tables.protocols import PROTOCOLS, protocol
from dipedge.engines import engine_for
from dipedge.images import written_beside
from dipedge.presets import QUALITIES, preset

RESULTS = Path(__file__).resolve().parent.parent / "results"


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    words = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__.splitlines()[0])
    words.add_argument("table", choices=sorted(PROTOCOLS))
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
    words.add_argument("--size", type=int, help="pictures with a shorter side above it are shrunk to it")
    words.add_argument(
        "--pairs", action="store_true", help="sr4: the ready LR/HR pairs in or below the folder"
    )
    words.add_argument("--without", nargs="+", default=[], help="columns to leave out, such as BM3D")
    words.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV and the Markdown")
    return words


class UsageError(Exception):
    """What cannot be done, in one line."""


def planned(options: argparse.Namespace) -> running.Plan:
    """Checks what was asked for before the first fit begins."""
    if not options.data.is_dir():
        raise UsageError(f"--data {options.data}: no such folder")
    chosen = protocol(options.table, options.pairs)
    files = chosen.files(options.data)
    if not files:
        what = "LR/HR pairs" if options.pairs else "pictures"
        raise UsageError(f"--data {options.data}: no {what} in it")
    unknown = sorted(set(options.only or []) - {name for name, _ in files})
    if unknown:
        known = ", ".join(name for name, _ in files)
        raise UsageError(f"--only: no {', '.join(unknown)} in {options.data}; there are {known}")
    files = [file for file in files if options.only is None or file[0] in options.only][: options.limit]
    columns = [
        one for one in methods.methods_of(options.table, options.prior) if one.name not in options.without
    ]
    engine = options.engine
    for one in columns:
        if isinstance(one, methods.Fit):  # an engine or prior that cannot do it shows here, not at night
            task = chosen.example_task
            engine = engine_for(
                options.engine, preset(task, one.prior, options.quality, options.steps).prior, task
            ).name
    options.out.mkdir(parents=True, exist_ok=True)
    settings = methods.Settings(
        engine, options.quality, options.precision, options.steps, 0, options.ensemble, options.threads
    )
    name = f"tables_{options.table}" + ("_pairs" if options.pairs else "")
    return running.Plan(
        chosen, columns, [replace(settings, seed=seed) for seed in options.seeds], files,
        options.out / f"{name}.csv", options.size,
    )  # fmt: skip


def main(words: list[str]) -> int:
    """0 done, 1 some cells failed, 2 cannot be done, 130 interrupted; what was finished is kept."""
    options = parser().parse_args(words)
    try:
        plan = planned(options)
        rows.read(plan.results)
    except (UsageError, rows.RowsError, de.DipedgeError) as problem:
        print(problem, file=sys.stderr)
        return 2
    outcome = running.run(plan, lambda line: print(line, flush=True))
    every = rows.read(plan.results)
    page = report.markdown(
        every, plan.protocol.title, plan.protocol.score,
        [*plan.protocol.notes, published.MEANS_ONLY[options.table]], outcome.failures,
    )  # fmt: skip
    with written_beside(plan.results.with_suffix(".md")) as file:
        file.write(page.encode())
    if outcome.rows:
        print("", *report.summary(outcome.rows, plan.protocol.score), "", sep="\n")
    print(f"{plan.results.with_suffix('.md')}" + (" (interrupted)" if outcome.interrupted else ""))
    return 130 if outcome.interrupted else int(bool(outcome.failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
