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

Shapes. ``decimate``: x [1, C, H, W] -> y [1, C, ceil(H/t), ceil(W/t)]. ``conv_decimate``: a convolution
of side k that keeps the size (padding as in ``conv_norm_act``), then the decimation, as ONE operation: x
[1, I, H, W], weight [O, I, k, k], bias [O] -> y [1, O, ceil(H/t), ceil(W/t)]. The filter's weights are
fixed and sum to 1, so the bias passes unchanged. ``lobes`` 0 stands for averages of 2x2, w = (1/2, 1/2):
with a replicated border a cut-off window averages what is there, as ``pool`` has it.

Gradient. The adjoint: dx[i] = sum of w[q] dy[j] over all (j, q) that read pixel i, so end pixels also
gather what was replicated from them. Linear, so <d_t(x), y> = <x, d_t^T(y)>. Of the one operation:
dweight = correlation of d_t^T(dy) with the padded x, dx = transposed convolution of d_t^T(dy), dbias =
sum dy.

How the one operation is computed. Along one side, with u[j, i] the weight of the convolution's pixel i in
output j (what the border replicates included) and R the padding,

    y[j] = sum_i u[j, i] sum_a weight[a] x[R(i + a - p)] = sum_a weight[a] b[j, a]
    b[j, a] = sum_i u[j, i] x[R(i + a - p)]

for any u and any R: the order of two sums is exchanged, nothing is approximated, at no border. So it is
the *input* that is filtered, and only 1/t^2 of the pixels are multiplied; the picture that is decimated
never exists. The points b hold what a strided convolution reads: away from the border b[j, a] = b[j+1,
a-t], two new rows of points per output row at t = 2, and the same across. Only where u is clamped
(lanczos2 by 2: two outputs at each end) has an output points of its own. Swapping a low-pass and a
strided convolution without these is exact inside and wrong at the border; a test makes that mistake and
must fail. Backward the same sums run transposed: dweight[a] = sum_j dy[j] b[j, a] at 1/t^2 of the pixels;
the gradient by the points is dy times weight[a], added up across and then down over all points that hold
a pixel.

Work. Products: 2 k^2 I O H W / t^2 flops, a t^2-th of convolving first; twice that backward. Filter, with
n = 2 a t taps and k >= t: n multiply-adds per input value down and n across; at I = O = 128, k = 3, n = 8
these are 2 % of the flops saved. Least traffic forward: I H W values read, O H W / t^2 written;
convolving first writes and reads another O H W, and as much again backward. ``decimate`` alone, per
output value: 2 taps flops for the second side and 2 taps t for the first; at t = 4, a = 2, 160 flops
against 512 for the dense 16 x 16 kernel (the published code runs it n-to-n: 3 times more).

Versions. The reference convolves at full size, then runs two depthwise convolutions. Uses: the data term of
super-resolution (t = 2, 3, 4, 8; a = 2), and with t = 2 the hourglass's "lanczos2", "lanczos3" and "avg"
downsampling. Of Fourier features read by a 1x1 convolution only the two tables are decimated
(``fourier_mlp``): y = U[j] + V[i], and each side of the filter sums to 1.

CPU version. Per task a slab of decimated rows, per slab tiles of 96 columns
(kernels/engine/filtered_rows.h). Source rows are normalised and activated once into a ring of n + k - 1;
a row of points is filtered down from it (`sum_rows`), then across (`slide`) into a ring of k rows; both
rings stay in L2 (fp32, 128 channels: 1.0 and 0.4 MB, half that in bf16). `multiply` and the statistics
epilogue are conv_norm_act's. Neighbouring slabs make n - t + k - 1 source rows and k - t rows of points
twice, no product: at 512x512, k = 3, 25 % more passes of the prologue. The gradient by the input
(kernels/engine/gradient_lines.h) goes through a ring of n lines, products already summed across; there
neighbouring slabs do share products, 7 lines beside their 32 at 512 rows (22 %) and beside 16 below (44
%). Storing the lines instead would take the full-size picture again.

Measured, 256x256x128 to 128x128x128, lanczos2, one core with AMX, medians in ms of one run. "Apart" is the
convolution at full size, then (float32) the decimation of its 128 channels, as it was before; in bf16 there
was no decimation, so only the convolution is counted. "Stride 2" is what no filter at all would take.

    k  cell  way       apart          fused   ratio   stride 2
    3  fp32  forward    97.4 +  9.0    37.5    2.8       28.0
    3  fp32  backward  208.1 + 10.9    86.1    2.5       63.7
    3  bf16  forward    15.1           12.1    1.2        6.2
    3  bf16  backward   48.5           32.6    1.5       19.3
    1  fp32  forward    16.5 +  8.9     9.7    2.6        4.7
    1  fp32  backward   34.0 + 10.8    23.3    1.9       15.3
    1  bf16  forward     5.5            5.6    1.0        2.0
    1  bf16  backward   11.2           14.0    0.8        7.6

lanczos3 takes 1.1 to 1.2 times as long, averages 0.7 to 0.9. Ratios with AVX2: 3.2 and 2.8 (k = 3), 2.9 and
2.1 (k = 1). The last two rows are the weak ones: a 1x1 product on tiles is so cheap that four times less of
it saves little, and the filter stays. Apart, its adjoint (a fifth of the fused pass's samples, 3 ms) and a
full-size picture would come on top of the 11.2: about even, in time. Memory is saved in every row: the
default DIP with lanczos2 at 512x512 takes 680 MiB in float32 (848 before) and 401 in bf16.

Not built: the convolution's full-size rows in a ring, filtered as they come (the fusion one thinks of first).
It saves the same traffic and none of the arithmetic, so the convolution's time in the table bounds it from
below. Filtering across before down: its ring would hold float32, k / t times as many of them. In ``decimate``
the published dense channel matrix with a diagonal of weights.

Triton version. `triton.decimate` and its adjoint do both sides in one launch, from tables that know the
borders (``triton_tables.py``); the data term's residual goes with them. The one operation takes a padded
input: `triton_conv.filter_lines` filters down, `triton_conv.conv_decimate` filters across and multiplies in
one pass with the statistics behind it; backward (``triton_conv_backward.py``) every result gathers, without
atomics. Rows of points are stored, points are not. Not measured on a GPU yet.
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.lanczos_conv.operator import lanczos_conv

    return lanczos_conv(*arguments, **options)


def decimate(*arguments: Any, **options: Any) -> Any:
    """d_t alone as a torch operator: ``decimate(x, factor, lobes=2)``."""
    from dipedge.kernels.lanczos_conv.operator import decimate as run

    return run(*arguments, **options)


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
