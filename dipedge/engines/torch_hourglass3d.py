"""What a clip's network needs in plain PyTorch beside a picture's: convolutions over its frames.

Frames lie in the batch dimension, [T, C, H, W]. BN takes its statistics over all of it, upsampling and
concatenating treat each frame by itself: what pictures go through serves clips too, and only convolutions
look across frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dipedge.kernels.conv_norm_act.reference import convolve, pad


def convolve3d(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Convolution over frames, rows and columns that keeps all frames.

    Args:
        x: [T, I, H, W].
        weight: [O, I, k, k, k], k odd.
        bias: [O].
        stride: 1 or 2, of rows and columns.

    Returns:
        [T, O, ceil(H / stride), ceil(W / stride)]. Rows and columns are reflected at the border; before the
        first frame comes the first frame again, and after the last the last.
    """
    if weight.shape[2] == 1:
        return convolve(x, weight[:, :, 0], bias, stride, "reflection")
    margin = (weight.shape[2] - 1) // 2
    x = pad(x, margin, "reflection")
    x = torch.cat((x[:1].expand(margin, -1, -1, -1), x, x[-1:].expand(margin, -1, -1, -1)))
    return F.conv3d(x.transpose(0, 1)[None], weight, bias, (1, stride, stride))[0].transpose(0, 1)
