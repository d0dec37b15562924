"""The loop over pictures and methods: what the file already holds is skipped, what fails is told."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dipedge as de
from benchmarks.tables.methods import Answer, Fit, Method, Settings
from benchmarks.tables.protocols import Case, Protocol
from benchmarks.tables.rows import Row, append, read
from dipedge.engines.native import available_threads


@dataclass(frozen=True)
class Plan:
    """All that a run shall finish.

    Args:
        protocol: of the table.
        methods: its columns.
        settings: of ours, one a seed.
        files: (name, file) of every picture.
        side: what larger pictures are shrunk to; None for none.
        results: the CSV.
    """

    protocol: Protocol
    methods: list[Method]
    settings: list[Settings]
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
    """Finishes every cell that is not in the file yet; Ctrl-C ends it with what there is."""
    outcome = Outcome()
    known = {row.key(): row for row in read(plan.results)}
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
    for method, settings in _cells(plan):
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


def _cells(plan: Plan) -> Iterator[tuple[Method, Settings]]:
    """Every method once a seed; what has no seed once."""
    for method in plan.methods:
        for settings in plan.settings if isinstance(method, Fit) else plan.settings[:1]:
            yield method, settings


def _key_row(plan: Plan, name: str, method: Method, settings: Settings) -> Row:
    """A row with all that decides the cell and nothing of its result."""
    protocol = plan.protocol
    decided = {
        "table": protocol.name,
        "picture": name,
        "method": method.name,
        "degradation": protocol.degradation,
        "side": str(plan.side or ""),
        "frames": str(getattr(protocol, "frames", "")),
    }
    if isinstance(method, Fit):
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
    values = {field: getattr(blank, field) for field in blank.__dataclass_fields__}
    values |= {name: f"{score:.4f}" for name, score in scores.items()}
    values |= {
        "height": str(case.clean.shape[-3 if case.clean.ndim > 2 else -2]),
        "width": str(case.clean.shape[-2 if case.clean.ndim > 2 else -1]),
        "steps": "" if answer.steps is None else str(answer.steps),
        "seconds": f"{answer.seconds:.2f}",
        "reason": answer.reason,
        "machine": answer.machine or processor(),
        "isa": answer.isa,
        "threads": str(settings.threads or available_threads()) if fitted else "",
        "version": de.__version__,
        "date": datetime.date.today().isoformat(),
    }
    return Row(**values)


def processor() -> str:
    """The processor's name."""
    from dipedge.engines import get_engine

    return get_engine("native").device().get("device") or platform.machine()


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


def load() -> float:
    """Of the machine, over the last minute: others' work lengthens the seconds."""
    return os.getloadavg()[0]
