"""What priors put out before anything is fitted: a grid of samples, a column per prior, a row per seed.

    python -m benchmarks.prior_samples -o PICTURE.png [--size 80] [--seeds 2]

The DIP paper's figure "'Samples' from the deep image prior", with the other networks beside it. Contrast is
stretched, for each picture alone and all its channels alike: before a fit most are close to grey. The U-Net
and the ResNet need PyTorch; drawing needs matplotlib (both in the extra "dev").
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import IO

import numpy as np

import dipedge as de
from benchmarks.plot import STYLE
from dipedge.errors import FileError
from dipedge.images import written_beside

INCHES = 1.0  # a side of one picture
DPI = 90


def hourglass(depth: int) -> de.Prior:
    """DIP's net with ``depth`` levels and without skips, so that its depth alone decides what is seen."""
    return de.Prior(de.Noise(32), de.Hourglass((de.Level(skip=0),) * depth), name=f"hourglass {depth}")


PRIORS = {
    **{f"hourglass\ndepth {depth}": hourglass(depth) for depth in range(2, 7)},
    "DIP\n5, skips": de.dip(),
    "U-Net": de.unet(),
    "ResNet": de.resnet(),
    "PIP": de.pip(),
}


def stretched(picture: np.ndarray) -> np.ndarray:
    """The picture [H, W, C] with its least value at 0 and its largest at 1."""
    low, high = picture.min(), picture.max()
    return (picture - low) / max(high - low, 1e-12)


def draw(size: int, seeds: int, file: IO[bytes]) -> None:
    """Writes the grid as PNG."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context("default"), matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(INCHES * len(PRIORS), INCHES * seeds + 0.4), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
        grid = figure.subplots(seeds, len(PRIORS), squeeze=False)
        for column, (title, prior) in enumerate(PRIORS.items()):
            for row in range(seeds):
                axes = grid[row, column]
                axes.imshow(stretched(de.sample_prior(prior, (size, size, 3), seed=row)))
                axes.set_axis_off()
                if row == 0:
                    axes.set_title(title, fontsize=8)
        figure.savefig(file, format="png", dpi=DPI)


def main(words: list[str]) -> int:
    """Draws; 2 when there is nowhere to draw to, or nothing to draw with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args(words)
    try:
        with written_beside(options.output) as file:
            draw(options.size, options.seeds, file)
    except (FileError, de.EngineError, ImportError) as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
