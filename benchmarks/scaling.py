"""Time of a step per pixel from 256 x 256 to 2048 x 2048, and on one instruction set or another.

    python -m benchmarks.scaling [--sides 256 512 1024 2048] [--prior pip] [--precision auto] [--json FILE]

Every side gets the same share of each round, so that a disturbance of the machine meets all of them; the
median of the rounds counts. The largest takes about 6 GB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import limits
from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.priors import dip, pip
from dipedge.tasks import Denoise

PRIORS = {"pip": pip, "dip": dip}


def measured(prior: str, sides: list[int], precision: str, rounds: int) -> list[dict[str, float]]:
    """One row per side: seconds a step, nanoseconds a pixel, bytes of the arena."""
    programs = []
    for side in sides:
        settings = Settings(precision=precision, threads=limits.THREADS)
        program = get_engine("native").compile(PRIORS[prior](), Denoise(), (side, side, 3), settings)
        program.set_target(np.random.default_rng(0).random((side, side, 3), np.float32))
        program.step()  # touches all memory
        programs.append(program)
    steps = [max(1, (min(max(sides), 1024) // side) ** 2) for side in sides]
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for program, count, taken in zip(programs, steps, times, strict=True):
            begin = time.perf_counter()
            program.step(count)
            taken.append((time.perf_counter() - begin) / count)
    rows = []
    for side, program, taken in zip(sides, programs, times, strict=True):
        seconds = statistics.median(taken)
        row = {"side": side, "seconds": seconds, "ns_per_pixel": 1e9 * seconds / side**2}
        rows.append(row | {"arena_bytes": program.memory_bytes})
        program.close()
    return rows


def main(words: list[str]) -> None:
    """Prints the rows and how far the slowest pixel is from the fastest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512, 1024, 2048])
    parser.add_argument("--prior", choices=PRIORS, default="pip")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(words)
    rows = measured(options.prior, options.sides, options.precision, options.rounds)
    for row in rows:
        print(
            f"{row['side']:5d} x {row['side']:<5d} {row['seconds']:8.4f} s a step "
            f"{row['ns_per_pixel']:7.1f} ns a pixel {row['arena_bytes'] / 2**20:7.0f} MiB"
        )
    each = [row["ns_per_pixel"] for row in rows]
    spread = max(each) / min(each) - 1
    print(f"slowest pixel over fastest: {100 * spread:.1f} %")
    if options.json:
        about = {"cpu": limits.cpu(), "isa": limits.isa(), "threads": limits.THREADS}
        report = about | {"prior": options.prior, "precision": options.precision, "spread": spread}
        options.json.write_text(json.dumps(report | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
