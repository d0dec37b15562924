"""The torch engine's optimisers behind one face: torch.optim.Adam, Muon for the wide matrices, and MADGRAD.

Each names what it keeps of a parameter as a program's state has it (``adam/m``): whatever optimiser there
is, a program stores and restores it the same way.
"""

from __future__ import annotations

import torch

from dipedge.kernels.muon.reference import muon_step
from dipedge.optimisers import Adam, Madgrad, Muon, Optimiser

WIDE = 16  # outputs, and values into each of them, that make a convolution a wide matrix


def is_wide(name: str, shape: torch.Size) -> bool:
    """Whether Muon takes this parameter: a convolution's weights, not the head's, of some width."""
    return len(shape) == 4 and not name.startswith("head.") and shape[0] >= WIDE and shape[1:].numel() >= WIDE


class TorchOptimiser:
    """Updates named parameters in place; the base of those below.

    Args:
        parameters: by name; leaves that gather gradients.
        moments: what is kept of each, by its name.
    """

    def __init__(
        self, parameters: dict[str, torch.Tensor], moments: dict[str, dict[str, torch.Tensor]]
    ) -> None:
        self._parameters, self._moments, self._steps = parameters, moments, 0

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def moments(self, name: str) -> dict[str, torch.Tensor]:
        """What is kept of a parameter, each of its shape, to be read and set; named as in a state."""
        return self._moments[name]

    def set_steps(self, steps: int) -> None:
        """Sets how many steps have been made: bias corrections and falling rates count them."""
        self._steps = steps

    def step(self) -> None:
        """One update from the gradients at hand."""
        raise NotImplementedError


def torch_optimiser(description: Optimiser, parameters: dict[str, torch.Tensor]) -> TorchOptimiser:
    """The optimiser of a description.

    Args:
        description: Adam, Muon or Madgrad.
        parameters: by name; leaves that gather gradients.
    """
    kind = TorchMadgrad if isinstance(description, Madgrad) else TorchAdam
    return kind(description, parameters)


class TorchAdam(TorchOptimiser):
    """Adam; and Muon, whose narrow parameters it has.

    Moments are the running means of a parameter's gradient and of its square (zero under Muon).
    """

    def __init__(self, description: Adam | Muon, parameters: dict[str, torch.Tensor]) -> None:
        super().__init__(parameters, {})
        self._muon = description if isinstance(description, Muon) else None
        adam: Adam = description.rest if isinstance(description, Muon) else description
        self._wide = [n for n, p in parameters.items() if self._muon is not None and is_wide(n, p.shape)]
        self._adam = torch.optim.Adam(
            [p for n, p in parameters.items() if n not in self._wide],
            lr=adam.learning_rate,
            betas=(adam.beta1, adam.beta2),
            eps=adam.eps,
        )
        # PyTorch makes this state in the first step; made here, it can be read and set before it.
        for name, parameter in parameters.items():
            mean, square = torch.zeros_like(parameter), torch.zeros_like(parameter)
            self._moments[name] = {"adam/m": mean, "adam/v": square}
            if name not in self._wide:
                state = {"step": torch.tensor(0.0), "exp_avg": mean, "exp_avg_sq": square}
                self._adam.state[parameter] = state

    def set_steps(self, steps: int) -> None:
        super().set_steps(steps)
        for moments in self._adam.state.values():
            moments["step"].fill_(steps)

    @torch.no_grad()
    def step(self) -> None:
        self._adam.step()
        for name in self._wide:
            parameter, mean = self._parameters[name], self._moments[name]["adam/m"]
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


class TorchMadgrad(TorchOptimiser):
    """MADGRAD as ``optimisers.Madgrad`` has it, without its authors' package.

    Moments are the sums of gradients and of their squares, and the parameter's first value.
    """

    def __init__(self, description: Madgrad, parameters: dict[str, torch.Tensor]) -> None:
        self._description = description
        moments = {
            name: {
                "madgrad/s": torch.zeros_like(parameter),
                "madgrad/v": torch.zeros_like(parameter),
                # Where the weights began: no seed says it any more once others have been loaded.
                "madgrad/x0": parameter.detach().clone(),
            }
            for name, parameter in parameters.items()
        }
        super().__init__(parameters, moments)

    @torch.no_grad()
    def step(self) -> None:
        given = self._description
        weight = (given.rate(self._steps) + given.eps) * (self._steps + 1) ** 0.5
        for name, parameter in self._parameters.items():
            if parameter.grad is None:  # had no part in the output
                continue
            total, squares, first = self._moments[name].values()
            gradient = parameter.grad + given.weight_decay * parameter
            total.add_(gradient, alpha=weight)
            squares.addcmul_(gradient, gradient, value=weight)
            # v is a sum of squares, so a power is its cube root.
            wanted = first - total / (squares.pow(1 / 3) + given.eps)
            parameter.lerp_(wanted, 1 - given.momentum)
        self._steps += 1
