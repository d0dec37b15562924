"""What a command tells about a restored video: lines and JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from dipedge import __version__
from dipedge.clips import VideoResult
from dipedge.metrics import psnr, ssim
from dipedge.report_page.words import runs_on
from dipedge.tasks import Task
from dipedge.video import VideoReader, open_video

if TYPE_CHECKING:
    from dipedge.cli.video_run import Filming


def figures_of(
    reader: VideoReader, result: VideoResult, reference: str, rate: float | None
) -> dict[str, float | None]:
    """PSNR in dB over all frames and mean SSIM beside the true video; None for identical ones' PSNR.

    What was written is read again, so that the codec's loss is in them; ``psnr`` and ``ssim3d`` are the fit's
    own.

    Args:
        reader: of the degraded video; it is compared where it has the size and number of frames of the true
            one.
        result: of the run.
        reference: path of the true video.
        rate: of folders of frames.
    """
    figures = {"psnr": result.psnr, "ssim3d": result.ssim3d}
    figures |= {f"{key}_written": value for key, value in _compared(result.path, reference, rate).items()}
    if result.restored == len_of(reference, rate) and (reader.height, reader.width) == _size(reference, rate):
        figures |= {f"{key}_before": value for key, value in _compared(reader, reference, rate).items()}
    return {key: _finite(value) for key, value in figures.items()}


def _opened(video: Any, rate: float | None) -> VideoReader:
    return video if isinstance(video, VideoReader) else open_video(video, rate)


def _size(video: Any, rate: float | None) -> tuple[int, int]:
    reader = _opened(video, rate)
    return reader.height, reader.width


def len_of(video: Any, rate: float | None) -> int:
    """How many frames a video has, counted."""
    return sum(1 for _ in _opened(video, rate))


def _compared(video: Any, reference: Any, rate: float | None) -> dict[str, float]:
    errors, likeness = [], []
    for frame, truth in zip(_opened(video, rate), _opened(reference, rate), strict=False):
        pair = [_colours(each.pixels) for each in (frame, truth)]
        errors.append(10 ** (-psnr(*pair) / 10))
        likeness.append(ssim(*pair))
    error = float(np.mean(errors))
    return {"psnr": math.inf if error == 0 else -10 * math.log10(error), "ssim": float(np.mean(likeness))}


def _colours(pixels: np.ndarray) -> np.ndarray:
    """Float32 [H, W, 3] in [0, 1]: a codec may have made colour of gray; alpha is no estimate."""
    values = pixels[..., :3].astype(np.float32) / np.iinfo(pixels.dtype).max
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def summary(reader: VideoReader, result: VideoResult, figures: dict[str, float | None]) -> str:
    """The lines printed for a restored video."""
    new = result.restored - result.resumed
    resumed = f" ({result.resumed} of them by an earlier run)" if result.resumed else ""
    pieces = "1 segment" if len(result.segments) == 1 else f"{len(result.segments)} segments"
    lines = [
        f"{reader.path} -> {result.path}",
        f"  {result.restored} frames{resumed} in {pieces}, {result.steps} steps in {result.seconds:.1f} s "
        f"({result.steps / result.seconds:.1f} steps/s, {new / result.seconds:.3g} frames/s) "
        f"on {runs_on(result)}",
        f"  most segments ended because {result.reason.sentence}",
    ]
    if figures:
        lines.append(f"  {_figures(figures)}")
    return "\n".join(lines)


def _figures(figures: dict[str, float | None]) -> str:
    def decibels(key: str) -> str:
        return "identical" if figures[key] is None else f"{figures[key]:.2f} dB"

    before = f"{decibels('psnr_before')} -> " if "psnr_before" in figures else ""
    ssim_before = f"{figures['ssim_before']:.4f} -> " if "ssim_before" in figures else ""
    cubes = f", 3D-SSIM {figures['ssim3d']:.4f}" if figures["ssim3d"] is not None else ""
    written = f" ({decibels('psnr_written')} as written)"
    return f"PSNR {before}{decibels('psnr')}{written}, SSIM {ssim_before}{figures['ssim_written']:.4f}{cubes}"


def record(
    reader: VideoReader, task: Task, options: Filming, result: VideoResult,
    figures: dict[str, float | None], notes: list[str],
) -> dict[str, Any]:  # fmt: skip
    """The content of the JSON file.

    Args:
        reader, task, options: of the command.
        result: what came of it.
        figures: of ``figures_of``; empty without a reference.
        notes: sentences that were told on the way.
    """
    described = {name: getattr(task, name) for name in ("sigma", "scale", "keep") if hasattr(task, name)}
    kept = ("prior", "quality", "seed", "precision", "motion", "times", "codec", "crf", "audio")
    return {
        "input": reader.path,
        "output": result.path,
        "task": task.name,
        **described,
        **{name: getattr(options, name) for name in kept},
        "dipedge_version": __version__,
        "width": reader.width,
        "height": reader.height,
        "channels": reader.channels,
        "bit_depth": reader.bit_depth,
        "rate": float(reader.rate),
        "input_codec": reader.looks.codec or None,
        "frames": result.restored,
        "resumed": result.resumed,
        "engine": result.engine,
        "device": result.device.get("device"),
        "isa": result.device.get("isa"),
        "engine_version": result.device.get("version"),
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "steps_per_second": round(result.steps / result.seconds, 3),
        "frames_per_second": round((result.restored - result.resumed) / result.seconds, 4),
        "reason": result.reason.value,
        "reason_sentence": result.reason.sentence,
        "loss": result.segments[-1].loss if result.segments else None,
        "segments": [_segment(each, options.history) for each in result.segments],
        "notes": notes,
        **figures,
    }


def _segment(segment: Any, history: bool) -> dict[str, Any]:
    told = asdict(segment) | {"reason": segment.reason.value}
    told.pop("history")
    return told | ({"history": segment.history.plain()} if history else {})
