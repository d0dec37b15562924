"""Head, sigmoid, data term, running average and their way back, in one pass over the last layer.

Identity and mask terms: `head_loss` reads every tile of the last layer once, makes logits, output, loss and
dlogit, and from the same tile what the backward pass needs of the layer: the head's weight gradient and the
two sums per channel that the layer's batch norm asks for. g, the gradient by the normalised layer, has as
many channels as the layer, but follows from O numbers a pixel: it is not stored. Who reads the layer makes it
again with `head_gradient`; where a larger convolution wants it as a picture, `store_gradient` writes it.
The Lanczos term needs the whole output first: `head_forward`, ``triton_lanczos.decimate_loss``,
`head_backward`.

Three sums from two products. With D = act'(n) in {1, slope} and n = gamma h + beta, a tile's pixels p give

    A[o, c] = sum_p dlogit[p, o] D[p, c]        B[o, c] = sum_p dlogit[p, o] D[p, c] h[p, c]
    dweight = gamma B + beta A                  since D n = act(n)
    sum g = sum_o weight A,   sum g h = sum_o weight B

so neither da nor g is ever formed, and no sum runs across threads: forward [16, C] x [C, M], backward twice
[16, M] x [M, C], all by tl.dot with the O outputs (1 to 6, up to 16) padded to 16 rows. A is taken from
[n > 0], which is exact in bfloat16 where a slope of 0.2 is not. In bfloat16 the factors of a product are
rounded to cells as everywhere (weight, act(n), dlogit, D h); output, loss and what is stored are float32.

Layout. Pixels of a tile lie one after the other; a channel block holds all channels (a logit needs them), the
tile shrinks as they grow. Output, target, mask and average are whole pictures [B, H, W, O]; of a sampled fit
the layer has n x m pixels that stand at ``rows`` and ``columns`` of them.

Traffic at 512x512, 128 channels, bfloat16, 3 outputs: the layer 67 MB read; target, average and output 3.1 MB
each read or written, average twice, dlogit 3.1 MB: 83 MB, 17 us at 4.8 TB/s. Products 3 x 2 x 16 x 128 flops
a pixel, 3.2 GFLOP: 5 us of the tensor cores, beside some 10 other operations a value.

Registers at 128 channels, sm_90, bfloat16 and float32: head_loss 232 and 220, head_backward 128 (8 bytes
spilt) and 166, head_forward 98 and 166, store_gradient 84 and 48; sm_80 236 and 228, 170 and 166, 98 and 166,
80 and 40, nothing spilt.

Launches: one for everything (`head_loss`). Considered and rejected: sums across threads in place of products
padded from 3 to 16 rows (five of them a tile, 25 operations a value: about 30 us of arithmetic in a pass of
17); two passes, one for the loss and one for the gradient (67 MB more); a third product for dweight (the
algebra gives it); writing g (67 MB written, 67 MB read by the layer below).
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.activation import activated, by_normalised
from dipedge.kernels.gpu.launch import block, launch, programs
from dipedge.kernels.gpu.layer import Layer

# Of a tile of 128 channels or fewer, by the bytes of a cell: what 255 registers hold. Products of float32
# keep a whole row of channels in them, so there it is the least that tl.dot takes.
PIXELS = {2: 64, 4: 16}
ROWS = 16  # what O is padded to: the least that tl.dot takes


def tile_of(layer: Layer) -> tuple[int, int]:
    """Pixels and channels of a tile, powers of two; all channels in one."""
    across = block(layer.channels, 1 << 16)
    return max(16, PIXELS[layer.values.element_size()] * 128 // max(across, 128)), across


@triton.jit
def head_gradient(dlogit, pixel, there, weight, c, inside, OUT: tl.constexpr, INTO: tl.constexpr):
    """da [M, CB] = dlogit weight, float32: what the head hands down to act(n) of the last layer.

    Args:
        dlogit: float32 [pixels, O] of this fit.
        pixel, there: [M], which pixels, and whether they exist.
        weight: the head's, float32 [O, I] of this fit.
        c, inside: [CB], which channels, and whether they exist.

    It is 0 where either does not exist; ``by_normalised`` makes g of it.
    """
    da = tl.zeros([pixel.shape[0], c.shape[0]], tl.float32)
    for o in tl.static_range(OUT):
        d = tl.load(dlogit + pixel * OUT + o, mask=there, other=0.0)
        w = tl.load(weight + o * INTO + c, mask=inside, other=0.0)
        da += d[:, None] * w[None, :]
    return da


@triton.jit
def head_weight(weight, c, inside, OUT: tl.constexpr, INTO: tl.constexpr, ROWS: tl.constexpr):
    """The head's weights [ROWS, CB] float32, 0 where there is no output or no channel."""
    o = tl.arange(0, ROWS)
    return tl.load(
        weight + o[:, None] * INTO + c[None, :], mask=(o < OUT)[:, None] & inside[None, :], other=0.0
    )


@triton.jit
def norm_of(norm, c, inside, INTO: tl.constexpr):
    """mean, rstd, scale and shift of the channels; of one that does not exist 0, 1, 0 and 0."""
    mean = tl.load(norm + c, mask=inside, other=0.0)
    rstd = tl.load(norm + INTO + c, mask=inside, other=1.0)
    scale = tl.load(norm + 2 * INTO + c, mask=inside, other=0.0)
    return mean, rstd, scale, tl.load(norm + 3 * INTO + c, mask=inside, other=0.0)


@triton.jit
def layer_tile(values, pixel, there, c, inside, S: tl.constexpr):
    """y [M, CB] in float32; 0 where pixel or channel do not exist."""
    at = values + pixel.to(tl.int64)[:, None] * S + c[None, :]
    return tl.load(at, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)


@triton.jit
def output_tile(active, weight, bias, SIGMOID: tl.constexpr):
    """x [ROWS, M] float32 of activations [M, CB] and weights [ROWS, CB], both cells, and a bias [ROWS]."""
    x = tl.dot(weight, tl.trans(active), input_precision="ieee") + bias[:, None]
    if SIGMOID:
        # exp(80) is finite, and sigmoid(-80) is 0 as far as float32 can see; NaN stays NaN.
        x = tl.sigmoid(tl.where(x < -80, -80.0, x))
    return x


@triton.jit
def place_of(pixel, there, rows, columns, m, W, SAMPLED: tl.constexpr):
    """Where the layer's pixels [M] stand in the whole picture."""
    if SAMPLED:
        row = tl.load(rows + pixel // m, mask=there, other=0)
        return row * W + tl.load(columns + pixel % m, mask=there, other=0)
    else:
        return pixel


@triton.jit
def store_output(x, at, seen, output, average, keep, AVERAGED: tl.constexpr):
    """Writes x and takes it into the running average, which a keep of 0 starts whatever it held."""
    tl.store(output + at, x, mask=seen)
    if AVERAGED:
        kept = tl.load(keep)
        before = tl.load(average + at, mask=seen, other=0.0)
        tl.store(average + at, tl.where(kept == 0, x, before * kept + x * (1 - kept)), mask=seen)


@triton.jit
def _forward_kernel(
    values, norm, slope, weight, weight_stride, bias, bias_stride, rows, columns, output, average, keep,
    n, m, whole, W, tiles,
    S: tl.constexpr, INTO: tl.constexpr, OUT: tl.constexpr, M: tl.constexpr, CB: tl.constexpr,
    ROWS: tl.constexpr, SIGMOID: tl.constexpr, SAMPLED: tl.constexpr, AVERAGED: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    c, o = tl.arange(0, CB), tl.arange(0, ROWS)
    inside = c < INTO
    _, _, scale, shift = norm_of(norm + b * 4 * INTO, c, inside, INTO)
    factors = head_weight(weight + b * weight_stride, c, inside, OUT, INTO, ROWS).to(values.dtype.element_ty)
    offsets = tl.load(bias + b * bias_stride + o, mask=o < OUT, other=0.0)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        pixel = tile * M + tl.arange(0, M)
        there = pixel < n * m
        y = layer_tile(values + b * n * m * S, pixel, there, c, inside, S)
        active = activated(y, scale, shift, slope).to(values.dtype.element_ty)
        x = output_tile(active, factors, offsets, SIGMOID)
        place = place_of(pixel, there, rows + b * n, columns + b * m, m, W, SAMPLED)
        at = b * whole * OUT + place[None, :] * OUT + o[:, None]
        store_output(x, at, (o < OUT)[:, None] & there[None, :], output, average, keep, AVERAGED)


def head_forward(
    layer: Layer,
    weight: Any,
    bias: Any,
    output: Any,
    positions: tuple[Any, Any] | None = None,
    average: Any = None,
    keep: Any = None,
    sigmoid: bool = True,
) -> None:
    """Only the output: ahead of a Lanczos data term, and for what a sampled step did not see.

    Args:
        layer: the last one, normalised, [B, n, m, S].
        weight, bias: the head's, float32 [B, O, 1, 1, I] and [B, O], views into the flat parameters.
        output: float32 [B, H, W, O]; written where the layer's pixels stand.
        positions: rows int32 [B, n] and columns int32 [B, m] of a sampled fit; None: n = H, m = W.
        average: float32 [B, H, W, O], becomes average keep + x (1 - keep); None leaves it out
            (`running_average` takes it later).
        keep: float32 [1].
    """
    fits, n, m = layer.shape
    pixels, across = tile_of(layer)
    tiles = -(-n * m // pixels)
    rows, columns = positions or (output, output)
    launch(
        _forward_kernel, (programs(tiles), fits),
        layer.values, layer.norm, layer.slope, weight, weight.stride(0), bias, bias.stride(0), rows, columns,
        output, output if average is None else average, output if keep is None else keep,
        n, m, output.shape[1] * output.shape[2], output.shape[2], tiles,
        S=layer.values.shape[3], INTO=layer.channels, OUT=output.shape[3], M=pixels, CB=across, ROWS=ROWS,
        SIGMOID=sigmoid, SAMPLED=positions is not None, AVERAGED=average is not None, warps=8, stages=3,
    )  # fmt: skip


@triton.jit
def _average_kernel(output, average, keep, count, N: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * N + tl.arange(0, N)
    there = at < count
    store_output(tl.load(output + at, mask=there, other=0.0), at, there, output, average, keep, True)


def running_average(output: Any, average: Any, keep: Any) -> None:
    """average <- average keep + x (1 - keep) over whole pictures, float32 [B, H, W, O].

    For sampled fits: where a side is odd, two of a cycle's four steps see its last row or column, so an
    average taken with each of them would count it twice.
    """
    values = 1024
    count = output.numel()
    launch(_average_kernel, (-(-count // values),), output, average, keep, count, N=values)


@triton.jit
def _gradient_kernel(
    dlogit, weight, weight_stride, values, norm, slope, out, pixels, tiles,
    S: tl.constexpr, INTO: tl.constexpr, OUT: tl.constexpr, M: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    c = tl.arange(0, CB)
    inside = c < INTO
    _, _, scale, shift = norm_of(norm + b * 4 * INTO, c, inside, INTO)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        pixel = tile * M + tl.arange(0, M)
        there = pixel < pixels
        y = layer_tile(values + b * pixels * S, pixel, there, c, inside, S)
        da = head_gradient(
            dlogit + b * pixels * OUT, pixel, there, weight + b * weight_stride, c, inside, OUT, INTO
        )  # fmt: skip
        g = by_normalised(da, y, scale, shift, slope).to(out.dtype.element_ty)
        at = out + b * pixels * S + pixel.to(tl.int64)[:, None] * S + c[None, :]
        tl.store(at, g, mask=there[:, None] & inside[None, :])


def store_gradient(dlogit: Any, weight: Any, layer: Layer, out: Any) -> None:
    """Writes g, the gradient by the normalised last layer, for a reader that takes its neighbours too.

    Args:
        dlogit: float32 [B, n, m, O].
        weight: the head's, float32 [B, O, 1, 1, I].
        layer: the last one.
        out: cells [B, n, m, S].
    """
    fits, n, m = layer.shape
    pixels, across = tile_of(layer)
    tiles = -(-n * m // pixels)
    launch(
        _gradient_kernel, (programs(tiles), fits),
        dlogit, weight, weight.stride(0), layer.values, layer.norm, layer.slope, out, n * m, tiles,
        S=layer.values.shape[3], INTO=layer.channels, OUT=dlogit.shape[3], M=pixels, CB=across, warps=8,
    )  # fmt: skip
