"""Where a frame's pixels lie in the scene: what lets a network of coordinates follow a camera.

A network fed with Fourier features knows a picture as a function of its coordinates. When the camera moves,
the coordinates of a frame's pixels move with it, and the function that was fitted so far goes on to hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from dipedge.errors import InputError

NUMBERS = 7  # of a view: six of its map, and its time


@dataclass(frozen=True)
class View:
    """Where a frame's pixels lie in the scene: x' = a*x + b*y + c, y' = d*x + e*y + f; and when it was taken.

    x and y are the column and row of a pixel of the frame, x' and y' of the same place in the first frame,
    whose view is ``View()``; both in pixels from 0, and neither need be whole or inside the picture.

    Args:
        matrix: (a, b, c, d, e, f).
        time: in [0, 1] of a clip; only ``SpaceTime`` features look at it.

    Raises:
        InputError: another count of numbers, or one that is not finite.
    """

    matrix: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    time: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", tuple(float(number) for number in self.matrix))
        object.__setattr__(self, "time", float(self.time))
        if len(self.matrix) != NUMBERS - 1:
            raise InputError(f"matrix has {len(self.matrix)} numbers; a view's has 6: a b c d e f")
        if not all(isfinite(number) for number in (*self.matrix, self.time)):
            raise InputError(f"a view is {self.matrix} at time {self.time}; all its numbers must be finite")

    @property
    def is_shift(self) -> bool:
        """Whether the frame is only moved: neither turned, nor scaled, nor sheared."""
        a, b, _, d, e, _ = self.matrix
        return (a, b, d, e) == (1, 0, 0, 1)

    @classmethod
    def shift(cls, dx: float, dy: float, time: float = 0.0) -> View:
        """The view of a frame whose pixel (0, 0) is the first frame's pixel (dx, dy).

        Args:
            dx: columns to the right, in pixels.
            dy: rows down.
            time: of the frame.
        """
        return cls((1.0, 0.0, dx, 0.0, 1.0, dy), time)

    def after(self, motion: View) -> View:
        """The view of the next frame, when this is the view of a frame.

        Args:
            motion: maps the next frame's pixels to this frame's; its time is what passed between the two.
        """
        a, b, c, d, e, f = self.matrix
        ma, mb, mc, md, me, mf = motion.matrix
        return View(
            (
                a * ma + b * md,
                a * mb + b * me,
                a * mc + b * mf + c,
                d * ma + e * md,
                d * mb + e * me,
                d * mc + e * mf + f,
            ),
            self.time + motion.time,
        )

    def numbers(self) -> np.ndarray:
        """a b c d e f and the time, [7] float64: a row of a program's state "views"."""
        return np.array((*self.matrix, self.time), np.float64)

    @classmethod
    def of_numbers(cls, numbers: np.ndarray) -> View:
        """The view that ``numbers`` gave.

        Raises:
            InputError: another count, or a number that is not finite.
        """
        *matrix, time = (float(number) for number in numbers)
        return cls(tuple(matrix), time)
