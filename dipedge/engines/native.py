"""Engine "native": the fit in C++, without PyTorch. The default without a CUDA GPU.

This file carries arrays across the border to ``dipedge._native``, native_spec.py translates the descriptions;
the arithmetic is in ``kernels/``, the program in ``kernels/engine/``. For a given seed the
result is the same whatever the thread count; it differs in the last bits between instruction sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from dipedge.engines.base import Evaluation, Settings, State
from dipedge.engines.checks import (
    check_frames,
    check_hourglass,
    check_optimiser,
    check_state,
    check_subsampled,
    checked_input,
    checked_target,
    checked_views,
    views_of,
    why_not_fitted_to_text,
    why_not_hourglass,
)
from dipedge.engines.dehazing import DehazeProgram, dehazing
from dipedge.engines.initial import initial_input, initial_parameters
from dipedge.engines.native_processor import (
    _native,
    available_threads,
    chosen_isa,
    processor_name,
    uses_bf16,
)
from dipedge.engines.native_spec import program_spec
from dipedge.engines.sampling import completes
from dipedge.errors import EngineError, InputError, OutOfMemoryError
from dipedge.objectives import objective_for
from dipedge.priors import Fourier, GivenImage, HazePriors, Noise, Prior
from dipedge.tasks import Task
from dipedge.views import View

PRECISIONS = ("auto", "fp32", "bf16")
STATE_ARRAYS = ("param", "adam/m", "adam/v")


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        text, needed = error.args if len(error.args) == 2 else ("engine 'native' ran out of memory", 0)
        raise OutOfMemoryError(f"engine 'native': {text}", needed) from error


class NativeEngine:
    """The C++ engine; one instance may compile any number of programs."""

    name = "native"

    def supports(self, prior: Prior, task: Task) -> str | None:
        """None for every hourglass, with every data term and with a task's own loss; else why not."""
        return why_not_hourglass(self.name, prior) or why_not_fitted_to_text(self.name, task)

    def compile(
        self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings
    ) -> NativeProgram | DehazeProgram:
        """A program for estimates of ``shape`` [H, W, C], sides from 1 up; see ``base.Engine``.

        Raises:
            EngineError: a network that is no hourglass; ``Madgrad``; ``settings.subsample``, ``frames`` or
                ``warped`` with a prior or task that is not for it; a precision other than "auto", "fp32" or
                "bf16"; "bf16" where the instruction set does not multiply it; an unusable DIPEDGE_ISA.
            InputError: a shape with a side under 1, or a thread count outside 1..1024.
            OutOfMemoryError: with the bytes of the arena.
        """
        check_frames(prior, task, shape, settings)
        if isinstance(prior, HazePriors):
            return dehazing(self, prior, task, shape, settings)
        if settings.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise EngineError(f"engine 'native' has no precision {settings.precision!r}; it takes {known}")
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"shape is {shape}; it must be (H, W, C) with sides of 1 or more")
        threads = available_threads() if settings.threads is None else settings.threads
        if not 1 <= threads <= 1024:
            raise InputError(f"threads is {threads}; it must be 1 to 1024")
        check_hourglass(self.name, prior)
        check_subsampled(prior, task, settings)
        check_optimiser(self.name, settings.optimiser)
        bf16 = uses_bf16(settings.precision)
        with _memory_errors():
            return NativeProgram(prior, task, shape, settings, threads, bf16)

    def most_together(self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings) -> int:
        """1: a step keeps all processors busy as it is."""
        return 1

    def device(self) -> dict[str, str]:
        """The processor's name, the instruction set in use, and dipedge's version."""
        return {"device": processor_name(), "isa": chosen_isa(), "version": _native.version}


class NativeProgram:
    """One fit on the native engine; see ``base.Program`` for what every method promises."""

    look_every = 1

    def __init__(
        self,
        prior: Prior,
        task: Task,
        shape: tuple[int, int, int],
        settings: Settings,
        threads: int,
        bf16: bool,
    ) -> None:
        self.shape = tuple(shape)
        self._task = task
        spec = program_spec(prior, task, shape, settings) | {
            "threads": threads,
            "isa": chosen_isa(),
            "bf16": bf16,
        }
        self._program = _native.Program(spec)
        self._names = self._program.names()
        self._has_mask = self._has_target = False
        self._input_gradient = settings.input_gradient
        self._z_is_stored = isinstance(prior.encoding, Noise | GivenImage)
        self._encoding = prior.encoding
        self._settings = settings
        self._views = np.stack([View().numbers()] * settings.frames)
        self._z_is_set = not isinstance(prior.encoding, GivenImage)
        self._subsample, self._new_target, self._complete = settings.subsample, False, False
        self._objective = objective_for(task, settings.seed) if task.data_term.kind == "outer" else None
        for name, values in initial_parameters(prior, shape[2], settings.seed).items():
            self._program.set("param", name, values)
        if not isinstance(prior.encoding, Fourier):
            z = initial_input(prior.encoding, self.shape, settings.seed)
            if z is not None:
                self._program.set_input(z)

    def __getattr__(self, name: str) -> object:
        # Only reached when the attribute is missing: ``close`` has taken it away.
        if name == "_program":
            raise EngineError("this program is closed; compile a new one")
        raise AttributeError(name)

    @property
    def steps_done(self) -> int:
        """Steps since the weights were initialised."""
        return self._program.steps_done

    @property
    def complete(self) -> bool:
        """Whether the last step computed the whole output."""
        return not self._subsample or self._complete

    @property
    def memory_bytes(self) -> int:
        """Size of the arena, which holds everything that grows with the picture."""
        return self._program.memory_bytes

    def set_target(self, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Takes a new frame; a mask may be left out once one has been set.

        Raises:
            InputError: another shape than the program's, a missing mask, or one the task does not use.
        """
        target, mask = checked_target(
            self._task, self.shape, target, mask, self._has_mask, self._settings.frames
        )
        if mask is not None:
            self._program.set_mask(mask.astype(np.float32))
            self._has_mask = True
        if self._objective is None:
            self._program.set_target(target)
        else:
            self._objective.set_target(np.asarray(target, np.float32))
        self._has_target = self._new_target = True

    def set_input(self, z: np.ndarray) -> None:
        """Replaces z before perturbation.

        Raises:
            InputError: another shape than [H, W, channels], or Fourier features, which are computed.
        """
        self._program.set_input(checked_input(self._encoding, self.shape, z))
        self._z_is_stored = self._z_is_set = True

    def set_views(self, views: Sequence[View]) -> None:
        """Says where the target's pixels lie in the scene; see ``base.Program``."""
        self._views = checked_views(self._encoding, self._settings, views)
        self._program.set_views(self._views.ravel().tolist())

    def _check_ready(self, target: bool = True) -> None:
        if target and not self._has_target:
            raise InputError("no target was set; call set_target first")
        if not self._z_is_set:
            raise InputError("this prior's input is a given picture; call set_input first")

    def step(self, count: int = 1) -> None:
        """Runs ``count`` steps with the interpreter lock released, but for an objective of the task's own."""
        self._check_ready()
        if self._objective is None:
            self._program.step(count)
        for _ in range(count if self._objective else 0):
            self._run_halves(perturb=True)
        first = self._new_target and count == 1  # the step after a new target is complete too
        self._complete = first or completes(self.steps_done - 1)
        self._new_target = False

    def _run_halves(self, perturb: bool) -> None:
        """A step, or without ``perturb`` an evaluation, with the loss of the task's objective."""
        loss, gradient = self._objective(self._program.forward(perturb), self.steps_done)
        self._program.backward(gradient, float(loss))

    def forward(self) -> np.ndarray:
        """The first half of a step: a copy [H, W, C] of the raw output at the current weights.

        For a loss that this engine does not know, of any task; no target is looked at. The second half is
        ``backward``. What comes in between (another step, an evaluation, other weights or another z) throws
        the first half away. Called twice, it gives the same output twice.

        Raises:
            EngineError: a subsampled program, whose steps do not see the whole output.
            InputError: the prior's input is a picture that was not set yet.
        """
        if self._subsample:
            raise EngineError(
                "a subsampled step cannot be made in two halves: it does not see the whole output; "
                "compile without subsample"
            )
        self._check_ready(target=False)
        return self._program.forward(True)

    def backward(self, gradient: np.ndarray, loss: float) -> None:
        """The second half of a step: backward through the network, update, averaging, one step more.

        Args:
            gradient: of the loss by what ``forward`` gave, [H, W, C].
            loss: its value, which is what ``loss()`` says from now on.

        Raises:
            EngineError: no ``forward`` came before it.
            InputError: a gradient of another shape.
        """
        if not self._program.begun:
            raise EngineError("backward is the second half of a step; call forward first")
        if np.shape(gradient) != self.shape:
            raise InputError(f"the gradient has shape {np.shape(gradient)}; this fit needs {self.shape}")
        self._program.backward(gradient, float(loss))
        self._new_target, self._complete = False, True

    def _check_begun(self) -> None:
        if self._program.steps_done == 0:
            raise EngineError("no step has been run yet; there is neither a loss nor an estimate")

    def loss(self) -> float:
        """The data term of the last step's output, before that step's update."""
        self._check_begun()
        return self._program.loss()

    def losses(self, count: int) -> list[float]:
        """The last step's alone: a look at this engine costs nothing, so it is looked at after every step."""
        return [self.loss()]

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """A copy [H, W, C] of the running average, or of the last step's raw output."""
        self._check_begun()
        return self._program.averaged() if averaged else self._program.output()

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        """The last raw output at flat pixel indices [n] -> [n, C]."""
        self._check_begun()
        return self._program.sample(pixels)

    def evaluate(self) -> Evaluation:
        """Forward and backward at the current weights; the last step's output and loss are put back."""
        self._check_ready()
        before, loss_before = self._program.output(), self._program.loss()
        if self._objective is None:
            self._program.evaluate()
        else:
            self._run_halves(perturb=False)
        gradients = {name: self._program.get("grad", name) for name in self._names}
        if self._input_gradient:
            gradients["input"] = self._program.input_gradient()
        evaluation = Evaluation(self._program.output(), self._program.loss(), gradients)
        self._program.set_output(before)
        self._program.set_loss(loss_before)
        return evaluation

    def state(self, prefix: str = "") -> State:
        """Everything a step depends on; ``average``, ``output``, ``loss`` only after the first step."""
        program = self._program
        copies = {
            f"{kind}/{name}": partial(program.get, kind, name)
            for kind in STATE_ARRAYS
            for name in self._names
        }
        if self.steps_done:
            copies |= {"average": program.averaged, "output": program.output}
            copies["loss"] = lambda: np.array(program.loss())
        if self._z_is_stored and self._z_is_set:
            copies["input"] = program.get_input
        if isinstance(self._encoding, Fourier):
            copies["views"] = self._views.copy
        copies["rng"] = lambda: np.array([program.seed], np.uint64)
        copies["step"] = lambda: np.array(program.steps_done, np.int64)
        return {key: copy() for key, copy in copies.items() if key.startswith(prefix)}

    def load_state(self, state: State) -> None:
        """Sets what is given and keeps the rest; a full state continues bit for bit.

        Raises:
            InputError: an unknown key, or an array of another shape; nothing is changed then.
        """
        # Only of what is given: a stream sets its average with every frame, and copies of all take longer.
        shapes = {key: value.shape for given in state for key, value in self.state(given).items()}
        shapes |= {"average": self.shape, "output": self.shape, "loss": ()}
        if not isinstance(self._encoding, Fourier):
            shapes["input"] = (*self.shape[:2], self._encoding.channels)
        check_state(state, shapes)
        if "views" in state:
            checked_views(self._encoding, self._settings, views_of(state["views"]))
        for key, value in state.items():
            self._load(key, np.asarray(value))

    def _load(self, key: str, value: np.ndarray) -> None:
        if key == "average":
            self._program.set_averaged(value)
        elif key == "output":
            self._program.set_output(value)
        elif key == "input":
            self.set_input(value)
        elif key == "views":
            self.set_views(views_of(value))
        elif key == "loss":
            self._program.set_loss(float(value))
        elif key == "rng":
            self._program.seed = int(value[0])
        elif key == "step":
            self._program.steps_done = int(value)
            self._new_target = False
        else:
            kind = next(kind for kind in STATE_ARRAYS if key.startswith(f"{kind}/"))
            self._program.set(kind, key[len(kind) + 1 :], value)

    def close(self) -> None:
        """Gives all memory back."""
        self.__dict__.pop("_program", None)
