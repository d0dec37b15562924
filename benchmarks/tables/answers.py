"""What goes into every method and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settings:
    """How ours is fitted; see ``dipedge.Session``. ``engine`` is the one "auto" came to."""

    engine: str = "native"
    quality: str = "paper"
    precision: str = "auto"
    steps: int | None = None
    seed: int = 0
    ensemble: int = 1
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method made of a case, and how it came about.

    Args:
        image: float, of the clean picture's shape.
        seconds: it took, reading files left out.
        steps: optimiser steps; None where there are none.
        reason: why the fit ended.
        machine, isa: what ran it, if not simply this processor.
    """

    image: np.ndarray
    seconds: float
    steps: int | None = None
    reason: str = ""
    machine: str = ""
    isa: str = ""
