"""Settings of a fit: those published for the task and prior, or ours where something measured is better."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dipedge.errors import InputError
from dipedge.optimisers import Adam, Muon, Optimiser
from dipedge.preset_table import AVERAGE, TABLE, Row
from dipedge.priors import Fourier, GivenImage, HazePriors, Hourglass3d, Prior, dip, pip, pixels, resnet, unet
from dipedge.stopping import MaxSteps, NoiseFloor, Rule
from dipedge.tasks import Dehaze, SuperResolve, Task
from dipedge.variance import VarianceWindow

QUALITIES = ("paper", "balanced", "fast")
# What the papers compare with, by name; they take the steps of the nearest row (docs/priors.md).
OTHERS = ("unet", "resnet", "pixels", "tv")
OTHER_NETWORKS_RATE = 0.001  # DIP code, inpainting of the library, for its U-Net and its ResNet
# Weight of the total variation, chosen on examples/: docs/priors.md. For noise that of sigma 25.
TV_WEIGHT = {"superresolve": 0.02, "inpaint": 0.003}
TV_WEIGHT_OF_NOISE = 0.15
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

    prior: Prior | HazePriors
    optimiser: Optimiser
    steps: int
    average: float
    stop: Rule
    backtrack: bool
    source: str
    subsample: bool = False


def preset(
    task: Task,
    prior: Prior | HazePriors | str | None = None,
    quality: str = "balanced",
    steps: int | None = None,
    regime: str | None = None,
) -> Preset:
    """The settings for a task.

    Args:
        task: its description; super-resolution x2 and x3 take the x4 row.
        prior: None or "pip", "dip", for clips also "dip3d"; None takes the first that ``regime`` has, nearly
            always "pip". Or what the papers compare with: "unet", "resnet", "pixels" (no prior) and "tv"
            (total variation). A ``Prior`` is taken as it is, with the steps, learning rate, average and
            backtracking of the nearest row (Fourier features: pip, ``Hourglass3d``: dip3d, else dip) - but
            one that *equals* the plain ``dip()`` or ``pip()`` is taken as that word: the row's own
            perturbation, upsampling, skips and input replace it.
        quality: "paper", the published settings to the letter, which run all their steps; "balanced" and
            "fast", for PIP on noise and JPEG artefacts an optimiser that needs a fraction of the steps
            (``Muon``), each of which sees a quarter of the pixels, to the picture's own noise
            (``NoiseFloor``): balanced takes more steps and is better. For super-resolution, inpainting
            and flash pictures outputs are averaged and jumps taken back, and flash pictures get a tenth of
            the published rate; "fast" takes half of the steps. Elsewhere both are
            the published settings, ending by themselves where the row says so (``VarianceWindow``).
        steps: how many will be made whatever the picture, if that is decided. "balanced" then keeps to the
            published optimiser, which takes up noise so slowly that its end matters least.
        regime: which of the published settings, where a task has several: for inpainting "text" (thin
            holes), "large-hole" (a meshgrid or Fourier features, no skips with dip), "large-hole-6", "-4" and
            "-2" (dip: noise, weights with noise, so many levels) and "half" (every second pixel missing at
            random). None: "text".

    Raises:
        InputError: an unknown prior, regime or quality, or a prior that is not one.
    """
    if quality not in QUALITIES:
        raise InputError(f"quality is {quality!r}; it must be one of {', '.join(QUALITIES)}")
    rate = None
    if isinstance(prior, str) and prior in OTHERS:
        rate = OTHER_NETWORKS_RATE if prior in ("unet", "resnet") else None
        prior = _compared(task, prior, _row(task, None, regime))
    row = _row(task, prior, regime)
    plain = not isinstance(prior, Prior | HazePriors) or prior in (dip(), pip())
    _check_parts(task, row.prior, row.prior if plain else prior)
    published = Preset(
        prior=row.prior if plain else prior,
        optimiser=row.other or Adam(rate or row.learning_rate),
        steps=row.steps,
        average=row.average,
        stop=MaxSteps(row.steps),
        backtrack=row.backtrack,
        source=row.source,
    )
    if isinstance(task, Dehaze):
        return _dehazing(published, plain, quality, steps, known=task.airlight is not None)
    if quality == "paper":
        return published
    if task.name in _STEADIED:
        return _steadied(published, row, quality)
    if quality == "balanced" and steps is not None:
        return published
    return _ours(published, row, quality)


def _compared(task: Task, word: str, row: Row) -> Prior:
    """One of ``OTHERS``; not where z is a picture of the user's, or several nets are fitted together."""
    if isinstance(row.prior, HazePriors) or isinstance(row.prior.encoding, GivenImage):
        raise InputError(f"prior is {word!r}, which task {task.name!r} cannot have")
    if word == "tv":
        return pixels(TV_WEIGHT.get(task.name, TV_WEIGHT_OF_NOISE))
    return {"unet": unet, "resnet": resnet, "pixels": pixels}[word]()


def regimes(task: Task) -> list[str]:
    """The names that ``preset`` takes as its ``regime`` for a task; none where there is but one."""
    return list(dict.fromkeys(regime for name, regime, _ in TABLE if name == task.name and regime))


def _check_parts(task: Task, usual: Prior | HazePriors, prior: Prior | HazePriors) -> None:
    """Raises InputError where one network is to do what takes several, or the other way round."""
    if isinstance(prior, HazePriors) != isinstance(usual, HazePriors):
        wanted = "HazePriors" if isinstance(usual, HazePriors) else "a Prior"
        raise InputError(f"prior is a {type(prior).__name__}; task {task.name!r} takes {wanted}")


def _row(task: Task, prior: Prior | HazePriors | str | None, regime: str | None) -> Row:
    """The row of the table; the first that fits."""
    if isinstance(task, SuperResolve):
        if regime is not None:
            raise InputError(f"preset is {regime!r}; {task.name} takes none: its scale decides")
        regime = "x8" if task.scale == 8 else "x4"
    elif regime is not None and regime not in (known := regimes(task)):
        wanted = f"it must be one of {', '.join(known)}" if known else f"{task.name} takes none"
        raise InputError(f"preset is {regime!r}; {wanted}")
    rows = {
        (of, name): row
        for (task_name, of, name), row in TABLE.items()
        if task_name == task.name and regime in (None, of)
    }
    if not rows:
        raise InputError(f"task {task.name!r} has no settings")
    names = list(dict.fromkeys(name for _, name in rows))
    word = _word(prior, names)
    for (_, name), row in rows.items():
        if name == word:
            return row
    where = task.name if regime is None or isinstance(task, SuperResolve) else f"{task.name}, {regime}"
    known = ", ".join((*names, *OTHERS))
    raise InputError(f"prior is {prior!r}; for {where} it must be a Prior or one of {known}")


def _word(prior: Prior | HazePriors | str | None, names: list[str]) -> str:
    """The name of the rows that ``prior`` means, out of ``names`` where it says nothing itself."""
    if prior is None or isinstance(prior, HazePriors):
        return names[0]
    if isinstance(prior, Prior):
        nearest = "pip" if isinstance(prior.encoding, Fourier) else "dip"
        nearest = "dip3d" if isinstance(prior.network, Hourglass3d) else nearest
        return nearest if nearest in names else names[0]
    return prior


def _balanced(published: Preset, row: Row) -> Preset:
    """The published settings, ended by themselves; the published steps stay as the limit."""
    return replace(published, stop=VarianceWindow() | published.stop) if row.stops_itself else published


# Measured in docs/applications.md ("Steadied fits"): published code hands out the last output of these tasks,
# which is a matter of luck. Averaged outputs were nearer, from half of the steps on; and one fit of three had
# jumped shortly before its end, by 10 dB.
_STEADIED = ("superresolve", "inpaint", "flash")
# The published rate of flash pictures, .1, leaves black and red blobs; with .01 and averaged outputs the
# rendered pair of docs/gallery.md came to 39.9 instead of 29.7 dB.
_FLASH_RATE = 0.01


def _steadied(published: Preset, row: Row, quality: str) -> Preset:
    """The published fit, its outputs averaged and jumps taken back; "fast" in half of its steps."""
    steps = row.steps // 2 if quality == "fast" else row.steps
    source = f"ours, from: {published.source}"
    optimiser = Adam(_FLASH_RATE) if row.learning_rate > _FLASH_RATE else published.optimiser
    return replace(
        published,
        optimiser=optimiser,
        average=AVERAGE,
        backtrack=True,
        steps=steps,
        stop=MaxSteps(steps),
        source=source,
    )


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
    if not (row.stops_itself and prior.why_not_pointwise() is None and _all_pointwise(prior)):
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


def _all_pointwise(prior: Prior) -> bool:
    return all(level.kernel_down == level.kernel_up == 1 for level in prior.network.levels)


# Measured in docs/dehazing.md: at ten times the published rate the transmission is there after a few hundred
# steps. In as many, neither a learned airlight nor a second pass came nearer, on average of two scenes. The
# published rate and passes did, by .7 dB, in a quarter of the published steps and with ten times the work.
_DEHAZING_STEPS = {"balanced": 300, "fast": 150}


def _dehazing(published: Preset, plain: bool, quality: str, steps: int | None, known: bool) -> Preset:
    """The settings of dehazing; passes always fill the steps that will be made.

    Args:
        published: the row's.
        plain: whether the priors are the row's own; those of the user keep their passes, and say how many
            steps are made.
        quality: as ``preset`` takes it.
        steps: as ``preset`` takes it.
        known: whether an airlight was given. As published it is learned in every pass then, from the given
            one; ours holds it.
    """
    priors, rate, source = published.prior, published.optimiser, published.source
    if quality != "paper":
        rate, source = Adam(0.01), f"ours, from: {source}"
    if not plain:
        count = priors.pass_steps * len(priors.learned)
    elif quality == "paper":
        count = published.steps
        priors = replace(priors, learned=(True,) * len(priors.learned)) if known else priors
    else:
        count = _DEHAZING_STEPS[quality]
        priors = replace(priors, airlight=None, learned=(False,))
    priors = priors.over(count if steps is None else steps)
    return replace(published, prior=priors, optimiser=rate, steps=count, stop=MaxSteps(count), source=source)
