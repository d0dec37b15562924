"""One fit on a GPU, alone or one of several together: the program behind engine "triton"."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from dipedge.engines.base import Evaluation, State
from dipedge.engines.checks import (
    check_state,
    checked_input,
    checked_target,
    checked_views,
    views_of,
)
from dipedge.engines.triton_fits import TritonFits
from dipedge.errors import EngineError, InputError
from dipedge.priors import Fourier, GivenImage, Noise
from dipedge.views import View

STATE_ARRAYS = ("param", "adam/m", "adam/v")
LOOK_EVERY = 8  # steps between two looks: reading the loss makes the host wait for the device


class TritonProgram:
    """One of the fits of a ``TritonFits``; see ``base.Program`` for what every method promises.

    Args:
        fits: what steps.
        fit: which of them this is.
    """

    look_every = LOOK_EVERY

    def __init__(self, fits: TritonFits, fit: int) -> None:
        self.shape = fits.shape
        self._fits, self._fit = fits, fit
        encoding = fits.prior.encoding
        self._z_is_stored = isinstance(encoding, Noise | GivenImage)
        self._z_is_set = not isinstance(encoding, GivenImage)
        self._computed = isinstance(encoding, Fourier)
        self._has_target = self._has_mask = False
        self._views = View().numbers()[None]

    def __getattr__(self, name: str) -> object:
        # Only reached when the attribute is missing: ``close`` has taken it away.
        if name == "_fits":
            raise EngineError("this program is closed; compile a new one")
        raise AttributeError(name)

    @property
    def steps_done(self) -> int:
        """Steps since the weights were initialised."""
        return self._fits.steps_done

    @property
    def complete(self) -> bool:
        """Whether the last step computed the whole output."""
        return self._fits.complete

    @property
    def memory_bytes(self) -> int:
        """Device memory of all fits together."""
        return self._fits.bytes

    # Arrays in --------------------------------------------------------------------------------------

    @property
    def tensor_device(self) -> str:
        """Where ``set_target`` takes and ``estimate_tensor`` gives tensors."""
        return str(self._fits.device)

    def _on_device(self, values: np.ndarray | torch.Tensor) -> torch.Tensor:
        if isinstance(values, torch.Tensor):
            return values.to(self._fits.device, torch.float32)
        return torch.tensor(np.ascontiguousarray(values, np.float32), device=self._fits.device)

    def set_target(self, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Takes a new frame; a mask may be left out once one has been set.

        Raises:
            InputError: another shape than the program's, a missing mask, or one the task does not use.
        """
        fits = self._fits
        target, mask = checked_target(fits.task, self.shape, target, mask, self._has_mask)
        if mask is not None:
            fits.term.mask[self._fit] = self._on_device(mask)
            self._has_mask = True
        fits.term.target[self._fit] = self._on_device(target)
        self._has_target = fits.new_target = True

    def set_input(self, z: np.ndarray) -> None:
        """Replaces z before perturbation.

        Raises:
            InputError: another shape than [H, W, channels], or Fourier features, which are computed.
        """
        z = checked_input(self._fits.prior.encoding, self.shape, z)
        self._fits.input.z[self._fit] = self._on_device(z)
        self._z_is_stored = self._z_is_set = True

    def set_views(self, views: Sequence[View]) -> None:
        """Says where the target's pixels lie in the scene; see ``base.Program``."""
        self._views = checked_views(self._fits.prior.encoding, self._fits.settings, views)
        self._fits.input.set_view(self._fit, views[0])

    def check_ready(self) -> None:
        """Raises InputError where the target or a given picture is missing."""
        if not self._has_target:
            raise InputError("no target was set; call set_target first")
        if not self._z_is_set:
            raise InputError("this prior's input is a given picture; call set_input first")

    # The fit ----------------------------------------------------------------------------------------

    def step(self, count: int = 1) -> None:
        """Hands ``count`` steps to the device and returns; reading a result waits for them.

        Raises:
            EngineError: of one of several fits, which step together.
        """
        self._check_alone()
        self._fits.step(count)

    def _check_alone(self) -> None:
        if len(self._fits.seeds) > 1:
            raise EngineError("this fit steps together with others; step them all")
        self.check_ready()

    def _check_begun(self) -> None:
        if self.steps_done == 0:
            raise EngineError("no step has been run yet; there is neither a loss nor an estimate")

    def loss(self) -> float:
        """The data term of the last step's output, before that step's update."""
        self._check_begun()
        return self.losses(1)[0]

    def losses(self, count: int) -> list[float]:
        """Those of the last ``count`` steps, oldest first; at most 1024 are remembered."""
        self._check_begun()
        kept = self._fits.term.losses[self._fit].cpu().numpy()
        first = self.steps_done - min(count, self.steps_done, len(kept))
        return [float(kept[step % len(kept)]) for step in range(first, self.steps_done)]

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """A copy [H, W, C] of the running average, or of the last step's raw output."""
        self._check_begun()
        term = self._fits.term
        picture = term.average if averaged and self._fits.averaging else term.output
        return picture[self._fit].cpu().numpy().copy()

    def estimate_tensor(self, averaged: bool = True) -> torch.Tensor:
        """As ``estimate``; the copy stays on the device, and nothing waits for it."""
        self._check_begun()
        term = self._fits.term
        picture = term.average if averaged and self._fits.averaging else term.output
        return picture[self._fit].detach().to(torch.float32, copy=True)

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        """The last raw output at flat pixel indices [n] -> [n, C]."""
        self._check_begun()
        indices = torch.as_tensor(np.asarray(pixels), dtype=torch.int64, device=self._fits.device)
        return self._fits.term.output[self._fit].flatten(0, 1)[indices].cpu().numpy()

    def evaluate(self) -> Evaluation:
        """Forward and backward at the current weights and the unperturbed z; raises as ``step``."""
        self._check_alone()
        fits, fit = self._fits, self._fit
        output = fits.evaluate()
        gradients = {name: fits.parameters.get("grad", fit, name) for name in fits.parameters.slots}
        if fits.settings.input_gradient:
            channels = fits.prior.encoding.channels
            gradients["input"] = fits.input.gradient[fit, ..., :channels].float().cpu().numpy()
        return Evaluation(output[fit].cpu().numpy(), float(fits.evaluated_loss[fit]), gradients)

    # State ------------------------------------------------------------------------------------------

    def state(self, prefix: str = "") -> State:
        """Everything a step depends on; ``average``, ``output``, ``loss`` only after the first step."""
        fits, fit = self._fits, self._fit
        copies = {
            f"{kind}/{name}": partial(fits.parameters.get, kind, fit, name)
            for kind in STATE_ARRAYS
            for name in fits.parameters.slots
        }
        if self.steps_done:
            copies["average"] = self.estimate
            copies["output"] = partial(self.estimate, averaged=False)
            copies["loss"] = lambda: np.array(self.loss())
        if self._z_is_stored and self._z_is_set:
            copies["input"] = lambda: fits.input.z[fit].cpu().numpy().copy()
        if self._computed:
            copies["views"] = self._views.copy
        copies["rng"] = lambda: np.array([fits.seeds[fit]], np.uint64)
        copies["step"] = lambda: np.array(self.steps_done, np.int64)
        return {key: copy() for key, copy in copies.items() if key.startswith(prefix)}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """What ``load_state`` takes."""
        fits = self._fits
        named = fits.prior.parameter_shapes(self.shape[2])
        shapes = {f"{kind}/{name}": tuple(shape) for kind in STATE_ARRAYS for name, shape in named.items()}
        shapes |= {"average": self.shape, "output": self.shape, "loss": (), "rng": (1,), "step": ()}
        if self._computed:
            shapes["views"] = self._views.shape
        else:
            shapes["input"] = (*self.shape[:2], fits.prior.encoding.channels)
        return shapes

    def load_state(self, state: State) -> None:
        """Sets what is given and keeps the rest; a full state continues bit for bit.

        Raises:
            InputError: an unknown key, or an array of another shape; nothing is changed then.
        """
        shapes = self._shapes()
        check_state(state, shapes)
        if "views" in state:
            checked_views(self._fits.prior.encoding, self._fits.settings, views_of(state["views"]))
        for key in sorted(state, key=lambda key: key != "step"):  # the loss has its place by the step number
            self._load(key, np.asarray(state[key]))

    def _load(self, key: str, value: np.ndarray) -> None:
        fits, fit, term = self._fits, self._fit, self._fits.term
        if key == "step":
            fits.set_steps(int(value))
            fits.new_target, fits.averaging = False, int(value) > 0
        elif key == "average":
            term.average[fit] = self._on_device(value)
            fits.averaging = True
        elif key == "output":
            term.output[fit] = self._on_device(value)
        elif key == "input":
            self.set_input(value)
        elif key == "views":
            self.set_views(views_of(value))
        elif key == "loss":
            term.losses[fit, (self.steps_done - 1) % term.losses.shape[1]] = float(value)
        elif key == "rng":
            fits.set_seed(fit, int(value[0]))
        else:
            kind = next(kind for kind in STATE_ARRAYS if key.startswith(f"{kind}/"))
            fits.parameters.set(kind, fit, key[len(kind) + 1 :], value)

    def close(self) -> None:
        """Gives the memory back; using the program afterwards raises ``EngineError``.

        Of one of several fits it does nothing: they are closed together.
        """
        if "_fits" in self.__dict__ and len(self._fits.seeds) == 1:
            self.let_go()

    def let_go(self) -> None:
        """Closes it, whether alone or not."""
        fits = self.__dict__.pop("_fits", None)
        if fits is not None:
            fits.close()
