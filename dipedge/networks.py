"""Networks as frozen descriptions: what is fitted to the one picture, starting from random weights.

Four families, all of them in the Deep Image Prior paper. What a network can express hardly differs between
them; how fast it takes up a picture, and how much slower noise, does: each is another prior (docs/priors.md).

``Hourglass``, the "skip" network of both papers. Level i turns its input ``h`` (level 0: z) into an output of
the same size::

    skip_i  : conv k_s -> n_s, BN, LeakyReLU                        (absent when n_s is 0)
    deep_i  : conv k_d, down x2 -> n_d, BN, LReLU ; conv k_d -> n_d, BN, LReLU ; level i+1 ; up x2
    merge_i : concat(skip_i, deep_i) -> BN
    up_i    : conv k_u -> n_u, BN, LReLU ; conv 1x1 -> n_u, BN, LReLU   (the 1x1 is optional)
    head    : conv 1x1 -> image channels, sigmoid                   (once, after level 0)

``UNet`` and ``ResNet``, with which the paper compares it, are wired as its authors published them; their own
texts have the formulas. ``Pixels`` is no network: the estimate itself is fitted, with or without a total
variation to keep it smooth, which is what the paper calls "TV prior" and "no prior".

Sizes that are not multiples of 2 are taken as they are: going down gives ceil(n / 2) rows and columns, and
coming up crops the surplus row or column at the end (what the published code does wherever it accepts such a
size). Normalisation always uses the statistics of the current picture; there is no separate evaluation mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dipedge.errors import InputError

KERNEL_SIZES = (1, 3, 5, 7)
UPSAMPLINGS = ("bilinear", "nearest")
PADDINGS = ("reflection", "zero")
DOWNSAMPLINGS = ("stride", "avg", "max", "lanczos2", "lanczos3")
MOST_CHANNELS = 4096
NORMS = ("batch", "instance")
ENLARGEMENTS = ("deconv", "bilinear", "nearest")

Shapes = dict[str, tuple[int, ...]]  # of learned tensors, by name


def one_of(name: str, value: object, allowed: tuple) -> None:
    """Raises InputError, which names the choices, where ``value`` is none of them."""
    if value not in allowed:
        choices = ", ".join(map(str, allowed))
        raise InputError(f"{name} is {value!r}; it must be one of {choices}")


def _check_layers(slope: float, bn_eps: float) -> None:
    """Raises InputError for a LeakyReLU or a BN that is none."""
    if not 0 <= slope <= 1:
        raise InputError(f"slope is {slope}; LeakyReLU's must be in [0, 1]")
    if not bn_eps > 0:
        raise InputError(f"bn_eps is {bn_eps}; it must be above 0")


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
        _check_layers(self.slope, self.bn_eps)

    def parameter_shapes(
        self, in_channels: int, out_channels: int, size: tuple[int, int] | None = None
    ) -> Shapes:
        """Every learned tensor's shape by name, in the published code's order of construction.

        ``size`` (H, W) is not looked at: only ``Pixels`` have parameters for every pixel. Names are
        ``levelI.{skip,down,refine,merge,up,up1x1}.{conv,bn}.{weight,bias}`` and ``head.conv.{weight,bias}``;
        convolution weights are [out, in, k, k].
        """
        shapes: Shapes = {}

        def conv(name: str, out: int, into: int, kernel: int) -> None:
            shapes[f"{name}.weight"] = (out, into, kernel, kernel)
            shapes[f"{name}.bias"] = (out,)

        def block(name: str, out: int, into: int, kernel: int) -> None:
            conv(f"{name}.conv", out, into, kernel)
            norm(f"{name}.bn", out)

        def norm(name: str, channels: int) -> None:
            shapes[f"{name}.weight"] = (channels,)
            shapes[f"{name}.bias"] = (channels,)

        channels = in_channels
        for index, level in enumerate(self.levels):
            prefix = f"level{index}"
            deeper = self.levels[index + 1].up if index + 1 < len(self.levels) else level.down
            norm(f"{prefix}.merge.bn", level.skip + deeper)
            if level.skip:
                block(f"{prefix}.skip", level.skip, channels, level.kernel_skip)
            block(f"{prefix}.down", level.down, channels, level.kernel_down)
            block(f"{prefix}.refine", level.down, level.down, level.kernel_down)
            block(f"{prefix}.up", level.up, level.skip + deeper, level.kernel_up)
            if self.need1x1_up:
                block(f"{prefix}.up1x1", level.up, level.up, 1)
            channels = level.down
        conv("head.conv", out_channels, self.levels[0].up, 1)
        return shapes


def _conv(shapes: Shapes, name: str, out: int, into: int, kernel: int, bias: bool = True) -> None:
    """A convolution's parameters; weights [out, into, k, k]."""
    shapes[f"{name}.weight"] = (out, into, kernel, kernel)
    if bias:
        shapes[f"{name}.bias"] = (out,)


def _norm(shapes: Shapes, name: str, channels: int) -> None:
    """A batch norm's scale and shift."""
    shapes[f"{name}.weight"] = (channels,)
    shapes[f"{name}.bias"] = (channels,)


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

        def twice(name: str, out: int, into: int, norm: bool) -> None:
            for part, channels in (("first", into), ("second", out)):
                _conv(shapes, f"{name}.{part}.conv", out, channels, 3)
                if norm:
                    _norm(shapes, f"{name}.{part}.bn", out)

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
                _conv(shapes, f"up{index}.grow.conv", out, into, 3)
            twice(f"up{index}", out, 2 * out, False)
        _conv(shapes, "head.conv", out_channels, self.filters[0], 1)
        return shapes


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
        _check_layers(self.slope, self.bn_eps)

    def parameter_shapes(
        self, in_channels: int, out_channels: int, size: tuple[int, int] | None = None
    ) -> Shapes:
        """Every learned tensor's shape by name, in the published code's order of construction.

        ``size`` is not looked at. Names are ``start.conv.*``, ``blockI.{first,second}.{conv,bn}.*`` (these
        convolutions have no bias), ``end.{conv,bn}.*`` and ``head.conv.*``.
        """
        shapes: Shapes = {}
        width = self.channels
        _conv(shapes, "start.conv", width, in_channels, 3)
        for index in range(self.blocks):
            for part in ("first", "second"):
                _conv(shapes, f"block{index}.{part}.conv", width, width, 3, bias=False)
                _norm(shapes, f"block{index}.{part}.bn", width)
        _conv(shapes, "end.conv", width, width, 3)
        _norm(shapes, "end.bn", width)
        _conv(shapes, "head.conv", out_channels, width, 3)
        return shapes


@dataclass(frozen=True)
class Pixels:
    """No network: the estimate's own pixels are fitted, from noise, by the same optimiser.

    With ``tv`` = 0 nothing but the data term decides, so what it does not see stays as it began (the paper's
    "no prior"). Otherwise ``tv * TV(x)`` is added to it (the paper's "TV prior")::

        TV(x) = mean over pixels and channels of sqrt((x[i+1,j] - x[i,j])^2 + (x[i,j+1] - x[i,j])^2)

    Pixels are not held to [0, 1] during the fit; what a session gives back is clipped.

    Args:
        tv: weight of the isotropic total variation. It belongs to a mean, as the data terms are means, and so
            does not depend on the picture's size; the published code has 1e-7 times the *sum*, which is
            1e-7 * C * H * W here: 0.02 for 256 x 256 in colour. docs/priors.md says which weight is best
            for which task.
        scale: the pixels begin as noise from U(0, scale), the paper's z; 0 begins with black.

    Raises:
        InputError: a negative or infinite value.

    Sources: DIP paper, figure "Prior effect in super-resolution", and the notebook of that figure; total
    variation: L. Rudin, S. Osher and E. Fatemi, 1992.
    """

    tv: float = 0.0
    scale: float = 0.1

    def __post_init__(self) -> None:
        for name in ("tv", "scale"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; it must be 0 or more")

    def parameter_shapes(
        self, in_channels: int, out_channels: int, size: tuple[int, int] | None = None
    ) -> Shapes:
        """{"pixels": (channels, H, W)}.

        Raises:
            InputError: no ``size``.
        """
        if size is None:
            raise InputError("how many pixels there are depends on the picture; a size (H, W) is needed")
        return {"pixels": (out_channels, *size)}


Network = Hourglass | UNet | ResNet | Pixels
