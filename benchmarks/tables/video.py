"""The protocol of clips: frames in a folder, noise in every one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dipedge as de
from benchmarks.tables import pictures
from benchmarks.tables.protocols import Case, Protocol
from dipedge.metrics import SIDE_3D, flicker, ssim3d


class Video(Protocol):
    """Every folder with pictures is a clip; its first ``frames`` get noise of sigma 25."""

    name = "video"
    title = "Video denoising, sigma 25, the first frames of every clip"
    notes = (
        "Noise: numpy's legacy generator, seed 0, drawn frame after frame, clipped. Frames cropped at their "
        "centre to multiples of 32. PSNR: mean over frames, all channels.",
        "3D-SSIM (`dipedge.metrics.ssim3d`): SSIM over [frame, row, column] with a window of 7 a side, as "
        "scikit-image has it; it is not published which was taken.",
        "Flicker (`dipedge.metrics.flicker`): root mean square of the change of the error from frame to "
        "frame; less is better. The noise that was added has about 35.",
        "PIP clip: one network for the whole clip (`de.restore_video`). 3D-DIP: the PIP paper's baseline, "
        "an hourglass of 3x3x3 convolutions. Per frame: every frame by itself. Stream: the first frame from "
        "scratch, every further one from the weights of the last.",
        "BM4D, BM3D and NLM are told the true sigma; ours is not.",
    )

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def files(self, folder: Path) -> list[tuple[str, Path]]:
        """Clips below the folder, or the folder itself if frames lie in it."""
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
        return [(clip.name, clip) for clip in [folder, *inside] if pictures.picture_files(clip)]

    def case(self, name: str, path: Path, side: int | None) -> Case:
        files = pictures.picture_files(path)[: self.frames]
        clean = np.stack([pictures.unit(pictures.centre(pictures.opened(f, side=side))) for f in files])
        return Case(name, clean, pictures.with_noise(clean), de.Denoise())

    def scores(self, case: Case, answer: np.ndarray) -> dict[str, float]:
        pairs = zip(answer, case.clean, strict=True)
        answer = np.clip(answer, 0, 1)
        scores = {"psnr": float(np.mean([pictures.psnr(frame, clean) for frame, clean in pairs]))}
        if len(answer) >= SIDE_3D:
            scores["ssim3d"] = ssim3d(answer, case.clean)
        if len(answer) > 1:
            scores["flicker"] = flicker(answer, case.clean)
        return scores
