"""What a stream's settings do: PSNR of ``Session.push`` frame by frame, over scenes and settings.

    python -m benchmarks.stream_settings PICTURE [--scenes pan ...] [--settings default ...] [--seeds 0 1]

PICTURE is halved (a 512 x 512 photograph becomes 256 x 256) unless ``--whole``; frames are windows of it,
with fresh noise of sigma 25 clipped to [0, 1]. Scenes:

static    the middle, for 20 frames
pan       a window that moves 2 pixels to the right with each frame, which the session is not told
drift     the same by 1.5 and 0.5 pixels, so that frames fall between each other's pixels
object    the middle, and over it a square of the mirrored picture that moves 3 pixels a frame
clip      with ``--clip FOLDER``: frames of a film, shrunk to ``--height``

What of a moving object is measured apart: the square ("object") and the 24 pixels it left behind ("trail").
The table of docs/streams_measured.md was made with this.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import dipedge as de

SIGMA = 25.0
FRAMES = 20
SQUARE, TRAIL = 40, 24  # pixels


@dataclass(frozen=True)
class Frame:
    """A clean frame [H, W, 3], and rows and columns of what moves in it by itself."""

    clean: np.ndarray
    square: tuple[slice, slice] | None = None


# Arguments of Session by name; "default" is what a user gets who gives none but the task.
SETTINGS = {
    "default": {},
    "fast": {"quality": "fast"},
    "published": {"quality": "paper", "average": 0.9},
    "no memory": {"memory": False},
    "fast, no memory": {"quality": "fast", "memory": False},
    "published, no memory": {"quality": "paper", "average": 0.9, "memory": False},
    "no motion": {"motion": None},
    "no memory, no motion": {"memory": False, "motion": None},
    "published, no memory, no motion": {"quality": "paper", "average": 0.9, "memory": False, "motion": None},
    "average 0.9": {"average": 0.9},
    "average 0.9, no memory": {"average": 0.9, "memory": False},
    "rate 0.03": {"learning_rate": 0.03},
    "rate 0.03, no memory": {"learning_rate": 0.03, "memory": False},
    "affine": {"motion": "affine"},
}


def opened(path: str, whole: bool) -> np.ndarray:
    """The picture, [H, W, 3] float32; halved unless ``whole``."""
    picture = Image.open(path).convert("RGB")
    if not whole:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.float32) / 255


def window(picture: Image.Image, left: float, top: float, size: int) -> np.ndarray:
    """The window whose first pixel is (left, top), of a picture twice as large: exact at half pixels."""
    x, y = round(2 * left), round(2 * top)
    seen = picture.crop((x, y, x + 2 * size, y + 2 * size)).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(seen, np.float32) / 255


def scene(name: str, path: str, size: int, frames: int, whole: bool) -> Iterator[Frame]:
    """The frames of a scene."""
    small = opened(path, whole)
    height, width = small.shape[:2]
    top, left = (height - size) // 2, (width - size) // 2
    middle = small[top : top + size, left : left + size]
    if name == "static":
        yield from (Frame(middle) for _ in range(frames))
    elif name == "pan":
        first = max(0, left - frames)
        yield from (Frame(small[top : top + size, first + 2 * index :][:, :size]) for index in range(frames))
    elif name == "drift":
        large = Image.open(path).convert("RGB")
        for index in range(frames):
            yield Frame(window(large, left / 2 + 1.5 * index, top + 0.5 * index, size))
    elif name == "object":
        square = min(SQUARE, size // 3)
        thing = small[::-1][:square, -square:]
        for index in range(frames):
            at = 10 + 3 * index % (size - square - 10)
            clean, rows = middle.copy(), slice((size - square) // 2, (size + square) // 2)
            clean[rows, at : at + square] = thing
            yield Frame(clean, (rows, slice(at, at + square)))
    else:
        raise SystemExit(f"no scene {name!r}")


def film(folder: str, height: int, frames: int) -> Iterator[Frame]:
    """The first frames of a folder, shrunk."""
    for path in sorted(Path(folder).iterdir())[:frames]:
        picture = Image.open(path).convert("RGB")
        size = (round(picture.width * height / picture.height), height)
        yield Frame(np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32) / 255)


def psnr(answer: np.ndarray, clean: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((answer.astype(np.float64) - clean) ** 2) + 1e-20))


def run(frames: list[Frame], steps: int, seed: int, arguments: dict) -> tuple[np.ndarray, np.ndarray]:
    """PSNR of each frame: whole, square, trail (NaN without); seconds a frame, and of one core if alone."""
    draw, rows = np.random.default_rng(100 + seed), []
    with de.Session(de.Denoise(sigma=SIGMA), seed=seed, **arguments) as session:
        began = np.array([time.perf_counter(), time.process_time()])
        for frame in frames:
            grain = draw.standard_normal(frame.clean.shape).astype(np.float32) * (SIGMA / 255)
            answer = session.push(np.clip(frame.clean + grain, 0, 1), steps=steps).image
            row = [psnr(answer, frame.clean), np.nan, np.nan]
            if frame.square is not None:
                across, along = frame.square
                behind = slice(max(0, along.start - TRAIL), along.start)
                row[1:] = (psnr(answer[across, at], frame.clean[across, at]) for at in (along, behind))
            rows.append(row)
        ended = np.array([time.perf_counter(), time.process_time()])
        return np.array(rows), (ended - began) / len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture")
    parser.add_argument("--scenes", nargs="+", default=["static", "pan", "drift", "object"])
    parser.add_argument("--settings", nargs="+", default=["default", "no memory"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--whole", action="store_true", help="the picture is not halved")
    parser.add_argument("--clip")
    parser.add_argument("--height", type=int, default=120)
    chosen = parser.parse_args()
    print("| scene | settings | seed | frame 1 | 5 | 10 | last | object | trail | ms a frame | of one core |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in chosen.scenes:
        frames = (
            list(film(chosen.clip, chosen.height, chosen.frames))
            if name == "clip"
            else list(scene(name, chosen.picture, chosen.size, chosen.frames, chosen.whole))
        )
        for settings in chosen.settings:
            for seed in chosen.seeds:
                arguments = SETTINGS[settings] | {"threads": chosen.threads}
                found, seconds = run(frames, chosen.steps, seed, arguments)
                last = len(found) - 1
                cells = [f"{found[min(at, last), 0]:.2f}" for at in (0, 4, 9, last)]
                cells += [f"{value:.2f}" for value in found[last // 2 :, 1:].mean(axis=0)]
                cells += [f"{1000 * value:.0f}" for value in seconds]
                print(f"| {name} | {settings} | {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
