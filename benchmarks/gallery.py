"""Makes the pictures of docs/gallery.md with the commands that stand there.

    python -m benchmarks.gallery [NAME ...] [--folder gallery]

Every section of the page has a name, one command, and one picture docs/gallery/NAME.jpg: the degraded
picture, the restored one, and the true one where it is known. A command that fails stops everything. Sections
whose command needs a file that is not there (a trained network's weights) are left out, and said to be.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import dipedge as de
from benchmarks.gallery_inputs import MAKERS
from dipedge import cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gallery.md"
GAP = 6


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Args:
        name: of its picture, docs/gallery/NAME.jpg, and of its maker.
        command: the words after ``dipedge``.
    """

    name: str
    command: tuple[str, ...]

    @property
    def output(self) -> str:
        """The file that the command writes."""
        return self.command[self.command.index("-o") + 1]

    @property
    def weights(self) -> str | None:
        """The file of a trained network that it reads, if it does."""
        return self.command[self.command.index("--weights") + 1] if "--weights" in self.command else None


def sections(text: str) -> list[Section]:
    """The sections of a page: a command in a block of code, and the picture that it made."""
    found = re.findall(r"^dipedge (.+?)\n```\s+!\[[^]]*\]\(gallery/([\w-]+)\.jpg\)", text, re.M | re.S)
    return [Section(name, tuple(shlex.split(words.replace("\\\n", " ")))) for words, name in found]


def _row(pictures: list[Image.Image]) -> Image.Image:
    """Pictures side by side at one height; small ones are enlarged without smoothing."""
    height = max(picture.height for picture in pictures)
    shown = []
    for picture in pictures:
        width = round(picture.width * height / picture.height)
        shown.append(picture.convert("RGB").resize((width, height), Image.Resampling.NEAREST))
    row = Image.new("RGB", (sum(p.width for p in shown) + GAP * (len(shown) - 1), height), "white")
    left = 0
    for picture in shown:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row


def make(section: Section) -> str:
    """Runs a section's command in the current folder; a line for the page."""
    degraded, true = MAKERS[section.name](Path("."))
    if section.weights is not None and not Path(section.weights).is_file():
        return f"{section.name}: left out, {section.weights} is not here"
    code = cli.main(section.command)
    if code:
        sys.exit(f"{section.name}: the command ended with {code}")
    names = [degraded, section.output] + ([] if true is None else [true])
    row = _row([Image.open(name) for name in names])
    target = PAGE.parent / "gallery" / f"{section.name}.jpg"
    target.parent.mkdir(exist_ok=True)
    row.save(target, quality=88, optimize=True)
    if true is None:
        return f"{section.name}: written"
    before, after, truth = (np.asarray(Image.open(name).convert("RGB")) for name in (*names[:2], true))
    if before.shape != truth.shape:
        before = np.asarray(Image.open(degraded).convert("RGB").resize(truth.shape[1::-1], Image.LANCZOS))
    return f"{section.name}: PSNR {de.psnr(before, truth):.2f} -> {de.psnr(after, truth):.2f} dB"


def main() -> None:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("names", nargs="*", metavar="NAME", help="of sections; all when left out")
    words.add_argument("--folder", type=Path, default=Path("gallery"), help="where the files go")
    options = words.parse_args()
    known = sections(PAGE.read_text(encoding="utf-8"))
    unknown = set(options.names) - {section.name for section in known}
    if unknown:
        words.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in known)}")
    options.folder.mkdir(exist_ok=True)
    os.chdir(options.folder)
    lines = [make(section) for section in known if not options.names or section.name in options.names]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
