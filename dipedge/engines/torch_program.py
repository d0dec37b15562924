"""One fit in eager PyTorch: the program behind engine "torch"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dipedge.engines.base import Evaluation, Settings, State
from dipedge.engines.checks import checked_target, views_of
from dipedge.engines.initial import initial_parameters
from dipedge.engines.sampling import CYCLE, completes, seen
from dipedge.engines.torch_border import TorchBorder
from dipedge.engines.torch_input import TorchInput
from dipedge.engines.torch_memory import memory_errors
from dipedge.engines.torch_network import Places, at, network_output, with_penalty
from dipedge.engines.torch_optimiser import torch_optimiser
from dipedge.errors import EngineError, InputError
from dipedge.kernels.residual_loss.reference import data_term, running_average
from dipedge.objectives import objective_for
from dipedge.priors import Prior
from dipedge.tasks import Task
from dipedge.views import View

PRECISIONS = {"auto": torch.float32, "fp32": torch.float32, "fp64": torch.float64}


class TorchProgram(TorchBorder):
    """One fit on the torch engine; see ``base.Program`` for what every method promises.

    In precision "fp64" every array that comes out is float64.
    """

    look_every = 1

    def __init__(
        self,
        prior: Prior,
        task: Task,
        shape: tuple[int, int, int],
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.shape = tuple(shape)
        self._size = (shape[0] // settings.frames, shape[1])  # of a frame
        self.steps_done = 0
        self._prior, self._task, self._term = prior, task, task.data_term
        self._settings, self._device = settings, device
        self._dtype = PRECISIONS[settings.precision]
        self._parameters = {
            name: self._tensor(values).requires_grad_()
            for name, values in initial_parameters(prior, shape[2], settings.seed, shape[:2]).items()
        }
        self._source = TorchInput(prior, self.shape, settings, self._dtype, device)
        self._generator = self._source.generator
        self._optimiser = torch_optimiser(settings.optimiser, self._parameters)
        self._objective = objective_for(task, settings.seed) if self._term.kind == "outer" else None
        self._begun: torch.Tensor | None = None  # the output of a step whose second half is still to come
        self._target: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None
        self._output: torch.Tensor | None = None
        self._average: torch.Tensor | None = None
        self._loss: torch.Tensor | None = None
        self._new_target = self._complete = False

    @property
    def complete(self) -> bool:
        """Whether the last step computed the whole output."""
        return not self._settings.subsample or self._complete

    def __getattr__(self, name: str) -> object:
        # Only reached when the attribute is missing: ``close`` has taken all of them away.
        if self.__dict__.get("_closed"):
            raise EngineError("this program is closed; compile a new one")
        raise AttributeError(name)

    # Arrays in and out ------------------------------------------------------------------------------

    def set_target(self, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Takes a new frame; a mask may be left out once one has been set.

        Raises:
            InputError: another shape than the program's, a missing mask, or one the task does not use.
        """
        has_mask = self._mask is not None
        target, mask = checked_target(self._task, self.shape, target, mask, has_mask, self._settings.frames)
        if mask is not None:
            self._mask = self._picture(mask[:, :, None])
        if self._objective is not None:
            self._objective.to(self._device, self._dtype)  # first: what it makes of the target is kept in it
            self._objective.set_target(target)
        self._target, self._new_target = self._picture(target), True

    def set_input(self, z: np.ndarray) -> None:
        """Replaces z before perturbation.

        Raises:
            InputError: another shape, or an encoding whose z comes from moving frequencies.
        """
        self._source.set(z)

    def set_views(self, views: Sequence[View]) -> None:
        """Says where the target's pixels lie in the scene; see ``base.Program``."""
        self._source.set_views(views)
        self._begun = None

    # The fit ----------------------------------------------------------------------------------------

    def _input(self, perturb: bool) -> torch.Tensor:
        """This step's z [F, channels, H, W]."""
        return self._source.make(self._parameters.get("encoding.frequencies"), perturb)

    def _network(self, z: torch.Tensor, places: Places | None = None) -> torch.Tensor:
        return network_output(self._prior.network, self._parameters, z, places)

    def _data_term(self, output: torch.Tensor, places: Places | None = None) -> torch.Tensor:
        if self._target is None:
            raise InputError("no target was set; hand one over with set_target first")
        if self._objective is not None:
            return self._objective.loss(output, self.steps_done)
        term, mask = self._term, self._mask
        if mask is not None and places is not None:
            mask = at(mask, places)
        return data_term(output, at(self._target, places), term.kind, mask, term.scale, term.lobes)

    def _places(self, other: int = 0) -> Places | None:
        """The pixels this step sees (``Settings.subsample``); None for all."""
        if not self._settings.subsample:
            return None
        found = seen(*self._size, self._settings.seed, self.steps_done, other)
        return tuple(torch.from_numpy(axis).to(self._device) for axis in (found.rows, found.columns))

    @torch.no_grad()
    def _whole(self, output: torch.Tensor, z: torch.Tensor, complete: bool) -> torch.Tensor:
        """The output as a whole picture: what was just seen, and the rest from now or from earlier steps."""
        if not self._settings.subsample:
            return output.detach()
        before = self._output if self._output is not None else self._target
        whole = before.clone()
        for other in (1, 2, 3, 0) if complete else (0,):  # what was just seen comes last
            rows, columns = self._places(other)
            part = output if other == 0 else self._network(z, (rows, columns))
            whole[:, :, rows[:, None], columns] = part.detach()
        return whole

    def step(self, count: int = 1) -> None:
        """Runs ``count`` steps; nothing waits for the device between them."""
        with memory_errors():
            for _ in range(count):
                self._disturb_weights()
                z, places = self._input(perturb=True), self._places()
                output = self._network(z, places)
                loss = self._data_term(output, places)
                ends_cycle = places is not None and completes(self.steps_done)
                self._complete = places is None or ends_cycle or self._new_target
                self._new_target = False
                self._output, self._loss = self._whole(output, z, self._complete), loss.detach()
                self._optimiser.zero_grad()
                with_penalty(self._prior.network, output, loss).backward()
                self._optimiser.step()
                if self._complete:
                    weight = self._settings.average ** (CYCLE if ends_cycle else 1)
                    self._average = running_average(self._average, self._output, weight)
                self.steps_done += 1

    @torch.no_grad()
    def _disturb_weights(self) -> None:
        """Adds ``Prior.weight_noise`` to the convolutions' weights, for good."""
        if self._prior.weight_noise == 0:
            return
        for weights in self._parameters.values():
            if weights.ndim > 1 and weights.numel() > 1:
                noise = torch.empty_like(weights).normal_(generator=self._generator)
                weights += noise * (self._prior.weight_noise * weights.std())

    def forward(self) -> np.ndarray:
        """The first half of a step; see ``base.Program``."""
        if self._settings.subsample:
            raise EngineError("a sampled fit has no whole output in every step; compile it without subsample")
        with memory_errors():
            self._disturb_weights()
            z = self._input(perturb=True)
            self._begun = self._network(z)
        return self._array(self._begun)

    def backward(self, gradient: np.ndarray, loss: float) -> None:
        """The second half; see ``base.Program``."""
        output, self._begun = self._begun, None
        if output is None:
            raise EngineError("backward was called without forward; a step begins with forward")
        with memory_errors():
            self._output, self._loss = output.detach(), torch.tensor(loss, dtype=torch.float64)
            self._optimiser.zero_grad()
            # Its slope by the output is the gradient that came, to the bit.
            slope = (output * self._picture(gradient)).sum()
            with_penalty(self._prior.network, output, slope).backward()
            self._finish_step()

    def _finish_step(self) -> None:
        """Update and averaging, of a step that saw the whole output."""
        self._optimiser.step()
        self._average = running_average(self._average, self._output, self._settings.average)
        self._complete, self._new_target = True, False
        self.steps_done += 1

    def evaluate(self) -> Evaluation:
        """Forward and backward at the current weights and the unperturbed z."""
        with memory_errors():
            z = self._input(perturb=False)
            names = list(self._parameters)
            sources = list(self._parameters.values())
            if self._settings.input_gradient:
                z = z if z.requires_grad else z.clone().requires_grad_()
                sources.append(z)
            places = self._places()
            output = self._network(z, places)
            loss = with_penalty(self._prior.network, output, self._data_term(output, places))
            found = torch.autograd.grad(loss, sources, materialize_grads=True)  # Pixels have no z
            gradients = {
                name: np.array(gradient.cpu().numpy()) for name, gradient in zip(names, found, strict=False)
            }
            if self._settings.input_gradient:
                gradients["input"] = self._array(found[-1])
            whole = self._whole(output, z, complete=True)
            return Evaluation(self._array(whole), float(loss.detach()), gradients)

    # Results ----------------------------------------------------------------------------------------

    def _last_output(self) -> torch.Tensor:
        if self._output is None:
            raise EngineError("no step has been run yet; there is neither a loss nor an estimate")
        return self._output

    def loss(self) -> float:
        """The last step's data term; of an output that was loaded without its loss, computed anew."""
        if self._loss is None:
            self._loss = self._data_term(self._last_output())
        return float(self._loss)

    def losses(self, count: int) -> list[float]:
        """The last step's alone: the reference is looked at after every step, as published code is."""
        return [self.loss()]

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        """The last raw output at flat pixel indices [n] -> [n, C]."""
        indices = torch.as_tensor(np.asarray(pixels), dtype=torch.int64, device=self._device)
        pixels = self._last_output().permute(0, 2, 3, 1).flatten(0, 2)
        return np.array(pixels[indices].cpu().numpy(), order="C")

    # State ------------------------------------------------------------------------------------------

    def _stored(self, name: str, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        """A parameter and what the optimiser keeps of it, by the beginnings of their keys."""
        return {"param": parameter} | self._optimiser.moments(name)

    def state(self, prefix: str = "") -> State:
        """Everything a step depends on; ``average``, ``output``, ``loss`` are absent before the first one."""
        found: State = {}
        for name, parameter in self._parameters.items():
            for group, values in self._stored(name, parameter).items():
                found[f"{group}/{name}"] = np.array(values.detach().cpu().numpy())
        if self._average is not None:
            found["average"] = self._array(self._average)
        if self._output is not None:
            found["output"] = self._array(self._output)
        if self._loss is not None:
            found["loss"] = np.array(float(self._loss))
        source = self._source
        if source.z is not None and source.stored:
            found["input"] = self._array(source.z)
        if source.views is not None:
            found["views"] = source.views.copy()
        found["rng"] = np.array(self._generator.get_state().numpy())
        found["step"] = np.array(self.steps_done, np.int64)
        return {key: values for key, values in found.items() if key.startswith(prefix)}

    def _state_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "average": self.shape,
            "output": self.shape,
            "loss": (),
            "step": (),
        }
        shapes["rng"] = tuple(self._generator.get_state().shape)
        if self._source.views is not None:
            shapes["views"] = self._source.views.shape
        if not self._source.moving:
            shapes["input"] = self._source.shape
        for name, parameter in self._parameters.items():
            for group in self._stored(name, parameter):
                shapes[f"{group}/{name}"] = tuple(parameter.shape)
        return shapes

    def load_state(self, state: State) -> None:
        """Sets what is given; everything is checked before anything is changed."""
        shapes = self._state_shapes()
        for key, values in state.items():
            if key not in shapes:
                raise InputError(f"state holds {key!r}, which this fit does not have")
            if np.shape(values) != shapes[key]:
                raise InputError(f"state {key!r} has shape {np.shape(values)}; this fit needs {shapes[key]}")
        if "views" in state:
            self.set_views(views_of(state["views"]))
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                for group, place in self._stored(name, parameter).items():
                    if (key := f"{group}/{name}") in state:
                        place.copy_(self._tensor(state[key]))
        self._load_progress(state)

    def _load_progress(self, state: State) -> None:
        """The part of ``load_state`` that is not a tensor per parameter."""
        if "step" in state:
            self.steps_done, self._new_target = int(state["step"]), False
            self._optimiser.set_steps(self.steps_done)
            if self.steps_done == 0:  # nothing has been put out yet, which no array can say
                self._output = self._average = self._loss = None
        if "average" in state:
            self._average = self._picture(state["average"])
        if "output" in state:
            self._output, self._loss = self._picture(state["output"]), None
        if "loss" in state:
            self._loss = torch.tensor(float(state["loss"]), dtype=torch.float64)
        if "input" in state:
            self.set_input(state["input"])
        if "rng" in state:
            self._generator.set_state(torch.tensor(state["rng"], dtype=torch.uint8))

    def close(self) -> None:
        """Gives the memory back to PyTorch; using the program afterwards raises ``EngineError``."""
        self.__dict__.clear()
        self.__dict__["_closed"] = True
