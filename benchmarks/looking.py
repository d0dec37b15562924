"""What the measurements that look into networks share: the network, natural pictures, features, a sheet."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import dipedge as de
from dipedge.cli.report import side_by_side
from dipedge.models import MODELS, build

# Weights by network, where the folder of shared data has them.
KNOWN = {"alexnet": "alexnet.npz", "vgg19": "vgg19_conv_uint8.npz"}


def arguments(description: str, layer: str) -> argparse.ArgumentParser:
    """The options both measurements have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="the folder of shared data")
    parser.add_argument("--model", choices=MODELS, default="alexnet")
    parser.add_argument("--weights", type=Path, help="default: what DATA/weights has")
    parser.add_argument("--layer", default=layer)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, help="default: the published number")
    parser.add_argument("--engine", default="native", help="of the hourglass")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="the pictures side by side, as a PNG")
    return parser


def network(options: argparse.Namespace) -> Any:
    """The network the options name."""
    weights = options.weights
    if weights is None:
        weights = options.data / "weights" / KNOWN.get(options.model, f"{options.model}.pth")
    return build(options.model, weights)


def natural_pictures(data: Path, count: int) -> list[Path]:
    """The first ``count`` photographs of the shared data, always the same ones."""
    folders = [data / name for name in ("set14", "set5", "cbm3d9")]
    found = [path for folder in folders for path in sorted(folder.glob("*.*")) if path.is_file()]
    if len(found) < count:
        raise SystemExit(f"{data} has {len(found)} pictures in set14, set5 and cbm3d9; {count} are needed")
    return found[:count]


def colour_pixels(path: Path) -> np.ndarray:
    """A picture file as float32 [H, W, 3] in [0, 1]."""
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def show(step: de.Step) -> None:
    """Prints where a fit is, every 100 steps."""
    if step.index % 100 == 0 or step.reason is not None:
        print(f"  step {step.index:5d}  loss {step.loss:12.5g}  {step.seconds:7.1f} s", flush=True)


def restored(
    image: np.ndarray | None, task: de.InvertFeatures | de.MaximizeActivation, **options: Any
) -> Any:
    """A fit that shows where it is; its ``FitResult``."""

    with de.Session(task, progress=show, **options) as session:
        return session.fit(image)


def write_sheet(path: Path, pictures: list[np.ndarray]) -> None:
    """Pictures [h, w, 3] in [0, 1], of one size, left to right."""
    side_by_side(pictures).save(path)


def write_json(path: Path, options: argparse.Namespace, rows: list[dict[str, Any]], **more: Any) -> None:
    """The rows, what they were measured with, and on which machine."""
    said = ("model", "layer", "size", "steps", "engine", "precision", "seed")
    settings = {name: getattr(options, name) for name in said}
    machine = platform.processor() or platform.machine()
    path.write_text(json.dumps({"machine": machine, **settings, **more, "rows": rows}, indent=1) + "\n")
