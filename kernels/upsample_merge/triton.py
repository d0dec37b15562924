"""Upsampling by 2 and merging on the GPU, forward and backward, without ever storing the enlarged picture.

Two routes. Where the up convolution is pointwise (PIP), it commutes with enlarging, and nothing wide is
enlarged but the output of that convolution:

    merge_statistics      the merge's norm, from the deep layer at low resolution and the skip
    (pointwise)           z = W_deep scale act(deep), at low resolution: conv_norm_act/triton.py
    blend                 y = up(z) + W_skip scale act(skip), and y's norm
    blend_backward        from g and y: dz = T^T dy, the skip's gradient, its weights' gradient
    (pointwise_backward)  u = W_deep^T dz with the sums for the merge's norm, the deep weights' gradient
    merge_backward_deep   the gradient by the deep layer's norm
    merge_backward_skip   the gradient by the skip's norm

Otherwise (DIP) the normalised merged picture is written once, with the margin the convolution needs, by
``merge_padded``, and ``gather`` takes its gradient back to low resolution; then the last two as above.

Layout. Cells [B, H, W, S], deep channels before the skip's. Each side of the doubling is a set of tables
(``Axis``), so bilinear, nearest, odd and sampled sizes are one code. Constants that the norm behind a
convolution takes off (the merge's shift and mean) are left out of y: it is rounded without them.

Traffic at 512 x 512, 128 + 4 channels to 128, bfloat16, in MB (the skip's 8 cells a pixel are 4.2):
    merge_statistics     reads deep 16.8, skip 4.2                                       21
    blend                reads z 16.8, skip 4.2; writes y 67.1                           88
    blend_backward       reads g 67.1, y 67.1, skip 4.2; writes dz 16.8, dskip 4.2      159
    merge_backward_deep  reads u 16.8, deep 16.8; writes g 16.8                          50
    merge_backward_skip  reads dskip 4.2, skip 4.2; writes g 4.2                         13
331 MB, 77 us at 4.3 TB/s, in 5 launches; halos come to about 8 % more. Enlarging first would read and write
another 4 x 69 MB. A sampled fit's largest level takes a quarter, and ``fill_axis`` in each step.

Arithmetic. While a value's bytes move there is time for about 17 operations on it in ``blend`` and 31 in
``blend_backward``, loads, masks and statistics included. So these two interpolate on the tensor cores (3.4
and 5.7 GFLOP, a sixth of those bytes' time), and ``merge_statistics`` and ``merge_backward_deep`` work on
lower values alone (22 and 31 operations for one, which becomes one to four enlarged ones).

Registers, compiled for sm_80 (sm_90), 128 + 4 channels to 128, bfloat16: fill_axis 30 (29), merge_statistics
58 (57), blend 244 (242), blend_backward 255 (251), merge_backward_deep 120, merge_backward_skip 64,
merge_padded 64, gather 128; nothing spills but 8 to 16 bytes of gather. ``blend`` and ``blend_backward`` fill
a multiprocessor with one program of 8 warps, which has its next rows on the way to 29 and 65 KB of shared
memory. In float32, without tensor cores, the two have 255 registers and 24 and 56 bytes of spills.

Rejected: four neighbours a value (20 operations, and four times the traffic of L1); gathering 4 x 4 gradients
for a lower value (each is read four times); the gradient by y as the first factor of the skip's product
(Triton then makes it anew in that product's layout: 5 KB of spills); loading a norm inside the loop (a copy
into shared memory for every row); at most 128 registers, for two programs a multiprocessor (200 to 350 bytes
of spills). No GPU was at hand: none of the times above is measured.
"""

from dipedge.kernels.upsample_merge.triton_axis import Axis, fill_axis
from dipedge.kernels.upsample_merge.triton_backward import merge_backward_deep, merge_backward_skip
from dipedge.kernels.upsample_merge.triton_blend import blend
from dipedge.kernels.upsample_merge.triton_blend_backward import blend_backward, blend_partials
from dipedge.kernels.upsample_merge.triton_gather import gather
from dipedge.kernels.upsample_merge.triton_padded import merge_padded
from dipedge.kernels.upsample_merge.triton_statistics import merge_statistics

__all__ = [
    "Axis",
    "blend",
    "blend_backward",
    "blend_partials",
    "fill_axis",
    "gather",
    "merge_backward_deep",
    "merge_backward_skip",
    "merge_padded",
    "merge_statistics",
]
