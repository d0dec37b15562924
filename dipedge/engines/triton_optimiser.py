"""The end of a step as launches: partial sums to gradients, Muon for the wide matrices, Adam for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dipedge.engines.triton_parameters import GROUP, Parameters, Slot
from dipedge.kernels.adam.triton import Collected, adam_step, collect
from dipedge.kernels.muon.triton import Rate, muon_step
from dipedge.kernels.muon.triton_matrices import Matrices, Matrix
from dipedge.optimisers import Adam, Muon, Optimiser

WIDE = 16  # outputs, and values into each of them, that make a convolution a wide matrix


class TritonOptimiser:
    """Updates the flat vectors in place.

    Args:
        description: Adam or Muon.
        parameters: of all fits.
        collected: how partial sums become gradients; weights: those sums, float32, flat.
        step: int64 [1], steps done.
    """

    def __init__(
        self, description: Optimiser, parameters: Parameters, collected: Collected, weights: torch.Tensor,
        step: torch.Tensor,
    ) -> None:  # fmt: skip
        self._parameters, self._collected, self._weights, self._step = parameters, collected, weights, step
        muon = description if isinstance(description, Muon) else None
        self._adam: Adam = muon.rest if muon else description
        device = parameters.values.device
        self._active = torch.ones(parameters.length // GROUP, dtype=torch.uint8, device=device)
        self._muon: Matrices | None = None
        if muon:
            wide = [
                slot
                for name, slot in parameters.slots.items()
                if name.endswith("conv.weight") and not name.startswith("head.") and _is_wide(slot.shape)
            ]
            for slot in wide:
                self._active[slot.offset // GROUP : -(-(slot.offset + slot.size) // GROUP)] = 0
            if wide:
                self._plan_muon(muon, wide)

    def _plan_muon(self, muon: Muon, wide: Sequence[Slot]) -> None:
        fits, device = self._parameters.values.shape[0], self._parameters.values.device
        matrices = [Matrix(slot.offset, slot.shape[0], slot.size // slot.shape[0]) for slot in wide]
        self._muon = Matrices(matrices, device)
        self._workspace = torch.zeros((fits, self._muon.floats), device=device)
        self._rate = Rate(muon.learning_rate, muon.hold, muon.decay, muon.final)
        self._options = {"momentum": muon.momentum, "iterations": muon.iterations}

    @property
    def bytes(self) -> int:
        """Memory beside the flat vectors."""
        return 0 if self._muon is None else 4 * self._workspace.numel()

    def collect(self) -> None:
        """Gradients from the partial sums of this step."""
        collect(self._collected, self._weights, self._parameters.gradients)

    def update(self) -> None:
        """One step from the gradients, which are all there."""
        p, adam = self._parameters, self._adam
        if self._muon:
            muon_step(
                self._muon, p.values, p.gradients, p.first, p.cells, self._workspace, self._step, self._rate,
                **self._options,
            )  # fmt: skip
        adam_step(
            p.values, p.gradients, p.first, p.second, p.cells, self._active, self._step,
            learning_rate=adam.learning_rate, beta1=adam.beta1, beta2=adam.beta2, eps=adam.eps,
        )  # fmt: skip


def _is_wide(shape: tuple[int, ...]) -> bool:
    into = shape[1] * shape[2] * shape[3]
    return shape[0] >= WIDE and into >= WIDE
