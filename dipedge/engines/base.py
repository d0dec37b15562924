"""The protocol every engine follows: a description goes in, a program comes out.

Arrays at this border are numpy, [H, W, C], C-contiguous float32 with values in [0, 1] unless a line
says otherwise. ``shape`` is always that of the estimate; the target of a super-resolution is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dipedge.optimisers import Adam, Optimiser
from dipedge.priors import Prior
from dipedge.tasks import Task
from dipedge.views import View

if TYPE_CHECKING:
    import torch

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Settings:
    """How a fit is run, apart from what is fitted.

    Args:
        optimiser: the description of the optimiser.
        average: weight of the past in the running average of the outputs, in [0, 1); the first
            output starts it.
        seed: of weights, z and perturbation; the same seed gives the same bits on one engine.
        subsample: whether a step sees one pixel of each 2 x 2 block at the largest level, drawn anew every
            four steps, which then have seen each pixel once; the rest of the output is filled in at the
            end of every such cycle (and in the first step with a new target, so that a frame is seen however
            few steps it is given), and the average takes what was filled in. For
            Fourier features without noise, pointwise layers at the largest level and pointwise data terms.
        precision: "fp32", "bf16" or "auto"; torch also takes "fp64".
        threads: worker threads, None for all processors this process may use.
        frames: how many frames of one height are stacked, one below the other, in the estimate [F*H, W, C]
            and in target and mask. Nothing looks from one frame into the next; batch norms take their
            statistics over all of them. For hourglasses whose layers are all pointwise, fed with
            ``Fourier`` or ``SpaceTime`` features; and for ``Hourglass3d``, whose convolutions do look there.
        warped: whether views may be more than shifts. z is then kept in memory, so a step takes longer.
        input_gradient: whether ``evaluate`` also returns "input" (z's gradient); checks only.
    """

    optimiser: Optimiser = Adam()
    average: float = 0.99
    seed: int = 0
    subsample: bool = False
    precision: str = "auto"
    threads: int | None = None
    frames: int = 1
    warped: bool = False
    input_gradient: bool = False


@dataclass(frozen=True)
class Evaluation:
    """One forward and backward pass without an update.

    ``output`` [H, W, C]; ``gradients`` by parameter name, and "input" [H, W, channels of z].
    """

    output: np.ndarray
    loss: float
    gradients: State


class Program(Protocol):
    """All state of one fit; its buffers are allocated once, when it is compiled."""

    shape: tuple[int, int, int]
    steps_done: int
    complete: bool  # whether the last step computed the whole output; see Settings.subsample
    look_every: int  # steps it likes to run between two looks at it; 1 where a look costs nothing
    # The torch device where ``set_target`` takes, and ``estimate_tensor`` gives, tensors without a trip to
    # the host. Engines without PyTorch have neither; what asks takes a missing attribute as None.
    tensor_device: str | None

    def set_target(self, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Takes a new frame [h, w, C]; weights, optimiser and average go on. mask [H, W], 1 = known.

        Where ``tensor_device`` is not None, ``target`` may be a torch tensor on any device.
        """

    def set_input(self, z: np.ndarray) -> None:
        """Replaces z (before perturbation), [H, W, channels]."""

    def set_views(self, views: Sequence[View]) -> None:
        """Says where the target's pixels lie in the scene, from the next step on; ``View()`` until then.

        A pixel's coordinates are u = x'/(W-1) and v = y'/(H-1) of the place (x', y') that its frame's view
        gives it, H the height of a frame; 0 where the side is one pixel.

        Args:
            views: one for each of ``Settings.frames``, from the top.

        Raises:
            InputError: another count, a prior whose input has no coordinates, or a view that is more than
                a shift without ``Settings.warped``.
        """

    def step(self, count: int = 1) -> None:
        """Runs ``count`` optimiser steps: forward, backward, update, averaging."""

    def forward(self) -> np.ndarray:
        """The first half of a step: the raw output [H, W, C] at the current weights and this step's input.

        For losses that the engine does not compute itself. Until ``backward`` completes the step nothing else
        may be asked of the program.

        Raises:
            EngineError: a sampled fit (``Settings.subsample``), whose steps have no whole output.
        """

    def backward(self, gradient: np.ndarray, loss: float) -> None:
        """The second half: gradients of all parameters, update, averaging.

        Args:
            gradient: of the loss by the output that ``forward`` gave, [H, W, C] float32.
            loss: what ``loss`` will give of this step.

        Raises:
            EngineError: ``forward`` was not called before.
        """

    def loss(self) -> float:
        """The data term of the last step's output, before that step's update."""

    def losses(self, count: int) -> list[float]:
        """``loss`` of each of the last ``count`` steps, oldest first.

        A program remembers those of ``look_every`` steps. Of a longer stretch it gives as many as it has: the
        latest, at least one.
        """

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """A copy [H, W, C] of the running average, or of the last step's raw output."""

    def estimate_tensor(self, averaged: bool = True) -> torch.Tensor:
        """As ``estimate``, float32 on ``tensor_device``; only where that is not None."""

    def sample(self, pixels: np.ndarray) -> np.ndarray:
        """The last raw output at flat pixel indices [n] -> [n, C]; for stopping statistics."""

    def evaluate(self) -> Evaluation:
        """Forward and backward at the current weights; changes no state a step depends on."""

    def state(self, prefix: str = "") -> State:
        """Everything a step depends on, as copies; only entries whose keys begin with ``prefix``.

        Keys: ``param/NAME``, ``adam/m/NAME``, ``adam/v/NAME`` (with ``Madgrad`` instead of these
        ``madgrad/s/NAME``, ``madgrad/v/NAME``, ``madgrad/x0/NAME``), ``average``, ``output``,
        ``input`` (absent for fixed Fourier features and meshgrids), ``views`` (of Fourier features,
        [F, 7] float64: a b c d e f and the time), ``rng``, ``step``.
        """

    def load_state(self, state: State) -> None:
        """Sets what is given and keeps the rest; a full state continues bit for bit.

        Raises:
            InputError: an unknown key, or an array of another shape.
        """

    def close(self) -> None:
        """Gives all memory back; the program cannot be used afterwards."""


class Batch(Protocol):
    """Several fits of one prior, task and shape, whose steps are made together.

    Each member is the fit that its own settings and target would have had alone, with the same bits. A member
    does all that a program does, but for ``step`` and ``evaluate``, which raise EngineError: the batch steps
    for all of them. ``close`` of a member does nothing; that of the batch closes them all.
    """

    members: tuple[Program, ...]

    def step(self, count: int = 1) -> None:
        """Runs ``count`` optimiser steps of every member. Each must have a target."""

    def close(self) -> None:
        """Gives all memory back; neither the batch nor its members can be used afterwards."""


class Engine(Protocol):
    """Turns descriptions into programs."""

    name: str

    def supports(self, prior: Prior, task: Task) -> str | None:
        """None, or the sentence that says why this engine cannot run the pair."""

    def compile(self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings) -> Program:
        """Allocates everything and initialises weights and z from ``settings.seed``.

        Raises:
            EngineError: unsupported prior, task or precision.
            OutOfMemoryError: with the bytes needed.
        """

    def most_together(self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings) -> int:
        """How many such fits are best made in lockstep here, with the memory that is free now.

        1 where one fit alone keeps the device busy, as on a processor: fits are then made one after another,
        and the engine needs no ``compile_together``.
        """

    def compile_together(
        self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Sequence[Settings]
    ) -> Batch:
        """As ``compile``, for a fit with each of ``settings``, which differ in nothing but their seeds."""

    def device(self) -> dict[str, str]:
        """What runs the fit: keys "device", "isa", "version" as far as they apply."""
