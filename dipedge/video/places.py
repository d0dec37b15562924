"""Where a video is written: beside its place first, and renamed when it is whole.

A picture's unfinished file has a hidden, random name and is taken away when something fails. A clip may have
cost hours, so its unfinished file has a name to be found by, stays after a failure, and can be gone on from:
NAME.partial.EXT (for a folder of frames: NAME.partial).
"""

from __future__ import annotations

import os
from pathlib import Path

from dipedge.errors import FileError
from dipedge.video.faults import why


def partial_of(path: Path) -> Path:
    """The unfinished file's place: clip.mp4 -> clip.partial.mp4, frames -> frames.partial."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def check_place(path: Path) -> None:
    """Raises FileError unless something can be made beside ``path`` (tried, and taken away again)."""
    try:
        parent = path.parent
        if not parent.is_dir():
            raise FileError(f"{path}: there is no folder {parent}")
        partial = partial_of(path)
        there = partial.exists()
        if there and not os.access(partial, os.W_OK):
            raise FileError(f"{partial}: write-protected")
        if not there:
            trial = parent / f".{partial.name}.trial"
            os.close(os.open(trial, os.O_CREAT | os.O_WRONLY, 0o666))
            trial.unlink()
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: cannot be written ({why(error)})") from error


def check_not_the_source(path: Path, source: str) -> None:
    """Raises FileError where the output would take the place of what is read, links looked through."""
    try:
        same = os.path.samefile(path, source)
    except OSError:
        same = False
    if same:
        raise FileError(f"{path}: is also what is read; give the output another name")


def put_in_place(partial: Path, path: Path) -> None:
    """Renames a finished file or folder to its name."""
    try:
        if partial.is_dir() and path.is_dir():
            path.rmdir()  # an empty one, as was checked; rename does not replace folders everywhere
        os.replace(partial, path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({why(error)}); all of it is in {partial}") from error
