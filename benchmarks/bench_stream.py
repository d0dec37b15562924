"""Streams: frames a second and PSNR by steps a frame, latency over 1000 frames, memory over 2000.

    pytest benchmarks/bench_stream.py --benchmark-only          the time of one frame, beside PyTorch's
    python -m benchmarks.bench_stream [quality latency memory]  all else, into results/stream.{json,md}

Without words all three are made, in a few minutes on two cores. What an earlier run measured stays in the
file until it is measured again. Ends with 1 if memory grew by more than ``--growth`` MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dipedge as de
from benchmarks import limits, stream_runs
from benchmarks.contest import BF16, Work, record
from benchmarks.step_work import flops
from benchmarks.stream_scenes import PICTURE, SCENES, opened, shots
from dipedge.images import written_beside

RESULTS = Path(__file__).resolve().parent / "results" / "stream.json"
SECTIONS = ("quality", "latency", "memory")
DEADLINE_MS = 33
ROW_STEPS = 10  # of the row that is timed beside PyTorch

Rows = list[dict[str, Any]]


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    words = argparse.ArgumentParser(prog="python -m benchmarks.bench_stream", description=__doc__)
    words.formatter_class = argparse.RawDescriptionHelpFormatter
    words.add_argument("what", nargs="*", default=SECTIONS, help=f"of {', '.join(SECTIONS)}; none for all")
    words.add_argument("--picture", type=Path, default=PICTURE, help="what the camera looks at")
    words.add_argument("--sides", type=int, nargs="+", default=[128, 256], help="of frames, for quality")
    words.add_argument("--steps", type=int, nargs="+", default=[1, 2, 5, 10, 30], help="a frame")
    words.add_argument("--frames", type=int, default=20, help="of a stream whose quality is measured")
    words.add_argument("--side", type=int, default=64, help="of frames, for latency and memory")
    words.add_argument("--latency-frames", type=int, default=1000)
    words.add_argument("--rate", type=float, default=30.0, help="frames a second of the camera")
    words.add_argument("--memory-frames", type=int, default=2000)
    words.add_argument("--growth", type=float, default=4.0, help="MiB that memory may grow by")
    words.add_argument("--engine", default="auto")
    words.add_argument("--quality", default="balanced")
    words.add_argument("--precision", default="auto")
    words.add_argument("--threads", type=int, default=2)
    words.add_argument("--json", type=Path, default=RESULTS)
    return words


def opened_session(options: argparse.Namespace) -> de.Session:
    """A stream's session, as a user would open it."""
    kept = {name: getattr(options, name) for name in ("engine", "quality", "precision", "threads")}
    return de.Session(de.Denoise(), prior="pip", **kept)


def photograph(options: argparse.Namespace, side: int) -> np.ndarray:
    """The picture, as often halved as leaves two frames side by side: small frames then show a scene, too."""
    shrink, whole = 1, opened(options.picture)
    while min(whole.shape[:2]) // (2 * shrink) >= 2 * side:
        shrink *= 2
    return opened(options.picture, shrink)


def measured_quality(options: argparse.Namespace) -> Rows:
    """A row for every side, scene and number of steps."""
    rows = []
    for side in options.sides:
        for scene in SCENES:
            for steps in options.steps:
                with opened_session(options) as session:
                    seen = shots(scene, photograph(options, side), side, options.frames)
                    found = stream_runs.quality(session, seen, steps)
                rows.append({"side": side, "scene": scene, **found})
                say(rows[-1])
    return rows


def measured_latency(options: argparse.Namespace) -> Rows:
    """Frames with a fixed number of steps, with a deadline, and from a camera that waits for nobody."""
    rows = []
    rules = {f"{steps} steps": {"steps": steps} for steps in options.steps[:3]}
    rules[f"Deadline({DEADLINE_MS})"] = {"stop": de.Deadline(ms=DEADLINE_MS)}
    for name, rule in rules.items():
        with opened_session(options) as session:
            seen = shots("pan", photograph(options, options.side), options.side, options.latency_frames + 1)
            found = stream_runs.latency(session, seen, **rule)
        rows.append({"side": options.side, "rule": name, **found})
        say(rows[-1])
    with opened_session(options) as session:
        seen = shots("pan", photograph(options, options.side), options.side, options.latency_frames)
        frames = (shot.noisy for shot in seen)
        rule = {"stop": de.Deadline(ms=0.75 * 1000 / options.rate)}
        found = stream_runs.streamed_latency(session, frames, options.rate, **rule)
    rows.append({"side": options.side, "rule": f"stream at {options.rate:g}/s", **found})
    say(rows[-1])
    return rows


def measured_memory(options: argparse.Namespace) -> Rows:
    """One long stream frame by frame with ``push``, and one by ``stream``, whose threads hand frames on."""
    settled, every = min(200, options.memory_frames // 4), max(1, options.memory_frames // 40)
    steps, rows = options.steps[0], []
    for way in ("push", "stream"):
        seen = shots("pan", photograph(options, options.side), options.side, options.memory_frames)
        with opened_session(options) as session:
            if way == "push":
                results = stream_runs.pushed(session, seen, {"steps": steps}, stream_runs.BEGUN)
            else:
                results = session.stream((shot.noisy for shot in seen), steps=steps)
            found = stream_runs.memory(results, settled, every)
        rows.append({"side": options.side, "way": way, "steps": steps, **found})
        say(rows[-1])
    return rows


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def say(row: dict[str, Any]) -> None:
    print("  ".join(f"{key} {shown(value)}" for key, value in row.items()), flush=True)


def page(report: dict[str, Any]) -> str:
    """The whole Markdown page."""
    lines = [
        "# Streams",
        "",
        "Made by `python -m benchmarks.bench_stream`, whose modules say what a scene is and what is "
        "measured. PSNR in dB; `psnr_single` is the first frame's, fitted by itself to its own end; "
        "`psnr_moving` is where the disc is or has just been; flicker is of 255. `load` says how busy the "
        "machine was: above the number of threads, times are upper bounds.",
    ]
    for section in SECTIONS:
        if section not in report:
            continue
        rows = report[section]["rows"]
        about = ", ".join(f"{key} {value}" for key, value in report[section]["about"].items() if value)
        header = list(dict.fromkeys(name for row in rows for name in row))
        lines += ["", f"## {section.capitalize()}", "", about, ""]
        body = [[shown(row.get(name)) for name in header] for row in rows]
        lines += ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *body)]
    return "\n".join(lines) + "\n"


def about(options: argparse.Namespace) -> dict[str, Any]:
    """What a section was measured on."""
    with opened_session(options) as session:
        device = session.device()
        engine = session.engine
    return device | {
        "engine": engine,
        "quality": options.quality,
        "threads": options.threads,
        "picture": options.picture.name,
        "load": round(os.getloadavg()[0], 1),
    }


@pytest.mark.parametrize("engine", BF16)
@pytest.mark.parametrize("side", [128])
def test_time_of_a_frame_of_a_stream(benchmark, side, engine):
    """Ten steps, with all that ``push`` does besides: reading, motion, the answer."""
    name, precision = engine
    frames = [shot.noisy for shot in shots("still", opened(PICTURE, 2), side, 2)]
    stop = de.MaxSteps(4)
    kept = {"engine": name, "precision": precision, "quality": "paper", "threads": limits.THREADS}
    with de.Session(de.Denoise(), prior="pip", stop=stop, **kept) as session:
        session.push(frames[0])
        rounds = 2 if name == "torch" else 10
        push = partial(session.push, frames[1], steps=ROW_STEPS)
        benchmark.pedantic(push, rounds=rounds, warmup_rounds=1)
    work = Work(ROW_STEPS * flops(de.pip(), side), 0, side * side)
    record(benchmark, f"pip stream, {side}x{side}, {ROW_STEPS} steps", "frame", engine, work, None)


def main(words: list[str]) -> int:
    """0; 1 where memory grew, 2 for a word it does not know. A section is on the disk once it is measured."""
    options = parser().parse_args(words)
    unknown = [word for word in options.what if word not in SECTIONS]
    if unknown:
        print(f"{unknown[0]!r} cannot be measured; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    measures = {"quality": measured_quality, "latency": measured_latency, "memory": measured_memory}
    report = json.loads(options.json.read_text()) if options.json.exists() else {}
    for section in options.what:
        report[section] = {"rows": measures[section](options), "about": about(options)}
        with written_beside(options.json) as file:
            file.write((json.dumps(report, indent=1) + "\n").encode())
        with written_beside(options.json.with_suffix(".md")) as file:
            file.write(page(report).encode())
    grown = [row for row in report.get("memory", {}).get("rows", []) if row["growth_mib"] > options.growth]
    for row in grown:
        print(f"memory grew by {row['growth_mib']:.1f} MiB over {row['frames']} frames", file=sys.stderr)
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
