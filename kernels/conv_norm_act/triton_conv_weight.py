"""The gradient by a convolution's weights: dc transposed times the windows of the padded input.

dW[o, (a, b, i)] = sum over pixels u of dc[u, o] padded[s u + (a, b), i]: a product over all pixels, with an
output of O by k k S columns. Programs are blocks of that output times parts of the picture; each part's sum
is written, and kernels/adam adds the parts in order. So nothing is added atomically.

L2 traffic. A block of N outputs by K columns reads dc once and its own columns once: at 128 channels, 3x3,
the nine taps are 1152 columns. Blocks of 128 read dc nine times (1.2 GB of L2 traffic at 512 x 512), blocks
of 256 (two taps sharing the tile of dc) five times: 0.9 GB, 150 to 165 us at the 5.5 to 6 TB/s of an H200's
L2. That is 128 accumulators a thread; three taps would be 192 and spill. Parts take every P-th tile, so that
programs that run together read neighbouring rows, and the picture is fetched from memory once.

Partial sums: 26 parts of 590 KB at 128 channels (132 programs of 256 columns, one to a multiprocessor): 15 MB
written and read, 7 us.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.conv_norm_act.triton_conv import ENOUGH, stages, warps
from dipedge.kernels.gpu import launch as gpu

# Pixels, outputs and columns of the largest tile, by bytes of a cell.
LARGEST = {2: (64, 128, 256), 4: (32, 64, 64)}


def _tile(pixels: int, out: int, columns: int, cell: int) -> tuple[int, int, int]:
    m, n, k = LARGEST[cell]
    if gpu.shared_memory() < 128 << 10:
        k = min(k, 128)
    n, k = gpu.block(out, n), gpu.block(columns, k)

    def count() -> int:
        return -(-pixels // m) * -(-out // n) * -(-columns // k)

    while count() < ENOUGH and k > 64:
        k //= 2
    while count() < ENOUGH and m > 32:
        m //= 2
    while count() < ENOUGH and n > 32:
        n //= 2
    return m, n, k


def convolve_weight_partials(height: int, width: int, into: int, out: int, kernel: int, cell: int = 2) -> int:
    """P: how many parts ``convolve_backward_weight`` leaves of the weight gradient.

    Args:
        height, width: of the convolution's output.
        into, out: channels.
        kernel: side.
        cell: bytes.
    """
    columns = kernel * kernel * gpu.channel_stride(into)
    m, n, k = _tile(height * width, out, columns, cell)
    blocks = -(-out // n) * -(-columns // k)
    # Programs with the largest tiles have a multiprocessor to themselves.
    most = gpu.MAX_PROGRAMS // (2 if n * k > 128 * 128 else 1)
    return max(1, min(-(-height * width // m), most // blocks))


@triton.jit
def _backward_weight(
    padded, dc, partials, width, pixels, padded_width, dc_width, parts, border, pb, db,
    S: tl.constexpr, DS: tl.constexpr, I: tl.constexpr, O: tl.constexpr, KERNEL: tl.constexpr,
    STRIDE: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    p, group, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    TAPS: tl.constexpr = KERNEL * KERNEL
    blocks = tl.cdiv(TAPS * S, K)
    column = group % blocks * K + tl.arange(0, K)
    o = group // blocks * N + tl.arange(0, N)
    tap = column // S
    channel = column - tap * S
    row = tap // KERNEL
    window = padded + b * pb + ((row * padded_width + tap - row * KERNEL) * S + channel)[None, :]
    of_output = dc + b * db + o[None, :]
    total = tl.zeros([N, K], tl.float32)
    for tile in range(p, tl.cdiv(pixels, M), parts):
        m = tile * M + tl.arange(0, M)
        pixel = tl.minimum(m, pixels - 1)
        i = (pixel // width).to(tl.int64)
        j = pixel - i * width
        # Pixels that are not there count with a gradient of 0, so the input needs no mask for them.
        at = of_output + (((i + border) * dc_width + j + border) * DS)[:, None]
        d = tl.load(at, mask=(m < pixels)[:, None] & (o < DS)[None, :], other=0.0)
        at = window + ((i * padded_width + j) * (STRIDE * S))[:, None]
        if (TAPS * S) % K == 0:
            x = tl.load(at)
        else:
            x = tl.load(at, mask=(column < TAPS * S)[None, :], other=0.0)
        total = tl.dot(tl.trans(d), x, total, input_precision="ieee")
    to = partials + (b * parts + p) * (O * TAPS * I) + o[:, None] * (TAPS * I) + (tap * I + channel)[None, :]
    tl.store(to, total, mask=(o < O)[:, None] & ((tap < TAPS) & (channel < I))[None, :])


def convolve_backward_weight(padded: Any, dc_padded: Any, partials: Any, kernel: int, stride: int) -> None:
    """One launch: parts whose sum is the gradient by the weights.

    Args:
        padded: as ``convolve`` read it.
        dc_padded: cells from ``output_gradient``, with ``gradient_margins`` of zeros.
        partials: float32 [B, P, O, k, k, I], contiguous, written; P = ``convolve_weight_partials(...)``
            fills the GPU, any other is right too.
        kernel: side k.
        stride: 1 or 2.
    """
    fits, parts, out, into = *partials.shape[:3], partials.shape[5]
    border = (kernel - 1) // stride
    height, width = dc_padded.shape[1] - 2 * border, dc_padded.shape[2] - 2 * border
    S, cell = padded.stride(2), padded.element_size()
    m, n, k = _tile(height * width, out, kernel * kernel * S, cell)
    gpu.launch(
        _backward_weight, (parts, -(-out // n) * -(-kernel * kernel * S // k), fits),
        padded, dc_padded, partials, width, height * width, padded.shape[2], dc_padded.shape[2], parts,
        border, padded.stride(0), dc_padded.stride(0),
        warps=warps(n, k), stages=stages(m * (n + k) * cell),
        S=S, DS=dc_padded.stride(2), I=into, O=out, KERNEL=kernel, STRIDE=stride, M=m, N=n, K=k,
    )  # fmt: skip
