"""Priors as frozen descriptions: how z is made, and the untrained network that is fitted.

A prior says *what* is computed and never computes it: engines read these descriptions. The family is
the "skip" hourglass of the two papers (Deep Image Prior, section "Architecture" of the supplement;
Positional-encoding Image Prior uses the same net with every kernel 1x1 and Fourier features for z).
Level i turns its input ``h`` (level 0: z) into an output of the same size::

    skip_i  : conv k_s -> n_s, BN, LeakyReLU                        (absent when n_s is 0)
    deep_i  : conv k_d, down x2 -> n_d, BN, LReLU ; conv k_d -> n_d, BN, LReLU ; level i+1 ; up x2
    merge_i : concat(skip_i, deep_i) -> BN
    up_i    : conv k_u -> n_u, BN, LReLU ; conv 1x1 -> n_u, BN, LReLU   (the 1x1 is optional)
    head    : conv 1x1 -> image channels, sigmoid                   (once, after level 0)

Sizes that are not multiples of 2 are taken as they are: going down gives ceil(n / 2) rows and
columns, and coming up crops the surplus row or column at the end (what the published code does
wherever it accepts such a size). BN always uses the statistics of the current picture; there is no
separate evaluation mode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dipedge.errors import InputError

KERNEL_SIZES = (1, 3, 5, 7)
UPSAMPLINGS = ("bilinear", "nearest")
PADDINGS = ("reflection", "zero")
DOWNSAMPLINGS = ("stride", "avg", "max", "lanczos2", "lanczos3")


def _one_of(name: str, value: object, allowed: tuple) -> None:
    if value not in allowed:
        choices = ", ".join(map(str, allowed))
        raise InputError(f"{name} is {value!r}; it must be one of {choices}")


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
            if not 1 <= getattr(self, name) <= 4096:
                raise InputError(f"{name} is {getattr(self, name)}; a level needs 1 to 4096 channels")
        if not 0 <= self.skip <= 4096:
            raise InputError(f"skip is {self.skip}; it must be 0 (no skip) to 4096 channels")
        for name in ("kernel_down", "kernel_up", "kernel_skip"):
            _one_of(name, getattr(self, name), KERNEL_SIZES)


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
        _one_of("upsample", self.upsample, UPSAMPLINGS)
        _one_of("padding", self.padding, PADDINGS)
        _one_of("downsample", self.downsample, DOWNSAMPLINGS)
        if not 0 <= self.slope <= 1:
            raise InputError(f"slope is {self.slope}; LeakyReLU's must be in [0, 1]")
        if not self.bn_eps > 0:
            raise InputError(f"bn_eps is {self.bn_eps}; it must be above 0")

    def parameter_shapes(self, in_channels: int, out_channels: int) -> dict[str, tuple[int, ...]]:
        """Every learned tensor's shape by name, in the published code's order of construction.

        Names are ``levelI.{skip,down,refine,merge,up,up1x1}.{conv,bn}.{weight,bias}`` and
        ``head.conv.{weight,bias}``; convolution weights are [out, in, k, k].
        """
        shapes: dict[str, tuple[int, ...]] = {}

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


@dataclass(frozen=True)
class Noise:
    """z drawn once from U(0, scale), kept for the whole fit (published ``get_noise``)."""

    channels: int = 32
    scale: float = 0.1


@dataclass(frozen=True)
class Meshgrid:
    """z = two channels of coordinates in [0, 1]: column j/(W-1), then row i/(H-1)."""

    channels: int = field(default=2, init=False)


@dataclass(frozen=True)
class GivenImage:
    """z is a picture of the user's, handed over with ``Program.set_input`` (flash / no-flash)."""

    channels: int = 3


@dataclass(frozen=True)
class Fourier:
    """Fourier features of the pixel coordinates (PIP, equation 3 and its published code).

    Frequencies are ``base**k, base = highest**(1/(count-1)), k = 0..count-1`` in radians per unit,
    coordinates u = j/(W-1) and v = i/(H-1) in [0, 1], no factor pi; channels are
    [cos(u f_k) for all k, sin(u f_k), cos(v f_k), sin(v f_k)].

    Args:
        count: number of frequencies; 4*count channels.
        highest: the highest frequency, 2**8 in the paper.
        learned: whether the frequencies are fitted with the net (parameter ``encoding.frequencies``).
    """

    count: int = 8
    highest: float = 256.0
    learned: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.count <= 64:
            raise InputError(f"count is {self.count}; Fourier features need 2 to 64 frequencies")
        if not self.highest > 1:
            raise InputError(f"highest is {self.highest}; the highest frequency must be above 1")

    @property
    def channels(self) -> int:
        return 4 * self.count

    def frequencies(self) -> tuple[float, ...]:
        """The ``count`` initial frequencies, ascending, in radians per unit coordinate."""
        return tuple(self.highest ** (k / (self.count - 1)) for k in range(self.count))


Encoding = Noise | Meshgrid | GivenImage | Fourier


@dataclass(frozen=True)
class Prior:
    """An encoding, the network it feeds, and what is perturbed in every step.

    Args:
        encoding: how z is made.
        network: the untrained network.
        perturbation: standard deviation of the normal noise added anew in every step; 0 for none.
        perturb: "input" adds it to every value of z, "frequencies" to the Fourier frequencies.
        name: a word for messages and files.
        weight_noise: in every step each convolution's weights get normal noise of this share of their
            tensor's standard deviation, for good; 0 for none (DIP code, inpainting of the library: 1/50, where
            the sum goes into a local name and changes nothing; what was meant is done here).

    Raises:
        InputError: a negative perturbation or weight noise, or a perturbation of frequencies that do not
            exist.
    """

    encoding: Encoding
    network: Hourglass
    perturbation: float = 0.0
    perturb: Literal["input", "frequencies"] = "input"
    name: str = "custom"
    weight_noise: float = 0.0

    def __post_init__(self) -> None:
        _one_of("perturb", self.perturb, ("input", "frequencies"))
        if not 0 <= self.perturbation < float("inf"):
            raise InputError(f"perturbation is {self.perturbation}; it must be 0 or more")
        if not 0 <= self.weight_noise <= 1:
            raise InputError(f"weight_noise is {self.weight_noise}; it must be in [0, 1]")
        if self.perturb == "frequencies" and not isinstance(self.encoding, Fourier):
            raise InputError("perturb is 'frequencies'; only a Fourier encoding has frequencies")

    def why_not_pointwise(self) -> str | None:
        """None where the largest level treats every pixel apart, else what looks beyond (or noise on z)."""
        largest = self.network.levels[0]
        if largest.kernel_up != 1 or largest.kernel_down != 1 or (largest.skip and largest.kernel_skip != 1):
            return "the largest level's layers are not pointwise"
        if not isinstance(self.encoding, Fourier) or (self.perturbation > 0 and self.perturb == "input"):
            return "its input is not made of unperturbed Fourier features"
        return None

    def parameter_shapes(self, out_channels: int = 3) -> dict[str, tuple[int, ...]]:
        """Every learned tensor's shape by name; learned frequencies come last."""
        shapes = self.network.parameter_shapes(self.encoding.channels, out_channels)
        if isinstance(self.encoding, Fourier) and self.encoding.learned:
            shapes["encoding.frequencies"] = (self.encoding.count,)
        return shapes

    def parameter_count(self, out_channels: int = 3) -> int:
        """How many numbers are fitted: 2,217,831 for ``dip()``, 329,575 for ``pip()``."""
        total = 0
        for shape in self.parameter_shapes(out_channels).values():
            size = 1
            for side in shape:
                size *= side
            total += size
        return total


def dip() -> Prior:
    """The default Deep Image Prior: 5 levels of 128 channels, skip 4, 3x3, noise input."""
    return Prior(Noise(32), Hourglass(), perturbation=1 / 30, name="dip")


def pip() -> Prior:
    """The default Positional-encoding Image Prior: the same net, all 1x1, Fourier features."""
    level = Level(kernel_down=1, kernel_up=1)
    return Prior(Fourier(), Hourglass(levels=(level,) * 5), name="pip")
