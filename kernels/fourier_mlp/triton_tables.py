"""Fourier features on the GPU: the tables of both sides, the picture made of them, learned frequencies.

What. ``tables`` fills the features of all columns and all rows in one launch; ``features`` writes the picture
that a first layer wider than 1x1 reads; ``frequency_gradient`` goes from the tables' gradients back to the
frequencies.

Layout. A ``Side`` has the positions of its pixels: a sampled fit sees others in every step, and a camera may
have moved them anywhere.

Traffic. Nothing to speak of for the tables: 2n(H + W) values of 4 bytes, 64 KB at 512 x 512 and n = 8. The
picture is written once, S cells a pixel; its readers' products are what it costs.

Precision. Angles reach 256 radians, where float32 is spaced 3e-5: they are made in float64. A sine and a
cosine in float64 of 16,384 angles take microseconds on a data-centre GPU (half the rate of float32). The
reduction by quarter turns and the polynomials are written out, because the library's functions keep a stack
frame for huge angles. Up to a million turns the angle's own rounding is all the error there is.

Compiled for sm_80 and sm_90: 32 to 112 registers, no stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import block, launch, programs

ANGLES = 256  # of one tile of ``tables``
PIXELS = 64  # of one tile of ``features``


@dataclass(frozen=True)
class Side:
    """The columns or the rows of a picture, and the features there.

    Args:
        positions: int32 or float64 [B, L], of the pixels on the whole side.
        size: how many pixels the whole side has; position ``size`` - 1 is coordinate 1.
        table: float32 [B, L, 2n]: cosines, then sines.
        gradient: by ``table``, of its shape; None where frequencies are not learned.
    """

    positions: Any
    size: int
    table: Any
    gradient: Any = None

    @property
    def count(self) -> int:
        """L."""
        return self.table.shape[1]

    @property
    def half(self) -> int:
        """2n."""
        return self.table.shape[2]


@triton.jit
def sine_cosine(angle):
    """Both of float64 angles of moderate size, within float64 rounding of the angle."""
    quarters = tl.floor(angle * 0.6366197723675814 + 0.5)
    # pi / 2 in three parts (Cephes); the first two times ``quarters`` are exact.
    x = angle - quarters * 1.5707962512969971
    x = x - quarters * 7.549789415861596e-8
    x = x - quarters * 5.390302858158119e-15
    z = x * x
    s = 1.58962301576546568060e-10 * z - 2.50507477628578072866e-8
    s = s * z + 2.75573136213857245213e-6
    s = s * z - 1.98412698295895385996e-4
    s = s * z + 8.33333333332211858878e-3
    s = s * z - 1.66666666666666307295e-1
    s = x + x * z * s
    c = -1.13585365213876817300e-11 * z + 2.08757008419747316778e-9
    c = c * z - 2.75573141792967388112e-7
    c = c * z + 2.48015872888517045348e-5
    c = c * z - 1.38888888888730564116e-3
    c = c * z + 4.16666666666665929218e-2
    c = 1.0 - 0.5 * z + z * z * c
    q = quarters.to(tl.int32) & 3
    odd = (q & 1) != 0
    sine, cosine = tl.where(odd, c, s), tl.where(odd, s, c)
    return tl.where(q >= 2, -sine, sine), tl.where((q == 1) | (q == 2), -cosine, cosine)


@triton.jit
def fill_tile(frequencies, positions, table, size, L, tile, N: tl.constexpr, ANGLES: tl.constexpr):
    i = tile * ANGLES + tl.arange(0, ANGLES)
    inside = i < L * N
    p, k = i // N, i % N
    u = tl.load(positions + p, mask=inside, other=0).to(tl.float64) / tl.maximum(size - 1, 1).to(tl.float64)
    sine, cosine = sine_cosine(u * tl.load(frequencies + k, mask=inside, other=0.0).to(tl.float64))
    tl.store(table + p * (2 * N) + k, cosine.to(tl.float32), mask=inside)
    tl.store(table + p * (2 * N) + N + k, sine.to(tl.float32), mask=inside)


@triton.jit
def tables_kernel(
    frequencies, of_fit, positions_u, table_u, size_u, W, positions_v, table_v, size_v, H,
    N: tl.constexpr, ANGLES: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    frequencies += b * of_fit
    first = tl.cdiv(W * N, ANGLES)
    for tile in range(tl.program_id(0), first + tl.cdiv(H * N, ANGLES), tl.num_programs(0)):
        if tile < first:
            fill_tile(frequencies, positions_u + b * W, table_u + b * W * 2 * N, size_u, W, tile, N, ANGLES)
        else:
            fill_tile(
                frequencies, positions_v + b * H, table_v + b * H * 2 * N, size_v, H, tile - first, N, ANGLES
            )


def tables(frequencies: Any, columns: Side, rows: Side) -> None:
    """Fills both tables.

    Args:
        frequencies: float64 or float32 [B, n], radians per unit coordinate, innermost contiguous.
        columns, rows: their tables are written.
    """
    fits, n = frequencies.shape
    tiles = sum(-(-side.count * n // ANGLES) for side in (columns, rows))
    launch(
        tables_kernel, (programs(tiles), fits), frequencies, frequencies.stride(0),
        columns.positions, columns.table, columns.size, columns.count,
        rows.positions, rows.table, rows.size, rows.count, N=n, ANGLES=ANGLES,
    )  # fmt: skip


@triton.jit
def along_side(positions, table, gradient, size, L, k, N: tl.constexpr, POSITIONS: tl.constexpr):
    """Sum over a side of u (cos dsin - sin dcos), float64 [K]."""
    total = tl.zeros_like(k).to(tl.float64)
    for first in range(0, L, POSITIONS):
        p = first + tl.arange(0, POSITIONS)
        inside = (p < L)[:, None] & (k < N)[None, :]
        at = p[:, None] * (2 * N) + k[None, :]
        u = tl.load(positions + p, mask=p < L, other=0).to(tl.float64)
        u = u / tl.maximum(size - 1, 1).to(tl.float64)
        cosine = tl.load(table + at, mask=inside, other=0.0)
        sine = tl.load(table + at + N, mask=inside, other=0.0)
        by_cosine = tl.load(gradient + at, mask=inside, other=0.0)
        by_sine = tl.load(gradient + at + N, mask=inside, other=0.0)
        turned = cosine * by_sine - sine * by_cosine
        total += tl.sum(u[:, None] * turned.to(tl.float64), axis=0)
    return total


@triton.jit
def frequency_kernel(
    positions_u, table_u, gradient_u, size_u, W, positions_v, table_v, gradient_v, size_v, H,
    out, of_fit, N: tl.constexpr, K: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, K)
    u, v = b * W * 2 * N, b * H * 2 * N
    total = along_side(
        positions_u + b * W, table_u + u, gradient_u + u, size_u, W, k, N, POSITIONS
    ) + along_side(positions_v + b * H, table_v + v, gradient_v + v, size_v, H, k, N, POSITIONS)
    tl.store(out + b * of_fit + k, total.to(tl.float32), mask=k < N)


def frequency_gradient(columns: Side, rows: Side, out: Any) -> None:
    """The gradient by the frequencies that the tables were made with.

    Args:
        columns, rows: with tables and their gradients.
        out: float32 [B, n], a view into the flat gradient vector.
    """
    fits, n = out.shape
    k = block(n, 256, least=1)
    launch(
        frequency_kernel, (fits,), columns.positions, columns.table, columns.gradient, columns.size,
        columns.count, rows.positions, rows.table, rows.gradient, rows.size, rows.count,
        out, out.stride(0), N=n, K=k, POSITIONS=max(1, 2048 // k),
    )  # fmt: skip


@triton.jit
def features_kernel(
    table_u, table_v, out, H, W, HALF: tl.constexpr, S: tl.constexpr, PIXELS: tl.constexpr, C: tl.constexpr
):
    b = tl.program_id(1).to(tl.int64)
    c = tl.arange(0, C)
    for tile in range(tl.program_id(0), tl.cdiv(H * W, PIXELS), tl.num_programs(0)):
        pixel = tile * PIXELS + tl.arange(0, PIXELS)
        there = (pixel < H * W)[:, None]
        of_u = table_u + (b * W + pixel % W)[:, None] * HALF + c[None, :]
        of_v = table_v + (b * H + pixel // W)[:, None] * HALF + (c - HALF)[None, :]
        # Two masked loads, of which one is taken: nothing is read where the other stands.
        first = (c < HALF)[None, :]
        second = ((c >= HALF) & (c < 2 * HALF))[None, :]
        z = tl.load(of_u, mask=there & first, other=0.0) + tl.load(of_v, mask=there & second, other=0.0)
        at = out + (b * H * W + pixel)[:, None] * S + c[None, :]
        tl.store(at, z.to(out.dtype.element_ty), mask=there & (c < S)[None, :])


def features(columns: Side, rows: Side, out: Any) -> None:
    """Writes the picture of all 4n features: cells [B, H, W, S], zeros in the surplus."""
    fits, height, width, stride = out.shape
    launch(
        features_kernel, (programs(-(-height * width // PIXELS)), fits), columns.table, rows.table, out,
        height, width, HALF=columns.half, S=stride, PIXELS=PIXELS, C=block(stride, 1 << 16, least=8),
    )  # fmt: skip
