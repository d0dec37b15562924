"""What goes wrong with video files, in one line that names the file.

FFmpeg's errors are of many classes and say things like "Invalid data found when processing input". They all
derive from one, which is looked up when it is needed: PyAV is optional, and ``import dipedge`` must not load
it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dipedge.errors import DipedgeError, FileError, InputError

PLAIN = {  # FFmpeg's words -> ours
    "Invalid data found when processing input": "data that cannot be decoded",
    "End of file": "it ends too early",
    "Cannot allocate memory": "no memory",
}


def load_av() -> Any:
    """PyAV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("video files need PyAV; install it with: pip install 'dipedge[video]'") from error
    return av


def why(error: BaseException) -> str:
    """The reason in few words."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    said = " ".join(str(said).split())
    return PLAIN.get(said, said)


@contextmanager
def named(path: str | os.PathLike, doing: str) -> Iterator[None]:
    """Makes one line of whatever PyAV or the system complains about inside: ``path: doing (why)``."""
    av = load_av()
    try:
        yield
    except (DipedgeError, MemoryError):
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise FileError(f"{path}: {doing} ({why(error)})") from error
