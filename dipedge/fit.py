"""fit_steps: THE loop. Session, command line and benchmarks all consume this one generator, or its sister
fit_together, which does the same for several fits whose steps are made together.

It drives a program until a stopping rule has its reason, and yields what happened after every observation.
Time comes in as a callable, so that nothing here reads a clock and tests can let any time pass.

A GPU makes a step in half a millisecond and would stand still while the loss of each is read. So a program
says how many steps it likes to run between two looks (``Program.look_every``), and hands out all their losses
at the next one. What a rule sees is then as fine as ever, only later; a rule that cannot wait so long says
how many steps it allows (``Watcher.most``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from dipedge.engines.base import Batch, Program, State
from dipedge.engines.sampling import CYCLE
from dipedge.errors import DipedgeError, InputError
from dipedge.result import Step
from dipedge.stopping import Observation, Rule

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
    every: int | None = None,
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
        every: steps between two observations, 1 or more; None takes ``program.look_every``. Stretches are
            shortened so that a limit of steps is met exactly, and where a rule cannot wait so long.
        known: share of the target's values that the data term counts (an inpainting's mask).
        noise: gives the variance of the target's noise, for rules that ask for it.

    Yields:
        one ``Step`` per observation; the last one carries the reason.

    Raises:
        InputError: a rule that may never end, or ``every`` under 1.
        FitDivergedError: the loss became NaN or infinite.
    """
    if every is not None and every < 1:
        raise InputError(f"every is {every}; it must be 1 or more")
    fitting = Fitting(program, stop, clock=clock, backtrack=backtrack, known=known, noise=noise)
    reason = None
    while reason is None:
        count = fitting.stretch() if every is None else min(every, fitting.most)
        program.step(count)
        step = fitting.look(count)
        reason = step.reason
        yield step


def fit_together(batch: Batch, fittings: Sequence[Fitting]) -> Iterator[list[tuple[int, Step]]]:
    """Runs the members of ``batch`` in lockstep until each has its reason.

    A member that has its reason is no longer looked at, but steps on with the others: whoever consumes this
    takes its estimate and state before asking for more.

    Args:
        batch: compiled, every member with a target.
        fittings: one for each member, in their order; members beyond them idle along.

    Yields:
        what one look showed: (which member, its ``Step``) for each that had no reason before.

    Raises:
        FitDivergedError: the loss of a member that is still looked at became NaN or infinite. What was seen
            of the others at that look has been yielded before.
    """
    going = dict(enumerate(fittings))
    while going:
        count = min(fitting.stretch() for fitting in going.values())
        batch.step(count)
        seen: list[tuple[int, Step]] = []
        fault: FitDivergedError | None = None
        for which, fitting in going.items():
            try:
                seen.append((which, fitting.look(count)))
            except FitDivergedError as error:
                fault = fault or error
        yield seen
        if fault is not None:
            raise fault
        for which, step in seen:
            if step.reason is not None:
                del going[which]


class Alone:
    """A batch of one: a program by itself.

    Args:
        program: compiled.
    """

    def __init__(self, program: Program) -> None:
        self.members = (program,)
        self.step, self.close = program.step, program.close


class Fitting:
    """One fit under observation: its rule's watcher, and what both have seen.

    Args:
        program, stop, clock, backtrack, known, noise: as ``fit_steps`` takes them.
        name: which fit of several this is, for its errors.

    Raises:
        InputError: a rule that may never end.
    """

    def __init__(
        self,
        program: Program,
        stop: Rule,
        *,
        clock: Callable[[], float],
        backtrack: bool = False,
        known: float = 1.0,
        noise: Callable[[], float | None] = lambda: None,
        name: str = "",
    ) -> None:
        if not stop.ends:
            raise InputError("stop may never end the fit; add a limit, for example | MaxSteps(5000)")
        self._program, self._limit, self._clock = program, stop.limit, clock
        self._known, self._noise = known, noise
        self._name = f"{name}: " if name else ""
        self._watcher = stop.start()
        self._checkpoint = _Checkpoint(program) if backtrack else None
        self._index = 0

    @property
    def most(self) -> float:
        """Steps that may be run before the next look: by the rule's limit, and by what its watcher says."""
        left = math.inf if self._limit is None else self._limit - self._index
        return min(left, math.inf if self._watcher.most is None else self._watcher.most)

    def stretch(self) -> int:
        """Steps to run before the next look: as many as the program likes, if the rule can wait so long.

        It ends where a cycle of a sampled fit does (``Settings.subsample``) if it reaches so far: between
        two such steps the output is no whole picture.
        """
        count = min(self._program.look_every, self.most)
        beyond = (self._program.steps_done + count) % CYCLE
        is_last = self._index + count == self._limit
        return count if is_last or count <= beyond else count - beyond

    def look(self, count: int) -> Step:
        """Shows the ``count`` steps just made to the watcher; keeps their estimate if it wants it."""
        program, watcher = self._program, self._watcher
        self._index += count
        losses = tuple(program.losses(count))
        for before, loss in enumerate(reversed(losses)):
            if not math.isfinite(loss):
                where = f"{self._name}the loss is {loss} after step {self._index - before}"
                raise FitDivergedError(f"{where}; a smaller learning_rate helps")
        restored = self._checkpoint is not None and self._checkpoint.check(self._index, losses)
        seconds = self._clock()
        residuals = tuple(loss / self._known for loss in losses)
        observation = Observation(
            self._index,
            seconds,
            residuals[-1],
            program.shape,
            program.sample,
            program.complete,
            self._noise,
            residuals,
        )
        reason = watcher.update(observation)
        if restored:  # after the update: the output just shown was made by weights that are gone
            watcher.rewind()
        kept = program.estimate() if watcher.keep else None
        return Step(
            self._index, losses[-1], seconds, self._limit, kept, restored, reason, losses=losses
        )  # fmt: skip


class _Checkpoint:
    """Weights put aside while the fit goes well, and the loss it had then."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._weights: State | None = None
        self._loss = math.inf
        self._index = 0

    def check(self, index: int, losses: Sequence[float]) -> bool:
        """Whether a loss had jumped and the weights were taken back; puts new ones aside when due.

        Args:
            index: steps done.
            losses: of the steps since the last check; a jump among them counts even if the loss has come
                down again, for published code, which looks after every step, would have gone back too.
        """
        if self._weights is not None and max(losses) > JUMP * self._loss:
            self._program.load_state(self._weights)
            return True
        if index - self._index >= CHECKPOINT_STEPS:
            self._weights = self._program.state("param/")
            self._loss, self._index = losses[-1], index
        return False
