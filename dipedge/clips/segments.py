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
        time: when it is shown, in seconds; None where the source does not say.
        motion: its pixels in the frame before; None for none known, and for the first.
        cut: whether a new scene begins with it.
        digest: of this frame and all before it.
    """

    picture: Picture
    time: Fraction | None
    motion: View | None
    cut: bool
    digest: bytes


@dataclass
class Segment:
    """Frames that are fitted together.

    Args:
        number: from 0.
        first: number of its first frame in the clip.
        frames: its frames.
        views: of each; times are in segment lengths since ``began``.
        shared: leading frames that the segment before has, too.
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
    shared: int
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


def fade(shared: int) -> np.ndarray:
    """Weights [shared] of a segment's own answers where it shares frames with the one before."""
    return (np.arange(shared, dtype=np.float32) + 1) / (shared + 1)


def chained(digest: bytes, picture: Picture) -> bytes:
    """The digest of a clip that goes on with ``picture``."""
    whole = hashlib.blake2b(digest, digest_size=16)
    whole.update(repr((picture.values.shape, picture.dtype.name)).encode())
    for part in (picture.values, picture.alpha):
        if part is not None:
            whole.update(np.ascontiguousarray(part).tobytes())
    return whole.digest()


def frames_of(
    source: Iterator[tuple[object, Fraction | None]],
    read: Callable[[object, int], Picture],
    follower: Follower | None,
) -> Iterator[ClipFrame]:
    """Reads, checks and compares with the frame before.

    Args:
        source: pixels and time of each frame.
        read: checks the pixels of frame number k.
        follower: estimates how the camera moved; None for a camera that stands still.
    """
    digest = b""
    for number, (pixels, time) in enumerate(source):
        picture = read(pixels, number)
        digest = chained(digest, picture)
        motion, cut = None, False
        if follower is not None:
            found = follower.next(picture.pixels)
            cut = bool(found.cut) and number > 0
            motion = found.view if number and not cut else None
        yield ClipFrame(picture, time, motion, cut, digest)


def segments_of(
    frames: Iterator[ClipFrame], length: int, overlap: int, start: Start, tempo: float = 1.0
) -> Iterator[Segment]:
    """Cuts a clip into segments, one at a time.

    An error on the way ends the clip: the frames before it make the last segment, which carries it.

    Args:
        frames: the clip from frame ``start.first`` on.
        length: most frames of a segment, 1 or more.
        overlap: frames that two segments share, under ``length``.
        start: where the first of them begins.
        tempo: time that passes in ``length`` frames.
    """
    ahead, fault = _advance(frames)
    held: list[ClipFrame] = []
    while ahead is not None or held:
        shared = len(held)
        while ahead is not None and len(held) < length and not (held and ahead.cut):
            held.append(ahead)
            ahead, fault = _advance(frames)
        last = ahead is None
        kept = 0 if last or ahead.cut else overlap
        views = _views(held, start, tempo / length)
        segment = Segment(
            start.number, start.first, held, views, shared, kept, start.fresh, start.began, last,
            fault if last else None,
        )  # fmt: skip
        yield segment
        if last:
            return
        start, held = segment.next_start(), held[len(held) - kept :]


def _advance(frames: Iterator[ClipFrame]) -> tuple[ClipFrame | None, DipedgeError | None]:
    try:
        return next(frames, None), None
    except DipedgeError as error:
        return None, error


def _views(frames: list[ClipFrame], start: Start, tempo: float) -> list[View]:
    """The views of a segment's frames: those known from the one before, then motion after motion."""
    places = list(start.views[: len(frames)])
    for frame in frames[len(places) :]:
        before = places[-1] if places else None
        still = before is None or frame.motion is None
        places.append(before or View() if still else before.after(frame.motion))
    times = (start.first - start.began + np.arange(len(frames)) + 1) * tempo
    return [View(place.matrix, time) for place, time in zip(places, times, strict=True)]
