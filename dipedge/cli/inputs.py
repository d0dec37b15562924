"""Which files a command reads and writes: IN may be a file, a folder or a glob, OUT a file or a folder."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dipedge.errors import FileError, InputError
from dipedge.images import WRITABLE, check_place

# Endings by which a folder's pictures are found; a file named outright may end in anything.
PICTURES = (*WRITABLE, ".gif", ".ppm", ".pgm", ".jp2", ".avif")


@dataclass(frozen=True)
class Job:
    """One picture's way: read from ``source``, written to ``target``, compared with ``reference``.

    Without a source it begins from nothing (``Task.needs_picture``).
    """

    source: Path | None
    target: Path
    reference: Path | None = None


def plan(inputs: Sequence[str], output: str, reference: str | None) -> tuple[list[Job], bool]:
    """Every picture to restore, and whether there were several to begin with.

    Args:
        inputs: files, folders and globs; of a folder, its pictures (not those of folders in it).
        output: a file for one picture; a folder for several, or where it ends in a separator or exists
            as one. In a folder the answer is called as its input, ending in .png (a lossy format would
            add its own damage to the restored picture).
        reference: a file, or a folder with a picture of the same name for every input.

    Raises:
        InputError, FileError: nothing to read, two answers in one place, an answer over an input.
    """
    several = len(inputs) > 1 or any(Path(given).is_dir() or _is_glob(given) for given in inputs)
    sources = list(dict.fromkeys(path for given in inputs for path in _expanded(given)))
    into_folder = several or output.endswith(os.sep) or Path(output).is_dir()
    if several and Path(output).is_file():
        raise FileError(f"{output}: a file; several pictures need a folder")
    targets = [Path(output) / f"{path.stem}.png" if into_folder else Path(output) for path in sources]
    for index, target in enumerate(targets):
        if target in targets[:index]:
            first = sources[targets.index(target)]
            raise InputError(f"{first} and {sources[index]} would both be written to {target}")
    jobs = [Job(s, t, _reference(s, reference, several)) for s, t in zip(sources, targets, strict=True)]
    inputs_of_all = [path for job in jobs for path in (job.source, job.reference) if path is not None]
    for job in jobs:
        check_not_an_input(job.target, inputs_of_all)
    return jobs, several


def check_not_an_input(target: Path, inputs: Sequence[Path]) -> None:
    """Raises FileError where a file that is read would be written over, links looked through."""
    for path in inputs:
        if target.exists() and path.exists() and target.samefile(path):
            raise FileError(f"{target}: is also read ({path}); give the output another name")


def make_folder(job: Job, output: str) -> None:
    """Makes the folder that OUT names, if the answer goes into it and it is not there yet.

    Raises:
        FileError: its place is taken, or cannot be written.
    """
    folder = Path(output)
    if job.target == folder or folder.is_dir():
        return
    check_place(folder)
    try:
        folder.mkdir()
    except OSError as error:
        raise FileError(f"{folder}: cannot be made ({error.strerror or error})") from error


def _is_glob(given: str) -> bool:
    return glob.has_magic(given) and not os.path.exists(given)


def _expanded(given: str) -> list[Path]:
    if _is_glob(given):
        found = [Path(name) for name in sorted(glob.glob(given)) if os.path.isfile(name)]
        if not found:
            raise FileError(f"{given}: no file matches")
        return found
    path = Path(given)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES and file.is_file())
        if not found:
            raise FileError(f"{given}: no picture in this folder")
        return found
    return [path]  # whether it is there shows when it is opened, with the other files' faults


def _reference(source: Path, reference: str | None, several: bool) -> Path | None:
    if reference is None:
        return None
    path = Path(reference)
    if path.is_dir():
        named = [path / source.name, *sorted(path.glob(f"{glob.escape(source.stem)}.*"))]
        found = next((file for file in named if file.is_file()), None)
        if found is None:
            raise FileError(f"{reference}: no picture called {source.stem} in this folder")
        return found
    if several:
        raise InputError(f"reference is {reference}; several pictures need a folder of references")
    return path
