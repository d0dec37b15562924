"""Tasks as frozen descriptions: what degraded the picture, and so which data term is minimised.

Tasks know nothing of priors: which settings fit which pair stands in ``presets``. They hold no state and
compute no more than shapes and the few arithmetic steps from a picture to the target of its fit, and from the
estimate to the answer (``base.BaseTask``).
"""

from __future__ import annotations

from dipedge.tasks.base import Answer, BaseTask, DataTerm
from dipedge.tasks.features import InvertFeatures, MaximizeActivation
from dipedge.tasks.flash import FlashNoFlash
from dipedge.tasks.haze import Dehaze
from dipedge.tasks.restoration import SCALES, Denoise, Enhance, Inpaint, RemoveJpeg, SuperResolve
from dipedge.tasks.text import Encoders, MatchText

Task = BaseTask

__all__ = [
    "SCALES",
    "Answer",
    "BaseTask",
    "DataTerm",
    "Dehaze",
    "Denoise",
    "Encoders",
    "Enhance",
    "FlashNoFlash",
    "Inpaint",
    "InvertFeatures",
    "MatchText",
    "MaximizeActivation",
    "RemoveJpeg",
    "SuperResolve",
    "Task",
]
