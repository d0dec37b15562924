"""How little a unit of a network is excited: the loss of activation maximisation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dipedge.errors import InputError
from dipedge.objectives.layer_output import LayerOutput
from dipedge.objectives.torch_objective import TorchObjective
from dipedge.tasks.features import MaximizeActivation


class Activation(TorchObjective):
    """-a, or |goal - a|, where a is the unit's activation: Phi(x)_m.

    With a window a is the mean over it. The published code has 5 times the sum instead, which makes no
    difference to Adam; a mean can be compared between windows.

    Args:
        task: its description.
        seed: nothing here is random.
    """

    def __init__(self, task: MaximizeActivation, seed: int) -> None:
        super().__init__(task, seed)
        self._phi = LayerOutput(task.model, task.layer, task.mean, task.std)
        self._size = task.blank().shape[:2]

    @torch.no_grad()
    def set_target(self, target: np.ndarray) -> None:
        """Shows the module a picture, so that what does not fit is known before the fit.

        Raises:
            InputError: a size the module cannot take, a layer of another kind, or a unit it does not have.
        """
        self._size = target.shape[:2]
        picture = torch.tensor(np.moveaxis(target, 2, 0), dtype=self.dtype, device=self.device)[None]
        self.activation(picture)

    def activation(self, picture: Tensor) -> Tensor:
        """The unit's activation, a scalar, for a picture [1, C, h, w] in [0, 1] of the task's size."""
        output = self._phi(picture)
        layer, unit, found = self.task.layer, self.task.unit, tuple(output.shape)
        if output.ndim not in (2, 4) or output.shape[0] != 1:
            raise InputError(
                f"layer {layer!r} gives an array of shape {found}; a unit is one of "
                "(1, units) or of (1, maps, height, width)"
            )
        if unit >= output.shape[1]:
            raise InputError(f"unit is {unit}; layer {layer!r} has 0 to {output.shape[1] - 1}")
        if output.ndim == 2:
            return output[0, unit]
        if 0 in found:
            height, width = self._size
            raise InputError(
                f"layer {layer!r} gives nothing of a picture of {height} x {width}; make size larger"
            )
        rows, columns = (_centre(side, self.task.window) for side in found[2:])
        return output[0, unit, rows, columns].mean()

    def loss(self, output: Tensor, step: int) -> Tensor:
        height, width = self._size
        found = self.activation(output[:, :, :height, :width])
        return -found if self.task.goal is None else (self.task.goal - found).abs()


def _centre(side: int, window: int) -> slice:
    """The ``window`` middle positions of ``side``, or all; of an even side the middle one is side // 2."""
    first = max(0, side // 2 - window // 2)
    return slice(first, min(side, first + window))
