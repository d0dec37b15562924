"""The U-Net of the DIP paper's comparisons, as a description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dipedge.errors import InputError
from dipedge.networks.layers import MOST_CHANNELS, PADDINGS, Shapes, conv, norm, one_of

NORMS = ("batch", "instance")
ENLARGEMENTS = ("deconv", "bilinear", "nearest")


@dataclass(frozen=True)
class UNet:
    """The U-Net of the DIP paper's comparisons, as its authors' code builds it.

    ::

        start : two of [conv 3x3 -> filters[0], norm, ReLU]
        down_i: max pool 2x2 ; two of [conv 3x3 -> filters[i+1], norm, ReLU]
        up_i  : double the size -> filters[i] ; concat(it, what went into down_i) ;
                two of [conv 3x3 -> filters[i], ReLU]
        head  : conv 1x1 -> image channels, sigmoid

    Its skips are as wide as its levels and carry the input almost unchanged to the output: the paper finds it
    fits too fast and is a weaker prior than the hourglass (35.05 dB against 41.95 on camera noise), and of no
    use for large holes.

    Args:
        filters: channels of each size, largest size first; the paper's are 64 to 1024, divided by 4. For its
            large holes they are divided by 8, and the smallest is there twice: (8, 16, 32, 64, 128, 128).
        norm: "batch" (with scale and shift) or "instance" (without): with one picture at a time nothing else
            tells them apart.
        up: "deconv" (a transposed convolution, 4x4, stride 2), or "bilinear" or "nearest" and a convolution.
        padding: of every convolution, "zero" or "reflection"; transposed ones always have zeros.
        sigmoid: whether the head ends in a sigmoid.
        eps: added to the variance in the normalisation.

    Raises:
        InputError: a value outside its range.

    Source: the authors' published ``unet`` and, in their inpainting notebook, its settings.
    """

    filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    norm: Literal["batch", "instance"] = "instance"
    up: Literal["deconv", "bilinear", "nearest"] = "deconv"
    padding: Literal["zero", "reflection"] = "zero"
    sigmoid: bool = True
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if not 2 <= len(self.filters) <= 12:
            raise InputError(f"filters has {len(self.filters)} entries; a U-Net has 2 to 12 sizes")
        for count in self.filters:
            if not 1 <= count <= MOST_CHANNELS:
                raise InputError(f"filters has {count}; each size needs 1 to {MOST_CHANNELS} channels")
        one_of("norm", self.norm, NORMS)
        one_of("up", self.up, ENLARGEMENTS)
        one_of("padding", self.padding, PADDINGS)
        if not self.eps > 0:
            raise InputError(f"eps is {self.eps}; it must be above 0")

    def parameter_shapes(
        self, in_channels: int, out_channels: int, size: tuple[int, int] | None = None
    ) -> Shapes:
        """Every learned tensor's shape by name, in the published code's order of construction.

        ``size`` is not looked at. Names are ``{start,downI}.{first,second}.{conv,bn}.*``,
        ``upI.grow.{deconv,conv}.*``, ``upI.{first,second}.conv.*`` and ``head.conv.*``; a transposed
        convolution's weights are [in, out, 4, 4].
        """
        shapes: Shapes = {}

        def twice(name: str, out: int, into: int, normed: bool) -> None:
            for part, channels in (("first", into), ("second", out)):
                conv(shapes, f"{name}.{part}.conv", out, channels, 3)
                if normed:
                    norm(shapes, f"{name}.{part}.bn", out)

        scaled = self.norm == "batch"
        twice("start", self.filters[0], in_channels, scaled)
        for index in range(len(self.filters) - 1):
            twice(f"down{index}", self.filters[index + 1], self.filters[index], scaled)
        for index in reversed(range(len(self.filters) - 1)):
            out, into = self.filters[index], self.filters[index + 1]
            if self.up == "deconv":
                shapes[f"up{index}.grow.deconv.weight"] = (into, out, 4, 4)
                shapes[f"up{index}.grow.deconv.bias"] = (out,)
            else:
                conv(shapes, f"up{index}.grow.conv", out, into, 3)
            twice(f"up{index}", out, 2 * out, False)
        conv(shapes, "head.conv", out_channels, self.filters[0], 1)
        return shapes
