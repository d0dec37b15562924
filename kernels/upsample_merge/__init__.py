"""Contract of ``upsample_merge``: double the deep branch, crop it to the skip, concatenate, batch norm.

Formula. ``deep`` [1, D, h, w] is enlarged to 2h x 2w, rows and columns beyond H x W are dropped at the
end, and the channels follow those of ``skip`` [1, S, H, W] (S may be 0), with H in {2h-1, 2h}:

    y = BN(concat(skip, up(deep)[:, :, :H, :W]))             gamma, beta [S + D]

"bilinear" has half-pixel centres (PyTorch's align_corners=False): per side, with clamped neighbours,
out[2i] = 1/4 in[i-1] + 3/4 in[i], out[2i+1] = 3/4 in[i] + 1/4 in[i+1]. "nearest": out[j] = in[j // 2].
BN is that of ``conv_norm_act`` (statistics of the enlarged, cropped picture) without an activation.
Sampled (``Settings.subsample``): only rows r and columns c of y are wanted, one of each pair, and BN takes
its statistics over those. PIP's smoothness comes from this bilinear step: a plain pixel MLP does not denoise.

Gradient. BN as in ``conv_norm_act``; then the first S channels go to ``skip``, the rest through the
transposed interpolation: each pixel of ``deep`` gathers from the at most 4 x 4 (nearest: 2 x 2) output
pixels it went into, cropped ones counting nothing.

Work. Bilinear: 8 flops per enlarged value, BN about 4 more. Least traffic in 4-byte values: forward
reads D h w + S H W and writes (S + D) H W, or nothing when the next convolution's prologue does it;
the enlarged statistics need one more pass over ``deep``.

Versions. The reference is ``F.interpolate`` + ``torch.cat`` + BN, as published.

CPU version. The upsampled and concatenated picture is never stored: the convolution that reads it packs
rows of it on the fly, `blend_act` vertically and `widen` horizontally, with the norm's affine map folded
into the low-resolution row (interpolation weights add up to 1, so the two commute). In memory the deep
channels come first, then the skip's, so that both parts start at whole vectors; names and files keep
PyTorch's order (skip first). Backward gathers: every lower row reads the four rows it went into.

Triton version. Deep channels first here too. Statistics come from the lower picture: the squares of the
enlarged one are x^T T^T T x, and T^T T is a stencil of 3 x 3. Where the next convolution is pointwise it is
applied before enlarging, so that only its output is ever enlarged; enlarging and its transpose are products
with small matrices of weights on the tensor cores (triton.py lists the launches and their traffic). Before a
larger convolution the normalised picture is written once, margin included.
"""

from dataclasses import dataclass
from typing import Any

from dipedge.kernels.callable_contract import called_as


@called_as(__name__)
def _operator(*arguments: Any, **options: Any) -> Any:
    from dipedge.kernels.upsample_merge.operator import upsample_merge

    return upsample_merge(*arguments, **options)


@dataclass(frozen=True)
class Case:
    """One size to test and measure: the skip's H x W; the deep branch is ceil(H/2) x ceil(W/2)."""

    skip: int
    deep: int
    height: int
    width: int
    mode: str = "bilinear"
    sampled: bool = False  # only the pixels a subsampled step sees; the skip has ceil(H/2) x ceil(W/2) then


CASES = (
    Case(4, 128, 16, 16),
    Case(4, 16, 17, 31),
    Case(0, 8, 32, 15, mode="nearest"),
    Case(3, 5, 1, 9),
    Case(1, 1, 1, 1),
    Case(8, 24, 33, 2, mode="nearest"),
    Case(0, 17, 6, 7),
    # Around one and two tiles of 96 columns (48 of the deep branch), and around whole vectors of channels.
    Case(3, 5, 4, 95),
    Case(16, 15, 5, 96),
    Case(1, 16, 3, 97, mode="nearest"),
    Case(33, 3, 2, 98),
    Case(15, 17, 3, 191),
    Case(17, 33, 2, 193, mode="nearest"),
    Case(1, 1, 5, 193),
    Case(0, 3, 97, 3),
    Case(2, 1, 1, 1, mode="nearest"),
    Case(0, 1, 2, 2),
    Case(4, 128, 16, 24, sampled=True),
    Case(4, 16, 17, 31, sampled=True),
    Case(0, 5, 3, 200, sampled=True),
    Case(1, 3, 1, 1, sampled=True),
    Case(3, 7, 9, 12, mode="nearest", sampled=True),
)
