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


@dataclass(frozen=True)
class Groups:
    """Sums of rows, ``GROUP`` at a time: out[g GROUP + r] = sum_u weight[g, u, r] in[index[g, u]].

    Neighbouring sums read nearly the same rows, so a group reads each of them once: at 8 taps 15 rows for 8
    sums, in place of 64.
    """

    index: Any  # int32 [groups, U]
    weight: Any  # float32 [groups, U, GROUP]
    count: int  # of rows that come out


GROUP = 8


def groups(rows: Sequence[Row], device: Any) -> Groups:
    """The lists in groups of ``GROUP``; what a list does not read has weight 0."""
    parts = [rows[start : start + GROUP] for start in range(0, len(rows), GROUP)]
    unions = [sorted(set().union(*part)) or [0] for part in parts]
    index = torch.zeros(len(parts), max(len(union) for union in unions), dtype=torch.int32)
    weight = torch.zeros(*index.shape, GROUP, dtype=torch.float64)
    for g, (part, union) in enumerate(zip(parts, unions, strict=True)):
        index[g, : len(union)] = torch.tensor(union, dtype=torch.int32)
        index[g, len(union) :] = union[-1]  # in the cache already
        for r, row in enumerate(part):
            for u, seen in enumerate(union):
                weight[g, u, r] = row.get(seen, 0.0)
    return Groups(index.to(device), weight.to(device=device, dtype=torch.float32), len(rows))


@dataclass(frozen=True)
class Decimation:
    """A convolution of side ``kernel`` over H x W pixels, decimated by ``factor`` to h x w.

    Args:
        size: H, W of the input without its padding.
        kernel: k, odd.
        columns: what output column i reads of a convolved row: u[i, :]; the point of tap b lies b further on.
        columns_back: per convolved column the outputs it is in.
        down: the rows of points as sums of padded rows; ``lines`` of them are different.
        up: the padded rows as sums of rows of points.
        point: int32 [h, k], which row of points output row j meets at tap a.
        user_begin, users: int32 [lines + 1] and [h k]: row of points r is met by (j, a) = divmod(u, k) for u
            of users[user_begin[r] : user_begin[r + 1]].
    """

    size: tuple[int, int]
    kernel: int
    factor: int
    columns: Gather
    columns_back: Gather
    down: Groups
    up: Groups
    point: Any
    user_begin: Any
    users: Any

    @property
    def lines(self) -> int:
        """How many rows of points there are: about min(k, t) per output row."""
        return self.down.count

    @property
    def result(self) -> tuple[int, int]:
        """h, w."""
        return tuple(-(-size // self.factor) for size in self.size)

    @property
    def padded(self) -> tuple[int, int]:
        """H + k - 1, W + k - 1."""
        return tuple(size + self.kernel - 1 for size in self.size)


def decimation(height: int, width: int, kernel: int, factor: int, lobes: int, device: Any) -> Decimation:
    """The tables of ``reference.conv_decimate``; made once per layer. ``lobes`` 0: averages of 2 x 2."""
    across = decimating(width, factor, lobes)
    points: list[Row] = []
    numbers: dict[tuple[tuple[int, float], ...], int] = {}
    users: list[list[int]] = []
    point = torch.zeros(-(-height // factor), kernel, dtype=torch.int32)
    for j, row in enumerate(decimating(height, factor, lobes)):
        for a in range(kernel):
            shifted = {i + a: weight for i, weight in row.items()}
            # Away from the border tap a of output j is tap a - t of output j + 1, to the last bit.
            r = numbers.setdefault(tuple(shifted.items()), len(points))
            if r == len(points):
                points.append(shifted)
                users.append([])
            users[r].append(j * kernel + a)
            point[j, a] = r
    begin = torch.tensor([0, *(len(met) for met in users)], dtype=torch.int32).cumsum(0).to(torch.int32)
    return Decimation(
        size=(height, width),
        kernel=kernel,
        factor=factor,
        columns=gather(across, device),
        columns_back=gather(transposed(across, width), device),
        down=groups(points, device),
        up=groups(transposed(points, height + kernel - 1), device),
        point=point.to(device),
        user_begin=begin.to(device),
        users=torch.tensor([u for met in users for u in met], dtype=torch.int32).to(device),
    )
