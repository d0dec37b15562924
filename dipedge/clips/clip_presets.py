"""How a clip is fitted: the published settings, or ours where something measured is better."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dipedge import presets, priors
from dipedge.errors import InputError
from dipedge.networks import Hourglass, Level
from dipedge.optimisers import Adam, Muon, Optimiser
from dipedge.priors import HazePriors, Hourglass3d, Prior, SpaceTime
from dipedge.stopping import MaxSteps, NoiseFloor, Rule
from dipedge.tasks import Denoise, Inpaint, RemoveJpeg, SuperResolve, Task

TASKS = (Denoise, RemoveJpeg, SuperResolve, Inpaint)
BATCH = 6  # PIP code: "batches of 6 consecutive frames"
# A step's memory grows with its pixels (1.3 GB a megapixel): larger frames come fewer at a time.
MOST_PIXELS = 2**20
# Frames that 3D-DIP is fitted to at a time: every step holds them all, 8 GB for 24 of 854 x 480.
SEGMENT_3D = 24
# Of ours a network needs so many steps to come to anything, however few frames it has.
LEAST_STEPS = 240


@dataclass(frozen=True)
class ClipPreset:
    """Everything about a clip's fit that task and quality decide.

    Args:
        prior: a network of coordinates and time; or one of single pictures, which fits frame by frame.
        optimiser: of a fresh segment's steps; ``Muon``'s fall is stretched over them.
        epochs: how often a step sees each frame of a fresh segment.
        warm_epochs: likewise of a segment that goes on from the weights of the one before.
        average: weight of the past in the average of outputs; see ``weight``.
        source: where the settings were published.
        segment: most frames of a segment; None for all of the clip.
        overlap: frames that segments share.
        most: frames of a step, where memory allows.
        share: of the noise's variance that the residual falls to at the end; 0 to make all steps.
        longer: share of the steps that may be added at the rate they end with, to come down to the noise.
        least: steps that a fresh segment gets, however few its frames.
        memory: share of its epochs over which a frame's outputs are averaged, instead of ``average``.
        tempo: time that passes from frame to frame; None for 1 in a segment, as published.
        motion: how views follow the camera, "shift", "affine" or None.
        rule: of single pictures, instead of ``share``.
        backtrack: as ``presets.Preset``.
        subsample: likewise.
    """

    prior: Prior
    optimiser: Optimiser
    epochs: int
    warm_epochs: int
    average: float
    source: str
    segment: int | None = None
    overlap: int = 0
    most: int = BATCH
    share: float = 0.0
    longer: float = 0.0
    least: int = 0
    memory: float = 0.0
    tempo: float | None = None
    motion: str | None = None
    rule: Rule | None = None
    backtrack: bool = False
    subsample: bool = False

    @property
    def timed(self) -> bool:
        """Whether its network knows coordinates and time, so that one fit can hold many frames."""
        return isinstance(self.prior.encoding, SpaceTime)

    @property
    def whole(self) -> bool:
        """Whether a step needs all frames in their order, because its network looks from one to the next."""
        return isinstance(self.prior.network, Hourglass3d)

    def steps(self, frames: int, batch: int, fresh: bool = True) -> int:
        """Steps of a segment of ``frames`` frames, ``batch`` of them in each."""
        rounds = -(-frames // batch)
        return max(self.least, self.epochs * rounds) if fresh else self.warm_epochs * rounds

    def weight(self, steps: int, frames: int, batch: int) -> float:
        """Weight of the past in the average of a frame's outputs, in a fit of ``steps`` steps."""
        if not self.memory:
            return self.average
        outputs = self.memory * steps * batch / frames
        return max(0.0, 1 - 1 / outputs)

    def stop(self, steps: int, frames: int, batch: int) -> Rule:
        """When a segment's fit ends, of which ``steps`` steps are planned."""
        if self.rule is not None:
            return self.rule | MaxSteps(steps)
        if not self.share:
            return MaxSteps(steps)
        # Over an epoch and more: batches differ in how hard they are.
        window = min(1000, max(8, -(-frames // batch)))
        # A scene with much motion has not come down to its noise when the rate has fallen; it goes on there.
        longest = round(steps * (1 + self.longer))
        return NoiseFloor(self.share, window, floor=steps // 2) | MaxSteps(longest)

    def batch(self, shape: tuple[int, int, int], frames: int) -> int:
        """How many frames a step sees, of at most ``frames`` with answers of ``shape`` [H, W, C]."""
        if not self.timed:
            return frames if self.whole else 1
        return max(1, min(self.most, frames, MOST_PIXELS // (shape[0] * shape[1])))


# Measured in docs/video.md. PIP's net for pictures has skips of 4 channels. What moves is only known at the
# largest level, which has nothing else to say it with: 16 bring 1.3 dB and more, and cost no time.
_NETWORK = Prior(SpaceTime(), Hourglass((Level(skip=16, kernel_down=1, kernel_up=1),) * 5), name="pip-clip")
# The rate is held for half of the steps and then falls to a twentieth.
_MUON = Muon(0.05, momentum=0.95, rest=Adam(0.003, beta2=0.99), hold=1, decay=1, final=0.05)
# Epochs of a fresh segment, of one that goes on, and frames of a step: what a network comes to depends on its
# steps and on how often it sees each frame; with half of the frames in a step half of the epochs do.
_OURS = {"balanced": (160, 60, 6), "fast": (80, 30, 3)}
_PAPER = {"superresolve": 10000}  # epochs; 5000 for all else


def clip_preset(task: Task, prior: Prior | str | None, quality: str, steps: int | None = None) -> ClipPreset:
    """The settings for a clip.

    Args:
        task: one of ``TASKS``.
        prior: None for PIP's network of coordinates and time; a ``Prior`` with ``SpaceTime`` features; or
            "pip", "dip" or another prior of single pictures, which then fits each frame by itself with the
            settings that ``presets.preset`` has for it; or "dip3d", which fits segments of ``SEGMENT_3D``
            frames, each from new weights, and sees a whole one in every step.
        quality: "paper", the published settings to the letter; "balanced" and "fast" are ours.
        steps: how many will see each frame, if that is decided.

    Raises:
        InputError: a task that is not for clips, or an unknown prior or quality.
    """
    if not isinstance(task, TASKS):
        known = ", ".join(kind.__name__ for kind in TASKS)
        raise InputError(f"task is {task.name!r}; clips can be restored with {known}")
    if quality not in presets.QUALITIES:
        raise InputError(f"quality is {quality!r}; it must be one of {', '.join(presets.QUALITIES)}")
    given: Any = prior
    if given is not None and not (isinstance(given, Prior) and isinstance(given.encoding, SpaceTime)):
        found = _of_single_pictures(task, given, quality, steps)
    else:
        found = _published(task) if quality == "paper" else _ours(task, quality)
        found = found if given is None else replace(found, prior=given)
    if steps is not None:
        found = replace(found, epochs=steps, warm_epochs=steps, share=0.0, least=0, rule=None)
    return found


def _of_single_pictures(
    task: Task, prior: Prior | HazePriors | str, quality: str, steps: int | None
) -> ClipPreset:
    """Frame by frame (3D-DIP: segment by segment), each from new weights: what ours is compared with."""
    single = presets.preset(task, prior, quality, steps)
    found = ClipPreset(
        single.prior, single.optimiser, single.steps, single.steps, single.average, single.source, segment=1,
        rule=single.stop, backtrack=single.backtrack, subsample=single.subsample,
    )  # fmt: skip
    return replace(found, segment=SEGMENT_3D) if found.whole else found


def _published(task: Task) -> ClipPreset:
    epochs = _PAPER.get(task.name, 5000)
    return ClipPreset(
        priors.video_pip(), Adam(0.01), epochs, epochs, 0.0,
        "PIP code, video: Adam .01, batches of 6 consecutive frames, raw output",
    )  # fmt: skip


def _ours(task: Task, quality: str) -> ClipPreset:
    """Muon with a falling rate: docs/video.md has what was measured."""
    epochs, warm, most = _OURS[quality]
    return ClipPreset(
        _NETWORK, _MUON, epochs, warm, 0.0,
        f"ours ({quality}), from: {_published(task).source}",
        segment=24, overlap=4, most=most, share=0.9, longer=0.5, least=LEAST_STEPS, memory=1 / 16, tempo=0.5,
        motion="affine",
    )  # fmt: skip
