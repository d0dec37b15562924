"""Several fits that explain one picture together: a program made of programs of one engine.

Each part keeps its own network, input, optimiser and average. A step runs the first half of all of them,
stacks what they put out, asks an objective for the loss and its gradient by the stack, and hands each part
its share for the second half. So every engine that can do a step in two halves can do this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dipedge.engines.base import Engine, Evaluation, Program, Settings, State
from dipedge.errors import EngineError, InputError
from dipedge.objectives import Objective
from dipedge.priors import Prior
from dipedge.tasks import Denoise
from dipedge.views import View

# What a part has of its own, by parameter or one of each; average and output are kept as one stack.
OWN = ("param", "adam/m", "adam/v")
SINGLE = ("input", "rng", "step")
PART = Denoise()  # what parts are compiled for; their own data term is never asked


class ComposedProgram:
    """A program whose estimate is that of its parts, stacked along the channels.

    Keys of its state name the part: ``param/PART.NAME``, ``input/PART``, ``rng/PART``, ``step/PART``;
    ``average``, ``output``, ``loss`` and ``step`` are those of the whole.

    Args:
        parts: name -> program, all of one height and width, in the order of the stack. They are this
            program's from now on, and closed with it.
        objective: of the stacked estimate.
    """

    look_every = 1
    complete = True

    def __init__(self, parts: dict[str, Program], objective: Objective) -> None:
        if len({part.shape[:2] for part in parts.values()}) != 1:
            sizes = ", ".join(f"{name} {part.shape}" for name, part in parts.items())
            raise InputError(f"the parts of a fit must be of one size; they are {sizes}")
        self.parts, self._objective = parts, objective
        channels = [part.shape[2] for part in parts.values()]
        self.shape = (*next(iter(parts.values())).shape[:2], sum(channels))
        self._bounds = np.cumsum(channels)[:-1]
        self.steps_done = 0
        self._loss: float | None = None
        self._has_target = False

    def __getattr__(self, name: str) -> object:
        # Only reached when the attribute is missing: ``close`` has taken all of them away.
        if self.__dict__.get("_closed"):
            raise EngineError("this program is closed; compile a new one")
        raise AttributeError(name)

    @property
    def memory_bytes(self) -> int:
        """What the parts say they take; 0 of those that do not say."""
        return sum(getattr(part, "memory_bytes", 0) for part in self._holding().values())

    def set_target(self, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Takes a new frame; the objective says what it makes of it.

        Raises:
            InputError: another height or width than the program's, or a mask.
        """
        target = np.asarray(target)
        if target.ndim != 3 or target.shape[:2] != self.shape[:2]:
            raise InputError(f"target has shape {target.shape}; this fit needs {self.shape[:2]} and channels")
        if mask is not None:
            raise InputError("a mask was given; a fit of several parts takes none")
        self._objective.set_target(target)
        self._has_target = True

    def set_input(self, z: np.ndarray) -> None:
        """Always refused: each part makes its own input."""
        raise InputError("z cannot be set: each part of this fit makes its own")

    def set_views(self, views: Sequence[View]) -> None:
        """Always refused: what a camera sees through haze is not one network's picture."""
        raise InputError("views cannot be set: a fit of several parts does not follow a camera")

    # The fit ----------------------------------------------------------------------------------------

    def _split(self, stack: np.ndarray) -> dict[str, np.ndarray]:
        """A stack [H, W, C] by part."""
        return dict(zip(self.parts, np.split(stack, self._bounds, axis=2), strict=True))

    def _stacked(self, of: Callable[[Program], np.ndarray]) -> np.ndarray:
        """What ``of`` gives of each part, as one [..., C]."""
        return np.concatenate([of(part) for part in self.parts.values()], axis=-1)

    def _counted(self) -> int:
        """The number of the next step, from 0, as the objective counts."""
        return self.steps_done

    def step(self, count: int = 1) -> None:
        """Runs ``count`` steps of all parts."""
        if not self._has_target:
            raise InputError("no target was set; hand one over with set_target first")
        for _ in range(count):
            stack = self._stacked(lambda part: part.forward())
            loss, gradient = self._objective(stack, self._counted())
            for name, by_output in self._split(gradient).items():
                self.parts[name].backward(np.ascontiguousarray(by_output), loss)
            self._loss = loss
            self.steps_done += 1

    def forward(self) -> np.ndarray:
        """Always refused: the halves of a step belong to the parts."""
        raise EngineError(
            "a fit of several parts has an objective of its own; it cannot be stepped in halves"
        )

    def backward(self, gradient: np.ndarray, loss: float) -> None:
        """As ``forward``."""
        self.forward()

    def evaluate(self) -> Evaluation:
        """Always refused: nothing needs a gradient of several fits without a step."""
        raise EngineError("a fit of several parts cannot be evaluated without a step")

    # Results ----------------------------------------------------------------------------------------

    def _check_begun(self) -> None:
        if self.steps_done == 0:
            raise EngineError("no step has been run yet; there is neither a loss nor an estimate")

    def loss(self) -> float:
        """The objective's value for the last step's outputs, before that step's update."""
        self._check_begun()
        return self._loss

    def losses(self, count: int) -> list[float]:
        """The last step's alone: a look costs nothing beside two halves of a step."""
        return [self.loss()]

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """A copy [H, W, C] of all parts' running averages, or of their last raw outputs, stacked."""
        self._check_begun()
        return self._stacked(lambda part: part.estimate(averaged))

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        """The last raw outputs at flat pixel indices [n] -> [n, C]."""
        self._check_begun()
        return self._stacked(lambda part: part.sample(pixels))

    # State ------------------------------------------------------------------------------------------

    def _holding(self) -> dict[str, Program]:
        """The programs that have a state, in this step's stack or not."""
        return self.parts

    def state(self, prefix: str = "") -> State:
        """Everything a step depends on; see the class for its keys."""
        found: State = {}
        for name, part in self._holding().items():
            for key, values in part.state().items():
                group = next((group for group in OWN if key.startswith(f"{group}/")), None)
                if group is not None:
                    found[f"{group}/{name}.{key[len(group) + 1 :]}"] = values
                elif key in SINGLE:
                    found[f"{key}/{name}"] = values
        if self.steps_done:
            for key, averaged in (("average", True), ("output", False)):
                if key.startswith(prefix):
                    found[key] = self._stacked(lambda part, averaged=averaged: part.estimate(averaged))
            found["loss"] = np.array(self._loss)
        found["step"] = np.array(self.steps_done, np.int64)
        return {key: values for key, values in found.items() if key.startswith(prefix)}

    def load_state(self, state: State) -> None:
        """Sets what is given and keeps the rest; a full state continues bit for bit.

        Raises:
            InputError: an entry that no part has, or an array of another shape.
        """
        shares: dict[str, State] = {name: {} for name in self._holding()}
        for key, values in state.items():
            self._hand_out(key, np.asarray(values), shares)
        for name, program in self._holding().items():
            program.load_state(shares[name])
        if "step" in state:
            self.steps_done = int(state["step"])
        if "loss" in state:
            self._loss = float(state["loss"])

    def _hand_out(self, key: str, values: np.ndarray, shares: dict[str, State]) -> None:
        """One entry of a state, put where it belongs."""
        if key in ("step", "loss"):
            return
        if key in ("average", "output"):
            if values.shape != self.shape:
                raise InputError(f"state {key!r} has shape {values.shape}; this fit needs {self.shape}")
            for name, part in self._split(values).items():
                self._hand_output(key, name, np.ascontiguousarray(part), shares)
            return
        group, _, rest = key.rpartition("/")
        name, _, inner = rest.partition(".")
        if name not in shares or not (group in OWN if inner else group in SINGLE):
            raise InputError(f"state holds {key!r}, which this fit does not have")
        shares[name][f"{group}/{inner}" if inner else group] = values

    def _hand_output(self, key: str, name: str, values: np.ndarray, shares: dict[str, State]) -> None:
        """A part's channels of ``average`` or ``output``."""
        shares[name][key] = values

    def close(self) -> None:
        """Closes all parts; using the program afterwards raises ``EngineError``."""
        for part in () if self.__dict__.get("_closed") else (*self.parts.values(), *self._holding().values()):
            part.close()
        self.__dict__.clear()
        self.__dict__["_closed"] = True


class Held:
    """What stands in a stack where nothing is fitted: a picture that does not change.

    It answers as a program does, but has no state.

    Args:
        shape: [H, W, C].
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.hold(np.zeros(shape, np.float32))

    def hold(self, values: np.ndarray) -> None:
        """Shows ``values``, [C] or [H, W, C], from now on."""
        self._values = np.array(np.broadcast_to(values, self.shape), np.float32)

    def forward(self) -> np.ndarray:
        return self._values

    def backward(self, gradient: np.ndarray, loss: float) -> None:
        """Nothing is learned."""

    def estimate(self, averaged: bool = True) -> np.ndarray:
        return self._values.copy()

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        return self._values.reshape(-1, self.shape[2])[pixels]

    def close(self) -> None:
        """There is nothing to give back."""


def compiled_parts(
    engine: Engine,
    parts: dict[str, tuple[Prior, int]],
    size: tuple[int, int],
    settings: Settings,
) -> dict[str, Program]:
    """The programs of ``parts``; if one cannot be had, none stays.

    Args:
        engine: that compiles them all.
        parts: name -> prior and channels, in the order of the stack.
        size: H, W of all of them.
        settings: of all; its seed is the first part's, every further one takes the next, so that no two
            networks begin alike.
    """
    made: dict[str, Program] = {}
    try:
        for number, (name, (prior, channels)) in enumerate(parts.items()):
            seeded = replace(settings, seed=settings.seed + number)
            made[name] = engine.compile(prior, PART, (*size, channels), seeded)
    except BaseException:
        for program in made.values():
            program.close()
        raise
    return made
