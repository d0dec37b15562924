"""The published settings: one table, every row with its source.

Sources: "DIP paper" is Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior" (section "Technical details");
"DIP code" are its authors' published notebooks; "PIP code" is the published implementation of Shabtay,
Schwartz, Giryes, "PIP: Positional-encoding Image Prior". Where a paper and its code differ the row follows
the code. "Double-DIP code" is that of Gandelsman, Shocher, Irani, "Double-DIP: Unsupervised Image
Decomposition via Coupled Deep-Image-Priors".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dipedge.optimisers import Madgrad, Optimiser
from dipedge.priors import (
    Encoding,
    Fourier,
    GivenImage,
    HazePriors,
    Hourglass,
    Level,
    Meshgrid,
    Noise,
    Prior,
    dip,
    dip3d,
    pip,
)

AVERAGE = 0.99  # DIP paper, denoising: "exponential sliding window with weight 0.99"


@dataclass(frozen=True)
class Row:
    """One line of the table, as published."""

    prior: Prior | HazePriors
    steps: int
    source: str
    learning_rate: float = 0.01  # Adam's
    average: float = 0.0
    backtrack: bool = False
    stops_itself: bool = False  # whether quality "balanced" and "fast" end by themselves
    noiseless: bool = False  # whether there is no noise at whose level a fit could end
    other: Optimiser | None = None  # instead of Adam


def levels(channels: tuple[int, ...], skips: int | tuple[int, ...], down: int, up: int) -> tuple[Level, ...]:
    """Levels with as many channels up as down, as all published nets have."""
    each = skips if isinstance(skips, tuple) else (skips,) * len(channels)
    return tuple(Level(n, n, s, down, up) for n, s in zip(channels, each, strict=True))


WIDE, DEEP = (128,) * 5, (128,) * 6
NARROW = (16, 32, 64, 128, 128, 128)
JPEG_NET = Hourglass(levels((8, 16, 32, 64, 128), (0, 0, 0, 4, 4), 3, 3))
TEXT_NET = Hourglass(levels(WIDE, 128, 3, 3), upsample="nearest")
VASE_NET = Hourglass(levels(WIDE, 0, 3, 3), upsample="nearest")
LIBRARY_NET = Hourglass(levels(NARROW, 0, 5, 3), upsample="nearest", need1x1_up=False)
# Looking into networks. The paper lists zero padding for both; the code has reflection for the second.
INVERSION_NET = Hourglass(
    tuple(Level(n, n, 4, k, k) for n, k in zip(NARROW, (7, 7, 5, 5, 3, 3), strict=True)),
    upsample="nearest",
    padding="zero",
    downsample="avg",
)
ACTIVATION_NET = Hourglass(
    tuple(
        Level(n, n, skip, down, up)
        for n, skip, down, up in zip(
            NARROW, (0, 4, 4, 4, 4, 4), (5, 3, 5, 5, 3, 5), (5, 3, 5, 3, 5, 3), strict=True
        )
    ),
    downsample="avg",
)
NOISE = Noise(32)
LEARNED = replace(pip(), encoding=Fourier(learned=True), perturb="frequencies")
# DIP code, library: to every weight, in every step, noise of 1/50 of its tensor's deviation. (As published
# the line binds a name and changes no weight; this is what it says it does.)
WEIGHT_NOISE = 0.02


def _dip(network: Hourglass, perturbation: float, encoding: Noise | Meshgrid | GivenImage = NOISE) -> Prior:
    return Prior(encoding, network, perturbation, name="dip")


def _library(depth: int) -> Row:
    """The library's net, sliced to ``depth`` levels (DIP paper, figure on depths and architectures)."""
    network = replace(LIBRARY_NET, levels=LIBRARY_NET.levels[:depth])
    prior = replace(_dip(network, 0.0, Noise(1)), weight_noise=WEIGHT_NOISE)
    return Row(prior, 3001, f"DIP code, inpainting, library; depth {depth}")


def _haze(name: str, kernel: int, encoding: Encoding, light: Encoding, jitter: float) -> Row:
    """Double-DIP: a pass with the dark channel's airlight, then one from the clear picture that learns it."""
    network = Hourglass(levels((8, 16, 32, 64, 128), (0, 0, 0, 4, 4), kernel, kernel))
    picture, transmission, airlight = (
        Prior(z, network, noise, name=name)
        for z, noise in ((encoding, jitter), (encoding, 0.0), (light, jitter))
    )
    priors = HazePriors(picture, transmission, airlight, learned=(False, True), pass_steps=4000, name=name)
    source = {
        "dip": "Double-DIP code, dehazing",
        "pip": "PIP paper, Double-PIP: Double-DIP's with PIP's nets",
    }
    return Row(priors, 8000, source[name], 0.001, AVERAGE)


_DENOISING = Row(pip(), 1800, "PIP code, denoising", 0.01, AVERAGE, True, stops_itself=True)
_PIP_INPAINTING = replace(LEARNED, perturbation=0.03)

# (task, regime, prior). The first regime of a task is what it is fitted with unless another is asked for.
TABLE: dict[tuple[str, str, str], Row] = {
    ("denoise", "", "pip"): _DENOISING,
    ("denoise", "", "dip"): Row(
        dip(), 3000, "DIP code, denoising (paper: 1800 steps)", 0.01, AVERAGE, True, stops_itself=True
    ),
    # Of whole clips; as many steps as PIP has epochs on them: the code gives 3D-DIP no number of its own.
    ("denoise", "", "dip3d"): Row(
        dip3d(), 5000, "PIP code, video denoising, 3D-DIP", average=AVERAGE, stops_itself=True
    ),
    # No published row: PIP's denoising settings, as the DIP paper says of DIP's ("the same setup as in
    # other denoising experiments").
    ("jpeg", "", "pip"): replace(_DENOISING, source="ours: the row of denoising", noiseless=True),
    ("jpeg", "", "dip"): Row(
        _dip(JPEG_NET, 1 / 30, Noise(3)),
        2400,
        "DIP paper and code, JPEG artefacts removal",
        average=AVERAGE,
        backtrack=True,
        stops_itself=True,
    ),
    ("superresolve", "x4", "pip"): Row(
        replace(LEARNED, perturbation=0.03), 2000, "PIP code, super-resolution x4"
    ),
    ("superresolve", "x4", "dip"): Row(_dip(Hourglass(), 0.03), 2000, "DIP code, super-resolution x4"),
    ("superresolve", "x4", "dip3d"): Row(dip3d(), 10000, "PIP code, video super-resolution x4, 3D-DIP"),
    ("superresolve", "x8", "pip"): Row(
        replace(LEARNED, perturbation=0.05), 4001, "PIP code, super-resolution x8"
    ),
    ("superresolve", "x8", "dip"): Row(
        _dip(Hourglass(), 0.05), 4000, "DIP paper and code, super-resolution x8"
    ),
    # PIP's code has 3000 to 8001 steps, picture by picture; text takes DIP's number, which lies between.
    ("inpaint", "text", "pip"): Row(_PIP_INPAINTING, 6001, "PIP code, inpainting"),
    ("inpaint", "text", "dip"): Row(
        _dip(TEXT_NET, 0.03), 6001, "DIP code, inpainting of text (paper: skip 4)"
    ),
    ("inpaint", "large-hole", "pip"): Row(
        replace(LEARNED, network=Hourglass(levels(DEEP, 4, 1, 1)), weight_noise=WEIGHT_NOISE),
        3001,
        "PIP code, inpainting, library",
    ),
    ("inpaint", "large-hole", "dip"): Row(
        _dip(VASE_NET, 0.03, Meshgrid()), 5001, "DIP code, inpainting, vase"
    ),
    ("inpaint", "large-hole-6", "dip"): _library(6),
    ("inpaint", "large-hole-4", "dip"): _library(4),
    ("inpaint", "large-hole-2", "dip"): _library(2),
    ("inpaint", "half", "pip"): Row(_PIP_INPAINTING, 6001, "ours: the row of text"),
    ("inpaint", "half", "dip"): Row(
        _dip(Hourglass(), 0.03), 11000, "DIP code, restoration of 50 % pixels", 0.001
    ),
    # DIP paper: figure "Coarse and boosted images"; stopped after 250 to 7000 steps. 500 keeps the edges.
    ("enhance", "", "dip"): Row(_dip(Hourglass(), 0.0), 500, "DIP paper, image enhancement"),
    ("enhance", "", "pip"): Row(pip(), 500, "ours: DIP's row with PIP's net"),
    # For VGG-19 the paper takes 10000 steps.
    ("invert", "", "dip"): Row(_dip(INVERSION_NET, 0.0), 3100, "DIP code, feature inversion", 0.001),
    # For class scores the code has learning rate 0.01, with a goal. It also says to add noise to the
    # weights, but as published the line changes none.
    ("activate", "", "dip"): Row(
        _dip(ACTIVATION_NET, 0.03), 3100, "DIP code, activation maximization", 0.001
    ),
    ("dehaze", "", "pip"): _haze("pip", 1, Fourier(), Fourier(), 0.0),
    ("dehaze", "", "dip"): _haze("dip", 3, Noise(8, centred=True), Meshgrid(4), 1 / 30),
    ("flash", "", "dip"): Row(_dip(Hourglass(), 0.0, GivenImage(3)), 601, "DIP code, flash/no-flash", 0.1),
    # Frequencies 1, 2, 4 .. 128. The published net resamples by cubic convolution and learns offsets at its
    # convolutions; this is the plain one of all other tasks, in the published width and depth.
    ("text", "", "pip"): Row(
        Prior(Fourier(highest=128.0), Hourglass(levels((192,) * 6, 4, 1, 1)), name="pip"),
        700,
        "PIP code, CLIP inversion",
        other=Madgrad(),
    ),
}
