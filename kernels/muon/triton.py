"""Muon on the GPU: one launch for all wide matrices of all fits, one program for each of them.

What. The running mean of gradients, five Newton-Schulz iterations, and the step that holds the matrix's norm;
the rate falls by the step number in device memory. Matrices with more than 128 outputs go through the
library's batched products, between two launches of the same arithmetic.

Layout. A matrix [O, k k I] is a piece of the flat vectors; a table on the device says where, so that one
launch serves matrices of all shapes. In the float32 workspace each has a block of one size with zeros around
it. The iterate X alternates between two of them: a program reads the one and writes the other, so no thread
can overwrite what another has still to read.

Work and traffic. The blocks of a program stay in its multiprocessor's caches (64 KB for 128 x 128). The
results of all three products of an iteration, G = X X^T, b G + c G G and the new X, go through them: only one
is held in registers. 63 MFLOP for 128 x 128, 0.4 GFLOP for 128 x 1152, on one multiprocessor; the matrices of
a net run side by side, and a net has fewer than an H200 has multiprocessors. The longest of them counts; it
has not been measured yet.

Precision. Products take tf32 operands with float32 sums. Newton-Schulz only brings singular values to
between 0.7 and 1.2, and published Muon iterates in bfloat16; with tf32 a step differs by less than 4e-3 of
its length from that in float64 (measured over shapes and spectra, bfloat16: 3e-2). Sums, moments and
parameters are float32. The interpreter computes products in float32.

Rejected: a launch per product (15 launches a step, each shorter than its start); several programs per matrix
(needs a barrier across programs, three an iteration); all of G in shared memory as an operand (160 KB, more
than most GPUs have); blocks without zeros around (masks and places of every value spill).

Compiled for sm_80 and sm_90, 128 outputs: 216 registers (226 by Triton 3.6), no stack, 32 KB
of shared memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import launch
from dipedge.kernels.muon.reference import QUINTIC
from dipedge.kernels.muon.triton_ends import move, rate_of, update_of
from dipedge.kernels.muon.triton_large import large_step
from dipedge.kernels.muon.triton_matrices import WIDE, Matrices

COLUMNS = 32  # terms of a product that are in flight at once
PRECISION = "tf32"


@dataclass(frozen=True)
class Rate:
    """The constants of ``dipedge.optimisers.Muon``, by the same names."""

    learning_rate: float
    hold: int = 0
    decay: int = 0
    final: float = 1.0


@triton.jit
def gram_of(
    x, columns, PRECISION: tl.constexpr, ROWS: tl.constexpr, PITCH: tl.constexpr, COLUMNS: tl.constexpr
):
    """X X^T, [ROWS, ROWS], of the first ``columns`` columns."""
    r, i = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    gram = tl.zeros((ROWS, ROWS), tl.float32)
    for start in range(0, columns, COLUMNS):
        piece = tl.load(x + r[:, None] * PITCH + (start + i)[None, :])
        gram = tl.dot(piece, tl.trans(piece), gram, input_precision=PRECISION)
    return gram


@triton.jit
def iterate(
    source, target, gram, mixed, columns, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, PITCH: tl.constexpr, COLUMNS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """target = a X + (b G + c G G) X of X = source with G = X X^T; ``gram`` and ``mixed`` are overwritten.

    Every product's result goes through memory, so that one of them at a time is held in registers.
    """
    r, i, w = tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, WIDE)
    places = r[:, None] * ROWS + r[None, :]
    tl.store(gram + places, gram_of(source, columns, PRECISION, ROWS, PITCH, COLUMNS))
    tl.debug_barrier()
    # G is symmetric: its square is its own Gram matrix.
    twice = gram_of(gram, ROWS, PRECISION, ROWS, ROWS, COLUMNS)
    tl.store(mixed + places, B * tl.load(gram + places) + C * twice)
    tl.debug_barrier()
    for start in range(0, columns, WIDE):
        total = tl.zeros((ROWS, WIDE), tl.float32)
        for first in range(0, ROWS, COLUMNS):
            left = tl.load(mixed + r[:, None] * ROWS + (first + i)[None, :])
            right = tl.load(source + (first + i)[:, None] * PITCH + (start + w)[None, :])
            total = tl.dot(left, right, total, input_precision=PRECISION)
        at = r[:, None] * PITCH + (start + w)[None, :]
        tl.store(target + at, A * tl.load(source + at) + total)


@triton.jit
def muon_kernel(
    table, parameters, gradients, mean, cells, workspace, step, F, FLOATS,
    RATE: tl.constexpr, HOLD: tl.constexpr, DECAY: tl.constexpr, FINAL: tl.constexpr,
    KEEP: tl.constexpr, REST: tl.constexpr, ITERATIONS: tl.constexpr,
    A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, COPY: tl.constexpr, UNIT: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, PITCH: tl.constexpr, COLUMNS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    row = table + tl.program_id(0) * 4
    b = tl.program_id(1).to(tl.int64)
    place = tl.multiple_of(b * F + tl.load(row), UNIT)
    rows, columns = tl.load(row + 1).to(tl.int32), tl.multiple_of(tl.load(row + 2).to(tl.int32), UNIT)
    x = workspace + tl.multiple_of(b * FLOATS + tl.load(row + 3), 16)
    whole = tl.cdiv(columns, WIDE) * WIDE
    update_of(gradients + place, mean + place, x, rows, columns, whole, KEEP, REST, ROWS, PITCH, COLUMNS)
    # The next reader of a value is another thread: before every change of roles all stores must be done.
    tl.debug_barrier()
    gram = x + 2 * ROWS * PITCH
    for turn in range(ITERATIONS):
        source = x + (turn % 2) * (ROWS * PITCH)
        target = x + ((turn + 1) % 2) * (ROWS * PITCH)
        iterate(
            source, target, gram, gram + ROWS * ROWS, columns, A, B, C, PRECISION, ROWS, PITCH, COLUMNS, WIDE
        )
        tl.debug_barrier()
    rate = rate_of(tl.load(step), RATE, HOLD, DECAY, FINAL)
    x += (ITERATIONS % 2) * (ROWS * PITCH)
    move(parameters + place, cells + place, x, rows, columns, rate, COPY, ROWS, PITCH, COLUMNS)


def muon_step(
    matrices: Matrices, parameters: Any, gradients: Any, mean: Any, cells: Any, workspace: Any, step: Any,
    rate: Rate, *, momentum: float = 0.95, iterations: int = 5,
) -> None:  # fmt: skip
    """One step for every matrix; no other value of the flat vectors is touched.

    Args:
        matrices: where they lie.
        parameters, gradients, mean: float32 [B, F]; gradients are only read.
        cells: [B, F] float32 or bfloat16, written; None where the parameters themselves are read.
        workspace: float32 [B, ``matrices.floats``].
        step: int64 [1], steps done before this one.
        rate: the learning rate and its fall; a new value compiles anew.
        momentum, iterations: as in ``dipedge.optimisers.Muon``.
    """
    fits, flat = parameters.shape
    copied = parameters if cells is None else cells
    a, b, c = QUINTIC
    unit = 4 if matrices.whole and flat % 4 == 0 else 1
    for group in matrices.groups:
        constants = {
            "RATE": rate.learning_rate, "HOLD": rate.hold, "DECAY": rate.decay, "FINAL": rate.final,
            "KEEP": momentum, "REST": 1 - momentum, "COPY": cells is not None, "UNIT": unit,
            "ROWS": group.rows, "PITCH": group.pitch, "WIDE": WIDE,
        }  # fmt: skip
        tensors = (group.table, parameters, gradients, mean, copied, workspace, step, flat, matrices.floats)
        if group.large:
            large_step(group, fits, tensors, constants, iterations)
            continue
        launch(
            muon_kernel, (len(group.matrices), fits), *tensors, ITERATIONS=iterations, A=a, B=b, C=c,
            PRECISION=PRECISION, COLUMNS=min(COLUMNS, group.rows), warps=8, **constants,
        )  # fmt: skip
