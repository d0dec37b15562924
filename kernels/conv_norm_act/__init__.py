"""Contract of ``conv_norm_act``: pad, convolve, batch norm with the picture's own statistics, LeakyReLU.

Formula. For an odd kernel of side k, p = (k-1)/2, stride s in {1, 2}:

    c[o, i, j] = bias[o] + sum_{a, b, q} weight[o, q, a, b] x[q, R(s i + a - p), R(s j + b - p)]
    m[o] = mean c[o], var[o] = mean (c[o] - m[o])^2          over all pixels of the picture, biased
    y = act(gamma (c - m) / sqrt(var + eps) + beta),  act(t) = t if t > 0 else slope t

R reflects without repeating the edge (period 2(n-1); every index is 0 when n = 1), for pictures of any
size, however small beside the kernel; or the value outside is 0 ("zero"). A picture with a single
pixel has variance 0, so y = act(beta). There is no evaluation mode: the answer, too, is read out with
the statistics of the picture at hand.

Shapes. x [1, I, H, W]; weight [O, I, k, k]; bias, gamma, beta [O]; y [1, O, ceil(H/s), ceil(W/s)].

Gradient. With h = (c - m) r, r = 1/sqrt(var + eps), g = dy act'(.), N pixels:
dbeta = sum g, dgamma = sum g h, dc = gamma r (g - dbeta/N - h dgamma/N); dbias = sum dc, which is zero
but for rounding; dweight = correlation of dc with the padded x; dx = the transposed convolution of dc
with the padding folded back (reflection adds every border gradient to the pixel it was read from).
LeakyReLU's derivative at exactly 0 is ``slope``, as in PyTorch.

Work. 2 k^2 I O Ho Wo flops forward, twice that backward. Least traffic in 4-byte values: forward reads
I H W and writes O Ho Wo once when BN and activation are applied by the next reader; backward reads the
incoming gradient, c and x, and writes dx.

Versions. The reference uses ``torch.nn.functional`` (its fast paths wherever they are defined) and
formulas where they refuse: reflection by p >= n, BN of one value.

CPU version. Channels innermost, padded to 16. A layer is stored as its raw output c; the next reader
normalises and activates while it packs rows (`norm_act`), and the writer adds up c's moments as it
goes, so a layer costs one write and one read. The driver (kernels/engine/conv.cpp) packs the k source
rows under at most 96 output columns into a buffer that stays in L2 and hands `multiply` a list of
taps, pointers into that buffer: no im2col. Backward, dc is made row by row from the stored gradient and
c (`norm_backward`) and used for both products. Sums are kept per slab of rows, a function of the
picture alone, and added in order: equal bits for any thread count. A bias ahead of BN is left out.

Measured on one AVX-512 core at 96 pixels, 128 to 128 channels: `multiply` 221 GFLOP/s (86 % of the FMA
peak), `multiply_outer` 172 (67 %); AVX2 122 and 111. Rejected: weights read in place (a row stride of
512 bytes uses half of the L1's sets); an im2col buffer (9 times the writes for 3x3).

In bf16 the same passes run over 16-bit cells; products take pairs of values (product_bf16.h) and go through
AMX tiles where there are any (product_amx.h): 950 to 1380 GFLOP/s per core against 221 in float32. The
outer product wants pixels in pairs, so a source row is transposed once (2 us for 96 x 128) and serves all
its taps; AMX reaches 400 to 840 GFLOP/s there. vdpbf16ps alone: 124 on that core, half of float32.

Triton version with several taps (triton_conv.py). The activated source is written out with its padding
once; then the window of an output pixel is one run of taps and channels and the convolution an implicit
product without conditions, with the statistics of y in its epilogue. Backward, dc is written once into a
buffer with a border of zeros; the gradient by the padded input is folded back as a gather. Six launches.
The same by the library's convolution stands in triton_library.py; which is faster is not measured yet.
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.conv_norm_act.operator import conv_norm_act

    return conv_norm_act(*arguments, **options)


@dataclass(frozen=True)
class Case:
    """One size to test and measure; ``padding`` is "reflection" or "zero"."""

    into: int
    out: int
    height: int
    width: int
    kernel: int = 3
    stride: int = 1
    padding: str = "reflection"


CASES = (
    Case(32, 128, 16, 16, kernel=1),
    Case(32, 128, 17, 15, kernel=1, stride=2),
    Case(4, 16, 24, 31),
    Case(5, 17, 33, 18, stride=2),
    Case(8, 8, 20, 20, kernel=5, padding="zero"),
    Case(3, 9, 11, 13, kernel=7, stride=2),
    Case(1, 1, 7, 9, kernel=7, padding="zero"),
    Case(6, 10, 2, 3, kernel=7),
    Case(4, 4, 1, 5, kernel=3, stride=2),
    Case(3, 8, 1, 1, kernel=5),
    # Around one and two tiles of 96 columns, and around whole vectors of channels.
    Case(3, 5, 5, 95),
    Case(16, 15, 4, 96, kernel=5, padding="zero"),
    Case(1, 3, 6, 97, kernel=7),
    Case(2, 3, 5, 98, kernel=5, stride=2),
    Case(17, 33, 3, 191, stride=2),
    Case(15, 16, 4, 97, stride=2, padding="zero"),
    Case(3, 1, 5, 193, kernel=7, stride=2),
    Case(33, 17, 2, 193, kernel=1),
    Case(70, 132, 4, 40),
    Case(132, 70, 9, 20, kernel=1),
    Case(16, 3, 97, 2, kernel=1, stride=2),
    Case(2, 17, 96, 1, kernel=3),
    Case(1, 1, 1, 1, kernel=1),
    Case(1, 16, 1, 1, kernel=7, stride=2, padding="zero"),
    Case(15, 2, 2, 2, kernel=7, padding="zero"),
    Case(2, 1, 1, 2, kernel=5),
)
