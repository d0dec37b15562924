"""Contract of ``lanczos_conv``: Lanczos decimation d_t, alone and after a convolution.

Formula. One side of n pixels becomes m = ceil(n/t); with a = 2 or 3 lobes and x replicated past its ends,

    y[j] = sum_q w[q] x[clamp(t j + q - start, 0, n-1)]
    w[q] ~ sinc(d_q) sinc(d_q / a), d_q the tap's distance from the centre over t, sum w = 1

    even t: phase 1/2, 2 a t taps, start = (2 a t - t)/2: centred between the cell's middle pixels
    odd t:  phase 0, 2 a t + 1 taps, start = (2 a t + 1 - t)/2: centred on the cell's middle pixel

and both sides one after the other. Even t is the published ``Downsampler`` with phase 1/2 and
preserve_size, checked against it; its 2-d kernel, normalised as a whole, is the outer product of the
normalised 1-d ones. For odd t the published padding does not give ceil(n/t) with phase 1/2, and with
phase 0 it centres output j on pixel t j, which shifts the picture by (t-1)/2; here cells stay centred,
as in Pillow's resize. Where the published code drops a last partial cell (n not a multiple of t), here
it counts, its missing pixels replicated.

Shapes. x [1, C, H, W] -> y [1, C, ceil(H/t), ceil(W/t)]. ``conv_decimate`` first convolves with padding
(``conv_norm_act``), weight [O, I, k, k]; the Lanczos weights are fixed.

Gradient. The adjoint: dx[i] = sum of w[q] dy[j] over all (j, q) that read pixel i, so end pixels also
gather what was replicated from them. Linear, so <d_t(x), y> = <x, d_t^T(y)>.

Work. Per output value 2 taps flops for the second side and 2 taps t for the first: at t = 4, a = 2,
160 flops, against 512 for the dense 16 x 16 kernel (the published code runs it n-to-n: 3 times more).
Reads C H W, writes C H W / t^2 and an intermediate of C H W / t.

Versions. The reference uses two depthwise convolutions. Uses: the data term of super-resolution
(t = 2, 3, 4, 8; a = 2) and, with t = 2, the hourglass's "lanczos2" / "lanczos3" downsampling.

CPU version. Decimation as rows first, then columns (kernels/engine/decimate.cpp); the convolution ahead
of it is conv_norm_act's at stride 1. 16 + 16 taps at x4 in place of the published 16 x 16, one channel at
a time in place of a dense channel matrix with a diagonal of weights.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One size to test and measure: C channels of H x W decimated by ``factor``."""

    factor: int
    lobes: int
    channels: int
    height: int
    width: int


CASES = (
    Case(2, 2, 3, 48, 64),
    Case(4, 2, 3, 48, 64),
    Case(8, 2, 3, 64, 48),
    Case(3, 2, 3, 48, 63),
    Case(2, 3, 16, 17, 31),
    Case(4, 3, 1, 19, 22),
    Case(3, 3, 2, 10, 11),
    Case(8, 2, 1, 5, 9),
    Case(2, 2, 4, 1, 1),
    # Around whole vectors, and wide enough to have a middle without borders at every factor.
    Case(8, 2, 3, 33, 191),
    Case(4, 2, 17, 5, 97),
    Case(2, 2, 33, 7, 16),
    Case(3, 3, 15, 31, 4),
    Case(2, 3, 1, 97, 3),
)


@dataclass(frozen=True)
class ConvCase:
    """One size of a convolution decimated by ``factor``; ``lobes`` 0 stands for averages."""

    into: int
    out: int
    height: int
    width: int
    kernel: int = 3
    factor: int = 2
    lobes: int = 2
    padding: str = "reflection"


CONV_CASES = (
    ConvCase(4, 16, 24, 31),
    ConvCase(4, 16, 24, 31, kernel=1, lobes=3),
    ConvCase(5, 17, 33, 18, lobes=3, padding="zero"),
    ConvCase(8, 8, 20, 21, kernel=5, padding="zero"),
    ConvCase(3, 9, 26, 23, kernel=7),
    ConvCase(3, 9, 21, 14, kernel=7, lobes=0),
    ConvCase(6, 5, 17, 30, lobes=0),
    ConvCase(6, 5, 13, 30, kernel=1, lobes=0, padding="zero"),
    ConvCase(3, 4, 25, 37, factor=3),
    ConvCase(3, 4, 29, 50, kernel=5, factor=4, lobes=3),
    # Sides shorter than the filter, than the padding, and of one pixel.
    ConvCase(6, 10, 5, 6, kernel=7),
    ConvCase(6, 10, 2, 3),
    ConvCase(4, 4, 1, 5),
    ConvCase(3, 8, 1, 1, kernel=5, lobes=3),
    ConvCase(2, 3, 7, 4, kernel=5, lobes=3, padding="zero"),
    ConvCase(3, 5, 4, 6, factor=4),
    # Around one and two tiles (96 columns out, 192 in), several slabs, and whole vectors of channels.
    ConvCase(3, 5, 6, 190),
    ConvCase(16, 15, 8, 192, kernel=5, padding="zero"),
    ConvCase(2, 3, 9, 193),
    ConvCase(1, 3, 5, 195, kernel=7, lobes=3),
    ConvCase(17, 33, 3, 385),
    ConvCase(33, 17, 6, 386, kernel=1),
    ConvCase(70, 132, 18, 20),
    ConvCase(2, 17, 194, 3),
    ConvCase(3, 2, 200, 12, kernel=5, lobes=3),
)
