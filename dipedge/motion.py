"""How the camera moved between two frames, under heavy noise; and where a new scene begins.

Two stages. The peak of a *cross-correlation* by Fourier transforms finds the shift to a pixel, however far
the camera went. *Gauss-Newton* on the pixels (Lucas and Kanade, 1981; inverse compositional as Baker and
Matthews, 2004) then finds it to a few hundredths, and for "affine" the turn, zoom and shear with it. Both
look at a band of spatial frequencies: what is finer is noise, and what is coarser is light, which changes.
The correlation sees that band with equal contrast everywhere, which does what phase correlation's white
spectrum does without raising the noise; the robust weights of the second stage leave out what moves by
itself.

The frame before is noisy itself, and sums of frame-to-frame motions drift. So frames are compared with one
*key* frame for as long as they overlap well, or with a session's clean estimate (``next(frame, estimate)``),
which remembers the whole stream. How well either does: docs/streams_measured.md.

Plain numpy; OpenCV's ``phaseCorrelate`` and ``findTransformECC`` were measured beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dipedge.errors import InputError
from dipedge.views import View

KINDS = ("shift", "affine")
LONGEST = 192  # pixels a side that are looked at; larger pictures are halved until they are below
# Less of a picture's contrast than this explained by the best motion: nothing of the last scene is left.
CUT = 0.4
# A key frame is left when the camera has gone this far, as a share of the side, or its match falls below.
KEY_REACH = 0.12
KEY_MATCH = 0.6
# By how much the peak of the correlation must be more alike than where the camera was.
FAR = 1.2
# A motion is believed from this much surprise a parameter on, were it noise alone. White noise would give 1;
# neighbours in a band say nearly the same, and noise bends the fit: 2 to 20 were measured, 40 at sigma 50.
BELIEVED = 50.0


@dataclass(frozen=True)
class Motion:
    """What happened between a frame and the one before.

    Args:
        view: maps this frame's pixels to the previous frame's; identity for the first frame and at a cut.
        cut: whether another scene begins here.
        confidence: share of the picture's contrast that the motion explains, in [0, 1].
    """

    view: View
    cut: bool
    confidence: float


class MotionEstimator:
    """Follows a camera from frame to frame.

    Args:
        kind: "shift", or "affine" for turns, zoom and shear, too.

    Raises:
        InputError: another kind.
    """

    def __init__(self, kind: str = "shift") -> None:
        if kind not in KINDS:
            raise InputError(f"kind of motion is {kind!r}; it must be one of {', '.join(KINDS)}")
        self.kind = kind
        self.reset()

    def reset(self) -> None:
        """Forgets what it saw; the next frame is a first one."""
        self._key: _Key | None = None
        self._from_key = View()  # the last frame's pixels -> the key's

    def next(self, frame: np.ndarray, estimate: np.ndarray | None = None) -> Motion:
        """The motion of ``frame`` since the last one that was given.

        Args:
            frame: [H, W, C] float32 in [0, 1], sides from 16, as noisy as it is; C is 1, 3 or 4.
            estimate: [H, W, C], what the last frame looked like without noise; the frame is then compared
                with that instead of a noisy key frame.

        Raises:
            InputError: another size than the last frame's, or no picture.
        """
        level = _Level(frame)
        if self._key is not None and level.size != self._key.size:
            now, before = (" x ".join(map(str, size)) for size in (level.size, self._key.size))
            raise InputError(f"a frame is {now}, the one before was {before}; reset the motion first")
        if self._key is None:
            self._start(level)
            return Motion(View(), False, 0.0)
        if estimate is not None:
            clean = _Level(estimate)
            self._key, self._from_key = _Key(clean, self.kind), View()
        moved, match = self._key.find(level, _scaled(self._from_key, 1 / level.scale))
        if match < CUT:
            self._start(level)
            return Motion(View(), True, match)
        from_key = _scaled(moved, level.scale)
        motion = _inverse(self._from_key).after(from_key)
        self._from_key = from_key
        if estimate is None and (match < KEY_MATCH or _reach(from_key, level.size) > KEY_REACH):
            self._start(level)
        return Motion(motion, False, match)

    def _start(self, level: _Level) -> None:
        self._key, self._from_key = _Key(level, self.kind), View()


class _Level:
    """A picture as it is compared: grey, at most LONGEST pixels a side, a band of its frequencies alone."""

    def __init__(self, picture: np.ndarray) -> None:
        pixels = np.asarray(picture, np.float32)
        if pixels.ndim != 3 or min(pixels.shape[:2]) < 16:
            raise InputError(f"a frame has shape {pixels.shape}; it must be [H, W, C] with sides from 16")
        self.size = pixels.shape[:2]
        channels = min(pixels.shape[2], 3)  # a fourth is alpha
        grey = pixels[..., :channels] @ np.full(channels, 1 / channels, np.float32)
        self.scale = 1
        while max(grey.shape) > LONGEST:
            grey, self.scale = _halved(grey), 2 * self.scale
        # Standard deviation of the noise, from what diagonal differences of natural pictures hardly have.
        rough = grey[1::2, 1::2] - grey[:-1:2, 1::2][: grey[1::2].shape[0]]
        rough = rough[:, 1:] - rough[:, :-1]
        sigma = float(np.median(np.abs(rough[::2, ::2]))) / (0.6745 * 2)
        fine = _blurred(grey, 1)
        self.band = band = fine - _blurred(_blurred(fine, 2), 4)
        # Contrast made equal all over the picture, or one object with more of it would outvote the rest: for
        # everything but the last hundredths of a pixel, which the edges decide.
        self.noise = NOISE_IN_BAND * sigma**2  # its power in the band
        power = _blurred(_blurred(band * band, 2), 4) + np.float32(FLOOR * self.noise + FAINT**2)
        self.even = band / np.sqrt(power)
        self.even_noise = float(np.mean(self.noise / power))


# What is left of white noise of variance 1 in a band (the sum of the filter's squares).
NOISE_IN_BAND = 0.065
# Where contrast is raised no further: at so many times the noise's power, and at this amplitude.
FLOOR = 4.0
FAINT = 0.004


class _Key:
    """A picture that others are compared with; holds what does not depend on them.

    Args:
        level: the picture.
        kind: of motion.
    """

    def __init__(self, level: _Level, kind: str) -> None:
        self.size, self.kind = level.size, kind
        self.band, self.noise, self.even_noise = level.band, level.noise, level.even_noise
        self.window = _window(self.band.shape)
        self.spectrum = np.fft.rfft2(level.even * self.window)
        height, width = self.band.shape
        # Neighbours in a band say nearly the same; where every look takes indices, a quarter is looked at.
        self.stride = 1 if kind == "shift" or height * width < 10_000 else 2
        self.rows = np.arange(0, height, self.stride, dtype=np.float32)[:, None]
        self.columns = np.arange(0, width, self.stride, dtype=np.float32)
        self.values, self.even = self._some(level.band), self._some(level.even)
        down, right = (self._some(slope).reshape(len(self.rows), -1) for slope in np.gradient(self.band))
        # Coordinates from the middle, in halves of the side: all six parameters then have one scale.
        self.unit = max(height, width) / 2
        x = (self.columns - np.float32((width - 1) / 2)) / np.float32(self.unit)
        y = (self.rows - np.float32((height - 1) / 2)) / np.float32(self.unit)
        parts = [right, down] if kind == "shift" else [right, down, right * x, right * y, down * x, down * y]
        self.slopes = np.stack(parts).reshape(len(parts), -1)  # [2 or 6, pixels]

    def _some(self, whole: np.ndarray) -> np.ndarray:
        """The pixels of [H, W] that are looked at, flat."""
        return whole[:: self.stride, :: self.stride].ravel()

    def find(self, level: _Level, last: View) -> tuple[View, float]:
        """The view that maps ``level``'s pixels to the key's, and how much of the contrast it explains.

        Args:
            level: the picture.
            last: that of the frame before, where the search begins if the correlation finds no more.
        """
        shift = View.shift(*self._peak(level.even))
        near = max((View(), last), key=lambda view: self._alike(level.even, view))
        # Something large that moves by itself makes a peak, too; a camera rather goes on as it did.
        far_is_better = self._alike(level.even, shift) > FAR * self._alike(level.even, near)
        view = self._refined(level.band, shift if far_is_better else near)
        if view != View() and self._could_be_still(view, (self.noise + level.noise) / 2):
            view = View()
        match = self._match(level, view)
        return (View(), 1.0) if match is None else (view, match)

    def _peak(self, even: np.ndarray) -> tuple[float, float]:
        """The shift (dx, dy), even(x) = key(x + d), where the two agree best."""
        cross = self.spectrum * np.conj(np.fft.rfft2(even * self.window))
        # Not divided by its strength, as phase correlation does: that counts the noise of fine frequencies in
        # full. At sigma 50 it found 10 of 60 shifts wrong, and this none (docs/streams_measured.md).
        surface = np.fft.irfft2(cross, s=even.shape)
        row, column = np.unravel_index(int(np.argmax(surface)), surface.shape)
        places = []
        for axis, (at, side) in enumerate(zip((row, column), even.shape, strict=True)):
            line = surface[:, column] if axis == 0 else surface[row]
            before, here, after = (float(line[(at + step) % side]) for step in (-1, 0, 1))
            bend = before - 2 * here + after
            fraction = 0.5 * (before - after) / bend if bend < 0 else 0.0
            places.append(((at + side // 2) % side) - side // 2 + fraction)
        return places[1], places[0]

    def _warped(self, band: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
        """``band`` at the key's pixels (bilinear), and which of them lie inside it. ``view``: band -> key."""
        to_band = _inverse(view)
        if to_band.is_shift:
            moved, inside = _shifted(band, to_band.matrix[2], to_band.matrix[5])
            return self._some(moved), self._some(inside)
        a, b, c, d, e, f = to_band.matrix
        x = (a * self.columns + b * self.rows + c).astype(np.float32).ravel()
        y = (d * self.columns + e * self.rows + f).astype(np.float32).ravel()
        height, width = band.shape
        inside = (x >= 2) & (x <= width - 4) & (y >= 2) & (y <= height - 4)
        left = np.clip(np.floor(x), 0, width - 2).astype(np.int32)
        top = np.clip(np.floor(y), 0, height - 2).astype(np.int32)
        x, y = x - left, y - top
        flat, at = band.ravel(), top * width + left
        upper = flat[at] + x * (flat[at + 1] - flat[at])
        lower = flat[at + width] + x * (flat[at + width + 1] - flat[at + width])
        return (upper + y * (lower - upper)) * inside, inside

    def _alike(self, even: np.ndarray, view: View) -> float:
        """Sum of products over what overlaps: small where it is little, or where it is flat."""
        warped, _ = self._warped(even, view)
        return float(warped @ self.even)

    def _refined(self, band: np.ndarray, view: View) -> View:
        """Gauss-Newton from ``view``; the start itself, or no motion at all, if that is as likely."""
        middle = View.shift(-(band.shape[1] - 1) / 2, -(band.shape[0] - 1) / 2)
        for _ in range(4 if self.kind == "shift" else 8):
            step = self._step(band, view)
            if step is None:
                return View()
            view = view.after(_centred(step, self.unit, middle))
            if np.abs(step).max() < 0.004:
                break
        return view

    def _step(self, band: np.ndarray, view: View) -> np.ndarray | None:
        """One step's parameters, pixels; None where the picture holds nothing to go by."""
        warped, inside = self._warped(band, view)
        apart = (warped - self.values) * inside
        spread = 1.4826 * float(np.median(np.abs(apart[inside][::4]))) if inside.any() else 0.0
        # Geman-McClure: what differs by more than noise moves by itself, and has no say.
        weight = inside / (1 + (apart / (3 * spread + 1e-6)) ** 2) ** 2
        weighted = self.slopes * weight
        normal = (weighted @ self.slopes.T).astype(np.float64)
        if not np.linalg.cond(normal + 1e-12 * np.eye(len(normal))) < 1e6:
            return None
        return np.linalg.solve(normal, (weighted @ apart).astype(np.float64))

    def _could_be_still(self, view: View, noise: float) -> bool:
        """Whether noise alone could look as if moved by ``view``: a camera that stands shall not creep."""
        a, b, c, d, e, f = view.matrix
        height, width = self.band.shape
        # Where the middle goes, and the linear part in pixels at the edge, as the slopes count them.
        x, y = (width - 1) / 2, (height - 1) / 2
        parts = np.array([(a - 1) * x + b * y + c, d * x + (e - 1) * y + f])
        if len(self.slopes) == 6:
            turns = np.array([a - 1, b, d, e - 1]) * self.unit
            parts = np.concatenate([parts, turns])
        steep = (self.slopes @ self.slopes.T).astype(np.float64)
        surprise = float(parts @ steep @ parts) / (2 * noise + 1e-12)
        return surprise < BELIEVED * len(parts)

    def _match(self, level: _Level, view: View) -> float | None:
        """Correlation of the two with the power of their noise taken off; None where there is but noise."""
        warped, inside = self._warped(level.even, view)
        if inside.mean() < 0.1:
            return 0.0
        noise = (self.even_noise + level.even_noise) / 2
        warped, values = warped[inside].astype(np.float64), self.even[inside].astype(np.float64)
        power = 0.5 * (np.mean(warped**2) + np.mean(values**2))
        if power < 1.2 * noise + 1e-7:
            return None
        return float(np.clip(np.mean(warped * values) / (power - noise), 0, 1))


def _centred(step: np.ndarray, unit: float, middle: View) -> View:
    """The map whose parameters are a step's, which turn about the middle; inverted as the method wants."""
    dx, dy, a, b, d, e = (*step, 0, 0, 0, 0)[:6] if len(step) == 2 else step
    about = View((1 + a / unit, b / unit, dx, d / unit, 1 + e / unit, dy))
    return _inverse(middle).after(about).after(middle)


def _inverse(view: View) -> View:
    a, b, c, d, e, f = view.matrix
    area = a * e - b * d
    return View((e / area, -b / area, (b * f - c * e) / area, -d / area, a / area, (c * d - a * f) / area))


def _scaled(view: View, factor: float) -> View:
    """The same view for pictures ``factor`` times as large."""
    a, b, c, d, e, f = view.matrix
    middle = (factor - 1) / 2  # the middle of a halved pixel lies between those of two
    return View((a, b, c * factor + middle * (1 - a - b), d, e, f * factor + middle * (1 - d - e)))


def _reach(view: View, size: tuple[int, int]) -> float:
    """How far a view moves the middle, and the corners about it, as a share of the longer side."""
    a, b, c, d, e, f = view.matrix
    height, width = size
    x, y = np.array([(width / 2, height / 2), (0, 0), (width, 0), (0, height), (width, height)]).T
    return float(np.hypot((a - 1) * x + b * y + c, d * x + (e - 1) * y + f).max()) / max(size)


def _halved(picture: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in picture.shape)
    even = picture[:height, :width]
    return 0.25 * (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2])


def _blurred(picture: np.ndarray, apart: int) -> np.ndarray:
    """Binomial filter of five taps in both directions, ``apart`` pixels between taps; edges are repeated."""
    for axis in (0, 1):
        side = picture.shape[axis]
        reach = 2 * apart
        padded = np.pad(picture, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        cut = [slice(None)] * 2
        total = None
        for k, factor in enumerate((1, 4, 6, 4, 1)):
            cut[axis] = slice(k * apart, k * apart + side)
            part = padded[tuple(cut)] * np.float32(factor / 16)
            total = part if total is None else total + part
        picture = total
    return picture


def _shifted(band: np.ndarray, dx: float, dy: float) -> tuple[np.ndarray, np.ndarray]:
    """``band`` [H, W] at (x + dx, y + dy), and where that lies inside it: by slices, without an index."""
    height, width = band.shape
    left, top = int(np.floor(dx)), int(np.floor(dy))
    x, y = np.float32(dx - left), np.float32(dy - top)
    moved, inside = np.zeros_like(band), np.zeros(band.shape, bool)
    rows = slice(max(2 - top, 2), min(height - 3 - top, height - 2))
    columns = slice(max(2 - left, 2), min(width - 3 - left, width - 2))
    if rows.stop > rows.start and columns.stop > columns.start:
        part = band[rows.start + top : rows.stop + top + 1, columns.start + left : columns.stop + left + 1]
        part = part[:, :-1] + x * (part[:, 1:] - part[:, :-1])
        moved[rows, columns] = part[:-1] + y * (part[1:] - part[:-1])
        inside[rows, columns] = True
    return moved, inside


def _window(shape: tuple[int, int]) -> np.ndarray:
    """Hann's in both directions: a picture's edges are no edges in the scene."""
    rows, columns = (np.hanning(side + 2)[1:-1].astype(np.float32) for side in shape)
    return rows[:, None] * columns
