"""Activation maximisation against natural pictures: how much more a made picture excites a unit.

    python -m benchmarks.activation_maximisation --data SHARED/data --units 7 20 100 \
        --json benchmarks/results/activation_maximisation.json

For each unit of a layer: its activation by the picture that was made (DIP paper, section "Activation
maximization"), rounded to 8 bits as it would be stored, beside the best of natural pictures of the same
size, at the same place of the feature map and anywhere on it:

    ratio            made / best of the natural pictures at the map's centre
    ratio_anywhere   made / best of them anywhere on the map
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch

import dipedge as de
from benchmarks import looking
from dipedge.objectives.activation import Activation
from dipedge.objectives.layer_output import LayerOutput

PICTURES = 20


def shown(pixels: np.ndarray) -> torch.Tensor:
    """[H, W, 3] -> [1, 3, H, W]."""
    return torch.tensor(np.moveaxis(pixels, 2, 0))[None]


@torch.no_grad()
def natural(task: de.MaximizeActivation, pictures: list[np.ndarray]) -> tuple[float, float]:
    """The unit's highest activation by the pictures: where the task looks, and anywhere on the map."""
    objective = Activation(task, 0)
    phi = LayerOutput(task.model, task.layer, task.mean, task.std)
    at_centre = max(float(objective.activation(shown(pixels))) for pixels in pictures)
    return at_centre, max(float(phi(shown(pixels))[0, task.unit].max()) for pixels in pictures)


@torch.no_grad()
def made(task: de.MaximizeActivation, answer: np.ndarray) -> float:
    """The unit's activation by an answer, in 8 bits."""
    return float(Activation(task, 0).activation(shown(answer.astype(np.float32) / 255)))


def ratio(ours: float, theirs: float) -> float | None:
    """How many times theirs; None where natural pictures do not excite the unit at all."""
    return round(ours / theirs, 2) if theirs > 0 else None


def measured(
    task: de.MaximizeActivation, pictures: list[np.ndarray], **options: Any
) -> tuple[dict[str, Any], np.ndarray]:
    """One unit: its row, and the picture that was made."""
    begin = time.perf_counter()
    result = looking.restored(None, task, **options)
    answer = np.asarray(result.image)
    activation, (at_centre, anywhere) = made(task, answer), natural(task, pictures)
    row = {
        "unit": task.unit,
        "steps": result.steps,
        "seconds": round(time.perf_counter() - begin, 1),
        "activation": round(activation, 3),
        "natural": round(at_centre, 3),
        "natural_anywhere": round(anywhere, 3),
        "ratio": ratio(activation, at_centre),
        "ratio_anywhere": ratio(activation, anywhere),
    }
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row, answer.astype(np.float32) / 255


def main(words: list[str]) -> None:
    """Measures every unit that is asked for."""
    parser = looking.arguments(__doc__.splitlines()[0], "conv5")
    parser.add_argument("--units", type=int, nargs="+", default=[7])
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--learning-rate", type=float)
    options = parser.parse_args(words)
    model = looking.network(options)
    paths = looking.natural_pictures(options.data, PICTURES)
    # The same way to the network's size as a picture that is inverted goes.
    sized = de.InvertFeatures(model, options.layer, options.size)
    pictures = [sized.target(looking.colour_pixels(path)) for path in paths]
    rows, answers = [], []
    for unit in options.units:
        task = de.MaximizeActivation(model, options.layer, unit, options.size, window=options.window)
        options.steps = options.steps or de.preset(task, quality="paper").steps
        row, answer = measured(
            task, pictures, steps=options.steps, engine=options.engine, precision=options.precision,
            threads=options.threads, seed=options.seed, learning_rate=options.learning_rate, quality="paper",
        )  # fmt: skip
        rows.append(row)
        answers.append(answer)
    if options.sheet:
        looking.write_sheet(options.sheet, answers)
    if options.json:
        looking.write_json(
            options.json, options, rows, window=options.window, pictures=[path.name for path in paths]
        )


if __name__ == "__main__":
    main(sys.argv[1:])
