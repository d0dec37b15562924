"""How a clip is fitted: the published settings, or ours where something measured is better."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dipedge import priors
from dipedge.errors import InputError
from dipedge.networks import Hourglass, Level
from dipedge.optimisers import Adam, Muon, Optimiser
from dipedge.presets import QUALITIES
from dipedge.priors import Prior
from dipedge.stopping import MaxSteps, NoiseFloor, Rule
from dipedge.tasks import Denoise, Inpaint, RemoveJpeg, SuperResolve, Task

BATCH = 6  # PIP code: "batches of 6 consecutive frames"
# A step's memory grows with its pixels (1.3 GB a megapixel): larger frames come fewer at a time.
MOST_PIXELS = 2**20


@dataclass(frozen=True)
class ClipPreset:
    """Everything about a clip's fit that task and quality decide.

    Args:
        prior: a network of coordinates and time.
        optimiser: with ``hold`` and ``decay`` as shares of all steps where it is Muon: see ``over``.
        epochs: how often a step sees each frame of a fresh segment.
        warm_epochs: of a segment that goes on from the weights of the one before.
        average: weight of the past in the average of a frame's outputs.
        share: of the noise's variance that the residual falls to at the end; 0 to make all steps.
        segment: frames of a segment; None for all of the clip.
        overlap: frames that segments share.
        tempo: time that passes in a segment; the highest of the time's frequencies is 2.2 per unit.
        follow: whether views follow the camera.
        source: where the settings were published.
    """

    prior: Prior
    optimiser: Optimiser
    epochs: int
    warm_epochs: int
    average: float
    share: float
    segment: int | None
    overlap: int
    tempo: float
    follow: bool
    source: str

    def stop(self, steps: int, frames: int, batch: int, fresh: bool) -> Rule:
        """When a segment's fit ends.

        Args:
            steps: all that may be made.
            frames: in the segment.
            batch: frames of a step.
            fresh: whether it begins from new weights.
        """
        whole = MaxSteps(steps)
        if not self.share:
            return whole
        # The mean over an epoch and more: batches differ in how hard they are.
        window = min(1000, max(8, -(-frames // batch)))
        return NoiseFloor(self.share, window, floor=steps // 2) | whole


def batch_of(preset: ClipPreset, shape: tuple[int, int, int], frames: int) -> int:
    """How many frames a step sees, of ``frames`` with answers of ``shape`` [H, W, C]."""
    return max(1, min(BATCH, frames, MOST_PIXELS // (shape[0] * shape[1])))
