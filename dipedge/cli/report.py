"""What a command tells about a restored picture: lines, JSON, and the pictures side by side."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dipedge import arrays, images
from dipedge.errors import InputError
from dipedge.metrics import psnr, ssim
from dipedge.report_page.words import fits, how_it_ended, runs_on
from dipedge.result import FitResult, FittedMember, FittedTile

GAP = 8  # white pixels between pictures side by side


class Comparison:
    """A reference picture, and how close others come to it.

    Args:
        path: of the reference.
        shape: the answer's, [H, W, C].

    Raises:
        FileError, InputError: it cannot be read, or has another size or number of channels.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.image = images.open_image(path)
        self.pixels = arrays.read(self.image, str(path)).pixels
        if self.pixels.shape != shape:
            wanted, found = (" x ".join(map(str, sides)) for sides in (shape, self.pixels.shape))
            raise InputError(f"{path} is {found}; the restored picture to compare with it is {wanted}")

    def figures(self, before: np.ndarray, result: FitResult) -> dict[str, float | None]:
        """PSNR in dB and SSIM of the degraded picture and of the answer; None for equal pictures' PSNR."""
        return {
            "psnr_before": _finite(psnr(before, self.pixels)),
            "psnr": _finite(result.psnr),
            "ssim_before": ssim(before, self.pixels),
            "ssim": result.ssim,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def side_by_side(pictures: list[np.ndarray]) -> Any:
    """Pictures [H, W, C] of one height as one 8-bit RGB PIL image, left to right."""
    from PIL import Image

    height = pictures[0].shape[0]
    gap = np.full((height, GAP, 3), 255, np.uint8)
    row: list[np.ndarray] = []
    for pixels in pictures:
        colour = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        row += [np.rint(255 * np.clip(colour, 0, 1)).astype(np.uint8), gap]
    return Image.fromarray(np.concatenate(row[:-1], axis=1))


def as_picture(part: np.ndarray) -> Any:
    """A part of an answer, [H, W] or [H, W, C], as an 8-bit PIL image."""
    from PIL import Image

    values = np.rint(255 * np.clip(part, 0, 1)).astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values)


def summary(
    source: Path | str, target: Path, result: FitResult, figures: dict[str, float | None], larger: bool
) -> str:
    """The lines printed for one restored picture; ``larger``: the answer has another size than the input."""
    rate = result.steps / result.seconds
    lines = [
        f"{source} -> {target}",
        f"  {result.steps} steps in {result.seconds:.1f} s ({rate:.1f} steps/s) on {runs_on(result)}",
        f"  {how_it_ended(result)}",
    ]
    if figures:
        shown = {key: "identical" if value is None else f"{value:.2f} dB" for key, value in figures.items()}
        lines.append(
            f"  PSNR {shown['psnr_before']}{' (Lanczos)' if larger else ''} -> {shown['psnr']}, "
            f"SSIM {figures['ssim_before']:.4f} -> {figures['ssim']:.4f}"
        )
    return "\n".join(lines)


def interruption(target: Path, result: FitResult) -> str:
    """What is said after Ctrl-C."""
    if result.members:
        return f"interrupted; the average of {fits(len(result.members))} so far is in {target}"
    if not result.tiles:
        return f"interrupted; the best result so far (step {result.chosen_step}) is in {target}"
    reached = sum(tile.steps > 0 for tile in result.tiles)
    words = f"interrupted in tile {reached} of {len(result.tiles)}; the best result so far is in {target}"
    return words if reached == len(result.tiles) else f"{words}, with the picture as it was beyond that tile"


def _plain(part: FittedTile | FittedMember) -> dict[str, Any]:
    """A tile or a member as JSON has it."""
    told = asdict(part) | {"reason": part.reason.value}
    if isinstance(part, FittedMember):
        told["tiles"] = [_plain(tile) for tile in part.tiles]
    return told


def record(
    source: Path,
    target: Path,
    result: FitResult,
    figures: dict[str, float | None],
    settings: dict[str, Any],
    history: bool,
) -> dict[str, Any]:
    """One picture's entry in the JSON file.

    Args:
        source, target: of the picture.
        result: of its fit.
        figures: of ``Comparison``.
        settings: those of the command.
        history: whether the loss, PSNR and SSIM of its steps are among it.
    """
    return {
        "input": str(source),
        "output": str(target),
        **settings,
        "engine": result.engine,
        "device": result.device.get("device"),
        "isa": result.device.get("isa"),
        "engine_version": result.device.get("version"),
        "steps": result.steps,
        "chosen_step": result.chosen_step,
        "seconds": round(result.seconds, 3),
        "steps_per_second": round(result.steps / result.seconds, 3),
        "reason": result.reason.value,
        "reason_sentence": result.reason.sentence,
        "loss": result.loss,
        "tiles": [_plain(tile) for tile in result.tiles],
        "members": [_plain(member) for member in result.members],
        **figures,
        **({"history": result.history.plain()} if history else {}),
    }


# A list of numbers as ``json.dumps`` lays it out, and nothing else: no text in JSON holds a line break.
NUMBERS = re.compile(r"\[\n[-+0-9.eE,\snul]*?\n\s*\]")


def write_json(path: Path, content: Any) -> None:
    """Writes ``content`` beside ``path`` and renames it there; lists of numbers stand in one line each."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    text = NUMBERS.sub(
        lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "[").replace(" ]", "]"), text
    )
    with images.written_beside(path) as file:
        file.write(text.encode() + b"\n")
