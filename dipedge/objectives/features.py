"""How far a layer's output for x is from that for the given picture: the natural pre-image's loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dipedge.errors import InputError
from dipedge.objectives.layer_output import LayerOutput
from dipedge.objectives.torch_objective import TorchObjective
from dipedge.tasks.features import InvertFeatures


class FeatureDistance(TorchObjective):
    """mean((Phi(x) - Phi(x0))^2), the mean over all values of the layer's output.

    The paper writes the sum; the published code takes the mean (``MSELoss``), and so do we. Adam's steps are
    the same for both, but a prior's own term (total variation) weighs differently beside them.

    Args:
        task: its description.
        seed: nothing here is random.
    """

    def __init__(self, task: InvertFeatures, seed: int) -> None:
        super().__init__(task, seed)
        self._phi = LayerOutput(task.model, task.layer, task.mean, task.std)
        self._wanted: Tensor | None = None
        self._size = (0, 0)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        super().to(device, dtype)
        if self._wanted is not None:
            self._wanted = self._wanted.to(device, dtype)

    @torch.no_grad()
    def set_target(self, target: np.ndarray) -> None:
        """Computes Phi(x0), once.

        Raises:
            InputError: a picture the module cannot take, a layer that gives no tensor, or none that is
            finite.
        """
        picture = torch.tensor(np.moveaxis(target, 2, 0), dtype=self.dtype, device=self.device)[None]
        wanted = self._phi(picture)
        if wanted.numel() == 0:
            raise InputError(f"layer {self._phi.layer!r} gives nothing of a picture of {_size(target)}")
        if not torch.isfinite(wanted).all():
            raise InputError(f"layer {self._phi.layer!r} gives NaN or infinite values of this picture")
        # A copy: an activation in place behind the layer, or the next pass, may write into what the layer
        # gave.
        self._wanted, self._size = wanted.clone(), target.shape[:2]

    @property
    def scale(self) -> float:
        """mean(Phi(x0)^2): the loss of features that are all zero, to compare layers by."""
        return float((self._wanted.double() ** 2).mean())

    def loss(self, output: Tensor, step: int) -> Tensor:
        height, width = self._size
        found = self._phi(output[:, :, :height, :width])
        return ((found - self._wanted) ** 2).mean()


def _size(target: np.ndarray) -> str:
    return f"{target.shape[0]} x {target.shape[1]}"
