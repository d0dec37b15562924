"""What is compared: ours, and what a user would take instead.

A new method is one line in ``methods_of``: a ``Fit`` with its prior, or a ``Baseline`` with its function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

import dipedge as de
from benchmarks.tables.protocols import Case


@dataclass(frozen=True)
class Settings:
    """How ours is fitted; see ``dipedge.Session``. ``engine`` is the one "auto" came to."""

    engine: str
    quality: str = "paper"
    precision: str = "auto"
    steps: int | None = None
    seed: int = 0
    ensemble: int = 1
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method made of a case: the picture, float [H, W] or [H, W, 3], and how it came about."""

    image: np.ndarray
    seconds: float
    steps: int | None = None
    reason: str = ""
    machine: str = ""
    isa: str = ""


@dataclass(frozen=True)
class Fit:
    """One of ours.

    Args:
        name: of its column.
        prior: a name or ``Prior`` that ``de.Session`` takes.
        published: the published column it is compared with.
    """

    name: str
    prior: Any
    published: str | None = None
    fitted = True

    def run(self, case: Case, settings: Settings, progress: Callable[[de.Step], object] | None) -> Answer:
        """Fits the case from scratch."""
        with de.Session(
            case.task,
            prior=self.prior,
            engine=settings.engine,
            quality=settings.quality,
            precision=settings.precision,
            steps=settings.steps,
            seed=settings.seed,
            ensemble=settings.ensemble,
            threads=settings.threads,
            progress=progress,
        ) as session:
            result = session.fit(case.degraded)
        device, isa = (result.device.get(key, "") for key in ("device", "isa"))
        return Answer(result.image, result.seconds, result.steps, result.reason.value, device, isa)


@dataclass(frozen=True)
class Baseline:
    """A method from a maintained library: ``make(case)`` returns its picture."""

    name: str
    make: Callable[[Case], np.ndarray]
    published: str | None = None
    fitted = False

    def run(self, case: Case, settings: Settings, progress: object = None) -> Answer:
        """Its picture, timed."""
        begin = time.perf_counter()
        image = self.make(case)
        return Answer(np.asarray(image, np.float32), time.perf_counter() - begin)


Method = Fit | Baseline


def enlarged(case: Case, filter: Image.Resampling) -> np.ndarray:
    """The picture at the clean one's size, from 8 bits to 8 bits, as picture programs do it."""
    low = Image.fromarray(np.rint(case.degraded * 255).astype(np.uint8))
    height, width = case.clean.shape[:2]
    return np.asarray(low.resize((width, height), filter), np.float32) / 255


def bicubic(case: Case) -> np.ndarray:
    return enlarged(case, Image.Resampling.BICUBIC)


def lanczos(case: Case) -> np.ndarray:
    return enlarged(case, Image.Resampling.LANCZOS)


def methods_of(table: str, priors: list[str]) -> list[Method]:
    """The columns of a table, ours first."""
    ours = [Fit(name.upper(), name, name.upper()) for name in priors]
    if table in ("sr4", "sr8"):
        return [*ours, Baseline("bicubic", bicubic, "bicubic"), Baseline("Lanczos", lanczos)]
    return ours
