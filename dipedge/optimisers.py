"""Optimisers as frozen descriptions; the engines hold the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dipedge.errors import InputError


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015), as ``torch.optim.Adam``: the optimiser of both papers.

    Args:
        learning_rate: step size, above 0.
        beta1: decay of the mean of the gradients, in [0, 1).
        beta2: decay of the mean of their squares, in [0, 1).
        eps: added to the root of the second moment, above 0.

    Raises:
        InputError: a value outside its range.
    """

    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be in [0, 1)")
        if not self.eps > 0:
            raise InputError(f"eps is {self.eps}; it must be above 0")


@dataclass(frozen=True)
class Muon:
    """Muon (Jordan et al., 2024) for the wide matrices, Adam for all other parameters.

    A matrix's momentum is replaced by the nearest orthogonal matrix (by Newton-Schulz iteration), so that
    every direction of it learns equally fast. The BN behind each convolution makes the matrix's scale
    irrelevant; its norm is therefore held and only its direction moves. Wide are the convolutions with at
    least 16 outputs and at least 16 values in (channels times kernel area), the head left out.

    The rate may fall: kept for ``hold`` steps, it then goes down in a line over ``decay`` steps to ``final``
    times itself, and stays there. While it is high the weights jump about too much to take up the noise; the
    fall lets them come to rest.

    Args:
        learning_rate: length of a step as a share of the matrix's norm, above 0.
        momentum: decay of the mean of the gradients, in [0, 1); Nesterov's form.
        iterations: of Newton-Schulz, 1 or more.
        rest: the Adam for everything else; its rate does not fall.
        hold: steps at the full rate, 0 or more.
        decay: steps of the fall, 0 or more.
        final: share of the rate that is left after the fall, above 0 and at most 1.

    Raises:
        InputError: a value outside its range.
    """

    learning_rate: float = 0.02
    momentum: float = 0.95
    iterations: int = 5
    rest: Adam = Adam(beta2=0.99)
    hold: int = 0
    decay: int = 0
    final: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}; it must be in [0, 1)")
        if not 1 <= self.iterations <= 20:
            raise InputError(f"iterations is {self.iterations}; it must be 1 to 20")
        for name in ("hold", "decay"):
            if not 0 <= getattr(self, name) <= 10**9:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if not 0 < self.final <= 1:
            raise InputError(f"final is {self.final}; it must be above 0 and at most 1")

    def rate(self, step: int) -> float:
        """The learning rate of step number ``step``, counted from 0."""
        if step < self.hold or self.final == 1:
            return self.learning_rate
        fallen = min((step - self.hold) / self.decay, 1.0) if self.decay else 1.0
        return self.learning_rate * (1 - fallen * (1 - self.final))

    def over(self, steps: int) -> Muon:
        """The same fall, stretched so that it ends after ``steps`` steps; unchanged where there is none."""
        whole = self.hold + self.decay
        if not whole:
            return self
        hold = round(steps * self.hold / whole)
        return replace(self, hold=hold, decay=steps - hold)


@dataclass(frozen=True)
class Madgrad:
    """MADGRAD (Defazio and Jelassi, 2021): dual averaging with momentum, scaled by a cube root.

    Parameters are kept near where they began, x0: the sum s of all gradients says in which direction away
    from it, the cube root of the sum v of their squares how far. Later gradients weigh more, by the root of
    their step's number. With l = rate * sqrt(step + 1), every operation by element::

        g  = gradient + weight_decay * x
        s += l * g ;   v += l * g^2
        x  = momentum * x + (1 - momentum) * (x0 - s / (cbrt(v) + eps))

    The rate falls by ``decay`` with each step until it is ``final``. As in the authors' code ``eps`` is also
    added to the rate. The fits with CLIP that PIP published use it.

    Args:
        learning_rate: rate of the first step, above 0.
        weight_decay: added to the gradient as a multiple of the parameter, 0 or more.
        momentum: share of the parameter that stays, in [0, 1).
        decay: what the rate is multiplied by with each step, above 0 and at most 1; 1 keeps it.
        final: the rate falls no lower than this, above 0.
        eps: see above, above 0.

    Raises:
        InputError: a value outside its range.
    """

    learning_rate: float = 0.0025
    weight_decay: float = 0.01
    momentum: float = 0.9
    decay: float = 0.99
    final: float = 1e-5
    eps: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("learning_rate", "final", "eps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay is {self.weight_decay}; it must be 0 or more")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}; it must be in [0, 1)")
        if not 0 < self.decay <= 1:
            raise InputError(f"decay is {self.decay}; it must be above 0 and at most 1")

    def rate(self, step: int) -> float:
        """The learning rate of step number ``step``, counted from 0."""
        return max(self.learning_rate * self.decay**step, min(self.final, self.learning_rate))


Optimiser = Adam | Muon | Madgrad
