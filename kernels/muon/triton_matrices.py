"""Where the matrices that Muon moves lie, in the flat vectors and in the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dipedge.kernels.gpu.launch import block

LARGEST = 128  # outputs of a matrix that one program takes
WIDE = 64  # columns of a product with X that are computed at once


@dataclass(frozen=True)
class Matrix:
    """A piece of the flat vectors: ``rows`` outputs by ``columns`` = k k I, both at least 16."""

    offset: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Group:
    """Matrices that lie in blocks of one size in the workspace, with zeros around them.

    So no reader needs masks, and the places of all values are known when a kernel is compiled.

    Args:
        matrices: at least one.
        table: int64 [n, 4] on the device: offset, rows, columns, begin in the workspace.
        rows, pitch: of a block; a power of two, and whole ``WIDE``.
        begin: of the first block in a fit's workspace.
        large: whether the library makes the products.
    """

    matrices: Sequence[Matrix]
    table: Any
    rows: int
    pitch: int
    begin: int
    large: bool

    @property
    def floats(self) -> int:
        """Of workspace per matrix and fit: X twice, its Gram matrix and the polynomial of that."""
        return 2 * self.rows * (self.pitch + self.rows)


class Matrices:
    """Where all matrices of a net lie, made once on the host.

    Args:
        matrices: those that Muon moves.
        device: where the tables go.
    """

    def __init__(self, matrices: Sequence[Matrix], device: Any) -> None:
        # Rows of whole groups of four allow loads of 16 bytes.
        self.whole = all(not (m.columns | m.offset) & 3 for m in matrices)
        self.groups = []
        self.floats = 0  # of workspace, per fit
        for large in (False, True):
            group = [m for m in matrices if (m.rows > LARGEST) == large]
            if not group:
                continue
            rows = block(max(m.rows for m in group), 1 << 16)
            pitch = -(-max(m.columns for m in group) // WIDE) * WIDE
            begin, each = self.floats, 2 * rows * (pitch + rows)
            table = [(m.offset, m.rows, m.columns, begin + i * each) for i, m in enumerate(group)]
            places = torch.tensor(table, dtype=torch.int64).to(device)
            self.groups.append(Group(group, places, rows, pitch, begin, large))
            self.floats += each * len(group)
