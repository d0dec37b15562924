"""fit_steps: THE loop. Session, command line and benchmarks all consume this one generator.

It drives a program until a stopping rule has its reason, and yields what happened after every observation.
Time comes in as a callable, so that nothing here reads a clock and tests can let any time pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from dipedge.engines.base import Program, State
from dipedge.errors import DipedgeError, InputError
from dipedge.result import Step
from dipedge.stopping import Observation, Rule, Watcher

CHECKPOINT_STEPS = 100  # published code: weights are put aside every 100 steps ...
JUMP = 10 ** (5 / 10)  # ... and taken back when PSNR against the target fell by more than 5 dB since then


class FitDivergedError(DipedgeError, ArithmeticError):
    """The loss is no longer a number; a smaller learning rate helps."""


def fit_steps(
    program: Program,
    stop: Rule,
    *,
    clock: Callable[[], float],
    backtrack: bool = False,
    every: int = 1,
    known: float = 1.0,
    noise: Callable[[], float | None] = lambda: None,
) -> Iterator[Step]:
    """Runs ``program``, whose target is set, until ``stop`` has a reason.

    Args:
        program: compiled, with a target; its weights go on from where they are.
        stop: the stopping rule; it must be sure to end (``stop.ends``).
        clock: seconds since the fit began.
        backtrack: whether to return to earlier weights when the loss jumps (Deep Image Prior, section
            "Technical details": the optimisation destabilises as the loss goes down). As published, only
            weights go back; the optimiser's moments and the average go on.
        every: steps between two observations, 1 or more; reading the loss can make an engine wait. The
            last stretch is shortened so that a limit of steps is met exactly.
        known: share of the target's values that the data term counts (an inpainting's mask).
        noise: gives the variance of the target's noise, for rules that ask for it.

    Yields:
        one ``Step`` per observation; the last one carries the reason.

    Raises:
        InputError: a rule that may never end, or ``every`` under 1.
        FitDivergedError: the loss became NaN or infinite.
    """
    if not stop.ends:
        raise InputError("stop may never end the fit; add a limit, for example | MaxSteps(5000)")
    if every < 1:
        raise InputError(f"every is {every}; it must be 1 or more")
    watcher = stop.start()
    checkpoint = _Checkpoint(program) if backtrack else None
    index = 0
    while True:
        count = min(every, stop.limit - index) if stop.limit is not None else every
        program.step(count)
        index += count
        loss = program.loss()
        if not math.isfinite(loss):
            raise FitDivergedError(f"the loss is {loss} after step {index}; a smaller learning_rate helps")
        restored = checkpoint is not None and checkpoint.check(index, loss)
        step = _observed(program, watcher, stop.limit, index, loss, clock(), known, noise, restored)
        yield step
        if step.reason is not None:
            return


def _observed(
    program: Program,
    watcher: Watcher,
    limit: int | None,
    index: int,
    loss: float,
    seconds: float,
    known: float,
    noise: Callable[[], float | None],
    restored: bool,
) -> Step:
    """Shows one step to the watcher and keeps its estimate if the watcher wants it."""
    observation = Observation(
        index, seconds, loss / known, program.shape, program.sample, program.complete, noise
    )
    reason = watcher.update(observation)
    if restored:  # after the update: the output just shown was made by weights that are gone
        watcher.rewind()
    kept = program.estimate() if watcher.keep else None
    return Step(index, loss, seconds, limit, kept, restored, reason)


class _Checkpoint:
    """Weights put aside while the fit goes well, and the loss it had then."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._weights: State | None = None
        self._loss = math.inf
        self._index = 0

    def check(self, index: int, loss: float) -> bool:
        """Whether the loss had jumped and the weights were taken back; puts new ones aside when due."""
        if self._weights is not None and loss > JUMP * self._loss:
            self._program.load_state(self._weights)
            return True
        if index - self._index >= CHECKPOINT_STEPS:
            state = self._program.state()
            self._weights = {key: state[key] for key in state if key.startswith("param/")}
            self._loss, self._index = loss, index
        return False
