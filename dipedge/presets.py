"""Settings per task and prior: one table, every row with its source.

Sources: "DIP paper" is Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior" (section "Technical details");
"DIP code" are its authors' published notebooks; "PIP code" is the published implementation of Shabtay,
Schwartz, Giryes, "PIP: Positional-encoding Image Prior". Where a paper and its code differ the row follows
the code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dipedge.errors import InputError
from dipedge.optimisers import Adam, Muon, Optimiser
from dipedge.priors import Fourier, Hourglass, Level, Meshgrid, Noise, Prior, dip, pip
from dipedge.stopping import MaxSteps, NoiseFloor, Rule
from dipedge.tasks import SuperResolve, Task
from dipedge.variance import VarianceWindow

QUALITIES = ("paper", "balanced", "fast")
AVERAGE = 0.99  # DIP paper, denoising: "exponential sliding window with weight 0.99"
# Steps for each further frame of a stream: at 128 x 128 a static scene then reaches after 20 frames what
# no single frame gives (29.3 dB against 27.5, measured with the published code).
FRAME_STEPS = 30


@dataclass(frozen=True)
class Preset:
    """Everything about a fit that a task and a prior decide.

    Args:
        prior: encoding, network and perturbation.
        optimiser: its description.
        steps: the published number of steps.
        average: weight of the past in the running average of outputs, 0 for none.
        subsample: whether a step sees a quarter of the pixels (``engines.base.Settings``).
        stop: the stopping rule.
        backtrack: whether to return to earlier weights when the loss jumps.
        source: where the settings were published.
    """

    prior: Prior
    optimiser: Optimiser
    steps: int
    average: float
    stop: Rule
    backtrack: bool
    source: str
    subsample: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table, as published."""

    prior: Prior
    steps: int
    source: str
    learning_rate: float = 0.01
    average: float = 0.0
    backtrack: bool = False
    stops_itself: bool = False  # whether quality "balanced" and "fast" end by themselves
    noiseless: bool = False  # whether there is no noise at whose level a fit could end


def _levels(channels: tuple[int, ...], skips: int | tuple[int, ...], down: int, up: int) -> tuple[Level, ...]:
    """Levels with as many channels up as down, as all published nets have."""
    each = skips if isinstance(skips, tuple) else (skips,) * len(channels)
    return tuple(Level(n, n, s, down, up) for n, s in zip(channels, each, strict=True))


WIDE, DEEP = (128,) * 5, (128,) * 6
JPEG_NET = Hourglass(_levels((8, 16, 32, 64, 128), (0, 0, 0, 4, 4), 3, 3))
TEXT_NET = Hourglass(_levels(WIDE, 128, 3, 3), upsample="nearest")
VASE_NET = Hourglass(_levels(WIDE, 0, 3, 3), upsample="nearest")
LIBRARY_NET = Hourglass(_levels((16, 32, 64, 128, 128, 128), 0, 5, 3), upsample="nearest", need1x1_up=False)
NOISE = Noise(32)
LEARNED = replace(pip(), encoding=Fourier(learned=True), perturb="frequencies")

TABLE: dict[tuple[str, str], Row] = {
    ("denoise", "dip"): Row(
        dip(), 3000, "DIP code, denoising (paper: 1800 steps)", 0.01, AVERAGE, True, stops_itself=True
    ),
    ("denoise", "pip"): Row(pip(), 1800, "PIP code, denoising", 0.01, AVERAGE, True, stops_itself=True),
    ("jpeg", "dip"): Row(
        Prior(Noise(3), JPEG_NET, 1 / 30, name="dip"),
        2400,
        "DIP paper and code, JPEG artefacts removal",
        average=AVERAGE,
        backtrack=True,
        stops_itself=True,
    ),
    # No published row: PIP's denoising settings, as the DIP paper says of DIP's ("the same setup as in
    # other denoising experiments").
    ("jpeg", "pip"): Row(
        pip(), 1800, "ours: the row of denoising", 0.01, AVERAGE, True, stops_itself=True, noiseless=True
    ),
    ("superresolve x4", "dip"): Row(
        Prior(NOISE, Hourglass(), 0.03, name="dip"), 2000, "DIP code, super-resolution x4"
    ),
    ("superresolve x8", "dip"): Row(
        Prior(NOISE, Hourglass(), 0.05, name="dip"), 4000, "DIP paper and code, super-resolution x8"
    ),
    ("superresolve x4", "pip"): Row(
        replace(LEARNED, perturbation=0.03), 2000, "PIP code, super-resolution x4"
    ),
    ("superresolve x8", "pip"): Row(
        replace(LEARNED, perturbation=0.05), 4001, "PIP code, super-resolution x8"
    ),
    ("inpaint", "dip"): Row(
        Prior(NOISE, TEXT_NET, 0.03, name="dip"), 6001, "DIP code, inpainting of text (paper: skip 4)"
    ),
    ("inpaint", "dip-large-hole"): Row(
        Prior(Meshgrid(), VASE_NET, 0.03, name="dip-large-hole"), 5001, "DIP code, inpainting, vase"
    ),
    # The code also adds normal noise of 1/50 of each weight tensor's deviation in every step; we do not.
    ("inpaint", "dip-large-hole-noise"): Row(
        Prior(Noise(1), LIBRARY_NET, name="dip-large-hole-noise"), 3001, "DIP code, inpainting, library"
    ),
    ("inpaint", "dip-half"): Row(
        Prior(NOISE, Hourglass(), 0.03, name="dip-half"), 11000, "DIP code, restoration of 50 % pixels", 0.001
    ),
    # PIP's code has 3000 to 8001 steps, picture by picture; text takes DIP's number, which lies between.
    ("inpaint", "pip"): Row(replace(LEARNED, perturbation=0.03), 6001, "PIP code, inpainting"),
    ("inpaint", "pip-large-hole"): Row(
        replace(LEARNED, network=Hourglass(_levels(DEEP, 4, 1, 1)), name="pip-large-hole"),
        3001,
        "PIP code, inpainting, library (without its noise on the weights)",
    ),
}


def preset(
    task: Task, prior: Prior | str | None = None, quality: str = "balanced", steps: int | None = None
) -> Preset:
    """The settings for a task.

    Args:
        task: its description; super-resolution x2 and x3 take the x4 row.
        prior: None or "pip", "dip", or a row's own name ("dip-large-hole", "dip-large-hole-noise",
            "dip-half", "pip-large-hole", all of inpainting). A ``Prior`` is taken as it is, with the
            steps, learning rate, average and backtracking of the nearest row (Fourier features: pip,
            anything else: dip) - but one that *equals* the plain ``dip()`` or ``pip()`` is taken as that
            word: the row's own perturbation, upsampling, skips and input replace it.
        quality: "paper", the published settings to the letter, which run all their steps; "balanced" and
            "fast", for PIP on noise and JPEG artefacts an optimiser that needs a fraction of the steps
            (``Muon``), each of which sees a quarter of the pixels, to the picture's own noise
            (``NoiseFloor``): balanced takes more steps and is better. Elsewhere both are the published
            settings, ending by themselves where the row says so (``VarianceWindow``).
        steps: how many will be made whatever the picture, if that is decided. "balanced" then keeps to the
            published optimiser, which takes up noise so slowly that its end matters least.

    Raises:
        InputError: an unknown prior, quality, or a prior that is not one.
    """
    if quality not in QUALITIES:
        raise InputError(f"quality is {quality!r}; it must be one of {', '.join(QUALITIES)}")
    row = TABLE[_row_key(task, prior)]
    plain = not isinstance(prior, Prior) or prior in (dip(), pip())
    published = Preset(
        prior=row.prior if plain else prior,
        optimiser=Adam(row.learning_rate),
        steps=row.steps,
        average=row.average,
        stop=MaxSteps(row.steps),
        backtrack=row.backtrack,
        source=row.source,
    )
    if quality == "paper" or (quality == "balanced" and steps is not None):
        return published
    return _ours(published, row, quality)


def _row_key(task: Task, prior: Prior | str | None) -> tuple[str, str]:
    word = task.name
    if isinstance(task, SuperResolve):
        word = "superresolve x8" if task.scale == 8 else "superresolve x4"
    if isinstance(prior, Prior):
        return word, "pip" if isinstance(prior.encoding, Fourier) else "dip"
    names = [name for row_task, name in TABLE if row_task == word]
    if prior is None:
        return word, "pip"
    if prior not in names:
        raise InputError(
            f"prior is {prior!r}; for {task.name} it must be a Prior or one of {', '.join(names)}"
        )
    return word, prior


def _balanced(published: Preset, row: Row) -> Preset:
    """The published settings, ended by themselves; the published steps stay as the limit."""
    return replace(published, stop=VarianceWindow() | published.stop) if row.stops_itself else published


# Measured in docs/performance.md ("Why Muon, and a quarter of the pixels"): a quarter of the pixels halves
# the time of a step and, with a high rate, keeps the noise out; the falling rate lets the picture settle.
# Small pictures reach their noise while the rate falls, large ones after it.
_REST = Adam(0.003, beta2=0.99)
_OURS = {
    "balanced": (
        Muon(0.08, momentum=0.97, rest=_REST, hold=240, decay=240, final=0.125),
        NoiseFloor(0.94, floor=200),
    ),
    "fast": (
        Muon(0.05, momentum=0.97, rest=_REST, hold=160, decay=160, final=0.2),
        NoiseFloor(0.93, floor=176),
    ),
}
_LIMITS = {"balanced": 960, "fast": 640}
# A compressed picture has no noise to end at: its fit ends while the rate falls, where the best steps of two
# pictures were (balanced 384 and 444, fast 264 and 272).
_NOISELESS_LIMITS = {"balanced": 440, "fast": 300}
_AVERAGE = 0.98


def _ours(published: Preset, row: Row, quality: str) -> Preset:
    """Muon where it was measured to pay: PIP on noise and JPEG artefacts. All else as published."""
    prior = published.prior
    # The largest level is pointwise, which only an hourglass can be; then so must be the others.
    pointwise = prior.why_not_pointwise() is None and all(
        level.kernel_down == level.kernel_up == 1 for level in prior.network.levels
    )
    if not (row.stops_itself and pointwise):
        return _balanced(published, row)
    optimiser, stop = _OURS[quality]
    limit = (_NOISELESS_LIMITS if row.noiseless else _LIMITS)[quality]
    return replace(
        published,
        optimiser=optimiser,
        steps=limit,
        average=_AVERAGE,
        stop=stop | MaxSteps(limit),
        source=f"ours, from: {published.source}",
        subsample=True,
    )
