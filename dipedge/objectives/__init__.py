"""Losses that engines do not compute themselves: one module for each task whose data term is "outer".

An engine computes the network and its gradients, whatever is made of the output. What a picture is worth to a
trained network, or how three fits together explain one picture, is said here, as a value and its gradient by
the output. So every engine that can do a step in two halves (``engines.base.Program.forward``, ``backward``)
runs every such task.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

import numpy as np

from dipedge.tasks import Task

# Task name -> the module here and the class in it, loaded when first used.
_HOMES: dict[str, tuple[str, str]] = {
    "activate": ("activation", "Activation"),
    "dehaze": ("haze", "HazeObjective"),
    "invert": ("features", "FeatureDistance"),
    "text": ("text", "TextObjective"),
}


class Objective(Protocol):
    """The loss of one fit as a function of the whole output.

    Built as ``Class(task, seed)``. Whatever is random in it depends on the seed and the step alone, so that a
    fit that was stored goes on bit for bit.
    """

    def set_target(self, target: np.ndarray) -> None:
        """Takes what is fitted, [h, w, c] float32 (``Task.target``)."""

    def __call__(self, estimate: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        """The loss of an output [H, W, C] float32 in step ``step`` (from 0), and its gradient by it."""


def objective_for(task: Task, seed: int) -> Objective:
    """The objective of a task whose data term is "outer"; what it needs is loaded now.

    Raises:
        KeyError: a task that has none.
    """
    module, name = _HOMES[task.name]
    return getattr(import_module(f"dipedge.objectives.{module}"), name)(task, seed)
