"""Fits prepared on a GPU: the whole optimiser step as a fixed list of launches, replayed as a graph.

Nothing in a step waits for the host: what changes from step to step (the step number, drawn positions, the
noise's counter, falling rates) lies in device memory. The first step of a kind runs launch by launch, which
compiles its kernels; from then on it is one CUDA graph, and so are ``TOGETHER`` steps in a row. On the CPU,
under Triton's interpreter, there are no graphs, and the same launches run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dipedge.engines.base import Settings
from dipedge.engines.initial import initial_input, initial_parameters
from dipedge.engines.sampling import CYCLE, completes
from dipedge.engines.triton_buffers import Buffers
from dipedge.engines.triton_errors import device_errors
from dipedge.engines.triton_input import Input
from dipedge.engines.triton_layers import Plan
from dipedge.engines.triton_loss import DataTerm
from dipedge.engines.triton_network import LevelPlan
from dipedge.engines.triton_optimiser import TritonOptimiser
from dipedge.engines.triton_parameters import Parameters
from dipedge.kernels.gpu.sampling import draw_positions
from dipedge.priors import Prior
from dipedge.tasks import Task

TOGETHER = 8  # steps of one replay


class TritonFits:
    """B fits of one shape in lockstep, each with a seed of its own.

    Args:
        prior, task, shape: what is fitted, [H, W, C] of the estimate.
        settings: one per fit; they differ in their seeds alone.
        cell: torch.float32 or torch.bfloat16.
        device: a CUDA device, the CPU under the interpreter, or "meta", which only counts ``bytes``.
        library: see ``Plan``.
    """

    def __init__(
        self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Sequence[Settings],
        cell: torch.dtype, device: torch.device, library: bool = False,
    ) -> None:  # fmt: skip
        self.shape, self.settings, self.device = tuple(shape), settings[0], device
        self.prior, self.task, self.seeds = prior, task, [s.seed & (2**64 - 1) for s in settings]
        fits, own = len(settings), settings[0]
        self.steps_done, self.averaging, self.new_target, self.complete = 0, False, False, True
        self.buffers = Buffers(fits, cell, device)
        self.parameters = Parameters(prior, shape[2], fits, cell, device)
        self._seeds = torch.from_numpy(np.array(self.seeds, np.uint64).view(np.int64)).to(device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._plan = Plan(prior.network, self.parameters, self.buffers, library=library)
        self._positions = None
        if own.subsample:
            sides = (-(-side // 2) for side in shape[:2])
            self._positions = tuple(self.buffers.integers(side) for side in sides)
        self._input = Input(
            self._plan, prior, self.shape[:2], self._seeds, self._step, self._positions, own.input_gradient
        )
        self._top = LevelPlan(self._plan, 0, self._input, self._positions)
        self.term = DataTerm(self._plan, task, self.shape, self._top.top, self._step, self._positions)
        self._plan.scratch, weights, collected = self.buffers.finish()
        self._optimiser = TritonOptimiser(own.optimiser, self.parameters, collected, weights, self._step)
        self._graphs: dict[str, torch.cuda.CUDAGraph] = {}
        self._compiled: set[str] = set()
        self._kept: float | None = None

    @property
    def bytes(self) -> int:
        """Memory of everything that was planned."""
        return self.buffers.bytes + self.parameters.bytes + self._optimiser.bytes

    @property
    def input(self) -> Input:
        return self._input

    def begin(self) -> None:
        """Initial weights and z, and what no step changes."""
        for fit, seed in enumerate(self.seeds):
            for name, values in initial_parameters(self.prior, self.shape[2], seed).items():
                self.parameters.set("param", fit, name, values)
            if self._input.z is not None:
                z = initial_input(self.prior.encoding, self.shape, seed)
                if z is not None:
                    self._input.z[fit] = torch.from_numpy(z).to(self.device)
        self._top.fill_all_axes()
        self._input.prepare_once()

    def set_steps(self, steps: int) -> None:
        """How many steps count as done."""
        self.steps_done = steps
        self._step.fill_(steps)

    def set_seed(self, fit: int, seed: int) -> None:
        """What this fit's noise and positions are drawn from."""
        self.seeds[fit] = seed
        self._seeds[fit] = int(np.array(seed, np.uint64).view(np.int64))

    def close(self) -> None:
        """Lets go of all memory."""
        self.__dict__.clear()

    # One step ---------------------------------------------------------------------------------------

    def _see(self, other: int) -> None:
        """Draws the positions of this step, or of another of its cycle, and what follows from them."""
        rows, columns = self._positions
        draw_positions(self._seeds, self._step, other, rows, columns, *self.shape[:2])
        self._top.fill_axes(self.prior.network.upsample == "nearest")
        self._input.prepare_seen()

    def _forward_and_backward(self, whole: bool, noisy: bool = True) -> None:
        """``whole``: of a sampled step, the output at the pixels it does not see, too."""
        self._input.prepare(noisy)
        self._top.forward_below()
        if self._positions is not None:
            for other in (
                (1, 2, 3) if whole else ()
            ):  # first: what the step itself sees goes through the same buffers
                self._see(other)
                self._top.forward_here()
                self.term.forward()
            self._see(0)
        self._top.forward_here()
        self.term.forward_and_backward()
        self._top.backward(self.term.head)
        self._optimiser.collect()

    def _one_step(self, whole: bool) -> None:
        self._forward_and_backward(whole)
        if whole and self._positions is not None:
            self.term.take_into_average()
        self._optimiser.update()
        self._step.add_(1)

    def _launch(self, kind: str) -> None:
        """All launches of "step", "part", "steps" (TOGETHER steps) or "cycle" (three parts and a whole)."""
        if kind in ("step", "part"):
            self._one_step(whole=kind == "step")
            return
        for index in range(TOGETHER if kind == "steps" else CYCLE):
            self._one_step(whole=kind == "steps" or index == CYCLE - 1)

    def _run(self, kind: str) -> None:
        if self.device.type != "cuda" or kind not in self._compiled:
            self._launch(kind)
            self._compiled.add(kind)
            return
        if kind not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._launch(kind)
            self._graphs[kind] = graph
        self._graphs[kind].replay()

    def _keep(self, weight: float) -> None:
        """The average's weight of the past; the first output starts the average."""
        weight = weight if self.averaging else 0.0
        if weight != self._kept:
            self.term.keep.fill_(weight)
            self._kept = weight
        self.averaging = True

    def step(self, count: int) -> None:
        """Runs ``count`` steps; the host only hands them over."""
        with device_errors(self.bytes):
            while count > 0:
                done = self._sampled_steps(count) if self._positions is not None else self._steps(count)
                self.steps_done += done
                count -= done
                self.new_target = False

    def _steps(self, most: int) -> int:
        many = most >= TOGETHER and self.averaging and "step" in self._compiled
        self._compiled.add("steps")  # its kernels are those of one step
        self._keep(self.settings.average)
        self._run("steps" if many else "step")
        return TOGETHER if many else 1

    def _sampled_steps(self, most: int) -> int:
        """A whole cycle where one begins and its kernels are compiled; else a single step."""
        ends = completes(self.steps_done)
        begins = self.steps_done % CYCLE == 0 and self.averaging and not self.new_target
        if begins and most >= CYCLE and {"step", "part"} <= self._compiled:
            self._compiled.add("cycle")
            self._keep(self.settings.average**CYCLE)
            self._run("cycle")
            self.complete = True
            return CYCLE
        self.complete = ends or self.new_target
        if self.complete:
            self._keep(self.settings.average ** (CYCLE if ends else 1))
        self._run("step" if self.complete else "part")
        return 1

    def evaluate(self) -> torch.Tensor:
        """Gradients at the current weights into ``parameters.gradients``; the output, which is put back."""
        kept = [(t, t.clone()) for t in (self.term.output, self.term.average, self.term.losses)]
        self._forward_and_backward(whole=True, noisy=False)
        output = self.term.output.clone()
        self.evaluated_loss = self.term.losses[:, self.steps_done % self.term.losses.shape[1]].clone()
        for tensor, before in kept:
            tensor.copy_(before)
        return output
