"""Priors as frozen descriptions: how z is made, and the untrained network that is fitted.

A prior says *what* is computed and never computes it: engines read these descriptions. The networks stand
in ``networks``; Deep Image Prior feeds an hourglass with noise, Positional-encoding Image Prior one whose
kernels are all 1x1 with Fourier features of the coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from dipedge.errors import InputError
from dipedge.networks import Hourglass, Hourglass3d, Level, Network, Pixels, ResNet, Shapes, UNet, one_of


@dataclass(frozen=True)
class Noise:
    """z drawn once and kept for the whole fit (published ``get_noise``): from U(0, scale), or if ``centred``
    from U(-scale/2, scale/2) (Double-DIP)."""

    channels: int = 32
    scale: float = 0.1
    centred: bool = False


@dataclass(frozen=True)
class Meshgrid:
    """z = two channels of coordinates in [0, 1]: column j/(W-1), then row i/(H-1); ``repeats`` such pairs."""

    repeats: int = 1

    @property
    def channels(self) -> int:
        return 2 * self.repeats


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


@dataclass(frozen=True)
class SpaceTime(Fourier):
    """Fourier features of a pixel's coordinates and of its frame's time (PIP's video prior, published code).

    The channels of ``Fourier``, then [cos(t g_k) for all k, sin(t g_k)]: g_k = ``base**(k/(times-1))``,
    k = 0..times-1, from 1 to the base that the frequencies of space are powers of, and t in [0, 1] is the
    time of the frame's ``View``: (i+1)/N for frame i of N.

    Args:
        count: number of frequencies of space; 4*count channels.
        highest: the highest of these.
        learned: whether the frequencies of space are fitted with the net; those of time never are.
        times: number of frequencies of time; 2*times channels more.
    """

    times: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.times <= 64:
            raise InputError(f"times is {self.times}; features of time need 1 to 64 frequencies")

    @property
    def channels(self) -> int:
        return 4 * self.count + 2 * self.times

    def time_frequencies(self) -> tuple[float, ...]:
        """The ``times`` frequencies of time, ascending, in radians per clip."""
        base = self.highest ** (1 / (self.count - 1))
        return tuple(base ** (k / max(self.times - 1, 1)) for k in range(self.times))


@dataclass(frozen=True)
class NoInput:
    """There is no z: ``Pixels`` are looked at by nothing and look at nothing."""

    channels: int = field(default=0, init=False)


Encoding = Noise | Meshgrid | GivenImage | Fourier | SpaceTime | NoInput


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
            tensor's standard deviation, for good; 0 for none (DIP code, inpainting of the library: 1/50,
            where the sum goes into a local name and changes nothing; what was meant is done here).

    Raises:
        InputError: a negative perturbation or weight noise, a perturbation of frequencies or of a z that do
            not exist, or a network whose encoding is not for it.
    """

    encoding: Encoding
    network: Network
    perturbation: float = 0.0
    perturb: Literal["input", "frequencies"] = "input"
    name: str = "custom"
    weight_noise: float = 0.0

    def __post_init__(self) -> None:
        one_of("perturb", self.perturb, ("input", "frequencies"))
        if not 0 <= self.perturbation < float("inf"):
            raise InputError(f"perturbation is {self.perturbation}; it must be 0 or more")
        if not 0 <= self.weight_noise <= 1:
            raise InputError(f"weight_noise is {self.weight_noise}; it must be in [0, 1]")
        if self.perturb == "frequencies" and not isinstance(self.encoding, Fourier):
            raise InputError("perturb is 'frequencies'; only a Fourier encoding has frequencies")
        if isinstance(self.network, Pixels) != isinstance(self.encoding, NoInput):
            raise InputError("Pixels go with the encoding NoInput, and nothing else does: they have no z")
        if isinstance(self.network, Pixels) and max(self.perturbation, self.weight_noise) > 0:
            raise InputError(
                "Pixels take neither perturbation nor weight_noise: they have no z and no weights"
            )

    def why_not_pointwise(self) -> str | None:
        """None where the largest level treats every pixel apart, else what looks beyond (or noise on z)."""
        if not isinstance(self.network, Hourglass):
            return "its network is not an hourglass"
        largest = self.network.levels[0]
        if largest.kernel_up != 1 or largest.kernel_down != 1 or (largest.skip and largest.kernel_skip != 1):
            return "the largest level's layers are not pointwise"
        if not isinstance(self.encoding, Fourier) or (self.perturbation > 0 and self.perturb == "input"):
            return "its input is not made of unperturbed Fourier features"
        return None

    def why_not_stacked(self) -> str | None:
        """None where no layer looks at a pixel's neighbours, so that frames can be stacked; else what does.

        ``Hourglass3d`` looks, and knows what a frame is.
        """
        if isinstance(self.network, Hourglass3d):
            return None
        if not isinstance(self.network, Hourglass):
            return "its network is not an hourglass"
        if any(
            level.kernel_up != 1 or level.kernel_down != 1 or (level.skip and level.kernel_skip != 1)
            for level in self.network.levels
        ):
            return "its layers are not all pointwise"
        if not isinstance(self.encoding, Fourier):
            return "its input is not made of Fourier features"
        return None

    def parameter_shapes(self, out_channels: int = 3, size: tuple[int, int] | None = None) -> Shapes:
        """Every learned tensor's shape by name; learned frequencies come last.

        ``size`` is the estimate's (H, W); only ``Pixels`` need it.

        Raises:
            InputError: ``Pixels`` without it.
        """
        shapes = self.network.parameter_shapes(self.encoding.channels, out_channels, size)
        if isinstance(self.encoding, Fourier) and self.encoding.learned:
            shapes["encoding.frequencies"] = (self.encoding.count,)
        return shapes

    def parameter_count(self, out_channels: int = 3, size: tuple[int, int] | None = None) -> int:
        """How many numbers are fitted: 2,217,831 for ``dip()``, 329,575 for ``pip()``."""
        total = 0
        for shape in self.parameter_shapes(out_channels, size).values():
            count = 1
            for side in shape:
                count *= side
            total += count
        return total


@dataclass(frozen=True)
class HazePriors:
    """The priors of one dehazing, whose three networks are fitted together (Double-DIP, Double-PIP).

    Args:
        picture: of the clear picture J.
        transmission: of t.
        airlight: of A; None where A is never learned.
        learned: for each pass whether A is learned in it, or held at what it began from. A pass after the
            first begins with new networks, and with the clear picture of the pass before it as the hazy one.
        pass_steps: optimiser steps of a pass; all that come later belong to the last one.
        name: a word for messages and files.

    Raises:
        InputError: no pass, a pass that learns A without a prior for it, or fewer than one step.
    """

    picture: Prior
    transmission: Prior
    airlight: Prior | None = None
    learned: tuple[bool, ...] = (False,)
    pass_steps: int = 4000
    name: str = "custom"
    encoding: ClassVar[None] = None  # each part has its own
    weight_noise: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.learned) <= 4:
            raise InputError(f"learned is {self.learned}; it must have an entry for each of 1 to 4 passes")
        if any(self.learned) and self.airlight is None:
            raise InputError("learned asks for passes that learn the airlight; it has no prior")
        if self.pass_steps < 1:
            raise InputError(f"pass_steps is {self.pass_steps}; it must be 1 or more")

    def over(self, steps: int) -> HazePriors:
        """These priors with passes as long as ``steps`` in all allow."""
        return replace(self, pass_steps=max(1, -(-steps // len(self.learned))))

    def parts(self, channels: int) -> dict[str, tuple[Prior, int]]:
        """Name -> prior and channels of its output, in the order of the stacked estimate.

        Args:
            channels: of the picture.
        """
        found = {"picture": (self.picture, channels), "transmission": (self.transmission, 1)}
        return found | ({"airlight": (self.airlight, channels)} if self.airlight is not None else {})

    def parameter_shapes(self, out_channels: int, size: tuple[int, int] | None = None) -> Shapes:
        """Every learned tensor's shape by name, ``PART.NAME``, for an estimate of 2C + 1 channels."""
        return {
            f"{part}.{name}": shape
            for part, (prior, channels) in self.parts(out_channels // 2).items()
            for name, shape in prior.parameter_shapes(channels, size).items()
        }


def dip() -> Prior:
    """The default Deep Image Prior: 5 levels of 128 channels, skip 4, 3x3, noise input."""
    return Prior(Noise(32), Hourglass(), perturbation=1 / 30, name="dip")


def pip() -> Prior:
    """The default Positional-encoding Image Prior: the same net, all 1x1, Fourier features."""
    level = Level(kernel_down=1, kernel_up=1)
    return Prior(Fourier(), Hourglass(levels=(level,) * 5), name="pip")


def dip3d() -> Prior:
    """3D-DIP, the baseline of PIP's clips: an hourglass over all frames with noise as its input, unperturbed.

    See ``Hourglass3d``. Only the torch engine has it.
    """
    return Prior(Noise(32), Hourglass3d(), name="dip3d")


def video_pip() -> Prior:
    """PIP's prior of a clip: six levels of 256 channels, skip 8, all 1x1, features of space and time.

    1,565,043 parameters for a clip in colour, of any length. Published as "video denoise" and "video SR".
    """
    level = Level(256, 256, 8, kernel_down=1, kernel_up=1)
    return Prior(SpaceTime(), Hourglass(levels=(level,) * 6), name="video_pip")


def unet() -> Prior:
    """The U-Net of the DIP paper's comparisons with DIP's noise as its input: see ``UNet``."""
    return Prior(Noise(32), UNet(), perturbation=1 / 30, name="unet")


def resnet() -> Prior:
    """The ResNet of the DIP paper's comparisons with DIP's noise as its input: see ``ResNet``."""
    return Prior(Noise(32), ResNet(), perturbation=1 / 30, name="resnet")


def pixels(tv: float = 0.0) -> Prior:
    """No network, the baseline of the DIP paper: the pixels themselves are fitted.

    Args:
        tv: weight of the total variation added to the data term; 0, "no prior". See ``Pixels``.

    Raises:
        InputError: a negative or infinite weight.
    """
    return Prior(NoInput(), Pixels(tv), name="tv" if tv else "pixels")
