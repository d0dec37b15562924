"""One step of Muon for one matrix in plain PyTorch: the specification."""

from __future__ import annotations

from torch import Tensor

# Coefficients of the quintic a x + b x^3 + c x^5 (Jordan et al., 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """A matrix [rows, columns] with the same singular vectors and singular values near 1 (0.7 to 1.2)."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-20)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def muon_step(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    *,
    learning_rate: float = 0.02,
    momentum: float = 0.95,
    iterations: int = 5,
) -> tuple[Tensor, Tensor]:
    """The parameter and the gradients' mean after one step.

    All tensors are [out, in, k, k] (or [out, in]); nothing is changed in place.
    """
    mean = mean + (1 - momentum) * (gradient - mean)
    update = gradient + momentum * (mean - gradient)
    direction = orthogonalise(update.flatten(1), iterations).view_as(parameter)
    before = parameter.norm()
    moved = parameter - learning_rate * before / direction.norm().clamp_min(1e-30) * direction
    return moved * (before / moved.norm()), mean
