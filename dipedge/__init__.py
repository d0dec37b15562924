"""dipedge: restores pictures with untrained networks, fitted to the one picture at hand.

Importing this package loads neither PyTorch nor the native module, nor anything else that takes time: every
name is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers, which do not run __getattr__
    from dipedge import encoders, models, pixel_formats
    from dipedge.clips import FittedSegment, VideoInterrupted, VideoResult, restore_video
    from dipedge.engines import get_engine
    from dipedge.errors import (
        DipedgeError,
        EngineError,
        EngineFallbackWarning,
        FileError,
        InputError,
        OutOfMemoryError,
    )
    from dipedge.fit import FitDivergedError, fit_steps
    from dipedge.history import History
    from dipedge.metrics import flicker, psnr, ssim, ssim3d
    from dipedge.optimisers import Adam, Madgrad, Muon
    from dipedge.presets import Preset, preset
    from dipedge.priors import (
        Fourier,
        GivenImage,
        HazePriors,
        Hourglass,
        Hourglass3d,
        Level,
        Meshgrid,
        NoInput,
        Noise,
        Pixels,
        Prior,
        ResNet,
        SpaceTime,
        UNet,
        dip,
        dip3d,
        pip,
        pixels,
        resnet,
        unet,
        video_pip,
    )
    from dipedge.report_page import write_report
    from dipedge.result import FitResult, FittedMember, FittedTile, Step, StopReason
    from dipedge.samples import sample_prior
    from dipedge.session import Session, restore
    from dipedge.stopping import Deadline, Discrepancy, MaxSteps, NoiseFloor
    from dipedge.streaming import FailedFrame, Stream, StreamStatistics
    from dipedge.tasks import (
        Dehaze,
        Denoise,
        Encoders,
        Enhance,
        FlashNoFlash,
        Inpaint,
        InvertFeatures,
        MatchText,
        MaximizeActivation,
        RemoveJpeg,
        SuperResolve,
    )
    from dipedge.tiles import Tiles
    from dipedge.variance import VarianceWindow
    from dipedge.views import View

__version__ = "0.1.0"

# Each public name and the module it lives in; a test holds this, __all__ and the imports above together.
_HOMES = {
    "dipedge": ("encoders", "models", "pixel_formats"),  # modules that are public as a whole
    "dipedge.clips": ("FittedSegment", "VideoInterrupted", "VideoResult", "restore_video"),
    "dipedge.engines": ("get_engine",),
    "dipedge.errors": (
        "DipedgeError",
        "EngineError",
        "EngineFallbackWarning",
        "FileError",
        "InputError",
        "OutOfMemoryError",
    ),
    "dipedge.fit": ("FitDivergedError", "fit_steps"),
    "dipedge.history": ("History",),
    "dipedge.metrics": ("flicker", "psnr", "ssim", "ssim3d"),
    "dipedge.optimisers": ("Adam", "Madgrad", "Muon"),
    "dipedge.presets": ("Preset", "preset"),
    "dipedge.priors": (
        "Fourier",
        "GivenImage",
        "HazePriors",
        "Hourglass",
        "Hourglass3d",
        "Level",
        "Meshgrid",
        "NoInput",
        "Noise",
        "Pixels",
        "Prior",
        "ResNet",
        "SpaceTime",
        "UNet",
        "dip",
        "dip3d",
        "pip",
        "pixels",
        "resnet",
        "unet",
        "video_pip",
    ),
    "dipedge.report_page": ("write_report",),
    "dipedge.result": ("FitResult", "FittedMember", "FittedTile", "Step", "StopReason"),
    "dipedge.samples": ("sample_prior",),
    "dipedge.session": ("Session", "restore"),
    "dipedge.stopping": ("Deadline", "Discrepancy", "MaxSteps", "NoiseFloor"),
    "dipedge.streaming": ("FailedFrame", "Stream", "StreamStatistics"),
    "dipedge.tasks": (
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
    ),
    "dipedge.tiles": ("Tiles",),
    "dipedge.variance": ("VarianceWindow",),
    "dipedge.views": ("View",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "Adam",
    "Deadline",
    "Dehaze",
    "Denoise",
    "DipedgeError",
    "Discrepancy",
    "Encoders",
    "EngineError",
    "EngineFallbackWarning",
    "Enhance",
    "FailedFrame",
    "FileError",
    "FitDivergedError",
    "FitResult",
    "FittedMember",
    "FittedSegment",
    "FittedTile",
    "FlashNoFlash",
    "Fourier",
    "GivenImage",
    "HazePriors",
    "History",
    "Hourglass",
    "Hourglass3d",
    "Inpaint",
    "InputError",
    "InvertFeatures",
    "Level",
    "Madgrad",
    "MatchText",
    "MaxSteps",
    "MaximizeActivation",
    "Meshgrid",
    "Muon",
    "NoInput",
    "Noise",
    "NoiseFloor",
    "OutOfMemoryError",
    "Pixels",
    "Preset",
    "Prior",
    "RemoveJpeg",
    "ResNet",
    "Session",
    "SpaceTime",
    "Step",
    "StopReason",
    "Stream",
    "StreamStatistics",
    "SuperResolve",
    "Tiles",
    "UNet",
    "VarianceWindow",
    "VideoInterrupted",
    "VideoResult",
    "View",
    "__version__",
    "dip",
    "dip3d",
    "encoders",
    "fit_steps",
    "flicker",
    "get_engine",
    "models",
    "pip",
    "pixel_formats",
    "pixels",
    "preset",
    "psnr",
    "resnet",
    "restore",
    "restore_video",
    "sample_prior",
    "ssim",
    "ssim3d",
    "unet",
    "video_pip",
    "write_report",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'dipedge' has no attribute {name!r}")
    value = import_module(f"dipedge.{name}") if home == "dipedge" else getattr(import_module(home), name)
    globals()[name] = value  # the next look-up no longer comes here
    return value


def __dir__() -> list[str]:
    return list(__all__)
