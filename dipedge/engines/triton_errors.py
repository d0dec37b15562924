"""What can go wrong on a GPU, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from triton.errors import TritonError

from dipedge.errors import DipedgeError, EngineError, OutOfMemoryError

MIB = 2**20


def too_large(needed: int, free: int | None = None) -> OutOfMemoryError:
    """A fit that needs ``needed`` bytes where ``free`` are left (None: nobody knows)."""
    there = "" if free is None else f"; {free / MIB:.0f} MiB are free"
    return OutOfMemoryError(
        f"engine 'triton' needs {needed / MIB:.0f} MiB of device memory{there}; "
        "smaller tiles need less, and engine='native' runs on this processor",
        needed,
    )


@contextmanager
def device_errors(needed: int) -> Iterator[None]:
    """Turns what Triton, PyTorch and the driver raise into errors of ours.

    A kernel that cannot be compiled, one that wants more than this GPU has, a driver that does not fit, a
    launch that failed: each is a sentence that names the cause and what works instead.

    Args:
        needed: bytes that the fit takes, for an error that says so.
    """
    try:
        yield
    except DipedgeError:
        raise
    except torch.OutOfMemoryError as error:
        raise too_large(needed) from error
    except (TritonError, RuntimeError) as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise EngineError(
            f"engine 'triton' failed on this GPU: {reason}; engine='native' runs on this processor"
        ) from error
