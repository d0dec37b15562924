"""Restores a photograph with dipedge's own C++ engine and shows by how much; no PyTorch involved.

    python examples/demo.py [PICTURE]        (or: make demo)

Noise of standard deviation 25 is added to the picture here, from a seed, so that the truth is known and the
gain can be measured. The network has never seen another picture: it starts from random weights and is
fitted to this noisy one alone. Pictures are written to demo_output/.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import dipedge as de

SIGMA = 25
# What quality "fast" does by itself, with a deadline for slow machines.
STOP = de.NoiseFloor(floor=176) | de.MaxSteps(450) | de.Deadline(ms=120_000)
OUTPUT = Path("demo_output")
CAPTION = 18  # pixels above a picture in the side-by-side


def add_noise(clean: np.ndarray) -> np.ndarray:
    """``clean`` [H, W, 3] uint8 with seeded Gaussian noise, clipped and rounded as a camera would."""
    noise = np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    return np.clip(clean + noise, 0, 255).round().astype(np.uint8)


def show_progress(step: de.Step) -> None:
    """One line on a terminal, rewritten; elsewhere a line now and then."""
    if step.index % 10 and step.reason is None:
        return
    speed = step.index / step.seconds
    line = f"step {step.index}/{step.limit}  loss {step.loss:.4f}  {speed:.1f} steps/s"
    left = min((step.limit - step.index) / speed, 120 - step.seconds)
    line += f"  {max(left, 0):3.0f} s left"
    if sys.stdout.isatty():
        print(f"\r{line:70}", end="" if step.reason is None else "\n", flush=True)
    elif step.index % 50 == 0 or step.reason is not None:
        print(line, flush=True)


def side_by_side(pictures: dict[str, np.ndarray]) -> Image.Image:
    """Pictures of one size next to each other, each under its caption."""
    height, width = next(iter(pictures.values())).shape[:2]
    sheet = Image.new("RGB", (width * len(pictures), height + CAPTION), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (caption, picture) in enumerate(pictures.items()):
        pen.text((column * width + 4, 3), caption, fill="black")
        sheet.paste(Image.fromarray(picture), (column * width, CAPTION))
    return sheet


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "chelsea_256.png"
    clean = np.asarray(Image.open(path).convert("RGB"))
    noisy = add_noise(clean)
    before = de.psnr(noisy, clean)

    result = de.restore(
        noisy,
        de.Denoise(),
        prior=de.pip(),
        engine="native",
        quality="fast",
        stop=STOP,
        progress=show_progress,
    )

    after = de.psnr(result.image, clean)
    device = result.device
    print(f"engine {result.engine} ({device['isa']}) on {device['device']}")
    print(f"{result.steps} steps in {result.seconds:.1f} s; {result.reason.sentence}")
    print(f"PSNR before {before:.2f} dB, after {after:.2f} dB, gain {after - before:.2f} dB")
    OUTPUT.mkdir(exist_ok=True)
    Image.fromarray(result.image).save(OUTPUT / "restored.png")
    captions = {
        f"noisy, {before:.1f} dB": noisy,
        f"restored, {after:.1f} dB": result.image,
        "original": clean,
    }
    side_by_side(captions).save(OUTPUT / "side_by_side.png")
    print(f"written: {OUTPUT / 'restored.png'}, {OUTPUT / 'side_by_side.png'}")


if __name__ == "__main__":
    main()
