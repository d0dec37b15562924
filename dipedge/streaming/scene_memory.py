"""What a stream knows of its scene beside the network: a mean of the frames that saw it, pixel by pixel.

The frames of a stream show one scene with fresh noise. Their mean has a fraction of it, so the network is
fitted to that mean (recursive temporal averaging) and not to the newest frame, and it gives back to the
network's output what that misses and noise does not explain. Three things are done that this may be right:

*Motion.* The mean lies on a grid of its own, which follows the camera by whole pixels. Only the newest frame
is interpolated on its way in, and only the answer on its way out; a mean that is interpolated with every
frame loses its detail. Blocks that moved by themselves are taken along (``local_motion``).

*Change.* Where a frame differs from the mean by more than noise does, in mean or power of a window, the
past is forgotten: objects that move leave no trail, and are as noisy as one frame is until they are known.

*Weight.* A pixel that n frames saw has n-th of the noise. Residuals of the network against the mean are
given back as far as they exceed that (a local Wiener filter): all where the network is far behind, nothing
where it is as near as the mean can tell.

Measured, with what else was tried: docs/streams_measured.md. Arrays in, arrays out; nothing here knows
sessions.
"""

from __future__ import annotations

import numpy as np

from dipedge.errors import InputError
from dipedge.streaming.averaging import moved
from dipedge.streaming.local_motion import block_shifts, mean_of_channels
from dipedge.streaming.resampling import shifted
from dipedge.views import NUMBERS, View

LONGEST = 64  # frames that the mean reaches back; slow changes of light are followed within as many
LONGEST_TURNED = 8  # the same for a camera that turns: the mean is interpolated with every frame
WHOLE = 0.1  # pixels; a frame that lies so near to the grid is taken as lying on it
# Differences from the mean that may be, and that surely are, no noise: deviations of a window's mean.
SUSPECT, CHANGED = 2.5, 4.0
WINDOWS = (5, 13)  # sides in which change is looked for: small things, and faint ones
POWER_WINDOWS = (3, 7)  # the same for change of fine texture, which has no mean
MARGIN = 2.5  # deviations by which chance alone may raise the power of a window
WIENER = 7  # side of the window in which residuals are compared with noise
# At least this share of a picture is thought to show what it showed; a quantile of the differences is
# therefore noise. Of white noise that quantile of a window's power and of a normal variable's size:
CALM, CALM_POWER, CALM_NORMAL = 0.25, 0.92, 0.3186
CORRELATED = 4.0  # times; noise is taken for no more alike than that
LEAST_VARIANCE = (0.5 / 255) ** 2  # what rounding does
FADING = 0.9  # a frame; how fast a high variance is forgotten


class SceneMemory:
    """The mean of the frames of one scene, and how many of them each pixel was seen in.

    For every frame: ``follow``, ``take``, and, of what was fitted to that, ``answer``.

    Attributes:
        grid: where the mean's pixels lie in the scene; what the network is fitted at.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The next frame is the first of a scene."""
        self.grid = self._view = View()
        self._mean: np.ndarray | None = None  # [H, W, C]
        self._count: np.ndarray | None = None  # [H, W], of frames
        self._variance = 0.0

    def follow(self, view: View) -> View:
        """Takes the mean to where the next frame lies in the scene.

        Returns:
            How the grid moved: the map from its new pixels to the ones before. A camera that does not turn
            moves it by whole pixels.
        """
        before, motion = self.grid, _between(self._view, view)
        self._view = view
        if self._mean is None:
            self.grid = view
        elif view.is_shift and self.grid.is_shift:
            (_, _, x, _, _, y), (_, _, left, _, _, top) = view.matrix, self.grid.matrix
            dx, dy = round(x - left), round(y - top)
            if (dx, dy) != (0, 0):
                self.grid = View.shift(left + dx, top + dy, view.time)
                self._mean = shifted(self._mean, dx, dy)
                self._count = _count_moved(self._count, View.shift(dx, dy))
        else:  # the mean is interpolated on to the new frame's own pixels
            self._mean, self._count = moved(self._mean, motion), _count_moved(self._count, motion)
            self.grid = view
        return _between(before, self.grid)

    def take(self, frame: np.ndarray, variance: float) -> np.ndarray:
        """Takes the frame, and says what to fit.

        Args:
            frame: [H, W, C] float32 in [0, 1], as it came.
            variance: of its noise as far as the frame tells. What differs from the mean all over the picture
                counts as noise, too: that of a camera is not white, and then a frame shows too little of it.

        Returns:
            The mean of what was seen of this part of the scene, [H, W, C] at ``grid``; not to be written to.
        """
        self._variance = max(variance, LEAST_VARIANCE, self._variance * FADING)
        if self._mean is None:
            self._mean, self._count = frame.copy(), np.ones(frame.shape[:2], np.float32)
            return self._mean
        frame = self._shifted(frame, -1)
        places = block_shifts(frame, self._mean, self._variance)
        if places is not None:
            self._mean, self._count = self._mean[places], self._count[places]
        self._forget_changes(frame)
        longest = LONGEST if self._view.is_shift else LONGEST_TURNED
        self._count = np.minimum(self._count + 1, np.float32(longest))
        self._mean = self._mean + (frame - self._mean) / self._count[..., None]
        return self._mean

    def state(self) -> dict[str, np.ndarray]:
        """What the next frame depends on, as copies; nothing before the first frame."""
        if self._mean is None:
            return {}
        places = np.concatenate([self._view.numbers(), self.grid.numbers(), [self._variance]])
        return {
            "stream/memory": np.concatenate([self._mean, self._count[..., None]], axis=2),
            "stream/places": places,
        }

    def load_state(self, state: dict[str, np.ndarray], shape: tuple[int, int, int]) -> bool:
        """Goes on where ``state`` was called; says whether that had anything to go on from.

        Raises:
            InputError: arrays of other shapes than frames of ``shape`` [H, W, C] have.
        """
        memory, places = state.get("stream/memory"), state.get("stream/places")
        if memory is None or places is None:
            return False
        if memory.shape != (*shape[:2], shape[2] + 1) or places.shape != (2 * NUMBERS + 1,):
            raise InputError(
                f"stream/memory and stream/places are arrays of {memory.shape} and {places.shape}"
            )
        self._mean, self._count = memory[..., :-1].astype(np.float32), memory[..., -1].astype(np.float32)
        self._view, self.grid = View.of_numbers(places[:NUMBERS]), View.of_numbers(places[NUMBERS:-1])
        self._variance = float(places[-1])
        return True

    @property
    def view(self) -> View:
        """Where the last frame lies in the scene."""
        return self._view

    def answer(self, estimate: np.ndarray) -> np.ndarray:
        """The restored frame: the estimate, with what it misses of the mean.

        Args:
            estimate: [H, W, C], of the network at ``grid``.
        """
        missed = self._mean - estimate
        power = _window_mean(mean_of_channels(missed * missed), WIENER)
        noise = np.float32(self._variance) / self._count
        share = np.clip(1 - noise / np.maximum(power, np.float32(1e-12)), 0, 1)
        return np.clip(self._shifted(estimate + share[..., None] * missed, 1), 0, 1)

    def _shifted(self, picture: np.ndarray, sign: int) -> np.ndarray:
        """A picture moved by the fraction of a pixel from grid to frame (``sign`` 1) or back (-1)."""
        (_, _, x, _, _, y), (_, _, left, _, _, top) = self._view.matrix, self.grid.matrix
        if max(abs(x - left), abs(y - top)) < WHOLE or not self._view.is_shift:
            return picture
        return shifted(picture, sign * (x - left), sign * (y - top))

    def _forget_changes(self, frame: np.ndarray) -> None:
        """Where a frame shows something else than the mean does, the mean is of no frames."""
        known = self._count > 0
        if not known.any():
            return
        # Variance of a difference, in frames' noise.
        fresh = 1 + 1 / np.maximum(self._count, np.float32(1e-3))
        apart = frame - self._mean
        squares = mean_of_channels(apart * apart) / fresh
        calm = float(np.quantile(_window_mean(squares, WIENER)[known], CALM))
        self._variance = max(self._variance, calm / CALM_POWER)
        # What a mean is wrong by is noise of it, and one so noisy is worth so few frames (Kalman's gain).
        for side in POWER_WINDOWS:
            deviation = np.sqrt(2 / (side * side * frame.shape[2]))
            usual = np.float32(1 + MARGIN * deviation)
            excess = _window_mean(squares, side) / np.float32(self._variance) - usual
            self._count = self._count / (1 + self._count * fresh * np.maximum(excess, 0))
        spread = np.sqrt(np.float32(self._variance / frame.shape[2]) * fresh)
        apart = mean_of_channels(apart) / spread
        surprise = np.zeros_like(apart)
        for side in WINDOWS:
            found = side * np.abs(_window_mean(apart, side))
            # Noise whose neighbours are alike has means of more than a side-th of it: the calm part says so.
            usual = float(np.quantile(found[known], CALM)) / CALM_NORMAL
            np.maximum(surprise, found / np.float32(min(max(usual, 1.0), CORRELATED)), out=surprise)
        self._count = self._count * np.clip((CHANGED - surprise) / np.float32(CHANGED - SUSPECT), 0, 1)


def _between(before: View, after: View) -> View:
    """The map from the pixels of one view to those of an earlier one."""
    a, b, c, d, e, f = before.matrix
    area = a * e - b * d
    inverse = View((e / area, -b / area, (b * f - c * e) / area, -d / area, a / area, (c * d - a * f) / area))
    return inverse.after(after)


def _count_moved(count: np.ndarray, motion: View) -> np.ndarray:
    """How many frames saw what the next frame's pixels show; none where the last one did not reach."""
    height, width = count.shape
    a, b, c, d, e, f = motion.matrix
    rows, columns = np.arange(height)[:, None], np.arange(width)
    x, y = np.rint(a * columns + b * rows + c).astype(int), np.rint(d * columns + e * rows + f).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return count[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] * inside


def _window_mean(values: np.ndarray, side: int) -> np.ndarray:
    """Mean of [H, W] over ``side`` x ``side`` pixels about each; edges are repeated."""
    for axis in (0, 1):
        reach = [(0, 0), (0, 0)]
        reach[axis] = (side // 2 + 1, side // 2)
        total = np.cumsum(np.pad(values, reach, mode="edge"), axis=axis, dtype=np.float64)
        count = values.shape[axis]
        upper, lower = np.arange(side, side + count), np.arange(count)
        values = ((np.take(total, upper, axis) - np.take(total, lower, axis)) / side).astype(np.float32)
    return values
