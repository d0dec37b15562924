"""How far a video is: frames, steps a second, time left and loss; a bar on a terminal, else a line now and
then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from dipedge.cli.progress import LINE_SECONDS, Bar, Lines, clock_time
from dipedge.result import Step
from dipedge.video import VideoReader


class FilmWatch:
    """What the steps of segment after segment come to for the whole video.

    A segment's frames count as its steps go on. The first one takes more of them than those that begin with
    its weights, so the time that is left is foreseen by the slowest and comes down.

    Args:
        reader: of the video; it knows how many frames it has handed out.
        clock: seconds, from any beginning.
    """

    def __init__(self, reader: VideoReader, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader, self._clock = reader, clock
        self._began = clock()
        self._segment = 0
        self._before = self._read = 0  # frames handed out before this segment's, and with them

    def done(self, step: Step) -> float:
        """Frames that are restored, in parts."""
        if step.fit != self._segment:
            self._segment = step.fit
            self._before, self._read = self._read, self._reader.handed_out
        share = step.index / step.limit if step.limit else 0.0
        return self._before + share * (self._read - self._before)

    def status(self, step: Step) -> str:
        """Steps a second, time left and loss."""
        rate = step.index / step.seconds if step.seconds > 0 else 0.0
        done, spent = self.done(step), self._clock() - self._began
        left = ""
        if self._reader.frames and done > 0:
            rest = max(self._reader.frames - done, 0) * spent / done
            left = f"about {clock_time(rest)} left, "
        return f"{rate:.1f} steps/s, {left}loss {step.loss:.5f}"

    def named(self, step: Step) -> str:
        """The segment, and the tile of it where there are several."""
        of = f" of {step.fits}" if step.fits > 1 else ""
        tile = f", tile {step.tile} of {step.tiles}" if step.tiles > 1 else ""
        return f"segment {step.fit}{of}{tile}"


class FilmLines(Lines):
    """A plain line every few seconds."""

    def __init__(self, reader: VideoReader, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(sys.stderr, clock)
        self._watch, self._total = FilmWatch(reader, clock), reader.frames
        self.begin(reader.path)

    def __call__(self, step: Step) -> None:
        done = self._watch.done(step)
        now = self._clock()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            of = f" of {self._total}" if self._total else ""
            words = (
                f"{self._name}: frame {done:.0f}{of}, {self._watch.named(step)}, {self._watch.status(step)}"
            )
            print(words, file=self._stream, flush=True)


class FilmBar(Bar):
    """A bar that is drawn in place; its numbers are frames."""

    def __init__(self, reader: VideoReader) -> None:
        super().__init__()
        self._watch, self._total = FilmWatch(reader), reader.frames
        self.begin(reader.path)

    def __call__(self, step: Step) -> None:
        done = int(self._watch.done(step))
        name = f"{self._name}, {self._watch.named(step)}"
        self._progress.update(
            self._task, description=name, completed=done, total=self._total, status=self._watch.status(step)
        )


def film_progress(reader: VideoReader) -> FilmBar | FilmLines:
    """The right one for where standard error goes."""
    return FilmBar(reader) if sys.stderr.isatty() else FilmLines(reader)
