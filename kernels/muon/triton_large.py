"""Matrices with more than 128 outputs: the library's batched products between two launches of our own.

A program could not hold their Gram matrix. They are rare (no default net has any) and large enough to fill a
GPU alone, so one call per product and matrix, over all fits, costs nothing beside it. The products are the
library's float32 (tf32 where the caller has allowed that), written in place: a captured step can hold them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import launch
from dipedge.kernels.muon.reference import QUINTIC
from dipedge.kernels.muon.triton_ends import move, rate_of, update_of
from dipedge.kernels.muon.triton_matrices import WIDE, Group

TILE = 4096  # values of a tile at the two ends of a step


@triton.jit
def ends_kernel(
    table, parameters, gradients, mean, cells, workspace, step, F, FLOATS,
    RATE: tl.constexpr, HOLD: tl.constexpr, DECAY: tl.constexpr, FINAL: tl.constexpr,
    KEEP: tl.constexpr, REST: tl.constexpr, COPY: tl.constexpr, UNIT: tl.constexpr, TURNS: tl.constexpr,
    ROWS: tl.constexpr, PITCH: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    row = table + tl.program_id(0) * 4
    b = tl.program_id(1).to(tl.int64)
    place = tl.multiple_of(b * F + tl.load(row), UNIT)
    rows, columns = tl.load(row + 1).to(tl.int32), tl.multiple_of(tl.load(row + 2).to(tl.int32), UNIT)
    x = workspace + tl.multiple_of(b * FLOATS + tl.load(row + 3), 16)
    if TURNS < 0:
        update_of(gradients + place, mean + place, x, rows, columns, PITCH, KEEP, REST, ROWS, PITCH, COLUMNS)
    else:
        x += (TURNS % 2) * (ROWS * PITCH)
        rate = rate_of(tl.load(step), RATE, HOLD, DECAY, FINAL)
        move(parameters + place, cells + place, x, rows, columns, rate, COPY, ROWS, PITCH, COLUMNS)


def large_step(group: Group, fits: int, tensors: tuple, constants: dict, iterations: int) -> None:
    """The same for matrices that no program can hold: products by the library, between two launches."""
    grid, columns = (len(group.matrices), fits), max(4, min(WIDE, TILE // group.rows))  # divides the pitch
    launch(ends_kernel, grid, *tensors, TURNS=-1, COLUMNS=columns, warps=8, **constants)
    workspace, (a, b, c) = tensors[5], QUINTIC
    rows, pitch = group.rows, group.pitch
    for index in range(len(group.matrices)):
        begin = group.begin + index * group.floats
        pieces = workspace[:, begin : begin + group.floats].split(
            [rows * pitch, rows * pitch, rows * rows, rows * rows], dim=1
        )
        source, target = (piece.unflatten(1, (rows, pitch)) for piece in pieces[:2])
        gram, mixed = (piece.unflatten(1, (rows, rows)) for piece in pieces[2:])
        for _ in range(iterations):
            torch.bmm(source, source.mT, out=gram)
            torch.baddbmm(gram, gram, gram, beta=b, alpha=c, out=mixed)
            torch.baddbmm(source, mixed, source, beta=a, out=target)
            source, target = target, source
    launch(ends_kernel, grid, *tensors, TURNS=iterations, COLUMNS=columns, warps=8, **constants)
