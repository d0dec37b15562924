"""The strongest step PyTorch gives without writing kernels: the baseline beside the published code.

bfloat16 autocast, channels-last memory, ``torch.compile`` of forward, backward and loss, fused Adam, in-place
average, no host synchronisation. The network is the torch engine's own function of its parameters, so the
arithmetic is that of the reference up to autocast's roundings.
"""

from __future__ import annotations

import numpy as np
import torch

from dipedge.engines.base import Settings
from dipedge.engines.initial import initial_input, initial_parameters
from dipedge.engines.torch_network import hourglass
from dipedge.priors import Prior


class CompiledProgram:
    """A denoising fit; ``step`` as an engine's program, on the CPU or a CUDA device.

    Args:
        prior: with a fixed z that is not perturbed.
        shape: [H, W, C] of the estimate.
        settings: its optimiser must be Adam.
        device: any torch device.
        mode: of ``torch.compile``.
    """

    def __init__(
        self,
        prior: Prior,
        shape: tuple[int, int, int],
        settings: Settings,
        device: str = "cpu",
        mode: str = "default",
    ) -> None:
        self._device, self._average_weight = torch.device(device), settings.average
        tensors = {
            name: torch.tensor(values, device=self._device).requires_grad_()
            for name, values in initial_parameters(prior, shape[2], settings.seed).items()
        }
        adam = settings.optimiser
        self._adam = torch.optim.Adam(
            tensors.values(), adam.learning_rate, (adam.beta1, adam.beta2), adam.eps, fused=True
        )
        z = self._picture(initial_input(prior.encoding, shape, settings.seed))
        self._target = torch.empty((1, shape[2], *shape[:2]), device=self._device)
        self._average: torch.Tensor | None = None

        def evaluated(target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            with torch.autocast(self._device.type, torch.bfloat16):
                output = hourglass(prior.network, tensors, z)
            output = output.float()
            return torch.nn.functional.mse_loss(output, target), output.detach()

        self._evaluated = torch.compile(evaluated, mode=mode)

    def _picture(self, values: np.ndarray) -> torch.Tensor:
        tensor = torch.tensor(np.moveaxis(values, 2, 0).copy(), dtype=torch.float32, device=self._device)[None]
        return tensor.contiguous(memory_format=torch.channels_last)

    def set_target(self, target: np.ndarray) -> None:
        """[H, W, C] float32 in [0, 1]."""
        self._target = self._picture(target)

    def step(self, count: int = 1) -> None:
        """Forward, backward, Adam, averaging."""
        for _ in range(count):
            self._adam.zero_grad(set_to_none=True)
            loss, output = self._evaluated(self._target)
            loss.backward()
            self._adam.step()
            if self._average is None:
                self._average = output.clone()
            else:
                self._average.lerp_(output, 1 - self._average_weight)

    def estimate(self) -> np.ndarray:
        """The running average [H, W, C]."""
        return self._average[0].permute(1, 2, 0).cpu().numpy().copy()

    def close(self) -> None:
        """Forgets what was compiled, so that the next program starts afresh."""
        torch._dynamo.reset()
