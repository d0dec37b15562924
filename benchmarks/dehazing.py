"""How well haze is removed: contrast and clipping of real pictures, and the error where the truth is known.

    python -m benchmarks.dehazing --data DIR [--pictures NAME ...] [--engine E] [--out DIR]
    python -m benchmarks.dehazing --known [--prior dip] [--quality paper] [--steps N]

Real hazy pictures have no truth. Of those in DIR the table shows two contrasts of luma (Rec. 601), before and
after: RMS, the standard deviation over the whole picture, and local, the mean over all pixels of the
standard deviation in 15 x 15 around each; and the share of values that came out black or white (of 8 bits)
and had not been so before. ``--known`` takes the scenes of ``hazy_scene``: PSNR of the hazy and the dehazed
picture against the clear one, and the mean error of t. "dark channel" is the same without a fit: t by He, Sun
and Tang (95 % of the haze), refined in the same way.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

import dipedge as de
from benchmarks.hazy_scene import Scene, corridor, motorcycle
from dipedge import haze
from dipedge.images import open_image, save_image

PICTURES = ("hongkong", "canyon")
LUMA = np.array([0.299, 0.587, 0.114])


def contrasts(pixels: np.ndarray) -> tuple[float, float]:
    """RMS and mean local contrast of [H, W, 3]."""
    luma = pixels @ LUMA
    centre = haze.box_mean(luma, 7)
    local = np.sqrt(np.maximum(haze.box_mean(luma**2, 7) - centre**2, 0))
    return float(luma.std()), float(local.mean())


def newly_clipped(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the values that are black or white in 8 bits, and were not."""
    extreme = [(np.rint(values * 255) <= 0) | (np.rint(values * 255) >= 255) for values in (before, after)]
    return float((extreme[1] & ~extreme[0]).mean())


def by_dark_channel(pixels: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """What the dark channel alone makes of a picture: J and t."""
    light = haze.airlight(pixels)
    found = 1 - 0.95 * haze.dark_channel(pixels / light)
    share = haze.refined(found.astype(np.float32), pixels, longest, light)
    return haze.cleared(pixels, share, light), share


def dehazed(pixels: np.ndarray, options: argparse.Namespace) -> tuple[de.FitResult, float]:
    """The result, and its seconds."""
    task = de.Dehaze(longest=options.longest, keep_range=not options.clip)
    began = time.perf_counter()
    result = de.restore(
        pixels, task, prior=options.prior, engine=options.engine, quality=options.quality, steps=options.steps
    )
    return result, time.perf_counter() - began


def real_row(name: str, options: argparse.Namespace) -> str:
    """One line of the table of real pictures."""
    path = next(path for path in sorted(options.data.iterdir()) if path.stem == name)
    pixels = np.asarray(open_image(path).convert("RGB"), np.float32) / 255
    result, seconds = dehazed(pixels, options)
    share = result.parts["transmission"]
    if options.out is not None:
        save_image(Image.fromarray(np.rint(result.image * 255).astype(np.uint8)), options.out / f"{name}.png")
    (rms, local), (rms_after, local_after) = contrasts(pixels), contrasts(result.image)
    size = f"{pixels.shape[1]}x{pixels.shape[0]}"
    return (
        f"| {name} | {size} | {rms:.3f} -> {rms_after:.3f} | {local:.3f} -> {local_after:.3f} "
        f"| {newly_clipped(pixels, result.image):.2%} | {share.mean():.2f} | {result.steps} | {seconds:.0f} |"
    )


def shown(scene: Scene, result: de.FitResult) -> Image.Image:
    """Hazy | dehazed | clear | t found | t true, side by side."""
    shares = [
        np.repeat(share[..., None], 3, 2) for share in (result.parts["transmission"], scene.transmission)
    ]
    row = np.concatenate([scene.pixels, result.image, scene.clear, *shares], axis=1)
    return Image.fromarray(np.rint(row.clip(0, 1) * 255).astype(np.uint8))


def known_row(name: str, scene: Scene, options: argparse.Namespace) -> str:
    """One line of the table of scenes whose truth is known."""
    result, seconds = dehazed(scene.pixels, options)
    if options.out is not None:
        save_image(shown(scene, result), options.out / f"{name}.jpg")
    plain, share = by_dark_channel(scene.pixels, options.longest)
    errors = [np.abs(found - scene.transmission).mean() for found in (share, result.parts["transmission"])]
    figures = [de.psnr(image, scene.clear) for image in (scene.pixels, plain, result.image)]
    clipped = newly_clipped(scene.pixels, result.image)
    return (
        f"| {name} | {figures[0]:.2f} | {figures[1]:.2f} | {figures[2]:.2f} "
        f"| {errors[0]:.3f} | {errors[1]:.3f} | {clipped:.2%} | {result.steps} | {seconds:.0f} |"
    )


def main() -> None:
    """Prints the table that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of hazy pictures")
    parser.add_argument("--pictures", nargs="+", default=PICTURES, help="their names, without extension")
    parser.add_argument("--known", action="store_true", help="scenes whose truth is known")
    parser.add_argument("--prior", default="pip")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--quality", default="balanced")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--height", type=int, default=240, help="of the known scenes")
    parser.add_argument("--clip", action="store_true", help="as published: nothing keeps J inside its range")
    parser.add_argument("--out", type=Path, help="folder for pictures of what came out")
    options = parser.parse_args()
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    if options.known:
        print(
            "| scene | hazy, dB | dark channel, dB | dehazed, dB | error of t: dark channel | dehazed ",
            end="",
        )
        print("| newly clipped | steps | seconds |\n|---|---|---|---|---|---|---|---|---|")
        scenes = {
            "corridor": corridor(options.height, options.height * 4 // 3),
            "motorcycle": motorcycle(options.height),
        }
        for name, scene in scenes.items():
            print(known_row(name, scene, options), flush=True)
    if options.data is not None:
        print("| picture | size | RMS contrast | local contrast | newly clipped | mean t | steps | seconds |")
        print("|---|---|---|---|---|---|---|---|")
        for name in options.pictures:
            print(real_row(name, options), flush=True)
    if not options.known and options.data is None:
        parser.error("give --data DIR, --known or both")


if __name__ == "__main__":
    main()
