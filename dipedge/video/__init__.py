"""Video: files by PyAV, folders of frames and animations by Pillow; read as a stream, written beside and
renamed.

    with open_video("clip.mp4") as reader, VideoWriter("restored.mp4", like=reader) as writer:
        for frame in reader:
            writer.write(restored(frame.pixels), frame.time, frame.duration)

Sound, subtitles, chapters, tags, timestamps, colour tags and rotation come along (``docs/video_files.md``).
"""

from __future__ import annotations

import os
from fractions import Fraction
from glob import has_magic
from pathlib import Path

from dipedge.errors import FileError
from dipedge.video.animation import AnimationReader, is_animation_format
from dipedge.video.container_reader import ContainerReader
from dipedge.video.folder import FrameFolder
from dipedge.video.source import Frame, VideoReader
from dipedge.video.writer import VideoWriter

__all__ = ["Frame", "FrameFolder", "VideoReader", "VideoWriter", "open_video"]


def open_video(path: str | os.PathLike, rate: Fraction | float | None = None) -> VideoReader:
    """Opens a video for reading.

    Args:
        path: a file PyAV knows, an animated GIF, WebP or PNG, a folder of pictures, or a glob of pictures.
        rate: frames a second of a folder or glob; default 25. Files have their own.

    Raises:
        FileError: nothing there, no video, or nothing in it that can be decoded.
        InputError: PyAV is needed and not installed.
    """
    path = os.fspath(path)
    if os.path.isdir(path) or (has_magic(path) and not os.path.exists(path)):
        return FrameFolder(path, rate)
    if not os.path.exists(path):
        raise FileError(f"{path}: no such file")
    if is_animation_format(Path(path)):
        return AnimationReader(path)
    return ContainerReader(path)
