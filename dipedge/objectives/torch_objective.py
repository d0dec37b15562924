"""TorchObjective: a loss written in PyTorch, whose gradient autograd finds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dipedge.tasks import Task


class TorchObjective:
    """The base of losses that need PyTorch; see ``Objective``.

    Engine "torch" calls ``loss`` inside its own graph, on its own device. For other engines a call takes
    numpy and gives numpy; a picture crosses the border twice a step then, which costs little beside a model.

    Args:
        task: its description.
        seed: of whatever is random.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.seed = task, seed
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Moves what the loss holds; derived classes move their tensors too."""
        self.device, self.dtype = device, dtype

    def set_target(self, target: np.ndarray) -> None:
        """Takes what is fitted; nothing, unless a derived class does."""

    def loss(self, output: Tensor, step: int) -> Tensor:
        """The loss, a scalar, of an output [1, C, H, W] in step ``step``."""
        raise NotImplementedError

    def __call__(self, estimate: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        """The loss and its gradient by an output [H, W, C]."""
        output = torch.tensor(np.moveaxis(estimate, 2, 0), dtype=self.dtype, device=self.device)[None]
        output.requires_grad_()
        loss = self.loss(output, step)
        (gradient,) = torch.autograd.grad(loss, output)
        return float(loss.detach()), np.array(gradient[0].permute(1, 2, 0).cpu().numpy(), order="C")
