"""The way back of a picture that is a sum of a column part and a row part: column sums and row sums.

What. The gradient by y is dy = scale (g - mean g - h mean gh), h = (y - mean) rstd, and only its sums over
columns and over rows are needed. Since y = column + row, the sum of h over a column is known from the parts:

    sum_i dy[i, j] = scale (sum_i g[i, j] - H' mean g - mean gh H' (column[j] - mean column) rstd)

and likewise over rows. So y is not read at all: the picture of g is read once, and the rest works on W' + H'
pixels. ``features_backward`` takes the same sums of the gradient by a picture of features.

Layout. Launch 1 cuts the picture into tiles of columns by chunks of rows and writes partial sums to the
scratch memory: per chunk for every column [chunks, W', C], per tile for every row [tiles, H', C]. Launch 2
adds them in order, 16 positions a program, and makes the small products with the tables: partial sums
of the weights' gradient (kernels/adam's ``collect`` adds them) and the tables' own gradient.

Traffic, 256 x 256 of 128 channels in bfloat16: 17 MB of g, and 4 MB of partial sums for each direction that
are written and read within the L2 cache. Reading y as well would double it.

A program of launch 1 asks for four rows of its columns before it sums the first: sums over columns go across
threads, with a barrier each, and loads must be under way meanwhile.

Rejected: atomic additions (no fixed order); the four rows as one tile of three axes (Triton 3.6 brings it
into another layout for each sum and spills); column sums of dy in place of g (needs y).

Compiled for sm_80 and sm_90, 128 channels: 128 registers (sums) and 91 (small products; 154 with
learned frequencies, 228 under Triton 3.6), no stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.fourier_mlp.triton_tables import Side
from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.layer import Gradient, Layer

POSITIONS = 16  # of one program of launch 2
TOGETHER = 8  # partial sums that it loads at once
TILE = 16384  # values that a program of launch 1 loads at once
LINES = 4  # rows among them


@dataclass(frozen=True)
class Cut:
    """How launch 1 cuts a picture of one size; the same for any number of fits."""

    height: int
    width: int
    channels: int

    @property
    def channel_block(self) -> int:
        return gpu.block(self.channels, 128, least=4)

    @property
    def tile_width(self) -> int:
        return gpu.block(self.width, max(1, TILE // (LINES * self.channel_block)))

    @property
    def tiles(self) -> int:
        """Of columns."""
        return -(-self.width // self.tile_width)

    @property
    def chunk_height(self) -> int:
        """The least that leaves at most ``MAX_PROGRAMS`` programs."""
        rows = LINES
        while self.tiles * -(-self.height // rows) > gpu.MAX_PROGRAMS and rows < self.height:
            rows *= 2
        return rows

    @property
    def chunks(self) -> int:
        """Of rows."""
        return -(-self.height // self.chunk_height)

    @property
    def floats(self) -> int:
        """Of scratch memory that partial sums take, per fit."""
        return (self.chunks * self.width + self.tiles * self.height) * self.channels


@triton.jit
def loaded_row(g, y, line, x, c, W, H, C: tl.constexpr, S: tl.constexpr):
    """Columns x and channels c of row y, float32 [N, len c]; zeros outside the picture."""
    width = tl.where(y < H, W, 0)
    at = g + y * line + x[:, None] * S + c[None, :]
    return tl.load(at, mask=(x < width)[:, None] & (c < C)[None, :], other=0.0).to(tl.float32)


@triton.jit
def store_row_sum(sums, y, row, c, H, C: tl.constexpr):
    """The sum over columns of a ``row`` [N, len c] that is inside the picture."""
    tl.store(sums + y * C + c, tl.sum(row, axis=0), mask=c < tl.where(y < H, C, 0))


@triton.jit
def sums_kernel(
    g, column_sums, row_sums, W, H, rows, tiles,
    C: tl.constexpr, S: tl.constexpr, LINES: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    tl.static_assert(LINES == 4)
    tile, chunk = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    b = tl.program_id(2).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x = tile * N + tl.arange(0, N)
    line = tl.full((), S, tl.int64) * W  # rows of large pictures lie beyond 2^31 cells
    g += b * H * line
    row_sums += (b * tiles + tile) * H * C
    total = tl.zeros((N, BLOCK), tl.float32)
    for first in range(0, rows, LINES):
        y = chunk * rows + first
        # All four are asked for before the first is summed.
        g0 = loaded_row(g, y, line, x, c, W, H, C, S)
        g1 = loaded_row(g, y + 1, line, x, c, W, H, C, S)
        g2 = loaded_row(g, y + 2, line, x, c, W, H, C, S)
        g3 = loaded_row(g, y + 3, line, x, c, W, H, C, S)
        total += (g0 + g1) + (g2 + g3)
        store_row_sum(row_sums, y, g0, c, H, C)
        store_row_sum(row_sums, y + 1, g1, c, H, C)
        store_row_sum(row_sums, y + 2, g2, c, H, C)
        store_row_sum(row_sums, y + 3, g3, c, H, C)
    to = column_sums + ((b * tl.cdiv(H, rows) + chunk) * W + x)[:, None] * C + c[None, :]
    tl.store(to, total, mask=(x < W)[:, None] & (c < C)[None, :])


def sum_picture(g: Any, channels: int, scratch: gpu.Scratch) -> tuple[Cut, Any, Any]:
    """Launch 1: how it cut the picture, and both directions' partial sums in the scratch memory."""
    fits, height, width, stride = g.shape
    cut = Cut(height, width, channels)
    column_sums = scratch.partials
    row_sums = column_sums[fits * cut.chunks * width * channels :]
    blocks = -(-channels // cut.channel_block)
    gpu.launch(
        sums_kernel, (cut.tiles * cut.chunks, blocks, fits), g, column_sums, row_sums, width, height,
        cut.chunk_height, cut.tiles, C=channels, S=stride, LINES=LINES, N=cut.tile_width,
        BLOCK=cut.channel_block, warps=8,
    )  # fmt: skip
    return cut, column_sums, row_sums


@triton.jit
def added(sums, count, L, m, c, C: tl.constexpr, TOGETHER: tl.constexpr):
    """``count`` partial sums [count, L, C] at positions m and channels c, in order: [M, len c]."""
    total = tl.zeros((m.shape[0], c.shape[0]), tl.float32)
    inside = (m < L)[:, None] & (c < C)[None, :]
    for first in range(0, count, TOGETHER):
        p = first + tl.arange(0, TOGETHER)
        at = sums + (p * L)[:, None, None] * C + m[None, :, None] * C + c[None, None, :]
        there = (p < count)[:, None, None] & inside[None, :, :]
        total += tl.sum(tl.load(at, mask=there, other=0.0), axis=0)
    return total


@triton.jit
def back_to_side(
    sums, count, L, others, table, dtable, table_length, stride, weight, dweight, parts, mean_of_part,
    norm, means, tile, OUT: tl.constexpr, HALF: tl.constexpr, LEARNED: tl.constexpr, ADD: tl.constexpr,
    M: tl.constexpr, K: tl.constexpr, C: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    """One tile of positions of a side: its share of the weights' gradient, and the tables' gradient.

    ``others`` is how many pixels were summed; ``weight`` and ``dweight`` point to this side's half.
    """
    m, k = tile * M + tl.arange(0, M), tl.arange(0, K)
    there = (m < L)[:, None]
    at_table = (m * stride)[:, None] * HALF + k[None, :]
    values = tl.load(table + at_table, mask=there & (k < HALF)[None, :], other=0.0)
    by_table = tl.zeros((M, K), tl.float32)
    for start in range(0, OUT, C):
        c = start + tl.arange(0, C)
        inside = c < OUT
        rstd = tl.load(norm + OUT + c, mask=inside, other=0.0)
        scale = tl.load(norm + 2 * OUT + c, mask=inside, other=0.0)
        mean_g = tl.load(means + c, mask=inside, other=0.0)
        mean_gh = tl.load(means + OUT + c, mask=inside, other=0.0)
        part = tl.load(parts + m[:, None] * OUT + c[None, :], mask=there & inside[None, :], other=0.0)
        h = (part - tl.load(mean_of_part + c, mask=inside, other=0.0)[None, :]) * rstd[None, :]
        taken_off = others * (mean_g[None, :] + h * mean_gh[None, :])
        dy = scale[None, :] * (added(sums, count, L, m, c, OUT, TOGETHER) - taken_off)
        dy = tl.where(there, dy, 0.0)
        of_weight = c[:, None] * (2 * HALF) + k[None, :]
        known = inside[:, None] & (k < HALF)[None, :]
        by_weight = tl.dot(tl.trans(dy), values, input_precision="ieee")
        tl.store(dweight + of_weight, by_weight, mask=known)
        if LEARNED:
            factors = tl.load(weight + of_weight, mask=known, other=0.0)
            by_table += tl.dot(dy, factors, input_precision="ieee")
    if LEARNED:
        known = there & (k < HALF)[None, :]
        if ADD:
            by_table += tl.load(dtable + at_table, mask=known, other=0.0)
        tl.store(dtable + at_table, by_table, mask=known)
        if not ADD:
            # Positions between those that the layer keeps: nothing has come there yet.
            for skipped in range(1, stride):
                known = (m * stride + skipped < table_length)[:, None] & (k < HALF)[None, :]
                tl.store(dtable + at_table + skipped * HALF, by_table * 0, mask=known)


@triton.jit
def back_kernel(
    column_sums, row_sums, chunks, tiles, width, height, table_u, table_v, dtable_u, dtable_v, W, H, stride,
    weight, weight_of_fit, partials, parts, norm, means,
    OUT: tl.constexpr, HALF: tl.constexpr, LEARNED: tl.constexpr, ADD: tl.constexpr,
    M: tl.constexpr, K: tl.constexpr, C: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    each = tl.num_programs(0) // 2  # programs per side; the shorter side's last ones write zeros
    tile = tl.program_id(0) % each
    weight += b * weight_of_fit
    partials += (b * each + tile) * (2 * HALF) * OUT
    parts += b * (width + height + 2) * OUT
    means_of_parts = parts + (width + height) * OUT
    norm += b * 4 * OUT
    means += b * 2 * OUT
    if tl.program_id(0) < each:
        back_to_side(
            column_sums + b * chunks * width * OUT, chunks, width, height, table_u + b * W * HALF,
            dtable_u + b * W * HALF, W, stride, weight, partials, parts, means_of_parts, norm, means, tile,
            OUT, HALF, LEARNED, ADD, M, K, C, TOGETHER,
        )  # fmt: skip
    else:
        back_to_side(
            row_sums + b * tiles * height * OUT, tiles, height, width, table_v + b * H * HALF,
            dtable_v + b * H * HALF, H, stride, weight + HALF, partials + HALF, parts + width * OUT,
            means_of_parts + OUT, norm, means, tile, OUT, HALF, LEARNED, ADD, M, K, C, TOGETHER,
        )  # fmt: skip


def weight_partials(width: int, height: int) -> int:
    """P: how many partial sums of the weights' gradient a layer of this size leaves."""
    return -(-max(width, height) // POSITIONS)


def first_layer_backward(
    gradient: Gradient, layer: Layer, columns: Side, rows: Side, stride: int, weight: Any, parts: Any,
    partials: Any, scratch: gpu.Scratch, *, add: bool = False,
) -> None:  # fmt: skip
    """From the layer's gradient to the weights' and, for learned frequencies, to the tables'.

    Args:
        gradient: g and its means.
        layer: its norm is read; its values are not.
        columns, rows, stride, weight, parts: as ``first_layer`` had them. Where the sides have gradients,
            those are written, or added to.
        partials: float32 [B, P, O, 1, 1, 4n] of ``weight_partials``, written.
        scratch: partial sums take B times ``Cut(H', W', O).floats``.
        add: whether another layer has written the sides' gradients already.
    """
    fits, height, width = layer.shape
    channels = layer.channels
    cut, column_sums, row_sums = sum_picture(gradient.values, channels, scratch)
    learned = columns.gradient is not None
    gpu.launch(
        back_kernel, (2 * weight_partials(width, height), fits), column_sums, row_sums, cut.chunks,
        cut.tiles, width, height, columns.table, rows.table,
        columns.gradient if learned else columns.table, rows.gradient if learned else rows.table,
        columns.count, rows.count, stride, weight, weight.stride(0), partials, parts, layer.norm,
        gradient.means, OUT=channels, HALF=columns.half, LEARNED=learned, ADD=add, M=POSITIONS,
        K=gpu.block(columns.half, 1 << 16), C=gpu.block(channels, 128), TOGETHER=TOGETHER, warps=8,
    )  # fmt: skip


@triton.jit
def table_side(
    sums, count, L, dtable, tile, first_channel, CHANNELS: tl.constexpr, HALF: tl.constexpr,
    ADD: tl.constexpr, M: tl.constexpr, K: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    m, k = tile * M + tl.arange(0, M), tl.arange(0, K)
    total = added(sums, count, L, m, first_channel + k, CHANNELS, TOGETHER)
    at = dtable + m[:, None] * HALF + k[None, :]
    known = (m < L)[:, None] & (k < HALF)[None, :]
    if ADD:
        total += tl.load(at, mask=known, other=0.0)
    tl.store(at, total, mask=known)


@triton.jit
def table_kernel(
    column_sums, row_sums, chunks, tiles, dtable_u, dtable_v, W, H, HALF: tl.constexpr, ADD: tl.constexpr,
    M: tl.constexpr, K: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    first = tl.cdiv(W, M)
    tile = tl.program_id(0)
    of_columns, of_rows = column_sums + b * chunks * W * 2 * HALF, row_sums + b * tiles * H * 2 * HALF
    if tile < first:
        table_side(
            of_columns, chunks, W, dtable_u + b * W * HALF, tile, 0, 2 * HALF, HALF, ADD, M, K, TOGETHER
        )
    else:
        table_side(
            of_rows, tiles, H, dtable_v + b * H * HALF, tile - first, HALF, 2 * HALF, HALF, ADD, M, K,
            TOGETHER,
        )  # fmt: skip


def features_backward(dz: Any, columns: Side, rows: Side, scratch: gpu.Scratch, *, add: bool = False) -> None:
    """From the gradient by the picture of features, cells [B, H, W, S], to the tables' gradients.

    Args:
        dz: as ``features`` wrote z.
        columns, rows: their gradients are written, or added to.
        scratch: partial sums take B times ``Cut(H, W, 4n).floats``.
        add: whether another reader has written the sides' gradients already.
    """
    cut, column_sums, row_sums = sum_picture(dz, 2 * columns.half, scratch)
    programs = sum(-(-side.count // POSITIONS) for side in (columns, rows))
    gpu.launch(
        table_kernel, (programs, dz.shape[0]), column_sums, row_sums, cut.chunks, cut.tiles,
        columns.gradient, rows.gradient, columns.count, rows.count, HALF=columns.half, ADD=add, M=POSITIONS,
        K=gpu.block(columns.half, 1 << 16), TOGETHER=TOGETHER,
    )  # fmt: skip
