"""What a fit reports while it runs and what it hands back when it has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np


class StopReason(Enum):
    """Why a fit ended; every member carries the sentence a user reads (``reason.sentence``)."""

    STEPS = "steps", "all steps that were asked for are done"
    DEADLINE = "deadline", "the time allowed has passed"
    VARIANCE = "variance", "the variance of the outputs has passed its minimum: the noise is coming in"
    DISCREPANCY = "discrepancy", "the residual has fallen to the noise that was said to be there"
    INTERRUPTED = "interrupted", "it was interrupted; this is the best result so far"

    def __new__(cls, word: str, sentence: str) -> StopReason:
        member = object.__new__(cls)
        member._value_ = word
        member.sentence = sentence
        return member

    sentence: str

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Step:
    """One observation of the loop, after ``index`` optimiser steps.

    Args:
        index: optimiser steps done in this fit, counted from 1.
        loss: the data term of the last step's output, before that step's update.
        seconds: since the fit began.
        limit: the most steps this fit can take, None where only time or the picture decides.
        kept: the estimate [H, W, C] if a stopping rule marked this step as the best so far.
        restored: whether the loss had jumped, so that earlier weights were taken back.
        reason: why the fit ends with this step; None while it goes on.
    """

    index: int
    loss: float
    seconds: float
    limit: int | None = None
    kept: np.ndarray | None = field(default=None, repr=False)
    restored: bool = False
    reason: StopReason | None = None


@dataclass(frozen=True)
class FitResult:
    """A restored picture and how it came about.

    Args:
        image: the answer, of the same kind, dtype and layout as the picture that went in (a path
            gives a PIL image).
        reason: why the fit ended.
        steps: optimiser steps this fit took.
        seconds: it took, reading and preparing included.
        loss: the data term of the last step.
        history: float32 [observations], the loss at every observed step.
        engine: the engine's name.
        device: what ran it; keys "device", "isa", "version" as far as they apply.
        chosen_step: the step whose estimate is ``image``: the last one, unless a stopping rule found
            the best one earlier.
        state: all state of the program where the fit *ended* (weights, moments, average, random
            counter), from which a program goes on; None for frames of a stream, where copying it
            would cost more than the frame (``Session.state()`` has it).
    """

    image: Any = field(repr=False)
    reason: StopReason
    steps: int
    seconds: float
    loss: float
    history: np.ndarray = field(repr=False)
    engine: str
    device: dict[str, str]
    chosen_step: int
    state: dict[str, np.ndarray] | None = field(default=None, repr=False)
