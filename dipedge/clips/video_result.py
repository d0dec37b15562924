"""What a restored clip came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dipedge.history import History
from dipedge.result import StopReason


@dataclass(frozen=True)
class FittedSegment:
    """What became of one segment of a clip.

    Args:
        first: number of its first frame.
        frames: how many it has, those it shares with the segments around it included.
        fresh: whether it began from new weights: the first of a clip, and of every scene.
        steps: optimiser steps, each of which saw a batch of frames.
        seconds: they took, with reading and motion.
        loss: the data term of the last step.
        reason: why its fit ended.
        history: the loss of every step.
    """

    first: int
    frames: int
    fresh: bool
    steps: int
    seconds: float
    loss: float
    reason: StopReason
    history: History = field(repr=False)


@dataclass(frozen=True)
class VideoResult:
    """A restored clip and how it came about.

    Args:
        frames: the answer in the kind, dtype and layout of the source: an array [N, H, W, C] for one, a list
            for a list; None where it went into a file.
        path: of that file, or None. After an interruption that of the partial file, which is not the answer.
        reason: the one most segments ended for; INTERRUPTED after Ctrl-C.
        restored: frames of the source that are restored, those of an earlier run among them.
        resumed: how many of them were restored by an earlier run.
        steps: optimiser steps of this run, each of which saw a batch of frames.
        seconds: this run took.
        segments: each fit, those of an earlier run among them.
        engine: the engine's name.
        device: what ran it; keys "device", "isa", "version" as far as they apply.
        psnr: of all frames together beside the reference, in dB; None without one.
        ssim3d: likewise (``metrics.ssim3d``); None for fewer than seven frames, too.
    """

    frames: Any = field(repr=False)
    path: str | None
    reason: StopReason
    restored: int
    resumed: int
    steps: int
    seconds: float
    segments: tuple[FittedSegment, ...] = field(repr=False)
    engine: str
    device: dict[str, str]
    psnr: float | None = None
    ssim3d: float | None = None


class VideoInterrupted(KeyboardInterrupt):
    """Ctrl-C while a clip was restored; ``result`` holds what was finished until then.

    Args:
        result: with the finished frames, or the path of the partial file they are in.
    """

    def __init__(self, result: VideoResult) -> None:
        super().__init__()
        self.result = result
