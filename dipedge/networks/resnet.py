"""The ResNet of the DIP paper's comparisons, as a description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dipedge.errors import InputError
from dipedge.networks.layers import MOST_CHANNELS, PADDINGS, Shapes, check_layers, conv, norm, one_of


@dataclass(frozen=True)
class ResNet:
    """The ResNet of the DIP paper's comparisons: one size throughout, no way past the whole net.

    ::

        start  : conv 3x3 -> channels, LeakyReLU
        block_i: h + BN(conv 3x3(LeakyReLU(BN(conv 3x3(h)))))     (convolutions without bias)
        end    : conv 3x3 -> channels, BN
        head   : conv 3x3 -> image channels, sigmoid

    It has no smaller sizes and so sees 2 * blocks + 3 pixels to each side of one: the paper finds it fits
    slowly and is too strong a prior (31.95 dB on camera noise).

    Args:
        blocks: of two convolutions each; the paper has 8 (large holes) to 10.
        channels: of all of them; the paper has 32 (large holes) to 16.
        padding: of the first and the last convolution, "reflection" or "zero"; those between have zeros, as
            published.
        sigmoid: whether the head ends in a sigmoid.
        slope: of LeakyReLU for negative values.
        bn_eps: added to the variance in BN.

    Raises:
        InputError: a value outside its range.

    Source: the authors' published ``resnet`` and, in their inpainting notebook, its settings.
    """

    blocks: int = 8
    channels: int = 32
    padding: Literal["zero", "reflection"] = "reflection"
    sigmoid: bool = True
    slope: float = 0.2
    bn_eps: float = 1e-5

    def __post_init__(self) -> None:
        if not 1 <= self.blocks <= 128:
            raise InputError(f"blocks is {self.blocks}; a ResNet has 1 to 128 of them")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise InputError(f"channels is {self.channels}; it must be 1 to {MOST_CHANNELS}")
        one_of("padding", self.padding, PADDINGS)
        check_layers(self.slope, self.bn_eps)

    def parameter_shapes(
        self, in_channels: int, out_channels: int, size: tuple[int, int] | None = None
    ) -> Shapes:
        """Every learned tensor's shape by name, in the published code's order of construction.

        ``size`` is not looked at. Names are ``start.conv.*``, ``blockI.{first,second}.{conv,bn}.*`` (these
        convolutions have no bias), ``end.{conv,bn}.*`` and ``head.conv.*``.
        """
        shapes: Shapes = {}
        width = self.channels
        conv(shapes, "start.conv", width, in_channels, 3)
        for index in range(self.blocks):
            for part in ("first", "second"):
                conv(shapes, f"block{index}.{part}.conv", width, width, 3, bias=False)
                norm(shapes, f"block{index}.{part}.bn", width)
        conv(shapes, "end.conv", width, width, 3)
        norm(shapes, "end.bn", width)
        conv(shapes, "head.conv", out_channels, width, 3)
        return shapes
