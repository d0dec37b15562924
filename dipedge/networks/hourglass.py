"""The "skip" hourglass of both papers, as a description; the wiring stands in the package's text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dipedge.errors import InputError
from dipedge.networks.layers import (
    KERNEL_SIZES,
    MOST_CHANNELS,
    PADDINGS,
    Shapes,
    check_layers,
    conv,
    norm,
    one_of,
)

UPSAMPLINGS = ("bilinear", "nearest")
DOWNSAMPLINGS = ("stride", "avg", "max", "lanczos2", "lanczos3")


@dataclass(frozen=True)
class Level:
    """One level of the hourglass: channel counts and odd kernel sizes."""

    down: int = 128
    up: int = 128
    skip: int = 4
    kernel_down: int = 3
    kernel_up: int = 3
    kernel_skip: int = 1

    def __post_init__(self) -> None:
        for name in ("down", "up"):
            if not 1 <= getattr(self, name) <= MOST_CHANNELS:
                raise InputError(f"{name} is {getattr(self, name)}; a level needs 1 to 4096 channels")
        if not 0 <= self.skip <= MOST_CHANNELS:
            raise InputError(f"skip is {self.skip}; it must be 0 (no skip) to 4096 channels")
        for name in ("kernel_down", "kernel_up", "kernel_skip"):
            one_of(name, getattr(self, name), KERNEL_SIZES)


@dataclass(frozen=True)
class Hourglass:
    """The "skip" network of the papers; see the module's text for its wiring.

    Args:
        levels: outermost level first; at least one.
        upsample: "bilinear" (half-pixel centres) or "nearest".
        padding: of every convolution, "reflection" or "zero".
        downsample: "stride" (the convolution itself takes every second pixel), or pad, convolve and
            then decimate by "avg", "max" (2x2), "lanczos2" or "lanczos3" (phase 1/2).
        need1x1_up: whether the second, 1x1 convolution of each ``up`` is there.
        sigmoid: whether the head ends in a sigmoid.
        slope: of LeakyReLU for negative values.
        bn_eps: added to the variance in BN.

    Raises:
        InputError: a value outside its range.
    """

    levels: tuple[Level, ...] = (Level(),) * 5
    upsample: Literal["bilinear", "nearest"] = "bilinear"
    padding: Literal["reflection", "zero"] = "reflection"
    downsample: Literal["stride", "avg", "max", "lanczos2", "lanczos3"] = "stride"
    need1x1_up: bool = True
    sigmoid: bool = True
    slope: float = 0.2
    bn_eps: float = 1e-5

    def __post_init__(self) -> None:
        if not 1 <= len(self.levels) <= 12:
            raise InputError(f"levels has {len(self.levels)} entries; an hourglass has 1 to 12 levels")
        one_of("upsample", self.upsample, UPSAMPLINGS)
        one_of("padding", self.padding, PADDINGS)
        one_of("downsample", self.downsample, DOWNSAMPLINGS)
        check_layers(self.slope, self.bn_eps)

    def parameter_shapes(
        self, in_channels: int, out_channels: int, size: tuple[int, int] | None = None
    ) -> Shapes:
        """Every learned tensor's shape by name, in the published code's order of construction.

        ``size`` (H, W) is not looked at: only ``Pixels`` have parameters for every pixel. Names are
        ``levelI.{skip,down,refine,merge,up,up1x1}.{conv,bn}.{weight,bias}`` and ``head.conv.{weight,bias}``;
        convolution weights are [out, in, k, k].
        """
        shapes: Shapes = {}

        def block(name: str, out: int, into: int, kernel: int) -> None:
            conv(shapes, f"{name}.conv", out, into, kernel)
            norm(shapes, f"{name}.bn", out)

        channels = in_channels
        for index, level in enumerate(self.levels):
            prefix = f"level{index}"
            deeper = self.levels[index + 1].up if index + 1 < len(self.levels) else level.down
            norm(shapes, f"{prefix}.merge.bn", level.skip + deeper)
            if level.skip:
                block(f"{prefix}.skip", level.skip, channels, level.kernel_skip)
            block(f"{prefix}.down", level.down, channels, level.kernel_down)
            block(f"{prefix}.refine", level.down, level.down, level.kernel_down)
            block(f"{prefix}.up", level.up, level.skip + deeper, level.kernel_up)
            if self.need1x1_up:
                block(f"{prefix}.up1x1", level.up, level.up, 1)
            channels = level.down
        conv(shapes, "head.conv", out_channels, self.levels[0].up, 1)
        return shapes
