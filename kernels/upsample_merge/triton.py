"""wip"""

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
