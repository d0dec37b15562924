"""Streams that are measured: PSNR and frames a second by steps, latency, memory over many frames."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dipedge as de
from benchmarks.stream_scenes import Shot

Row = dict[str, Any]
BEGUN = {"steps": 30}  # of a first frame whose quality is not looked at


@dataclass(frozen=True)
class Frame:
    """What became of one frame: PSNR in dB, also where something moves; seconds of the call."""

    psnr: float
    psnr_moving: float | None
    seconds: float
    steps: int
    image: np.ndarray
    clean: np.ndarray


def pushed(
    session: de.Session, shots: Iterable[Shot], rule: Row, first: Row | None = None
) -> Iterator[Frame]:
    """Every shot through ``session.push``: the first, from scratch, by ``first``, all others by ``rule``."""
    for index, shot in enumerate(shots):
        begin = time.perf_counter()
        result = session.push(shot.noisy, **(rule if index else first or {}))
        seconds = time.perf_counter() - begin
        image = np.clip(result.image, 0, 1)
        moving = None
        if shot.moving is not None and shot.moving.any():
            moving = de.psnr(image[shot.moving], shot.clean[shot.moving])
        yield Frame(de.psnr(image, shot.clean), moving, seconds, result.steps, image, shot.clean)


def quality(session: de.Session, shots: Iterable[Shot], steps: int) -> Row:
    """A stream with ``steps`` steps a frame.

    Returns:
        psnr_single (the first frame, a fit by itself to its own end), psnr (the last frame), psnr_mean (all
        but the first), psnr_moving (the mean where something moves), flicker, frames_per_second (of further
        frames, in the calls alone), single_seconds.
    """
    first, *further = pushed(session, shots, {"steps": steps})
    moving = [frame.psnr_moving for frame in further if frame.psnr_moving is not None]
    return {
        "steps": steps,
        "frames": 1 + len(further),
        "psnr_single": first.psnr,
        "psnr": further[-1].psnr,
        "psnr_mean": float(np.mean([frame.psnr for frame in further])),
        "psnr_moving": float(np.mean(moving)) if moving else None,
        "flicker": de.flicker([frame.image for frame in further], [frame.clean for frame in further]),
        "frames_per_second": len(further) / sum(frame.seconds for frame in further),
        "single_seconds": first.seconds,
    }


def latency(session: de.Session, shots: Iterable[Shot], **rule: Any) -> Row:
    """Milliseconds that ``push`` takes: p50, p99 and the longest, over all frames but the first."""
    _, *further = ((frame.seconds, frame.steps) for frame in pushed(session, shots, rule, BEGUN))
    taken = 1000 * np.array([seconds for seconds, _ in further])
    return {
        "frames": len(further),
        "steps_p50": int(np.median([steps for _, steps in further])),
        "p50_ms": float(np.percentile(taken, 50)),
        "p99_ms": float(np.percentile(taken, 99)),
        "max_ms": float(taken.max()),
        "frames_per_second": 1000 / float(taken.mean()),
    }


def streamed_latency(session: de.Session, frames: Iterable[np.ndarray], rate: float, **rule: Any) -> Row:
    """As ``latency``, from a camera of ``rate`` frames a second that waits for nobody.

    A frame's time runs from its arrival to its result, and the newest frame goes first: those that had to
    make way are ``dropped``.
    """
    with session.stream(_paced(frames, rate), drop="oldest", **rule) as stream:
        for _ in stream:
            pass
        found = stream.statistics
    return {
        "frames": found.received,
        "dropped": found.dropped,
        "p50_ms": found.latency_p50,
        "p99_ms": found.latency_p99,
        "max_ms": found.latency_max,
        "frames_per_second": found.frames_per_second,
    }


def _paced(frames: Iterable[np.ndarray], rate: float) -> Iterator[np.ndarray]:
    """Frames at their times; one that is made too late comes at once."""
    begin = time.perf_counter()
    for index, frame in enumerate(frames):
        time.sleep(max(0.0, begin + index / rate - time.perf_counter()))
        yield frame


def resident_mib() -> float:
    """Memory of this process that is in use now, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(results: Iterable[Any], settled: int, every: int = 50) -> Row:
    """How much memory grows from result ``settled`` on, looked at after every ``every`` of them.

    Until then allocators and caches find their sizes. The growth is that of the *median* of the last quarter
    over the median of the first: a single look may catch a page that is about to be given back.

    Args:
        results: of a stream, one after the other; none is kept.
    """
    looks, index = [], 0
    for index, _ in enumerate(results):
        if index >= settled and (index - settled) % every == 0:
            gc.collect()
            looks.append(resident_mib())
    quarter = max(1, len(looks) // 4)
    return {
        "frames": index + 1,
        "settled_mib": looks[0],
        "highest_mib": max(looks),
        "growth_mib": float(np.median(looks[-quarter:]) - np.median(looks[:quarter])),
    }
