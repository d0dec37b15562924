"""The natural pre-image against the total-variation prior: how near features come in equally many steps.

    python -m benchmarks.feature_inversion --data SHARED/data --json benchmarks/results/feature_inversion.json

One picture is inverted from one layer of a network (DIP paper, section "Natural pre-image"): by the hourglass
with its published settings, and by fitting pixels under total variation of several weights (Mahendran and
Vedaldi 2015), and of none. What came out is shown to the network once more:

    error           |Phi(x) - Phi(x0)|^2 / |Phi(x0)|^2: 0 the same features, about 1 nothing in common; of the
                    picture as it would be stored, clipped to [0, 1]
    error_unbound   the same without clipping: what the fit itself reached
    psnr            of the clipped x against x0, in dB: what of the picture itself came back

Pixels begin with 0.5 + U(0, 0.1) and take a learning rate of 0.01, both as in the published notebook; with
0.001 they would still be near their beginning.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dipedge as de
from benchmarks import looking
from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.fit import fit_steps
from dipedge.objectives.features import FeatureDistance

PIXELS_RATE = 0.01


def hourglass(task: de.InvertFeatures, target: np.ndarray, options: argparse.Namespace) -> np.ndarray:
    """What the published settings come to: the answer [h, w, 3]."""
    result = looking.restored(
        target, task, quality="paper", steps=options.steps, seed=options.seed, threads=options.threads,
        engine=options.engine, precision=options.precision,
    )  # fmt: skip
    return result.image


def pixels(
    task: de.InvertFeatures, target: np.ndarray, weight: float, options: argparse.Namespace
) -> np.ndarray:
    """What fitting pixels under total variation of ``weight`` comes to, unclipped: the answer [h, w, 3]."""
    shape = task.estimate_shape(target.shape)
    settings = Settings(de.Adam(PIXELS_RATE), average=0.0, seed=options.seed, threads=options.threads)
    program = get_engine("torch").compile(de.pixels(tv=weight), task, shape, settings)
    noise = np.random.default_rng(options.seed).uniform(0, 0.1, (shape[2], *shape[:2]))
    program.load_state({"param/pixels": (0.5 + noise).astype(np.float32)})
    program.set_target(target)
    begin = time.perf_counter()
    for step in fit_steps(program, de.MaxSteps(options.steps), clock=lambda: time.perf_counter() - begin):
        looking.show(step)
    answer = task.answer(program.estimate(averaged=False), target).image
    program.close()
    return answer


def row_of(name: str, answer: np.ndarray, target: np.ndarray, distance: FeatureDistance) -> dict[str, Any]:
    """What the network and the eye of a PSNR say of an answer."""
    clipped = np.clip(answer, 0, 1)
    loss, unbound = distance(clipped, 0)[0], distance(answer, 0)[0]
    return {
        "prior": name,
        "feature_loss": float(f"{loss:.5g}"),
        "error": float(f"{loss / distance.scale:.5g}"),
        "error_unbound": float(f"{unbound / distance.scale:.5g}"),
        "psnr": round(de.psnr(clipped, target), 2),
    }


def main(words: list[str]) -> None:
    """Runs the comparison."""
    parser = looking.arguments(__doc__.splitlines()[0], "conv3")
    parser.add_argument("--picture", type=Path, help="default: DATA/dip/feature_inversion/monkey.jpg")
    parser.add_argument("--tv", type=float, nargs="*", default=[0.0, 10.0, 100.0], help="weights; 0: none")
    options = parser.parse_args(words)
    task = de.InvertFeatures(looking.network(options), options.layer, options.size)
    picture = options.picture or options.data / "dip" / "feature_inversion" / "monkey.jpg"
    options.steps = options.steps or de.preset(task, quality="paper").steps
    target = np.ascontiguousarray(task.target(looking.colour_pixels(picture)))
    distance = FeatureDistance(task, 0)
    distance.set_target(target)
    fits = {"hourglass": partial(hourglass, task, target, options)}
    for weight in options.tv:
        fits[f"pixels, TV {weight:g}"] = partial(pixels, task, target, weight, options)
    rows, answers = [], [target]
    for name, fit in fits.items():
        print(f"{name}:", flush=True)
        begin = time.perf_counter()
        answers.append(fit())
        row = row_of(name, answers[-1], target, distance)
        row["seconds"] = round(time.perf_counter() - begin, 1)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        rows.append(row)
    if options.sheet:
        looking.write_sheet(options.sheet, answers)
    if options.json:
        looking.write_json(options.json, options, rows, picture=picture.name)


if __name__ == "__main__":
    main(sys.argv[1:])
