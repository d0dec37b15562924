"""How work is cut into programs, and the scratch memory that launches share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import triton

MAX_PROGRAMS = 264  # two for each of the 132 multiprocessors of an H100 or H200
COUNTERS = 512
# Of partial sums, loaded together by the program that adds them up when all others have finished: a reading
# of the L2 cache takes about a microsecond however many rows it brings, and 64 rows of 128 channels are 64
# to 128 registers a thread, which that program has free by then.
ROWS_AT_ONCE = 64


def programs(tiles: int, share: int = 1) -> int:
    """How many programs share ``tiles`` tiles: program p takes p, p + programs, p + 2 programs, ...

    ``share`` 2 halves the most there are: for kernels of which one fills a multiprocessor.
    """
    return max(1, min(tiles, MAX_PROGRAMS // share))


def channel_stride(channels: int) -> int:
    """Cells from one pixel to the next: whole 16 bytes of bfloat16."""
    return -(-channels // 8) * 8


def block(count: int, most: int, least: int = 16) -> int:
    """The smallest power of two that holds ``count``, within [least, most]; Triton's blocks are such."""
    size = least
    while size < count and size < most:
        size *= 2
    return size


@cache
def _shared_memory(device: int) -> int:
    return triton.runtime.driver.active.utils.get_device_properties(device)["max_shared_mem"]


def shared_memory() -> int:
    """Bytes of shared memory that a program may take on this GPU: 227 KB on an H200, 99 on small ones."""
    if triton.knobs.runtime.interpret:
        return 227 << 10
    return _shared_memory(triton.runtime.driver.active.get_current_device())


@dataclass(frozen=True)
class Scratch:
    """Memory that every launch may use while it runs; launches follow one another on one stream.

    Args:
        partials: float32 [n]: rows of partial sums.
        counters: int32 [B * COUNTERS], all 0 between launches: how many programs have finished.
    """

    partials: Any
    counters: Any


def launch(
    kernel: Any, grid: tuple[int, ...], *arguments: Any, warps: int = 4, stages: int = 2, **constants: Any
) -> None:
    """Starts a Triton kernel; every launch of ours goes through here.

    Args:
        kernel: a ``triton.jit`` function.
        grid: programs along one to three axes.
        arguments: tensors and numbers, in order.
        warps: of 32 threads, per program.
        stages: how many tiles are in flight in a loop.
        constants: compile-time values by name.
    """
    if triton.knobs.runtime.interpret:
        from dipedge.kernels.gpu import interpreter

        interpreter.install()
    # Said outright, because its default changes with Triton 3.10: a product and a sum may be rounded once.
    kernel[grid](*arguments, num_warps=warps, num_stages=stages, enable_fp_fusion=True, **constants)
