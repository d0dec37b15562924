"""The tables there are."""

from __future__ import annotations

from benchmarks.tables.protocols import Denoising, HalfOfThePixels, Protocol, SuperResolution
from benchmarks.tables.video import Video

TABLES = ("denoise", "sr4", "sr8", "inpaint50", "video")


def protocol(table: str, pairs: bool = False, frames: int = 8) -> Protocol:
    """The protocol of a table.

    Args:
        table: one of ``TABLES``.
        pairs: for super-resolution, to take ready LR/HR pairs.
        frames: of a clip, at most.
    """
    if table.startswith("sr"):
        return SuperResolution(int(table.removeprefix("sr")), pairs)
    return (
        {"denoise": Denoising, "inpaint50": HalfOfThePixels}[table]() if table != "video" else Video(frames)
    )
