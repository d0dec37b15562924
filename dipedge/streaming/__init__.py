"""Streams: frames of a camera or a clip, fitted by a thread, each going on from the one before.

``stream`` is the face; ``exchange`` is where its threads meet, ``sides`` what they do, ``statistics`` what
they count. ``pushing`` fits one frame: ``following`` says where it lies in the scene, ``averaging`` what the
outputs are averaged over, ``pace`` what a step costs. How to use it, and what is promised: docs/streams.md.
"""

from dipedge.streaming.exchange import FailedFrame
from dipedge.streaming.statistics import StreamStatistics
from dipedge.streaming.stream import Stream

__all__ = ["FailedFrame", "Stream", "StreamStatistics"]
