"""Stopping rules: frozen descriptions that compose with ``|`` (the first ends the fit) and ``&`` (all must).

An untrained network takes up the picture first and the noise after; the rule decides where between the
two a fit ends. A description holds no state: ``start`` makes a watcher, which is shown an ``Observation``
after every step (or every few, where looking makes a device wait) and answers with a ``StopReason`` when its
rule is fulfilled. A watcher may also mark a step as the best so far (``keep``); the loop then keeps that
step's estimate, and it becomes the answer (``VarianceWindow``, in ``variance.py``, is the one that does).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dipedge.errors import InputError
from dipedge.result import StopReason


@dataclass(frozen=True)
class Observation:
    """What a watcher is shown.

    Args:
        index: optimiser steps done in this fit, from 1.
        seconds: since the fit began.
        residual: mean squared difference to the target, over its known values.
        shape: of the estimate, [H, W, C].
        sample: gives the last raw output at flat pixel indices, [n] -> [n, C].
        complete: whether this step computed the whole output; one that saw a quarter of the pixels
            (``Settings.subsample``) has older values elsewhere.
        noise: gives the variance of the target's noise, as estimated or as the task says; None where
            there is no knowing. It takes a look at the whole picture, so ask once.
        residuals: that of every step since the observation before, the latest last; by default ``residual``
            alone.
        step_seconds: what a step takes, as far as that is known from earlier fits; 0 if it is not.
        end_seconds: what comes after the last step and counts as well, from earlier fits.
    """

    index: int
    seconds: float
    residual: float
    shape: tuple[int, int, int]
    sample: Callable[[np.ndarray], np.ndarray]
    complete: bool = True
    noise: Callable[[], float | None] = lambda: None
    residuals: tuple[float, ...] = field(default=(), repr=False)
    step_seconds: float = 0.0
    end_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not self.residuals:
            object.__setattr__(self, "residuals", (self.residual,))


class Watcher(Protocol):
    """The mutable side of a rule, for one fit."""

    marks: bool  # whether it marks best steps at all
    keep: bool  # whether the step of the last update is the best so far
    most: int | None  # steps that may be run before it is shown the next one; None for any number

    def update(self, observation: Observation) -> StopReason | None:
        """The reason to stop, or None to go on."""

    def rewind(self) -> None:
        """The fit has gone back to earlier weights: what was seen since then does not count."""


class Rule:
    """What all rules share: composition, and what is known of their end beforehand."""

    def __or__(self, other: Rule) -> AnyOf:
        return AnyOf((*_members(AnyOf, self), *_members(AnyOf, other)))

    def __and__(self, other: Rule) -> AllOf:
        return AllOf((*_members(AllOf, self), *_members(AllOf, other)))

    @property
    def limit(self) -> int | None:
        """The most steps a fit can take under this rule; None if it does not count steps."""
        return None

    @property
    def ends(self) -> bool:
        """Whether the rule is sure to end a fit, whatever the picture."""
        return self.limit is not None

    def start(self) -> Watcher:
        raise NotImplementedError


def _members(kind: type, rule: Rule) -> tuple[Rule, ...]:
    if not isinstance(rule, Rule):
        raise InputError(f"stop has a {type(rule).__name__}; it must be made of stopping rules with | and &")
    return rule.rules if isinstance(rule, kind) else (rule,)


class _Simple:
    """A watcher without memory: nothing to keep, nothing to rewind."""

    marks = False
    keep = False
    most = None

    def __init__(self, verdict: Callable[[Observation], StopReason | None]) -> None:
        self.update = verdict

    def rewind(self) -> None:
        pass


@dataclass(frozen=True)
class MaxSteps(Rule):
    """Ends after ``steps`` optimiser steps, an integer of 1 or more."""

    steps: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(f"steps is {self.steps!r}; it must be a whole number of 1 or more")

    @property
    def limit(self) -> int:
        return self.steps

    def start(self) -> Watcher:
        return _Simple(lambda seen: StopReason.STEPS if seen.index >= self.steps else None)


@dataclass(frozen=True)
class Deadline(Rule):
    """Ends before ``ms`` milliseconds have passed, as far as steps can be foreseen.

    A fit stops when its next step, taken to last as long as the mean of those before, would end too late:
    a camera loop that allows 33 ms should get its answer within 33 ms, not after. At least one step is
    always made. Frames of a stream know from those before what a step and the frame's end take.

    Where several steps are run between two looks, they are never more than can be foreseen to end in time;
    the first two, from which that is foreseen, are looked at one by one.
    """

    ms: float

    def __post_init__(self) -> None:
        if not 0 < self.ms < float("inf"):
            raise InputError(f"ms is {self.ms!r}; a deadline must be above 0 milliseconds")

    @property
    def ends(self) -> bool:
        return True

    def start(self) -> Watcher:
        return _DeadlineWatcher(self.ms / 1000)


class _DeadlineWatcher:
    """How long the steps of one fit take."""

    marks = False
    keep = False

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._first: Observation | None = None  # where steps are timed from: preparing is not part of one
        self.most: int | None = 1

    def update(self, seen: Observation) -> StopReason | None:
        self._first = self._first or seen
        steps = seen.index - self._first.index
        step_seconds = (seen.seconds - self._first.seconds) / steps if steps else seen.step_seconds
        if seen.seconds + seen.end_seconds + step_seconds >= self._seconds:
            return StopReason.DEADLINE
        if steps:  # the most that end before the deadline; a clock that has not moved tells nothing
            left = self._seconds - seen.end_seconds - seen.seconds
            self.most = max(1, math.ceil(left / step_seconds) - 1) if step_seconds > 0 else None
        return None

    def rewind(self) -> None:
        """Steps of weights that were given up took as long as others do."""


@dataclass(frozen=True)
class Discrepancy(Rule):
    """Ends when the residual has fallen to the noise (Morozov; Deep Image Prior, section on denoising).

    The network's output then differs from the noisy picture by as much as the noise does. Noise that was
    clipped to black and white has a smaller variance than ``sigma`` says, most of all in dark or bright
    pictures; give a ``tolerance`` above 0, or the sigma that is left, there. Where several steps are run
    between two looks, any of them may fulfil it; the fit ends with the look.

    Args:
        sigma: standard deviation of the noise in 0..255 units, above 0 and at most 255.
        tolerance: share by which the residual may stay above sigma^2, 0 or more.
    """

    sigma: float
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 255:
            raise InputError(f"sigma is {self.sigma!r}; it must be above 0 and at most 255")
        if not 0 <= self.tolerance < float("inf"):
            raise InputError(f"tolerance is {self.tolerance!r}; it must be 0 or more")

    def start(self) -> Watcher:
        level = (self.sigma / 255) ** 2 * (1 + self.tolerance)
        return _Simple(lambda seen: StopReason.DISCREPANCY if min(seen.residuals) <= level else None)


@dataclass(frozen=True)
class NoiseFloor(Rule):
    """Ends when the residual has fallen below the noise that the picture is estimated to have.

    ``Discrepancy`` for pictures of unknown noise (``noise.noise_variance``). A net that has taken up all of
    the picture and none of the noise leaves the noise's variance; at the best step of eight fits (four
    pictures, sigma 25 and 50, quality "fast") the residual was 0.90 to 0.97 of the estimate. The loss jumps
    about from step to step, so the mean of the last ``window`` is compared. A picture that seems to have no
    noise (JPEG artefacts) never fulfils it: add a limit. Where several steps are run between two looks every
    one of them is compared, so that the fit ends with the look after the step at which it would have ended.

    Args:
        share: of the estimated variance that the residual falls to, above 0.
        window: steps whose residuals are averaged, 1 to 1000.
        floor: no fit ends before this step: the average of the outputs lags behind the output whose
            residual is seen, most where a fit is quickest, in small pictures.
    """

    share: float = 0.93
    window: int = 8
    floor: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < float("inf"):
            raise InputError(f"share is {self.share!r}; it must be above 0")
        if isinstance(self.window, bool) or not isinstance(self.window, int) or not 1 <= self.window <= 1000:
            raise InputError(f"window is {self.window!r}; it must be a whole number from 1 to 1000")
        if isinstance(self.floor, bool) or not isinstance(self.floor, int) or self.floor < 0:
            raise InputError(f"floor is {self.floor!r}; it must be a whole number of 0 or more")

    def start(self) -> Watcher:
        return _NoiseWatcher(self)


class _NoiseWatcher:
    """The last residuals of one fit, and the level they are compared with."""

    marks = False
    keep = False
    most = None

    def __init__(self, rule: NoiseFloor) -> None:
        self._rule = rule
        self._recent: deque[float] = deque(maxlen=rule.window)
        self._level: float | None = None

    def update(self, seen: Observation) -> StopReason | None:
        if self._level is None:
            self._level = (seen.noise() or 0.0) * self._rule.share
        window, before = self._rule.window, seen.index - len(seen.residuals)
        for index, residual in enumerate(seen.residuals, before + 1):
            self._recent.append(residual)
            if len(self._recent) < window or index < self._rule.floor:
                continue
            if sum(self._recent) <= self._level * window:
                return StopReason.DISCREPANCY
        return None

    def rewind(self) -> None:
        """Residuals of weights that were given up say nothing of those that follow."""
        self._recent.clear()


@dataclass(frozen=True)
class AnyOf(Rule):
    """Ends with the first of ``rules``; written ``a | b``."""

    rules: tuple[Rule, ...]

    @property
    def limit(self) -> int | None:
        return min((rule.limit for rule in self.rules if rule.limit is not None), default=None)

    @property
    def ends(self) -> bool:
        return any(rule.ends for rule in self.rules)

    def start(self) -> Watcher:
        return _Group(self.rules, needed=1)


@dataclass(frozen=True)
class AllOf(Rule):
    """Ends when each of ``rules`` has been fulfilled at some step; written ``a & b``."""

    rules: tuple[Rule, ...]

    @property
    def limit(self) -> int | None:
        limits = [rule.limit for rule in self.rules]
        return None if None in limits else max(limits)

    @property
    def ends(self) -> bool:
        return all(rule.ends for rule in self.rules)

    def start(self) -> Watcher:
        return _Group(self.rules, needed=len(self.rules))


class _Group:
    """Watches several rules; a rule once fulfilled stays so and is not asked again."""

    def __init__(self, rules: tuple[Rule, ...], needed: int) -> None:
        watchers = [rule.start() for rule in rules]
        self.keep = False
        self.marks = any(watcher.marks for watcher in watchers)
        # Of several rules that mark best steps the first decides, else the answer would jump between them.
        self._marker = next((watcher for watcher in watchers if watcher.marks), None)
        self._waiting, self._needed = watchers, needed

    @property
    def most(self) -> int | None:
        """What the least patient allows of those that still wait."""
        return min((watcher.most for watcher in self._waiting if watcher.most is not None), default=None)

    def update(self, observation: Observation) -> StopReason | None:
        self.keep = False
        reason, waiting = None, []
        for watcher in self._waiting:
            fulfilled = watcher.update(observation)
            if watcher is self._marker:
                self.keep = watcher.keep
            if fulfilled is None:
                waiting.append(watcher)
            else:
                self._needed -= 1
                reason = reason or fulfilled
        self._waiting = waiting
        return reason if self._needed <= 0 else None

    def rewind(self) -> None:
        for watcher in self._waiting:
            watcher.rewind()
