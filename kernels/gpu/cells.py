"""Cells: rounding to them, and products of tiles of them.

Two things are done by hand under the interpreter, which keeps bfloat16 as integers, truncates to them and
multiplies them as such. Rounded to the nearest first, and multiplied in float32 (where the products of two
bfloat16 are exact), the results are those of the GPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def as_cells(values, CELL: tl.constexpr):
    """float32 values rounded to the nearest cells, ties to even."""
    if INTERPRETED and tl.bfloat16 == CELL:
        bits = values.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        values = bits.to(tl.float32, bitcast=True)
    return values.to(CELL)


@triton.jit
def product(a, b):
    """a [M, K] times b [K, N], both of one cell type: [M, N] float32; float32 is not rounded to tf32."""
    if INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def added_product(a, b, total):
    """``total`` [M, N] plus ``product(a, b)``."""
    if INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")
