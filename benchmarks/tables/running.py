"""The loop over pictures and methods: what the file already holds is skipped, what fails is told."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import dipedge as de
from benchmarks.tables.answers import Answer, Settings
from benchmarks.tables.methods import Method
from benchmarks.tables.protocols import Case, Protocol
from benchmarks.tables.rows import Row, append, prepare


@dataclass(frozen=True)
class Plan:
    """All that a run shall finish.

    Args:
        protocol: of the table.
        cells: method and settings of every column.
        files: (name, file) of every picture.
        side: what larger pictures are shrunk to; None for none.
        results: the CSV.
    """

    protocol: Protocol
    cells: list[tuple[Method, Settings]]
    files: list[tuple[str, Path]]
    results: Path
    side: int | None = None


@dataclass
class Outcome:
    """What became of a run: cells of this plan (also those of earlier runs), and sentences on failures."""

    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False


def run(plan: Plan, say: Callable[[str], object] = print) -> Outcome:
    """Finishes every cell that is not in the file yet; Ctrl-C ends it with what there is.

    Args:
        plan: what to do.
        say: called with a line about every cell, after its row is in the file.
    """
    outcome = Outcome()
    known = {row.key(): row for row in prepare(plan.results)}
    try:
        for name, path in plan.files:
            try:
                _picture(plan, name, path, known, outcome, say)
            except Exception as problem:  # one bad picture must not cost a night's other pictures
                _failed(outcome, f"{name}: {path}: {problem}", say)
    except KeyboardInterrupt:
        outcome.interrupted = True
    return outcome


def _picture(
    plan: Plan, name: str, path: Path, known: dict, outcome: Outcome, say: Callable[[str], object]
) -> None:
    """All cells of one picture; it is read only if one of them is missing."""
    case = None
    for method, settings in plan.cells:
        blank = _key_row(plan, name, method, settings)
        if blank.key() in known:
            outcome.rows.append(known[blank.key()])
            say(f"{_words(known[blank.key()], plan.protocol.score)}  (finished earlier)")
            continue
        case = case or plan.protocol.case(name, path, plan.side)
        try:
            answer = method.run(case, settings, _ticker(name, method.name))
            row = _finished(blank, plan.protocol.scores(case, answer.image), case, answer, settings)
        except Exception as problem:
            _failed(outcome, f"{name}, {method.name}: {problem}", say)
            continue
        append(plan.results, row)
        outcome.rows.append(row)
        say(_words(row, plan.protocol.score))


def _failed(outcome: Outcome, sentence: str, say: Callable[[str], object]) -> None:
    outcome.failures.append(" ".join(sentence.split()))
    say(f"FAILED {outcome.failures[-1]}")


def _key_row(plan: Plan, name: str, method: Method, settings: Settings) -> Row:
    """A row with all that decides the cell and nothing of its result."""
    protocol = plan.protocol
    decided = {
        "table": protocol.name,
        "picture": name,
        "method": method.name,
        "degradation": protocol.degradation,
        "side": str(plan.side or ""),
        "frames": str(protocol.frames),
    }
    if method.fitted:
        decided |= {
            "engine": settings.engine,
            "precision": settings.precision,
            "quality": settings.quality,
            "steps_asked": "" if settings.steps is None else str(settings.steps),
            "seed": str(settings.seed),
            "ensemble": str(settings.ensemble),
        }
    return Row(**decided)


def _finished(blank: Row, scores: dict[str, float], case: Case, answer: Answer, settings: Settings) -> Row:
    """The cell, with its result."""
    fitted = bool(blank.engine)
    result = {name: f"{score:.4f}" for name, score in scores.items()}
    result |= {
        "height": str(case.size[0]),
        "width": str(case.size[1]),
        "steps": "" if answer.steps is None else str(answer.steps),
        "seconds": f"{answer.seconds:.2f}",
        "reason": answer.reason,
        "machine": answer.machine or processor(),
        "isa": answer.isa,
        "threads": str(settings.threads or processors()) if fitted else "",
        "load": f"{os.getloadavg()[0]:.1f}",  # others' work lengthens the seconds
        "version": de.__version__,
        "date": datetime.date.today().isoformat(),
    }
    return replace(blank, **result)


def processor() -> str:
    """The processor's name."""
    from dipedge.engines import get_engine

    return get_engine("native").device().get("device") or platform.machine()


def processors() -> int:
    """That this process may use, which is what a fit without ``--threads`` takes."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _words(row: Row, score: str) -> str:
    steps = f", {row.steps} steps" if row.steps else ""
    variant = " ".join(
        word for word in (row.engine, row.quality, f"seed {row.seed}" * bool(row.seed)) if word
    )
    return f"{row.picture:<12} {row.method:<12} {getattr(row, score)} dB  {row.seconds} s{steps}  {variant}"


def _ticker(picture: str, method: str) -> Callable[[de.Step], object] | None:
    """Shows how far a fit is, on a terminal only."""
    if not sys.stderr.isatty():
        return None

    def tick(step: de.Step) -> None:
        end = "\r" if step.reason is None else "\n"
        if step.index % 10 == 0 or step.reason is not None:
            words = f"  {picture} {method}: step {step.index}/{step.limit}, {step.seconds:.0f} s"
            print(words, end=end, file=sys.stderr)

    return tick
