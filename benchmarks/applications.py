"""Two of the papers' applications, each held against a number of its own.

    python -m benchmarks.applications text --picture kate.png --mask kate_mask.png [--prior pip] [--quality Q]
    python -m benchmarks.applications flash --picture noflash.jpg --flash flash.jpg [--longest 400]

``text`` fills the holes of a mask (255 = known) and compares with OpenCV's Telea inpainting: PSNR inside the
holes alone. ``flash`` denoises by a flash picture. Noise is the root mean square of diagonal differences in
flat places (the tenth of 16 x 16 blocks where the *flash* picture varies least, black and white left out);
colour is held against the no-flash picture's means over 31 x 31 pixels.

Results are added to benchmarks/results/applications.json under what was run; pictures go to --pictures.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import dipedge as de
from dipedge.cli.progress import progress
from dipedge.haze import box_mean
from dipedge.images import written_beside

RESULTS = Path(__file__).resolve().parent / "results" / "applications.json"
BLOCK, FLAT_SHARE, REACH = 16, 0.1, 15


def read(path: Path, longest: int | None = None, mode: str = "RGB") -> np.ndarray:
    """A picture in 8 bits, made smaller with Lanczos where a side is above ``longest``."""
    picture = Image.open(path).convert(mode)
    if longest is not None and max(picture.size) > longest:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def fitted(task: de.tasks.Task, image: np.ndarray, options: argparse.Namespace) -> de.FitResult:
    """Our answer, with a progress bar."""
    with progress() as shown:
        shown.begin(task.name)
        return de.restore(
            image, task, prior=options.prior, engine=options.engine, quality=options.quality,
            steps=options.steps, seed=options.seed, progress=shown,
        )  # fmt: skip


def psnr_inside(answer: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> float:
    """PSNR in dB over the holes' pixels, of 8-bit pictures."""
    difference = answer[holes].astype(np.float64) - truth[holes]
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def text(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Filled holes beside Telea's: figures and pictures."""
    import cv2

    truth = read(options.picture)
    holes = read(options.mask, mode="L") < 128
    damaged = np.where(holes[..., None], 0, truth).astype(np.uint8)
    result = fitted(de.Inpaint(~holes), damaged, options)
    radius, begin = 3, time.perf_counter()
    telea = cv2.inpaint(damaged[..., ::-1].copy(), holes.astype(np.uint8), radius, cv2.INPAINT_TELEA)
    seconds = time.perf_counter() - begin
    figures = {
        "holes": round(float(holes.mean()), 4),
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "on": f"{result.engine}, {result.device.get('isa', '')}, {result.device['device']}",
        "psnr_inside": round(psnr_inside(result.image, truth, holes), 2),
        "telea_psnr_inside": round(psnr_inside(telea[..., ::-1], truth, holes), 2),
        "telea_seconds": round(seconds, 2),
        "psnr": round(de.psnr(result.image, truth), 2),
    }
    return figures, {"damaged": damaged, "ours": result.image, "telea": telea[..., ::-1]}


def flat_blocks(guide: np.ndarray) -> np.ndarray:
    """Corners [n, 2] of the flattest blocks of a picture [H, W, 3] in 0..1."""
    height, width = (side // BLOCK * BLOCK for side in guide.shape[:2])
    blocks = guide[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    spread = blocks.std(axis=(1, 3)).mean(axis=2)
    mean = blocks.mean(axis=(1, 3, 4))
    spread[(mean < 0.05) | (mean > 0.95)] = np.inf  # clipped places have no noise to lose
    count = max(1, int(FLAT_SHARE * spread.size))
    order = np.argsort(spread, axis=None)[:count]
    return np.stack(np.unravel_index(order, spread.shape), axis=1) * BLOCK


def flat_noise(picture: np.ndarray, corners: np.ndarray) -> float:
    """The noise's deviation in 0..255 units: in flat places (a - b - c + d) / 2 of 2 x 2 pixels has it."""
    squares = []
    for row, column in corners:
        block = 255 * picture[row : row + BLOCK, column : column + BLOCK].astype(np.float64)
        down = block[::2] - block[1::2]
        squares.append(np.mean((down[:, ::2] - down[:, 1::2]) ** 2) / 4)
    return float(np.sqrt(np.mean(squares)))


def flash(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What became of noise and colours: figures and pictures."""
    dark, lit = (read(path, options.longest) for path in (options.picture, options.flash))
    result = fitted(de.FlashNoFlash(lit), dark, options)
    before, after, guide = (picture.astype(np.float32) / 255 for picture in (dark, result.image, lit))
    corners = flat_blocks(guide)
    noises = flat_noise(before, corners), flat_noise(after, corners)
    away = 255 * np.abs(box_mean(after, REACH) - box_mean(before, REACH))
    figures = {
        "size": f"{dark.shape[1]} x {dark.shape[0]}",
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "on": f"{result.engine}, {result.device.get('isa', '')}, {result.device['device']}",
        "noise_before": round(noises[0], 2),
        "noise_after": round(noises[1], 2),
        "noise_ratio": round(noises[0] / noises[1], 2),
        "colour_away_mean": round(float(away.mean()), 2),
        "colour_away_95_percent": round(float(np.percentile(away, 95)), 2),
        "colour_away_most": round(float(away.max()), 2),
    }
    return figures, {"dark": dark, "flash": lit, "ours": result.image}


def keep(name: str, figures: dict[str, Any]) -> None:
    """Adds a run to the results' file."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[name] = figures
    with written_beside(RESULTS) as file:
        file.write(json.dumps(known, indent=2).encode() + b"\n")


def main() -> None:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("which", choices=["text", "flash"])
    words.add_argument("--picture", type=Path, required=True)
    words.add_argument("--mask", type=Path)
    words.add_argument("--flash", type=Path)
    words.add_argument("--longest", type=int, help="flash: longer sides are made smaller to this")
    words.add_argument("--prior", help="default: the task's first")
    words.add_argument("--engine", default="auto")
    words.add_argument("--quality", choices=["paper", "balanced", "fast"], default="paper")
    words.add_argument("--steps", type=int, help="instead of the published number")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--pictures", type=Path, help="folder for what came out")
    options = words.parse_args()
    needed = {"text": "mask", "flash": "flash"}[options.which]
    if getattr(options, needed) is None:
        words.error(f"{options.which} needs --{needed}")
    figures, pictures = {"text": text, "flash": flash}[options.which](options)
    figures |= {"prior": options.prior or "default", "quality": options.quality, "seed": options.seed}
    named = [options.which, options.picture.stem, options.prior, options.quality]
    keep(" ".join(word for word in named if word not in (None, "paper")), figures)
    print(json.dumps(figures, indent=2))
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for name, pixels in pictures.items():
            Image.fromarray(np.ascontiguousarray(pixels)).save(
                options.pictures / f"{options.which}_{name}.png"
            )


if __name__ == "__main__":
    main()
