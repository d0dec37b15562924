"""What the filters read and write along one side, as lists made once per layer on the host.

Every pass along a side is a gather: out[i] = sum_d weight[i, d] in[index[i, d]], with as many terms as the
longest list has; shorter ones end in terms of weight 0. The adjoint is the transposed lists, so what a
clamped window reads several times comes back by itself, nothing is added atomically, and a kernel knows no
border.
Weights are computed and added up in float64 and stored in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dipedge.kernels.lanczos_conv.reference import phase_of, weights

Row = dict[int, float]  # what one output reads: position -> weight


@dataclass(frozen=True)
class Gather:
    """Along one side: int32 and float32 [n, D], on the device."""

    index: Any
    weight: Any

    @property
    def terms(self) -> int:
        """D."""
        return self.index.shape[1]


def filter_weights(factor: int, lobes: int) -> list[float]:
    """Of one side, sum 1; ``lobes`` 0 stands for averages of two."""
    if lobes == 0:
        return [0.5, 0.5]
    return weights(factor, lobes, phase_of(factor)).tolist()


def decimating(size: int, factor: int, lobes: int) -> list[Row]:
    """Per output which of ``size`` pixels it reads, its ends replicated: u[j, i] of the contract."""
    taps = filter_weights(factor, lobes)
    start = (len(taps) - factor) // 2
    rows: list[Row] = []
    for j in range(-(-size // factor)):
        row: Row = {}
        for q, weight in enumerate(taps):
            seen = min(max(factor * j + q - start, 0), size - 1)
            row[seen] = row.get(seen, 0.0) + weight
        rows.append(row)
    return rows


def transposed(rows: Sequence[Row], size: int) -> list[Row]:
    """Per input of ``size`` which outputs it is read by."""
    back: list[Row] = [{} for _ in range(size)]
    for j, row in enumerate(rows):
        for i, weight in row.items():
            back[i][j] = weight
    return back


def gather(rows: Sequence[Row], device: Any) -> Gather:
    """The lists as two tables; a list that is short reads position 0 with weight 0."""
    most = max(1, *(len(row) for row in rows))
    index = torch.zeros(len(rows), most, dtype=torch.int32)
    weight = torch.zeros(len(rows), most, dtype=torch.float64)
    for j, row in enumerate(rows):
        index[j, : len(row)] = torch.tensor(list(row), dtype=torch.int32)
        weight[j, : len(row)] = torch.tensor(list(row.values()), dtype=torch.float64)
    return Gather(index.to(device), weight.to(device=device, dtype=torch.float32))


@dataclass(frozen=True)
class Filter:
    """d_t of pictures of one size: what a decimated row or column reads, and which of them a pixel is in."""

    rows: Gather
    columns: Gather
    rows_back: Gather
    columns_back: Gather


def filter_of(height: int, width: int, factor: int, lobes: int, device: Any) -> Filter:
    """The tables of ``reference.decimate``; made once per size."""
    sides = [(decimating(size, factor, lobes), size) for size in (height, width)]
    forward = [gather(rows, device) for rows, _ in sides]
    back = [gather(transposed(rows, size), device) for rows, size in sides]
    return Filter(*forward, *back)
