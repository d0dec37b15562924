"""Clips: a network of coordinates and time, fitted to many frames of a video at once (``docs/video.md``)."""

from dipedge.clips.restore import restore_video
from dipedge.clips.video_result import FittedSegment, VideoInterrupted, VideoResult

__all__ = ["FittedSegment", "VideoInterrupted", "VideoResult", "restore_video"]
