"""The strongest step PyTorch gives without writing kernels: the baseline beside the published code.

bfloat16 autocast, channels-last memory, ``torch.compile`` of forward, backward and loss, fused Adam, in-place
average, no host synchronisation; on a GPU the whole step in one CUDA graph, too. The network is the torch
engine's own function of its parameters: the reference's arithmetic up to autocast's roundings.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from dipedge.engines.base import Settings
from dipedge.engines.initial import initial_input, initial_parameters
from dipedge.engines.torch_network import hourglass
from dipedge.kernels.lanczos_conv.reference import decimate
from dipedge.priors import Prior
from dipedge.tasks import Denoise, Task

WARM_UPS = 3  # steps before a capture: lazily made handles, plans and optimiser state


def decimation(size: int, factor: int, lobes: int, device: torch.device) -> torch.Tensor:
    """``kernels/lanczos_conv/reference.py`` ``decimate`` of one side as a matrix [ceil(size / t), size].

    The reference makes its kernel on the CPU in every call, and no copy from there can be part of a CUDA
    graph; and what torch.compile makes of its padding's gradient fails in channels-last (PyTorch 2.13). Two
    small products do the same.
    """
    rows = torch.eye(size, dtype=torch.float64)[None, :, :, None].expand(1, size, size, factor)
    return decimate(rows, factor, lobes)[0, :, :, 0].T.float().contiguous().to(device)


class CompiledProgram:
    """A fit; ``step`` as an engine's program, on the CPU or a CUDA device.

    Args:
        prior: with a z that is fixed or perturbed itself (not by its frequencies).
        shape: [H, W, C] of the estimate.
        settings: its optimiser must be Adam.
        task: any without a mask.
        device: any torch device.
        mode: of ``torch.compile``; None for eager operators.
        autocast: whether forward runs in bfloat16 where autocast thinks it safe.
    """

    def __init__(
        self,
        prior: Prior,
        shape: tuple[int, int, int],
        settings: Settings,
        task: Task | None = None,
        device: str = "cpu",
        mode: str | None = "default",
        autocast: bool = True,
    ) -> None:
        self._device, self._keep, self._prior = torch.device(device), settings.average, prior
        self._initial = {
            name: torch.tensor(values, device=self._device)
            for name, values in initial_parameters(prior, shape[2], settings.seed).items()
        }
        self._tensors = {
            name: self._laid_out(values.clone()).requires_grad_() for name, values in self._initial.items()
        }
        adam, capturable = settings.optimiser, self._device.type == "cuda"
        self._adam = torch.optim.Adam(
            self._tensors.values(), adam.learning_rate, (adam.beta1, adam.beta2), adam.eps, fused=True,
            capturable=capturable,
        )  # fmt: skip
        self._z = self._picture(initial_input(prior.encoding, shape, settings.seed))
        self.perturbation = torch.tensor(float(prior.perturbation), device=self._device)
        self._term = (task or Denoise()).data_term
        low = (-(-shape[0] // self._term.scale), -(-shape[1] // self._term.scale))
        self._target = self._laid_out(torch.empty((1, shape[2], *low), device=self._device))
        self._average = self._laid_out(torch.empty((1, shape[2], *shape[:2]), device=self._device))
        self._output = torch.empty_like(self._average)
        self._autocast, self._begun = autocast, False
        self._graph: torch.cuda.CUDAGraph | None = None
        self._evaluated = self._function()
        if mode is not None:
            self._evaluated = torch.compile(self._evaluated, mode=mode)

    def _function(self):  # a closure over everything that never changes, so that nothing is guarded per call
        prior, tensors, z, term = self._prior, self._tensors, self._z, self._term
        sides = None
        if term.kind == "lanczos":
            sides = [decimation(size, term.scale, term.lobes, self._device) for size in z.shape[2:]]

        def evaluated(target: torch.Tensor, perturbation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            noisy = z + perturbation * torch.randn_like(z) if prior.perturbation > 0 else z
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
                output = hourglass(prior.network, tensors, noisy)
            output = output.float()
            seen = output if sides is None else sides[0] @ output @ sides[1].T
            return F.mse_loss(seen, target), output.detach()

        return evaluated

    @staticmethod
    def _laid_out(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor

    def _picture(self, values: np.ndarray) -> torch.Tensor:
        planes = np.moveaxis(values, 2, 0).copy()
        return self._laid_out(torch.tensor(planes, dtype=torch.float32, device=self._device)[None])

    def set_target(self, target: np.ndarray) -> None:
        """[H, W, C] float32 in [0, 1]."""
        self._target.copy_(self._picture(target))

    def _one_step(self) -> None:
        self._adam.zero_grad(set_to_none=True)
        loss, output = self._evaluated(self._target, self.perturbation)
        loss.backward()
        self._adam.step()
        self._output.copy_(output)
        self._average.lerp_(output, 1 - self._keep)

    def step(self, count: int = 1) -> None:
        """Forward, backward, Adam, averaging; replayed once ``capture`` was called."""
        for _ in range(count):
            if self._graph is None:
                self._one_step()
            else:
                self._graph.replay()
            if not self._begun:  # the first output starts the average
                self._average.copy_(self._output)
                self._begun = True

    def capture(self) -> None:
        """Records one whole step, which every later one replays; the fit begins anew."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._one_step()
        torch.cuda.current_stream().wait_stream(side)
        self._adam.zero_grad(set_to_none=True)  # gradients are then allocated in the graph's own memory
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._one_step()
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Back to the initial weights, in the memory that a graph knows."""
        for name, tensor in self._tensors.items():
            tensor.copy_(self._initial[name])
            for moment in self._adam.state[tensor].values():
                moment.zero_()
        self._begun = False

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """The running average [H, W, C], or the last output."""
        picture = self._average if averaged else self._output
        return picture[0].permute(1, 2, 0).cpu().numpy().copy()

    def close(self) -> None:
        """Forgets what was compiled and captured, so that the next program starts afresh."""
        self._graph = None
        torch._dynamo.reset()
