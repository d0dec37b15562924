"""How good fits are, and when they end: the numbers of docs/performance.md that are not about speed.

    python -m benchmarks.quality stop PICTURE ...      the automatic stop against the fit's own best step
    python -m benchmarks.quality steps N PICTURE ...   the averaged output after exactly N steps
    python -m benchmarks.quality seeds PICTURE         native against torch, three seeds, 128 x 128
    python -m benchmarks.quality precisions PICTURE... native bf16 against native float32, three seeds

Each picture is cropped at its centre and gets noise of sigma 25 (numpy's global generator, seed 0), clipped
to [0, 1] and kept as float. Options: --size, --prior, --quality, --engine, --precision, --json FILE.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import dipedge as de
from dipedge import arguments
from dipedge.engines import get_engine
from dipedge.engines.base import Program, Settings
from dipedge.fit import fit_steps
from dipedge.noise import noise_variance
from dipedge.presets import Preset, preset
from dipedge.stopping import Rule

SIGMA = 25 / 255


def noisy_crop(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The centre of a picture, [size, size, 3] float32 in [0, 1], clean and noisy."""
    whole = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    top, left = ((side - size) // 2 for side in whole.shape[:2])
    if min(top, left) < 0:
        raise SystemExit(f"{path} is {whole.shape[1]}x{whole.shape[0]}; it must be at least {size} a side")
    clean = np.ascontiguousarray(whole[top : top + size, left : left + size])
    np.random.seed(0)  # the published code's way to draw it
    return clean, np.clip(clean + np.random.normal(scale=SIGMA, size=clean.shape), 0, 1).astype(np.float32)


def begun(
    noisy: np.ndarray,
    prior: str,
    quality: str,
    engine: str,
    precision: str,
    seed: int,
    steps: int | None = None,
) -> tuple[Program, Preset]:
    """A program that denoises ``noisy`` [H, W, 3], before its first step, and the preset it follows."""
    chosen = preset(de.Denoise(), prior, quality, steps)
    optimiser = arguments.optimiser(chosen.optimiser, None, steps)
    settings = Settings(optimiser, chosen.average, seed=seed, precision=precision, subsample=chosen.subsample)
    program = get_engine(engine).compile(chosen.prior, de.Denoise(), noisy.shape, settings)
    program.set_target(noisy)
    return program, chosen


def followed(program: Program, chosen: Preset, stop: Rule, noisy: np.ndarray) -> Iterator[de.Step]:
    """The steps of a fit to its end."""
    return fit_steps(
        program,
        stop,
        clock=time.perf_counter,
        backtrack=chosen.backtrack,
        noise=lambda: noise_variance(noisy),
    )


def fitted(path: Path, options: argparse.Namespace, steps: int | None = None, seed: int = 0) -> dict:
    """One fit of one picture, with what became of it; PSNR is that of the averaged output.

    After an automatic stop another 300 steps are made, to see whether waiting would have been better.
    """
    clean, noisy = noisy_crop(path, options.size)
    program, chosen = begun(
        noisy, options.prior, options.quality, options.engine, options.precision, seed, steps
    )
    begin, watched = time.perf_counter(), 0.0  # watching is no part of the fit
    curve, answer, last = [], None, None
    stop = chosen.stop if steps is None else de.MaxSteps(steps)
    for last in followed(program, chosen, stop, noisy):
        pause = time.perf_counter()
        answer = last.kept if last.kept is not None else answer
        curve.append(de.psnr(program.estimate(), clean))
        watched += time.perf_counter() - pause
    seconds = time.perf_counter() - begin - watched
    answer = program.estimate() if answer is None else answer
    for _ in range(0 if steps else options.beyond):
        program.step()
        curve.append(de.psnr(program.estimate(), clean))
    program.close()
    row = {
        "picture": path.name,
        "size": options.size,
        "prior": options.prior,
        "quality": options.quality,
        "engine": options.engine,
        "precision": options.precision,
        "seed": seed,
        "steps": last.index,
        "seconds": round(seconds, 1),
        "reason": last.reason.name,
        "noisy": round(de.psnr(noisy, clean), 2),
        "psnr": round(de.psnr(answer, clean), 2),
        "best": round(max(curve), 2),
        "best_step": int(np.argmax(curve)) + 1,
    }
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row


def seeds(path: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """The averaged output after 500 steps for three seeds on two engines."""
    rows = []
    for seed in range(3):
        for engine in ("torch", "native"):
            options.engine = engine
            rows.append(fitted(path, options, steps=500, seed=seed))
    for value in ("psnr", "best"):
        means = {
            engine: float(np.mean([row[value] for row in rows if row["engine"] == engine]))
            for engine in ("torch", "native")
        }
        print(f"mean {value}: torch {means['torch']:.2f}, native {means['native']:.2f}")
    return rows


def precisions(paths: list[Path], options: argparse.Namespace) -> list[dict[str, object]]:
    """The automatic answer of every picture and seed in both precisions of the native engine."""
    rows = []
    for path in paths:
        for seed in range(3):
            for options.precision in ("fp32", "bf16"):
                rows.append(fitted(path, options, seed=seed))
    for value in ("psnr", "best"):
        by = {p: [row[value] for row in rows if row["precision"] == p] for p in ("fp32", "bf16")}
        differences = np.subtract(by["bf16"], by["fp32"])
        print(
            f"mean {value}: fp32 {np.mean(by['fp32']):.3f}, bf16 {np.mean(by['bf16']):.3f}, "
            f"differences {differences.min():+.2f} to {differences.max():+.2f}"
        )
    return rows


def main(words: list[str]) -> None:
    """Runs one of the experiments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("stop", "steps", "seeds", "precisions"))
    parser.add_argument("pictures", nargs="+", help="for steps: N first")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--prior", default="pip")
    parser.add_argument("--quality", default="balanced")
    parser.add_argument("--engine", default="native")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--beyond", type=int, default=300, help="steps after an automatic stop")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(words)
    if options.what == "seeds":
        options.size = 128
        rows = seeds(Path(options.pictures[0]), options)
    elif options.what == "precisions":
        rows = precisions([Path(picture) for picture in options.pictures], options)
    elif options.what == "steps":
        count, *pictures = options.pictures
        rows = [fitted(Path(picture), options, steps=int(count)) for picture in pictures]
    else:
        rows = [fitted(Path(picture), options) for picture in options.pictures]
    if options.json:
        report = {"machine": platform.processor() or platform.machine(), "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
