"""Segments: a clip of any length, cut while it is read; only one segment is in memory.

One network holds so many frames and no more, so a long clip is fitted piece by piece. Pieces share a few
frames, where their answers are cross-faded, and the weights of one are where the next begins. Each frame's
view follows the camera, so that what these weights know of the scene still holds. At a scene cut nothing
holds: the next segment shares no frame and begins from new weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import hypot
from typing import Protocol

import numpy as np

from dipedge.arrays import Picture
from dipedge.errors import DipedgeError
from dipedge.video import Frame
from dipedge.views import View

# Coordinates that have grown or shrunk so far are no longer those whose frequencies were chosen for pictures.
FARTHEST_ZOOM = 1.5


class Follower(Protocol):
    """What a segment needs of ``motion.MotionEstimator``."""

    def reset(self) -> None: ...

    def next(self, frame: np.ndarray) -> object: ...


@dataclass(frozen=True)
class ClipFrame:
    """A frame as it was read.

    Args:
        picture: checked.
        shown: when, and for how long, in seconds.
        digest: of this frame and all before it.
        mask: bool [H, W], True = known; None for a task without holes.
    """

    picture: Picture
    shown: tuple[Fraction, Fraction]
    digest: bytes
    mask: np.ndarray | None = None


@dataclass
class Segment:
    """Frames that are fitted together.

    Args:
        number: from 0.
        first: number of its first frame in the clip.
        frames: its frames.
        views: of each; times are counted from ``began``.
        kept: trailing frames that the next one will have, too; 0 at the end and before a cut.
        fresh: whether it begins from new weights.
        began: number of the frame that this run of warm segments began with.
        last: whether the clip ends with it.
        fault: why reading ended early, if it did.
    """

    number: int
    first: int
    frames: list[ClipFrame]
    views: list[View]
    kept: int
    fresh: bool
    began: int
    last: bool
    fault: DipedgeError | None = None

    def next_start(self) -> Start:
        """Where the segment after this one begins."""
        after = self.first + len(self.frames)
        views = self.views[len(self.views) - self.kept :]
        fresh = not self.kept or _zoomed(views[-1])
        if fresh:
            views = _from_identity(views)
        began = after - self.kept if fresh else self.began
        return Start(self.number + 1, after - self.kept, views, fresh, began)


@dataclass(frozen=True)
class Start:
    """Where a segment begins: its number, first frame, and the views of the frames it shares."""

    number: int = 0
    first: int = 0
    views: list[View] = field(default_factory=list)
    fresh: bool = True
    began: int = 0


def _zoomed(view: View) -> bool:
    a, b, _, d, e, _ = view.matrix
    scales = (hypot(a, d), hypot(b, e))
    return max(scales) > FARTHEST_ZOOM or min(scales) < 1 / FARTHEST_ZOOM


def _from_identity(views: list[View]) -> list[View]:
    """The same views in coordinates of the first of them."""
    if not views:
        return []
    inverse = np.linalg.inv(_square(views[0]))
    return [View(tuple((inverse @ _square(view))[:2].reshape(-1))) for view in views]


def _square(view: View) -> np.ndarray:
    return np.vstack([np.reshape(view.matrix, (2, 3)), (0.0, 0.0, 1.0)])


def chained(digest: bytes, picture: Picture, mask: np.ndarray | None) -> bytes:
    """The digest of a clip that goes on with ``picture`` and its mask."""
    whole = hashlib.blake2b(digest, digest_size=16)
    whole.update(repr((picture.values.shape, picture.dtype.name)).encode())
    for part in (picture.values, picture.alpha, mask):
        if part is not None:
            whole.update(np.ascontiguousarray(part).tobytes())
    return whole.digest()


def frames_of(
    source: Iterator[Frame], read: Callable[[object, int], Picture], masks: Iterator[np.ndarray] | None = None
) -> Iterator[ClipFrame]:
    """Reads and checks the frames of a clip.

    Args:
        source: of a video, or with its face.
        read: checks the pixels of frame number k.
        masks: one for each frame, or None for a task without holes.
    """
    digest = b""
    for number, frame in enumerate(source):
        picture = read(frame.pixels, number)
        mask = None if masks is None else next(masks)
        digest = chained(digest, picture, mask)
        yield ClipFrame(picture, (frame.time, frame.duration), digest, mask)


class _Ahead:
    """The clip, one frame further than what was taken; a fault ends it."""

    def __init__(self, frames: Iterator[ClipFrame]) -> None:
        self._frames = frames
        self.fault: DipedgeError | None = None
        self.frame: ClipFrame | None = None
        self.take()

    def take(self) -> ClipFrame | None:
        """The frame ahead; the next one is read."""
        taken, self.frame = self.frame, None
        try:
            self.frame = next(self._frames, None)
        except DipedgeError as error:
            self.fault = error
        return taken


class _Camera:
    """Where the frames of one segment lie, found from them alone: a clip taken up again finds the same.

    Args:
        follower: estimates motion; None for a camera that stands still.
        last: the last frame that the segment shares, with its view; None where it shares none.
    """

    def __init__(self, follower: Follower | None, last: tuple[ClipFrame, View] | None) -> None:
        self._follower, self._view = follower, None
        if follower is not None:
            follower.reset()
        if last is not None:
            self._look(last[0])
            self._view = last[1]

    def _look(self, frame: ClipFrame) -> object | None:
        return None if self._follower is None else self._follower.next(frame.picture.pixels)

    def place(self, frame: ClipFrame) -> View | None:
        """The view of the next frame; None where a new scene begins with it."""
        found = self._look(frame)
        if self._view is None:
            self._view = View()
        elif found is not None:
            if found.cut:
                return None
            self._view = self._view.after(View(found.view.matrix))
        return self._view


def segments_of(
    frames: Iterator[ClipFrame],
    length: int,
    overlap: int,
    start: Start,
    tempo: float = 1.0,
    follower: Follower | None = None,
) -> Iterator[Segment]:
    """Cuts a clip into segments, one at a time.

    An error on the way ends the clip: the frames before it make the last segment, which carries it.

    Args:
        frames: the clip from frame ``start.first`` on.
        length: most frames of a segment, 1 or more.
        overlap: frames that two segments share, under ``length``.
        start: where the first of them begins.
        tempo: time that passes from frame to frame.
        follower: estimates how the camera moved; None for a camera that stands still.
    """
    ahead = _Ahead(frames)
    held = [ahead.take() for _ in start.views]
    if ahead.fault is not None and (None in held or (not held and ahead.frame is None)):
        raise ahead.fault  # before anything new was read
    while held or ahead.frame is not None:
        places = list(start.views)
        camera = _Camera(follower, (held[-1], places[-1]) if held else None)
        view = None if ahead.frame is None else camera.place(ahead.frame)
        while view is not None and len(held) < length:
            held.append(ahead.take())
            places.append(view)
            view = None if ahead.frame is None else camera.place(ahead.frame)
        last = ahead.frame is None
        kept = 0 if view is None else overlap
        times = (start.first - start.began + np.arange(len(held)) + 1) * tempo
        views = [View(place.matrix, time) for place, time in zip(places, times, strict=True)]
        segment = Segment(
            start.number, start.first, held, views, kept, start.fresh, start.began, last, ahead.fault
        )
        yield segment
        if last:
            return
        start, held = segment.next_start(), held[len(held) - kept :]
