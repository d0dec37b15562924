"""Following: where the frames of a stream lie in the scene, and where a new scene begins.

A camera that moves changes every pixel and hardly anything of the scene. A network of coordinates is
therefore told where the pixels have gone (``Program.set_views``), and its weights hold on. Where nothing of
the last frame is left, the fit begins anew, on the program that is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dipedge.engines.base import Program, State
from dipedge.errors import InputError
from dipedge.motion import MotionEstimator
from dipedge.priors import Fourier, HazePriors, Prior
from dipedge.views import View

MOTIONS = ("auto", "shift", "affine")


@dataclass(frozen=True)
class Move:
    """What happened between two frames: the motion in pixels of the estimate, or that a new scene begins."""

    motion: View
    cut: bool = False

    @property
    def is_none(self) -> bool:
        """Whether nothing moved."""
        return not self.cut and self.motion.matrix == View().matrix


STILL = Move(View())


def has_coordinates(prior: Prior | HazePriors) -> bool:
    """Whether a prior's input is a function of where a pixel lies, so that it can be moved."""
    return isinstance(prior, Prior) and isinstance(prior.encoding, Fourier)


def chosen_motion(wanted: Any, prior: Prior | HazePriors) -> str | None:
    """The kind of motion that a session follows: "shift", "affine" or None.

    Raises:
        InputError: another word, or a prior whose input cannot be moved.
    """
    if wanted is not None and wanted not in MOTIONS:
        raise InputError(f"motion is {wanted!r}; it must be None or one of {', '.join(MOTIONS)}")
    if wanted == "auto":
        return "shift" if has_coordinates(prior) else None
    if wanted is not None and not has_coordinates(prior):
        why = "this prior's input is no function of coordinates, which alone can be moved"
        raise InputError(f"motion is {wanted!r}; {why}: take pip(), or None")
    return wanted


class Following:
    """The view of a session's frames, and what of the last frame the next one is compared with.

    Args:
        kind: "shift", "affine", or None for a camera that stands still (or whose motion the user knows).
        scale: pixels of the estimate for one of the frame, as of a super-resolution.

    Attributes:
        view: of the last frame, in pixels of the estimate.
        frame: the last one, float32 [H, W, C]; None before the first. Not the
            caller's own array: cameras use buffers again.
    """

    def __init__(self, kind: str | None, scale: int = 1) -> None:
        self._estimator = None if kind is None else MotionEstimator(kind)
        self._scale = scale
        self._fresh: State | None = None
        self._knows_frame = False  # whether the estimator has seen ``frame``
        self.view = View()
        self.frame: np.ndarray | None = None

    @property
    def is_on(self) -> bool:
        """Whether frames are compared with each other."""
        return self._estimator is not None

    def begin(self, program: Program) -> None:
        """Takes note of a new program, before its first step."""
        self.view, self.frame = View(), None
        self._fresh = program.state() if self.is_on else None

    def take(self, frame: np.ndarray | None, view: View) -> None:
        """Takes a frame whose view is known: a first one, or one of a saved stream."""
        self.view, self._knows_frame = view, False
        if self.is_on:
            self.frame = _own(frame)

    def next(self, frame: np.ndarray | None, given: View | None, program: Program) -> Move:
        """Where the next frame lies: moves the program's view there, or sets it back at a cut.

        Args:
            frame: float32 [H, W, C]; None where frames are not compared.
            given: its motion, if the user knows it (in pixels of the frame, to the frame before).
            program: the session's.

        Raises:
            InputError: a motion that the program cannot follow; nothing is changed then.
        """
        move = STILL
        if given is not None:
            move = Move(enlarged(given, self._scale))
        elif self.is_on and self.frame is not None:
            move = self._estimated(frame)
        if move.cut:
            program.load_state(self._fresh)
        elif not move.is_none:
            program.set_views([self.view.after(move.motion)])
        self.view = View() if move.cut else self.view.after(move.motion)
        if self.is_on:
            self._knows_frame = given is None
            self.frame = _own(frame)
        return move

    def _estimated(self, frame: np.ndarray) -> Move:
        if not self._knows_frame:
            self._estimator.reset()
            self._estimator.next(self.frame)
        found = self._estimator.next(frame)
        return Move(enlarged(found.view, self._scale), found.cut)


def _own(frame: np.ndarray) -> np.ndarray:
    """A frame to keep: one that can still be written may be a buffer that its camera uses again."""
    return frame.copy() if frame.flags.writeable else frame


def enlarged(view: View, scale: int) -> View:
    """A motion of a frame as one of its estimate, whose pixels are ``scale`` times as fine."""
    if scale == 1:
        return view
    a, b, c, d, e, f = view.matrix
    middle = (
        scale - 1
    ) / 2  # a frame's pixel 0 has its middle between those of the estimate's first ``scale``
    return View((a, b, scale * c + middle * (1 - a - b), d, e, scale * f + middle * (1 - d - e)), view.time)
