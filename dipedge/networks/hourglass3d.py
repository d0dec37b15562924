"""The hourglass with a third dimension, time: "3D-DIP", the baseline of the PIP paper's clips."""

from __future__ import annotations

from dataclasses import dataclass

from dipedge.errors import InputError
from dipedge.networks.hourglass import Hourglass, Level
from dipedge.networks.layers import Shapes

# PIP code, video denoising and super-resolution with noise as input.
PUBLISHED = Hourglass(tuple(Level(n, n, 4) for n in (16, 32, 64, 128, 128, 128)), upsample="nearest")


@dataclass(frozen=True)
class Hourglass3d:
    """An hourglass whose k x k convolutions are k x k x k: each also sees the frames before and after.

    It is wired as ``space``, level by level. Going down halves rows and columns and keeps every frame (stride
    (1, 2, 2)); coming up enlarges each frame by itself; BN's statistics are over all frames. At the border a
    convolution reflects rows and columns, and repeats the first and the last frame.

    A clip comes as its frames stacked, [T * H, W] (``engines.base.Settings.frames`` = T). A picture is a clip
    of one frame, whose neighbours are itself.

    Args:
        space: how it looks in space; by default as published.

    Raises:
        InputError: a ``space`` that decimates otherwise than by its strides, or pads with zeros.

    Source: PIP's published code, ``skip_3d`` and the settings of its video notebooks.
    """

    space: Hourglass = PUBLISHED

    def __post_init__(self) -> None:
        if self.space.downsample != "stride":
            raise InputError(
                f"downsample is {self.space.downsample!r}; Hourglass3d goes down by strides only"
            )
        if self.space.padding != "reflection":
            raise InputError(f"padding is {self.space.padding!r}; Hourglass3d has reflection only")

    def parameter_shapes(
        self, in_channels: int, out_channels: int, size: tuple[int, int] | None = None
    ) -> Shapes:
        """Every learned tensor's shape by the names of ``space``; convolution weights are [out, in, k, k, k].

        ``size`` is not looked at.
        """
        flat = self.space.parameter_shapes(in_channels, out_channels)
        return {name: (*shape, shape[-1]) if len(shape) == 4 else shape for name, shape in flat.items()}
