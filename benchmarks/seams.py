"""Whether tiles can be seen: the gradient across their borders, and PSNR against a fit in one piece.

    python -m benchmarks.seams PICTURE ... [--size 512 --side 256 --overlap 64 --json FILE --png FOLDER]

Each picture is cropped at its centre and gets noise of sigma 25, as in benchmarks/quality.py, and is fitted
three times: in one piece, in tiles, and, as a control that must show seams, in tiles without overlap.

Gradients are mean absolute differences of neighbouring pixels, across borders of tiles or along the same
direction elsewhere. A picture has edges of its own wherever a border happens to lie, so:

- ``border``: the result's gradient at the borders over the clean picture's there, divided by the same ratio
  of the lines that lie in no cross-fade: 1 when borders are like any other line;
- ``zone``: the same for all lines within cross-fades;
- ``error_border``, ``error_zone``: the gradient of (result - clean) there over that elsewhere. The picture's
  own edges are gone from it, so it shows a step that the others would hide; where the picture is hard the
  error is larger, so compare it with ``one_piece``, the same figure of the fit in one piece at those places;
- ``worst_line``: the largest error gradient of a single border over the mean of lines elsewhere, and
  ``lines_above``, the share of ordinary lines that have a larger one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import dipedge as de
from benchmarks.quality import noisy_crop
from dipedge.tiles import Axis, Grid, cut


def line_gradients(image: np.ndarray, axis: int) -> np.ndarray:
    """Mean absolute difference between each line and the next along ``axis``, [length - 1]."""
    steps = np.abs(np.diff(image.astype(np.float64), axis=axis))
    return steps.mean(axis=tuple(other for other in range(3) if other != axis))


def borders(axis: Axis) -> list[int]:
    """Index (as in ``line_gradients``) of every step into or out of a tile within the picture."""
    edges = {*axis.starts, *(start + axis.side for start in axis.starts)} - {0, axis.length}
    return sorted(edge - 1 for edge in edges)


def in_cross_fade(axis: Axis) -> np.ndarray:
    """Which pixels along an axis belong to more than one tile, bool [length]."""
    count = np.zeros(axis.length, int)
    for start in axis.starts:
        count[start : start + axis.side] += 1
    return count > 1


def seam_figures(result: np.ndarray, clean: np.ndarray, grid: Grid) -> dict[str, float]:
    """The ratios of the file's head; borders of both directions together."""
    found: dict[str, list[np.ndarray]] = {
        f"{what}_{where}": []
        for what in ("result", "clean", "error")
        for where in ("border", "zone", "plain")
    }
    for number, axis in enumerate((grid.rows, grid.columns)):
        at_border = np.zeros(axis.length - 1, bool)
        at_border[borders(axis)] = True
        fading = in_cross_fade(axis)
        zone = (fading[1:] | fading[:-1]) & ~at_border
        lines = {"border": at_border, "zone": zone, "plain": ~(zone | at_border)}
        for what, image in (("result", result), ("clean", clean), ("error", result - clean)):
            gradients = line_gradients(image, number)
            for where, chosen in lines.items():
                found[f"{what}_{where}"].append(gradients[chosen])
    lines = {key: np.concatenate(values) for key, values in found.items()}
    mean = {key: float(values.mean()) for key, values in lines.items() if values.size}
    usual = mean["result_plain"] / mean["clean_plain"]
    figures = {}
    for where in [where for where in ("border", "zone") if f"error_{where}" in mean]:
        figures[where] = mean[f"result_{where}"] / mean[f"clean_{where}"] / usual
        figures[f"error_{where}"] = mean[f"error_{where}"] / mean["error_plain"]
    worst = float(lines["error_border"].max())
    figures["worst_line"] = worst / mean["error_plain"]
    figures["lines_above"] = float((lines["error_plain"] > worst).mean())
    return {key: round(value, 4) for key, value in figures.items()}


def psnr_by_place(result: np.ndarray, clean: np.ndarray, grid: Grid) -> dict[str, float]:
    """PSNR of the whole, within cross-fades and outside them, in dB."""
    rows, columns = in_cross_fade(grid.rows), in_cross_fade(grid.columns)
    zone = rows[:, None] | columns[None, :]
    figures = {"psnr": de.psnr(result, clean)}
    if zone.any():
        figures["psnr_zone"] = de.psnr(result[zone], clean[zone])
        figures["psnr_elsewhere"] = de.psnr(result[~zone], clean[~zone])
    return {key: round(value, 3) for key, value in figures.items()}


def measured(path: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """One picture: the fit in tiles and the control, each beside the fit in one piece at its places."""
    clean, noisy = noisy_crop(path, options.size)
    whole = fitted(noisy, None, path, "one piece", options)
    rows = []
    for name, overlap in (("tiles", options.overlap), ("no overlap", 0)):
        tiles = de.Tiles(options.side, overlap)
        grid = cut(clean.shape, tiles)
        result = fitted(noisy, tiles, path, name, options)
        row = {
            "picture": path.name,
            "size": options.size,
            "quality": options.quality,
            "fit": name,
            "tiles": len(grid),
            "tile": list(grid.shape),
            "overlap": [axis.starts[0] + axis.side - axis.starts[1] for axis in (grid.rows, grid.columns)],
            "steps": [tile.steps for tile in result.tiles],
            "seconds": round(result.seconds, 1),
            "here": psnr_by_place(result.image, clean, grid) | seam_figures(result.image, clean, grid),
            "one_piece": psnr_by_place(whole.image, clean, grid) | seam_figures(whole.image, clean, grid),
            "one_piece_steps": whole.steps,
            "one_piece_seconds": round(whole.seconds, 1),
        }
        rows.append(row)
        print("\n  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def fitted(
    noisy: np.ndarray, tiles: de.Tiles | None, path: Path, name: str, options: argparse.Namespace
) -> de.FitResult:
    """One fit; its answer also goes into a PNG where that was asked for."""
    result = de.restore(noisy, de.Denoise(), quality=options.quality, seed=options.seed, tiles=tiles)
    if options.png:
        options.png.mkdir(exist_ok=True)
        pixels = np.rint(255 * np.clip(result.image, 0, 1)).astype(np.uint8)
        Image.fromarray(pixels).save(options.png / f"{path.stem} {name}.png")
    return result


def main(words: list[str]) -> None:
    """Measures every picture named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path, help="folder for the three results")
    options = parser.parse_args(words)
    rows = [row for path in options.pictures for row in measured(path, options)]
    if options.json:
        with de.Session(de.Denoise()) as session:
            report = {"machine": session.device(), "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
