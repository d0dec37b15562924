"""VarianceWindow: stops when the network's outputs, which had settled on the picture, begin to move again.

ES-WMV (Wang et al., "Early Stopping for Deep Image Prior", 2023): the variance of the last W outputs falls
while the network closes in on the picture and rises again when it takes up the noise; its minimum lies near
the best answer. Different from the published form, which sums W whole pictures anew in every step:

- a random subset of pixels stands for all;
- the variances themselves are averaged over as many steps: one alone jumps about, and the answer, being an
  average over a hundred outputs, is at its best somewhat later than the single output is;
- outputs are held as 16-bit integers and their running sum as integers in float64, so one update adds the
  new output and takes off the oldest, exactly: no error accumulates however long the fit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from dipedge.errors import InputError
from dipedge.result import StopReason
from dipedge.stopping import Observation, Rule, Watcher

LEAST = 8  # outputs that a window has at least, if it has so many steps
WHITE = 65535.0  # 16 bits: rounding adds a variance of 2e-11, against 1e-6 and more that are measured


@dataclass(frozen=True)
class VarianceWindow(Rule):
    """Ends at the first confirmed minimum of the variance of the last outputs; the answer is its estimate.

    A minimum is confirmed when ``patience`` steps have brought no lower variance. While the fit goes on,
    the estimate of the lowest variance so far is kept; that is the answer too when another rule (a limit
    of steps, a deadline) ends the fit first.

    ``window`` and ``patience`` are numbers of steps, however many of them are seen. Where several are run
    between two looks (on a GPU) only the last output of each stretch counts; where steps see a quarter of
    the pixels each (``Settings.subsample``) only whole outputs, one in four steps. The window then spans as
    many steps with fewer outputs: their variance is the same quantity, estimated from fewer values. So that
    they are never few, no stretch is longer than an eighth of the window.

    Defaults were chosen on nine fits with the published Adam settings (eight of PIP, one of DIP; 96 to 256
    pixels a side, sigma 15 to 50): the answer lay at most 0.23 dB below the fit's best step, 0.08 in the
    mean. A window of 100 without averaging, as published, lay up to 2.9 dB below, by false minima in the
    first 400 steps.
    Optimisers that need fewer steps want a smaller window.

    Args:
        window: number of steps over whose outputs the variance is taken, and over which variances are
            averaged, 2 to 1000; no minimum can be seen in the first two windows.
        patience: steps without a lower variance that confirm a minimum, 1 or more.
        floor: no minimum counts before this step.
        pixels: how many random pixels stand for the picture, 1 or more. Memory is 6 bytes times ``pixels``
            times ``window`` for a colour picture.

    Raises:
        InputError: a value outside its range.
    """

    window: int = 200
    patience: int = 400
    floor: int = 0
    pixels: int = 16384

    def __post_init__(self) -> None:
        for name, low, high in (
            ("window", 2, 1000),
            ("patience", 1, 10**9),
            ("floor", 0, 10**9),
            ("pixels", 1, 10**9),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"{name} is {value!r}; it must be a whole number from {low} to {high}")

    def start(self) -> Watcher:
        return _VarianceWatcher(self)


def _sum_of_squares(values: np.ndarray) -> float:
    """Without BLAS: its threads go on spinning after a product, beside an engine that has all processors."""
    return float(np.einsum("i,i->", values, values))


class Trail:
    """The latest entries of a fit that together cover ``window`` steps.

    An entry stands for the steps since the one before it: with an entry for every step there are ``window``
    of them, with one for every eighth step an eighth as many. There are never fewer than ``LEAST`` (or
    ``window``, where that is less), however many steps lie between them.
    """

    def __init__(self, window: int) -> None:
        self._window, self._least = window, min(window, LEAST)
        self._covered = 0
        self.entries: deque[tuple[int, Any]] = deque()  # (steps it stands for, what was added)

    def clear(self) -> None:
        """Forgets all entries."""
        self.entries.clear()
        self._covered = 0

    def add(self, steps: int, entry: Any) -> list[Any]:
        """Takes an entry; those that fall out of the window."""
        self.entries.append((steps, entry))
        self._covered += steps
        fallen = []
        while len(self.entries) > self._least and self._covered - self.entries[0][0] >= self._window:
            before, oldest = self.entries.popleft()
            self._covered -= before
            fallen.append(oldest)
        return fallen

    @property
    def full(self) -> bool:
        """Whether the entries cover the window."""
        return self._covered >= self._window and len(self.entries) >= self._least


class MovingVariance:
    """Mean over pixels of the variance of the outputs of ``window`` steps, one cheap update at a time."""

    def __init__(self, window: int, values: int) -> None:
        self._outputs = Trail(window)  # as 16-bit integers
        self._sum = np.zeros(values)  # whole numbers below 2^53: additions and subtractions are exact
        self._squares = 0.0  # of all values in the window together; a whole number too
        self._work = np.empty(values)

    def clear(self) -> None:
        """Forgets all outputs."""
        self._outputs.clear()
        self._sum[:] = 0
        self._squares = 0.0

    def add(self, output: np.ndarray, steps: int = 1) -> float | None:
        """Takes one output [values], in [0, 1]; the variance once the window is full, else None.

        Args:
            output: of the last step.
            steps: since the output before.
        """
        np.multiply(output, WHITE, out=self._work)
        np.rint(self._work, out=self._work)
        np.clip(self._work, 0, WHITE, out=self._work)
        self._sum += self._work
        self._squares += _sum_of_squares(self._work)
        for oldest in self._outputs.add(steps, self._work.astype(np.uint16)):
            self._work[:] = oldest
            self._sum -= self._work
            self._squares -= _sum_of_squares(self._work)
        if not self._outputs.full:
            return None
        count = len(self._outputs.entries)
        spread = self._squares - _sum_of_squares(self._sum) / count
        # By count - 1, so that windows with different numbers of outputs can be compared.
        return max(spread, 0.0) / ((count - 1) * self._sum.size * WHITE**2)


class _VarianceWatcher:
    """The state of one ``VarianceWindow`` in one fit."""

    marks = True

    def __init__(self, rule: VarianceWindow) -> None:
        self.keep = False
        self.most: int | None = max(1, rule.window // LEAST)
        self._rule = rule
        self._indices: np.ndarray | None = None
        self._variance: MovingVariance | None = None
        self._recent = Trail(rule.window)
        self._lowest = float("inf")
        self._since = 0  # steps with a full window since the lowest variance
        self._last_index = 0

    def _begin(self, shape: tuple[int, int, int]) -> None:
        total, wanted = shape[0] * shape[1], self._rule.pixels
        if wanted >= total:
            self._indices = np.arange(total)
        else:  # sorted, so that reading them walks through memory in one direction
            self._indices = np.sort(np.random.default_rng(0).choice(total, wanted, replace=False))
        self._variance = MovingVariance(self._rule.window, self._indices.size * shape[2])

    def update(self, observation: Observation) -> StopReason | None:
        self.keep = False
        if self._variance is None:
            self._begin(observation.shape)
        if not observation.complete:
            return None
        steps, self._last_index = observation.index - self._last_index, observation.index
        variance = self._variance.add(observation.sample(self._indices).ravel(), steps)
        if variance is None:
            return None
        self._recent.add(steps, variance)
        if not self._recent.full or observation.index < self._rule.floor:
            return None
        held = self._recent.entries
        level = sum(count * value for count, value in held) / sum(count for count, _ in held)
        if level < self._lowest:
            self._lowest, self._since, self.keep = level, 0, True
            return None
        self._since += steps
        return StopReason.VARIANCE if self._since >= self._rule.patience else None

    def rewind(self) -> None:
        """Outputs of the weights that were given up must not be compared with those that follow.

        The window is filled anew, during which patience does not run out; a minimum that was found stays:
        its estimate was good, whatever happened to the weights afterwards.
        """
        if self._variance is not None:
            self._variance.clear()
            self._recent.clear()
