"""Seconds until a fit is as good as the published method at its best, within 0.1 dB.

    python -m benchmarks.time_to_quality PICTURE ... [--size 512] [--json FILE]
    python -m benchmarks.time_to_quality PICTURE ... --bests FILE     (takes the references from FILE)

For every picture the reference is fitted first: quality "paper" (the published optimiser, average and
number of steps), in float32, and the best PSNR its averaged output ever has is noted. Then each quality of
--qualities is fitted; what counts is when its averaged output comes within 0.1 dB of that best, and what it
ends with, by itself. Looking at the PSNR is no part of the times. The reference runs on the native engine
in float32, whose gradients are PyTorch's to 4e-5 (docs/performance.md); --reference-engine torch takes
eight times as long.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import dipedge as de
from benchmarks import limits
from benchmarks.quality import begun, followed, noisy_crop

NEAR = 0.1  # dB


def fitted(
    clean: np.ndarray, noisy: np.ndarray, quality: str, engine: str, precision: str, seed: int
) -> tuple[list[tuple[int, float, float]], float, int]:
    """(step, seconds, PSNR of the average) every few steps; the answer's PSNR; how many steps were made."""
    begin = time.perf_counter()
    program, chosen = begun(noisy, "pip", quality, engine, precision, seed)
    watched, curve, answer, last = 0.0, [], None, None
    for last in followed(program, chosen, chosen.stop, noisy):
        answer = last.kept if last.kept is not None else answer
        if last.index % 4 == 0:
            pause = time.perf_counter()
            curve.append((last.index, pause - begin - watched, de.psnr(program.estimate(), clean)))
            watched += time.perf_counter() - pause
    answer = program.estimate() if answer is None else answer
    program.close()
    return curve, de.psnr(answer, clean), last.index


def row_of(quality: str, curve: list[tuple[int, float, float]], answer: float, steps: int) -> dict:
    """What a fit came to, apart from any other."""
    best_step, best_seconds, best = max(curve, key=lambda point: point[2])
    return {
        "quality": quality,
        "steps": steps,
        "seconds": round(curve[-1][1], 1),
        "psnr": round(answer, 2),
        "best": round(best, 2),
        "best_step": best_step,
        "best_seconds": round(best_seconds, 1),
        "curve": [(step, round(seconds, 1), round(psnr, 3)) for step, seconds, psnr in curve[::4]],
    }


def main(words: list[str]) -> None:
    """Fits, prints a line per fit, and writes everything to --json after each picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--qualities", nargs="*", default=["fast"])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--reference-engine", default="native")
    parser.add_argument("--bests", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(words)
    known = json.loads(options.bests.read_text())["pictures"] if options.bests else {}
    report = {"cpu": limits.cpu(), "isa": limits.isa(), "threads": limits.THREADS, "size": options.size}
    report |= {"precision": options.precision, "pictures": {}}
    for path in options.pictures:
        clean, noisy = noisy_crop(path, options.size)
        rows = report["pictures"][path.name] = {}
        rows["reference"] = known.get(path.name, {}).get("reference") or row_of(
            "paper, fp32", *fitted(clean, noisy, "paper", options.reference_engine, "fp32", 0)
        )
        goal = rows["reference"]["best"] - NEAR
        print(
            path.name,
            {key: rows["reference"][key] for key in rows["reference"] if key != "curve"},
            flush=True,
        )
        for quality in options.qualities:
            curve, answer, steps = fitted(clean, noisy, quality, "native", options.precision, 0)
            row = rows[quality] = row_of(quality, curve, answer, steps)
            row["within"] = next((round(s, 1) for _, s, psnr in curve if psnr >= goal), None)
            row["gap"] = round(rows["reference"]["best"] - answer, 2)
            print("   ", {key: row[key] for key in row if key != "curve"}, flush=True)
        if options.json:
            options.json.write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
