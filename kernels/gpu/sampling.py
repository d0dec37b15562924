"""Which pixels a subsampled step sees, drawn on the GPU: the positions of ``dipedge/engines/sampling.py``.

One of each 2 x 2 block, from the fit's seed and the step number in device memory, so that a captured step
draws anew whenever it is replayed. One launch of a few programs: 4 bytes a row and a column, nothing beside
a step.

The hash is computed in uint64, modulo 2^64 on the GPU as in the interpreter; the tests compare every position
with the engines' own.

Compiled for sm_80 and sm_90: 26 registers, no stack.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import launch, programs

CYCLE = 4  # steps until every pixel has been seen
BLOCK = 512  # positions of one tile


@triton.jit
def mixed(z):
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014) of uint64 values."""
    z = z + 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@triton.jit
def place(key, flip, count, to, first, step, BLOCK: tl.constexpr):
    """Tiles first, first + step, ... of one side's positions: pair i gives 2i or 2i + 1, as its bit says.

    ``flip`` 0 or 1 takes the other of each pair; beyond an odd side's end stands its last position.
    """
    pairs = (count + 1) // 2
    for tile in range(first, tl.cdiv(pairs, BLOCK), step):
        i = tile * BLOCK + tl.arange(0, BLOCK)
        bit = (mixed(key + i.to(tl.uint64)) & 1).to(tl.int32)
        tl.store(to + i, tl.minimum(2 * i + (bit ^ flip), count - 1), mask=i < pairs)


@triton.jit
def positions_kernel(
    seeds, step, other, rows, columns, height, width, CYCLE: tl.constexpr, BLOCK: tl.constexpr
):
    b = tl.program_id(1).to(tl.int64)
    now = tl.load(step)
    key = mixed(tl.load(seeds + b).to(tl.uint64, bitcast=True) ^ mixed((now // CYCLE).to(tl.uint64)))
    corner = (now % CYCLE).to(tl.int32) ^ (key & 3).to(tl.int32) ^ other
    rows += b * ((height + 1) // 2)
    columns += b * ((width + 1) // 2)
    place(mixed(key + 1), corner >> 1, height, rows, tl.program_id(0), tl.num_programs(0), BLOCK)
    place(mixed(key + 2), corner & 1, width, columns, tl.program_id(0), tl.num_programs(0), BLOCK)


def draw_positions(
    seeds: Any, step: Any, other: int, rows: Any, columns: Any, height: int, width: int
) -> None:
    """The pixels of a step, ascending, for every fit.

    Args:
        seeds: int64 [B], bits of the unsigned seeds.
        step: int64 [1], from 0.
        other: 0, or 1 to 3 for the pixels that the cycle's other steps see.
        rows: int32 [B, ceil(height / 2)], written.
        columns: int32 [B, ceil(width / 2)], written.
        height, width: of the whole picture.
    """
    grid = (programs(-(-max(rows.shape[1], columns.shape[1]) // BLOCK)), rows.shape[0])
    launch(positions_kernel, grid, seeds, step, other, rows, columns, height, width, CYCLE=CYCLE, BLOCK=BLOCK)
