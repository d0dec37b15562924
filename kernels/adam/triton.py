"""Adam over all parameters of all fits in one launch, and the sums of weight gradients before it.

What. ``collect`` adds the partial sums that the convolutions' backward kernels left behind; ``adam_step``
updates parameters and moments and writes the copy in cells that the next step's products read.

Layout. Parameters, gradients and moments are flat float32 vectors [B, F]; every parameter begins at a
multiple of 16. Partial sums of one parameter are [B, P, size], wherever the caller put them.

Traffic. ``collect`` reads every partial sum once and writes 4 bytes a value; it is the larger of the two:
P is up to the number of programs of a backward kernel. ``adam_step`` moves 30 bytes a value (reads p, g, m,
v; writes p, m, v and a bfloat16 copy), 9 MB for the default PIP.

Order. A program of ``collect`` owns 256 values and adds ``TOGETHER`` partial sums at a time, as one tile:
many loads are in flight, and the order of additions is fixed. A table on the device says where the values
of each program lie, so one launch serves all parameters whatever their sizes.

Rejected: collecting inside ``adam_step`` (gradients could not be read by Muon, tests or a user, and a block
of 1024 values would wait for the parameter with the most partial sums); atomic additions (no fixed order).

Precision. The two bias corrections are computed in float64 from the step number in device memory, as
beta^s = exp(s ln beta); roots and divisions are rounded to nearest, which costs nothing here.

Compiled for sm_80 and sm_90: ``collect`` 40 registers (48 for odd sizes), ``adam_step`` 72, no stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import launch

VALUES = 256  # of one program of ``collect``
TOGETHER = 32  # partial sums that are loaded at once
BLOCK = 1024  # values of one program of ``adam_step``
GROUP = 16  # values that share a byte of ``active``; every parameter begins at a multiple of it


@dataclass(frozen=True)
class Partials:
    """Where the partial sums of one parameter lie.

    Args:
        offset: of the parameter in the flat vectors.
        size: how many values it has.
        begin: of the first fit's partial sums [B, count, size] in their own flat vector.
        count: P, how many there are.
        rows, pitch: the values stand in so many rows, each ``pitch`` after the last, in the flat vectors
            (columns of a larger matrix); together in the partial sums. One row: together there too.
    """

    offset: int
    size: int
    begin: int
    count: int
    rows: int = 1
    pitch: int = 0


class Collected:
    """The table of ``collect``, made once on the host: one row per program.

    Args:
        parameters: those that have partial sums; the others' gradients are left as they are.
        device: where the table goes.
    """

    def __init__(self, parameters: Sequence[Partials], device: Any) -> None:
        rows = []
        for at in parameters:
            width = at.size // at.rows
            for row, first in product(range(at.rows), range(0, width, VALUES)):
                length = min(VALUES, width - first)
                to, begin = at.offset + row * at.pitch + first, at.begin + row * width + first
                rows.append((to, length, begin, at.count, at.size, at.count * at.size))
        self.rows = len(rows)
        self.table = torch.tensor(rows, dtype=torch.int64).reshape(-1, 6).to(device)
        # Sizes and places that are whole groups of four allow loads of 16 bytes.
        self.whole = all(not (row[0] | row[1] | row[2] | row[4]) & 3 for row in rows)


@triton.jit
def collect_kernel(
    table, partials, gradients, F, VALUES: tl.constexpr, TOGETHER: tl.constexpr, UNIT: tl.constexpr
):
    row = table + tl.program_id(0) * 6
    b = tl.program_id(1).to(tl.int64)
    offset, length = tl.multiple_of(tl.load(row), UNIT), tl.multiple_of(tl.load(row + 1), UNIT)
    begin, count = tl.multiple_of(tl.load(row + 2), UNIT), tl.load(row + 3)
    size, of_fit = tl.multiple_of(tl.load(row + 4), UNIT), tl.multiple_of(tl.load(row + 5), UNIT)
    i = tl.arange(0, VALUES)
    inside = i < length
    total = tl.zeros((VALUES,), tl.float32)
    for first in range(0, count, TOGETHER):
        p = first + tl.arange(0, TOGETHER)
        at = partials + (begin + b * of_fit) + p[:, None] * size + i[None, :]
        total += tl.sum(tl.load(at, mask=(p < count)[:, None] & inside[None, :], other=0.0), axis=0)
    tl.store(gradients + b * F + offset + i, total, mask=inside)


def collect(plan: Collected, partials: Any, gradients: Any) -> None:
    """Adds up the partial sums of every parameter of the plan, in order.

    Args:
        plan: where they lie and where the sums go.
        partials: float32, flat.
        gradients: float32 [B, F], written where the plan says and nowhere else.
    """
    if not plan.rows:
        return
    fits, flat = gradients.shape
    unit = 4 if plan.whole else 1
    launch(
        collect_kernel, (plan.rows, fits), plan.table, partials, gradients, flat,
        VALUES=VALUES, TOGETHER=TOGETHER, UNIT=unit,
    )  # fmt: skip


@triton.jit
def correction(now, LOG: tl.constexpr):
    """1 - beta^s in float64, where LOG is ln beta and s is int64."""
    return 1.0 - tl.exp(tl.full((), LOG, tl.float64) * now.to(tl.float64))


@triton.jit
def adam_kernel(
    parameters, gradients, first, second, cells, active, step, F,
    RATE: tl.constexpr, REST1: tl.constexpr, BETA2: tl.constexpr, REST2: tl.constexpr, EPS: tl.constexpr,
    LOG1: tl.constexpr, LOG2: tl.constexpr, COPY: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < F
    moves = inside & (tl.load(active + i // GROUP, mask=inside, other=0) != 0)
    i += tl.program_id(1).to(tl.int64) * F
    now = tl.load(step) + 1
    size = (tl.full((), RATE, tl.float64) / correction(now, LOG1)).to(tl.float32)
    root = tl.sqrt(correction(now, LOG2)).to(tl.float32)
    p = tl.load(parameters + i, mask=inside, other=0.0)
    g = tl.load(gradients + i, mask=moves, other=0.0)
    m, v = tl.load(first + i, mask=moves, other=0.0), tl.load(second + i, mask=moves, other=0.0)
    m += REST1 * (g - m)
    v = BETA2 * v + REST2 * g * g
    moved = p - tl.div_rn(size * m, tl.div_rn(tl.sqrt_rn(v), root) + EPS)
    tl.store(first + i, m, mask=moves)
    tl.store(second + i, v, mask=moves)
    tl.store(parameters + i, moved, mask=moves)
    if COPY:
        copied = tl.where(moves, moved, p)
        tl.store(cells + i, copied.to(cells.dtype.element_ty), mask=inside)


def logarithm(beta: float) -> float:
    """ln beta; of 0 a number whose exponential is 0 after one step."""
    return math.log(beta) if beta > 0 else -1e4


def adam_step(
    parameters: Any, gradients: Any, first: Any, second: Any, cells: Any, active: Any, step: Any,
    *, learning_rate: float, beta1: float, beta2: float, eps: float,
) -> None:  # fmt: skip
    """One step of Adam for the active parameters, and the copy in cells of all of them.

    Args:
        parameters, gradients, first, second: float32 [B, F]; ``gradients`` is only read.
        cells: [B, F] float32 or bfloat16, written; None where the parameters themselves are read.
        active: uint8 [F / 16]: which groups of 16 values Adam moves; no other value of the four is touched,
            and what the other gradients hold does not matter.
        step: int64 [1], steps done before this one.
        learning_rate, beta1, beta2, eps: as in ``dipedge.optimisers.Adam``; a new value compiles anew.
    """
    fits, flat = parameters.shape
    copied = parameters if cells is None else cells
    launch(
        adam_kernel, (-(-flat // BLOCK), fits), parameters, gradients, first, second, copied, active, step,
        flat, RATE=learning_rate, REST1=1 - beta1, BETA2=beta2, REST2=1 - beta2, EPS=eps,
        LOG1=logarithm(beta1), LOG2=logarithm(beta2), COPY=cells is not None, GROUP=GROUP, BLOCK=BLOCK,
    )  # fmt: skip
