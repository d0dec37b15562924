"""Contract of ``fourier_mlp``: Fourier features of the pixel grid, and the 1x1 layer that reads them.

Formula. With n frequencies f_k (radians per unit), u_j = j/(W-1), v_i = i/(H-1) (0 where the side is
one pixel), the features z of pixel (i, j) are, in this order,

    cos(u_j f_k), sin(u_j f_k), cos(v_i f_k), sin(v_i f_k)      k = 0..n-1 each: 4n channels

(PIP, equation 3; order and missing factor pi as in its published code.) A 1x1 convolution of them is
separable: with W_u the first 2n columns of the weight and W_v the last 2n,

    y[o, i, j] = column[o, j] + row[o, i] + bias[o]
    column[o, j] = sum_c W_u[o, c] (cos | sin)(u_j f)[c]        row[o, i] likewise with W_v and v_i

so the 4n-channel picture never needs to exist. BN after it is separable too: on a full grid the mean is
mean(column) + mean(row) + bias and the variance exactly var(column) + var(row).

Where pixels lie elsewhere (``dipedge/views.py``), u_j and v_i are those places. A shift keeps the two tables;
other views have u and v of every pixel (``features_at``), and no separable layer. Features of a frame's time
are the same along a row and belong to the row table.

Shapes. frequencies [n]; tables [W, 2n] and [H, 2n]; weight [O, 4n, 1, 1]; y [1, O, ceil(H/s), ceil(W/s)]
with stride s keeping pixels 0, s, 2s, ... of each side.

Gradient. With the sums G_u[o, j] = sum_i dy[o, i, j] and G_v[o, i] = sum_j dy[o, i, j]:
dW_u = G_u table_u, dW_v = G_v table_v, dbias = sum dy, dtable_u = G_u^T W_u, and
df_k = sum_j u_j (cos(u_j f_k) dsin_u[j, k] - sin(u_j f_k) dcos_u[j, k]) + the same sum over rows.

Precision. Angles reach 256 rad, where float32 is spaced 3e-5: engines compute angles, cosines and
sines in float64 and round the tables once. The published code computes all of it in float32, with
frequencies ``float32(base)**k`` (so its highest is 255.99997); its features are 2e-6 (relative L2)
from those of the same frequencies in float64.

Work. Tables: 2n(H + W) cosine-sine pairs. Layer: 4nO(H + W) flops for the parts and 2 O H W for the
sum, writing 4 O H W bytes; the dense 1x1 layer it replaces costs 8n O H W flops and reads 16n H W bytes.

Versions. ``features`` materialised: the reference engine, and any first layer wider than 1x1.
``first_layer``: 1x1 first layers. Perturbed or learned frequencies recompute the tables every step.

CPU version. The features are separable, so a pointwise layer of them is a table over columns plus a table
over rows and one add per output (`add_row`); the 32-channel input is never made and the products shrink
from H*W to H+W pixels. Backward needs the gradient's column sums and row sums only (`reduce_row`). Layers
with larger kernels read features that are written out (kernels/engine/encoding.cpp).

Triton version. As the CPU version, with two differences: the norm comes from the parts (exactly, as above),
and the way back sums the stored gradient alone, because the sums of the normalised values over a column or
row are known from the parts too. Tables are float64 inside, so frequencies may be kept in float64.
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.fourier_mlp.operator import fourier_mlp

    return fourier_mlp(*arguments, **options)


@dataclass(frozen=True)
class Case:
    """One size to test and measure: n frequencies on H x W pixels into ``out`` channels."""

    count: int
    height: int
    width: int
    out: int
    stride: int = 1


CASES = (
    Case(8, 16, 16, 4),
    Case(8, 33, 17, 16, stride=2),
    Case(2, 1, 7, 1),
    Case(8, 5, 1, 3, stride=2),
    Case(5, 40, 24, 31),
    Case(8, 64, 48, 128, stride=2),
    # Around one and two tiles of 96 columns, and around whole vectors of channels.
    Case(4, 5, 95, 15),
    Case(8, 3, 96, 16),
    Case(3, 97, 97, 17),
    Case(2, 4, 191, 33, stride=2),
    Case(8, 2, 193, 3),
    Case(2, 1, 1, 1),
)
