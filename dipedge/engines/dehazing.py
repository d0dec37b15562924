"""Dehazing as one program: the fits of picture, transmission and airlight, in one or several passes.

Published Double-DIP makes two passes. The first explains the picture with the airlight that its dark channel
shows; the second begins again, with new networks, on the clear picture of the first, and now the airlight is
learned too. Two passes one after the other are one haze:

    I = t1*I2 + (1-t1)*A1,  I2 = t2*J + (1-t2)*A2   ->   I = t*J + (1-t)*A
    t = t1*t2,  A = (t1*(1-t2)*A2 + (1-t1)*A1) / (1-t)

so the estimate always is J, t and A of the picture that came in, however many passes were made.
"""

from __future__ import annotations

import numpy as np

from dipedge import haze
from dipedge.engines.base import Engine, Program, Settings, State
from dipedge.engines.composed import ComposedProgram, Held, compiled_parts
from dipedge.errors import InputError
from dipedge.objectives.haze import HazeObjective
from dipedge.priors import HazePriors
from dipedge.tasks import Dehaze

BEFORE = ("before/transmission", "before/airlight")  # what earlier passes found, in a state


class DehazeProgram(ComposedProgram):
    """One dehazing; see ``base.Program`` and ``ComposedProgram`` for what every method promises.

    Args:
        networks: "picture", "transmission" and, if it is ever learned, "airlight".
        priors: their description, and the passes.
        task: whose airlight is begun from.
    """

    def __init__(self, networks: dict[str, Program], priors: HazePriors, task: Dehaze) -> None:
        self._networks, self._priors = networks, priors
        self._held = Held(networks["picture"].shape)
        # What a new pass begins from. Inputs are fixed and large, so they stay where they are.
        self._first = {
            name: {key: values for key, values in program.state().items() if key != "input"}
            for name, program in networks.items()
        }
        self._haze = HazeObjective(task)
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._given: np.ndarray | None = None  # the picture that came in; a later pass has another target
        self._pass = 0
        super().__init__({**networks, "airlight": self._held}, self._haze)
        self._enter(0)

    def _enter(self, which: int) -> None:
        """Makes the stack that of a pass."""
        self._pass, learned = which, self._priors.learned[which]
        self._haze.learned = learned
        self.parts["airlight"] = self._networks["airlight"] if learned else self._held

    def _holding(self) -> dict[str, Program]:
        return self._networks

    def set_target(self, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Takes a new frame [H, W, C]; in a later pass what the earlier ones found is taken off it first.

        Raises:
            InputError: another shape than the program's, or a mask.
        """
        self._given = np.asarray(target)
        if self._given.shape != self._held.shape:
            raise InputError(f"target has shape {self._given.shape}; this fit needs {self._held.shape}")
        if self._before is not None:
            target = haze.cleared(self._given, *self._before)
        super().set_target(target, mask)
        if self._before is not None:
            self._haze.airlight = self._before[1]
        self._held.hold(self._haze.airlight)

    def _counted(self) -> int:
        return self.steps_done - self._pass * self._priors.pass_steps

    def step(self, count: int = 1) -> None:
        """Runs ``count`` steps of all parts; a pass that is over makes way for the next."""
        for _ in range(count):
            if self._pass + 1 < len(self._priors.learned) and self._counted() == self._priors.pass_steps:
                self._begin_next()
            super().step()

    def _begin_next(self) -> None:
        """New networks, and what was found so far taken off the picture."""
        estimate, channels = self.estimate(), self._given.shape[2]
        transmission = haze.refined(estimate[..., channels], self._given, max(self.shape))
        self._before = transmission, estimate[..., channels + 1 :]
        for name, first in self._first.items():
            self._networks[name].load_state(first)
        self._enter(self._pass + 1)
        self.set_target(self._given)

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """J, t and A of the picture that came in: of all passes together."""
        stack = super().estimate(averaged)
        if self._before is not None:
            channels = self._held.shape[2]
            share, light = self._before[0][..., None], self._before[1]
            later, later_light = stack[..., channels : channels + 1], stack[..., channels + 1 :]
            whole = share * later
            mixed = share * (1 - later) * later_light + (1 - share) * light
            # Where nothing is hazy the airlight is nobody's: any colour does, and the last pass's is one.
            later_light[:] = np.where(1 - whole > 1e-6, mixed / np.maximum(1 - whole, 1e-6), later_light)
            later[:] = whole
        return stack

    def state(self, prefix: str = "") -> State:
        """As ``ComposedProgram.state``, and what earlier passes found as ``before/...``."""
        found = super().state(prefix)
        if self._before is not None:
            pairs = zip(BEFORE, self._before, strict=True)
            found |= {key: values.copy() for key, values in pairs if key.startswith(prefix)}
        return found

    def load_state(self, state: State) -> None:
        """Sets what is given and keeps the rest; a full state continues bit for bit, in its pass.

        Raises:
            InputError: as ``ComposedProgram.load_state``, or a later pass without what earlier ones found.
        """
        rest = {key: values for key, values in state.items() if key not in BEFORE}
        if "step" in state:
            which = min(
                max(int(state["step"]) - 1, 0) // self._priors.pass_steps, len(self._priors.learned) - 1
            )
            before = tuple(np.asarray(state[key]) for key in BEFORE if key in state)
            shapes = self._held.shape[:2], self._held.shape
            if which and tuple(values.shape for values in before) != shapes:
                raise InputError("the state is of a later pass, without what the earlier ones found")
            self._before = before if which else None
            self._enter(which)
        super().load_state(rest)
        if self._given is not None and "step" in state:
            self.set_target(self._given)

    def _hand_output(self, key: str, name: str, values: np.ndarray, shares: dict[str, State]) -> None:
        if self.parts[name] is self._held:
            self._held.hold(values)
        else:
            super()._hand_output(key, name, values, shares)


def dehazing(
    engine: Engine, priors: HazePriors, task: Dehaze, shape: tuple[int, int, int], settings: Settings
) -> DehazeProgram:
    """A dehazing on any engine whose programs can do a step in two halves.

    Args:
        engine: that compiles the parts.
        priors: of the parts.
        task: what is fitted.
        shape: of the estimate, [H, W, 2C + 1].
        settings: of all parts.
    """
    parts = priors.parts(shape[2] // 2)
    return DehazeProgram(compiled_parts(engine, parts, shape[:2], settings), priors, task)
