"""The torch engine's optimisers behind one face: torch.optim.Adam, and Muon for the wide matrices."""

from __future__ import annotations

import torch

from dipedge.kernels.muon.reference import muon_step
from dipedge.optimisers import Adam, Muon, Optimiser

WIDE = 16  # outputs, and values into each of them, that make a convolution a wide matrix


def is_wide(name: str, shape: torch.Size) -> bool:
    """Whether Muon takes this parameter: a convolution's weights, not the head's, of some width."""
    return len(shape) == 4 and not name.startswith("head.") and shape[0] >= WIDE and shape[1:].numel() >= WIDE


class TorchOptimiser:
    """Updates named parameters in place.

    Args:
        description: Adam or Muon.
        parameters: by name; leaves that gather gradients.
    """

    def __init__(self, description: Optimiser, parameters: dict[str, torch.Tensor]) -> None:
        self._parameters = parameters
        self._muon = description if isinstance(description, Muon) else None
        adam: Adam = description.rest if isinstance(description, Muon) else description
        self._wide = [n for n, p in parameters.items() if self._muon is not None and is_wide(n, p.shape)]
        self._adam = torch.optim.Adam(
            [p for n, p in parameters.items() if n not in self._wide],
            lr=adam.learning_rate,
            betas=(adam.beta1, adam.beta2),
            eps=adam.eps,
        )
        self._steps = 0
        # PyTorch makes this state in the first step; made here, it can be read and set before it.
        self._moments: dict[str, dict[str, torch.Tensor]] = {}
        for name, parameter in parameters.items():
            moments = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            self._moments[name] = moments
            if name not in self._wide:
                self._adam.state[parameter] = {"step": torch.tensor(0.0), **moments}

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def moments(self, name: str) -> dict[str, torch.Tensor]:
        """The running means of a parameter's gradient and of its square (zero under Muon), to be set."""
        return self._moments[name]

    def set_steps(self, steps: int) -> None:
        """Sets how many steps have been made: bias corrections and falling rates count them."""
        self._steps = steps
        for moments in self._adam.state.values():
            moments["step"].fill_(steps)

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients at hand."""
        self._adam.step()
        for name in self._wide:
            parameter, mean = self._parameters[name], self._moments[name]["exp_avg"]
            moved, new_mean = muon_step(
                parameter,
                parameter.grad,
                mean,
                learning_rate=self._muon.rate(self._steps),
                momentum=self._muon.momentum,
                iterations=self._muon.iterations,
            )
            parameter.copy_(moved)
            mean.copy_(new_mean)
        self._steps += 1
