"""How much memory a large picture takes, from file to file: peak of a process that the command line runs in.

    python -m benchmarks.large_picture [--megapixels 24 --steps 1 --limit-mib 4096 --json FILE]

A picture of waves and noise is written as a file, uint8 RGB, and restored by ``dipedge denoise`` in a process
of its own with ``--steps`` steps for every tile: what a step needs is taken in the first one, and further
steps take nothing more (a stopping rule holds some 20 MB of samples). ``--limit-mib`` is a limit of address
space (RLIMIT_AS), so it counts what is only reserved, too; 0 for none.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dipedge.engines import get_engine


def write_picture(path: Path, height: int, width: int) -> None:
    """Slow waves with noise of sigma 25, row by row, so that making it takes no memory to speak of."""
    image = np.empty((height, width, 3), np.uint8)
    generator = np.random.default_rng(0)
    column = np.arange(width)[:, None] / 200 + np.arange(3)
    for row in range(height):
        values = 127 + 100 * np.sin(column + row / 150) + generator.normal(0, 25, (width, 3))
        image[row] = np.clip(values, 0, 255)
    Image.fromarray(image).save(path)


def measured(command: list[str], limit_mib: int) -> dict[str, object]:
    """Runs ``command``; its exit code, seconds, and the largest resident size it ever had."""

    def limited() -> None:
        if limit_mib:
            resource.setrlimit(resource.RLIMIT_AS, (limit_mib * 2**20, limit_mib * 2**20))

    began = time.perf_counter()
    process = subprocess.Popen(command, preexec_fn=limited)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
    seconds = round(time.perf_counter() - began, 1)
    peak = round(usage.ru_maxrss / 1024)  # kilobytes on Linux
    return {"exit_code": process.returncode, "seconds": seconds, "peak_mib": peak}


def restored(source: Path, precision: str, options: argparse.Namespace) -> dict[str, object]:
    """One run of the command line, and what became of it."""
    report = source.with_name("report.json")
    report.unlink(missing_ok=True)
    kept = {name: getattr(options, name) for name in ("prior", "quality", "steps", "tiles")}
    kept["precision"] = precision
    command = [
        sys.executable,
        "-m",
        "dipedge",
        "denoise",
        str(source),
        "-o",
        str(source.with_name("out.png")),
    ]
    command += [f"--{name}={value}" for name, value in kept.items()] + ["--json", str(report)]
    row = {"file": source.suffix, "limit_mib": options.limit_mib} | kept
    row |= measured(command, options.limit_mib)
    if row["exit_code"] == 0:
        tiles = json.loads(report.read_text())["tiles"]
        row |= {"count": len(tiles), "tile": [tiles[0]["height"], tiles[0]["width"]] if tiles else None}
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row


def main(words: list[str]) -> None:
    """Writes the picture, restores it, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--limit-mib", type=int, default=4096)
    parser.add_argument("--prior", default="pip")
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--precision", nargs="+", default=["auto", "fp32"], help="one run for each")
    parser.add_argument("--tiles", default="auto")
    parser.add_argument("--suffix", default=".png", help="of the input: .png or .jpg")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(words)
    height = round(np.sqrt(options.megapixels * 1e6 / 1.5))
    width = round(options.megapixels * 1e6 / height)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, f"in{options.suffix}")
        write_picture(source, height, width)
        rows = [restored(source, precision, options) for precision in options.precision]
    rows = [{"height": height, "width": width} | row for row in rows]
    if options.json:
        machine = get_engine("native").device()
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
