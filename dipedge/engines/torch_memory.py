"""Memory that ran out, however PyTorch and numpy say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dipedge.errors import OutOfMemoryError

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns the ways PyTorch and numpy report missing memory into one."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        found = re.search(rf"allocate ([\d.]+) ({'|'.join(UNITS)})", str(error))
        if found is None:
            raise
        needed = int(float(found[1]) * UNITS[found[2]])
        message = f"engine 'torch' ran out of memory: {found[1]} {found[2]} more were needed"
        raise OutOfMemoryError(message, needed) from error
