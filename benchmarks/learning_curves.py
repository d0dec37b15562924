"""Loss over steps of fits to a picture, to the picture and noise, to its shuffled pixels, to noise alone.

    python -m benchmarks.learning_curves [--picture FILE] [--size 128] [--steps 800] [--priors dip pip ...]
                                         [--json FILE] [-o PICTURE.svg]
    python -m benchmarks.learning_curves --drawn FILE.json -o PICTURE.svg        (draws without fitting)

The DIP paper's figure "Learning curves for the reconstruction task": a network that can fit anything still
fits pictures much sooner than noise. Nothing but the mean squared difference is minimised: z is not
perturbed, no output is averaged, and every fit has the same optimiser, Adam with the rate --rate (0.01). The
picture is cropped at its centre.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import IO, Any

import numpy as np

import dipedge as de
from benchmarks.plot import COLUMNS, STROKES, STYLE, WIDTH
from benchmarks.quality import SIGMA, noisy_crop
from dipedge.engines import engine_for
from dipedge.engines.base import Settings
from dipedge.errors import FileError
from dipedge.images import written_beside

PICTURE = Path(__file__).resolve().parent.parent / "examples" / "astronaut_256.png"
PRIORS = {"dip": de.dip, "pip": de.pip, "unet": de.unet, "resnet": de.resnet, "pixels": de.pixels}
TITLES = {
    "dip": "DIP: hourglass, 3x3, noise",
    "pip": "PIP: hourglass, 1x1, Fourier features",
    "unet": "U-Net",
    "resnet": "ResNet",
    "pixels": "no network: pixels",
}
POINTS = 120  # of a curve, at equal distances of the logarithm


def targets(path: Path, size: int) -> dict[str, np.ndarray]:
    """The four targets, each [size, size, 3] float32 in [0, 1]."""
    clean, noisy = noisy_crop(path, size)
    draw = np.random.default_rng(0)
    shuffled = draw.permutation(clean.reshape(-1, 3)).reshape(clean.shape)
    return {
        "picture": clean,
        f"picture + noise of sigma {SIGMA * 255:.0f}": noisy,
        "its pixels, shuffled": np.ascontiguousarray(shuffled),
        "white noise, U(0, 1)": draw.random(clean.shape, np.float32),
    }


def marks(steps: int) -> list[int]:
    """Which steps are kept, from 1: equally far apart on a logarithmic axis."""
    return sorted({round(step) for step in np.geomspace(1, steps, POINTS)})


def curve(
    prior: de.Prior, target: np.ndarray, steps: int, engine: str, seed: int, rate: float = 0.01
) -> tuple[str, list[float]]:
    """The engine, and the loss at each of ``marks``; ``rate`` is Adam's."""
    still = replace(prior, perturbation=0.0)
    chosen = engine_for(engine, still, de.Denoise())
    settings = Settings(de.Adam(rate), average=0.0, seed=seed, precision="auto")
    program = chosen.compile(still, de.Denoise(), target.shape, settings)
    program.set_target(target)
    losses = []
    for mark in marks(steps):
        program.step(mark - program.steps_done)
        losses.append(float(f"{program.loss():.4g}"))
    program.close()
    return chosen.name, losses


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All fits, a line for each, and what the drawing needs to say of them."""
    report = {"picture": options.picture.name, "size": options.size, "steps": marks(options.steps)}
    report |= {"seed": options.seed, "optimiser": f"Adam, {options.rate:g}", "priors": {}}
    wanted = targets(options.picture, options.size)
    for name in options.priors:
        losses = {}
        for word, target in wanted.items():
            used, losses[word] = curve(
                PRIORS[name](), target, options.steps, options.engine, options.seed, options.rate
            )
            print(
                f"{name:7} {word:28} {losses[word][-1]:.5f} after {options.steps} steps ({used})", flush=True
            )
        report["priors"][name] = {"engine": used, "losses": losses}
    return report


def draw(report: dict[str, Any], file: IO[bytes]) -> None:
    """A panel per prior, a line per target, as SVG; equal results give equal bytes."""
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    priors, steps = report["priors"], report["steps"]
    columns = COLUMNS.get(len(priors), 3)
    rows = ceil(len(priors) / columns)
    # What every fit begins at; the first steps jump beyond, which is not what is to be seen.
    highest = max(losses[0] for fits in priors.values() for losses in fits["losses"].values())
    with matplotlib.style.context("default"), matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.9 + 2.1 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axes, (name, fits) in zip(panels, priors.items(), strict=False):
            axes.set_title(TITLES.get(name, name), loc="left")
            for (colour, _), (word, losses) in zip(STROKES, fits["losses"].items(), strict=False):
                axes.plot(steps, losses, color=colour, label=word)
            axes.set_xscale("log")
            axes.set_xlim(1, steps[-1])
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_ylim(0, 1.2 * highest)
            axes.grid(color="#e6e6e6", linewidth=0.6)
        for axes in panels[len(priors) :]:
            axes.remove()
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False
        )
        figure.supylabel("mean squared difference", fontsize=8)
        described = f"{report['picture']}, {report['size']} × {report['size']} pixels; {report['optimiser']}"
        figure.supxlabel(f"step\n{described}", fontsize=8)
        figure.savefig(file, format="svg", metadata={"Date": None})


def main(words: list[str]) -> int:
    """Fits and draws; 2 when a file cannot be read or written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--priors", nargs="+", choices=PRIORS, default=["dip", "pip", "unet", "resnet"])
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--drawn", type=Path, help="an earlier result, instead of new fits")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(words)
    try:
        report = json.loads(options.drawn.read_text()) if options.drawn else measured(options)
        if options.json:
            with written_beside(options.json) as file:
                file.write((json.dumps(report) + "\n").encode())
        if options.output:
            with written_beside(options.output) as file:
                draw(report, file)
    except (OSError, ValueError, FileError, de.EngineError) as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
