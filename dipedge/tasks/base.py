"""What all tasks share: the data term, the sizes of target and estimate, and the ways there and back.

A picture's way through a task::

    pixels -> task.target(pixels) -> the fit -> estimate -> task.answer(estimate, pixels) -> Answer
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np


@dataclass(frozen=True)
class DataTerm:
    """What engines need to know of a task.

    Args:
        kind: "identity", "mask" or "lanczos", which engines compute themselves; or "outer", a loss they know
            nothing of: an ``objectives.Objective`` says it and its gradient for every output.
        scale: decimation factor t of "lanczos"; 1 otherwise.
        lobes: a of the Lanczos window, 2 or 3.
    """

    kind: Literal["identity", "mask", "lanczos", "outer"] = "identity"
    scale: int = 1
    lobes: int = 2


@dataclass(frozen=True)
class Answer:
    """What a fit came to.

    Args:
        image: the answer, [H, W, C] in [0, 1]; clipped when it is handed to the user.
        parts: what else was found, by name, each [H, W] or [H, W, C]: a transmission, a residual.
    """

    image: np.ndarray
    parts: dict[str, np.ndarray] = field(default_factory=dict)


class BaseTask:
    """A degradation and its data term; tasks are frozen dataclasses that derive from this."""

    name: ClassVar[str]
    block: ClassVar[int] = 1  # pixels a side that were degraded together: tiles begin at multiples of it
    pieces: ClassVar[bool] = True  # whether a large picture may be cut into tiles
    storable: ClassVar[bool] = True  # whether a session's file can hold it; not where it holds a model
    needs_picture: ClassVar[bool] = True  # whether a fit begins from a picture at all; see ``blank``

    @property
    def data_term(self) -> DataTerm:
        return DataTerm()

    @property
    def input_image(self) -> Any | None:
        """The picture that is the network's input z, as the user gave it; None: the prior makes z."""
        return None

    def estimate_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape [H, W, C] of the estimate for a target of ``shape``."""
        return shape

    def target(self, pixels: np.ndarray) -> np.ndarray:
        """What is fitted, [h, w, c], of a picture [H, W, C] float32 in [0, 1]."""
        return pixels

    def target_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of ``target`` for a picture of ``shape``."""
        return shape

    def answer_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of the answer for a picture of ``shape``."""
        return self.estimate_shape(shape)

    def answer(self, estimate: np.ndarray, pixels: np.ndarray) -> Answer:
        """The answer for the picture ``pixels`` from the estimate of its fit."""
        return Answer(estimate)

    def blank(self) -> np.ndarray:
        """What stands for the picture of a task that needs none: [H, W, C], black, of the answer's size."""
        raise NotImplementedError(f"task {self.name!r} begins from a picture")
