"""Haze as physics has it: I = t*J + (1-t)*A, and what can be said of its parts without any fit.

I is the hazy picture, J the clear one, t the share of J's light that arrives (the transmission, [H, W] in
[0, 1]) and A the airlight, the colour of the haze. Everything here is numpy and works in the dtype it is
given, float64 included; fits are described in ``tasks.haze``.

Sources: He, Sun, Tang, "Single Image Haze Removal Using Dark Channel Prior" (2009), and "Guided Image
Filtering" (2013); He, Sun, "Fast Guided Filter" (2015); Meng and others, "Efficient Image Dehazing with
Boundary Constraint and Contextual Regularization" (2013). Window, share, radius and eps are those of the
published Double-DIP (Gandelsman, Shocher, Irani, 2019).
"""

from __future__ import annotations

import math

import numpy as np

WINDOW = 15  # side of the dark channel's squares, pixels
SEEN = 256  # longest side of the picture whose dark channel is looked at
BRIGHTEST = 1e-4  # share of the pixels, those of the brightest dark channel, that show the airlight
RADIUS, EPS = 50, 1e-4  # of the guided filter: half its window in pixels, and what counts as flat
PUBLISHED_SIDE = 1024  # about the longest side of the pictures that radius was published with
LEAST_TRANSMISSION = 0.1  # below it noise would be amplified more than tenfold
MARGIN = 0.01  # how far a bounded transmission keeps J from black and white, so that 8 bits tell it from them
REACH = 3  # side of the squares, in pixels of the fit, that share the bound of one of their pixels


def dark_channel(pixels: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """The least value in the ``window`` x ``window`` square around each pixel, over all channels.

    In a clear picture it is nearly black almost everywhere; haze raises it.

    Args:
        pixels: [H, W, C].
        window: odd, in pixels; squares are cut off at the picture's edge.

    Returns:
        [H, W].
    """
    least, reach = pixels.min(axis=2), window // 2
    for axis in (0, 1):  # the minimum of a square is that of its columns' minima
        sides = [(0, 0), (0, 0)]
        sides[axis] = (reach, reach)
        padded = np.pad(least, sides, constant_values=np.inf)
        least = np.lib.stride_tricks.sliding_window_view(padded, window, axis=axis).min(axis=-1)
    return least


def airlight(pixels: np.ndarray, window: int = WINDOW, share: float = BRIGHTEST) -> np.ndarray:
    """The haze's colour [C]: the highest value of each channel where the dark channel is brightest.

    The picture is made smaller first, to ``SEEN``: a square of 15 pixels then is a sixteenth of it, and what
    is white and smaller, such as a house, is not taken for haze. (He's pictures had 600 pixels a side.)

    Args:
        pixels: [H, W, C] in [0, 1].
        window: of the dark channel.
        share: of the pixels that are looked at; at least one is. Of equally bright ones the first are taken.
    """
    pixels = resized(pixels, *reduced_size(*pixels.shape[:2], SEEN))
    count = max(1, int(pixels.shape[0] * pixels.shape[1] * share))
    brightest = np.argsort(-dark_channel(pixels, window).ravel(), kind="stable")[:count]
    return pixels.reshape(-1, pixels.shape[2])[brightest].max(axis=0)


def _ends(size: int, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last place of the window around each of ``size`` places."""
    places = np.arange(size)
    return np.maximum(places - radius, 0), np.minimum(places + radius + 1, size)


def box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """The mean of the (2*radius + 1)-wide square around each pixel, of the part of it that is there.

    By differences of cumulative sums, so the radius costs nothing. They are taken in float64: float32 would
    lose what a small window holds in the sum of all before it.

    Args:
        values: [H, W] or [H, W, ...].
        radius: half the window in pixels, 0 or more.
    """
    means = np.asarray(values, np.float64)
    for axis in (0, 1):
        size = means.shape[axis]
        first, last = _ends(size, radius)
        sums = np.zeros((means.shape[0] + (axis == 0), means.shape[1] + (axis == 1), *means.shape[2:]))
        np.cumsum(means, axis=axis, out=sums[1:] if axis == 0 else sums[:, 1:])
        counts = (last - first).reshape((-1, *[1] * (means.ndim - 1 - axis)))
        means = (sums.take(last, axis) - sums.take(first, axis)) / counts
    return means


def guided_coefficients(
    guide: np.ndarray, values: np.ndarray, radius: int = RADIUS, eps: float = EPS
) -> tuple[np.ndarray, np.ndarray]:
    """The guided filter before it meets its guide: q = sum_c a_c guide_c + b around each pixel.

    In every window ``values`` is fitted by least squares with a linear function of the guide's colour, with
    ``eps`` against large slopes; a pixel takes the mean of the functions of all windows it lies in.

    Args:
        guide: [H, W, C], C = 1 or 3.
        values: [H, W].
        radius: half the window, pixels.
        eps: variance of the guide under which a window counts as flat.

    Returns:
        a [H, W, C] and b [H, W], float64.
    """
    guide, values = np.asarray(guide, np.float64), np.asarray(values, np.float64)
    channels = guide.shape[2]
    centre, level = box_mean(guide, radius), box_mean(values, radius)
    together = box_mean(guide * values[..., None], radius) - centre * level[..., None]
    spread = np.empty((*values.shape, channels, channels))
    for one in range(channels):
        for other in range(one, channels):
            product = box_mean(guide[..., one] * guide[..., other], radius)
            spread[..., one, other] = spread[..., other, one] = (
                product - centre[..., one] * centre[..., other]
            )
    spread += eps * np.eye(channels)
    slope = np.linalg.solve(spread, together[..., None])[..., 0]
    offset = level - (slope * centre).sum(axis=2)
    return box_mean(slope, radius), box_mean(offset, radius)


def guided_filter(
    guide: np.ndarray, values: np.ndarray, radius: int = RADIUS, eps: float = EPS
) -> np.ndarray:
    """``values`` [H, W], smoothed but with the edges of ``guide`` [H, W, C]; float64."""
    slope, offset = guided_coefficients(guide, values, radius, eps)
    return (slope * guide).sum(axis=2) + offset


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """[H, W, ...] at another size: along each axis means over areas on the way down, linear on the way up.

    Means over areas keep colours and take noise away; the picture of a fit needs no more. Pixels are squares,
    so that their centres stay where they were.
    """
    for axis, size in ((0, height), (1, width)):
        had = values.shape[axis]
        if size == had:
            continue
        moved = np.moveaxis(values, axis, 0)
        if size < had:
            sums = np.zeros((had + 1, *moved.shape[1:]))
            np.cumsum(moved, axis=0, out=sums[1:])
            moved = np.diff(_between(sums, np.linspace(0, had, size + 1)), axis=0) * (size / had)
            moved = moved.astype(values.dtype)
        else:
            centres = (np.arange(size) + 0.5) * (had / size) - 0.5
            moved = _between(moved, centres.clip(0, had - 1))
        values = np.moveaxis(moved, 0, axis)
    return np.ascontiguousarray(values)


def _between(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``values`` along their first axis at ``places``, which need not be whole numbers."""
    low = np.minimum(places.astype(int), len(values) - 1)
    part = (places - low).reshape((-1, *[1] * (values.ndim - 1))).astype(values.dtype)
    return values[low] * (1 - part) + values[np.minimum(low + 1, len(values) - 1)] * part


def reduced_size(height: int, width: int, longest: int, least: int = 16) -> tuple[int, int]:
    """Height and width in the same proportion with no side above ``longest``, nor under ``least`` pixels."""
    ratio = min(1.0, longest / max(height, width))
    return tuple(max(min(side, least), math.floor(side * ratio + 0.5)) for side in (height, width))


def least_possible(pixels: np.ndarray, light: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """The least t [H, W] with which J is a picture: below it J leaves [0, 1] ("boundary constraint").

    A pixel that is far darker or brighter than the haze cannot have come through much of it.

    Args:
        pixels: [H, W, C].
        light: A, [C] or [H, W, C].
        margin: how far J keeps from 0 and 1, where the hazy pixel does.
    """
    darker = (light - pixels) / np.maximum(light - margin, 1e-3)
    brighter = (pixels - light) / np.maximum(1 - margin - light, 1e-3)
    return np.maximum(darker, brighter).max(axis=2).clip(0, 1)


def refined(
    transmission: np.ndarray, pixels: np.ndarray, longest: int, light: np.ndarray | None = None
) -> np.ndarray:
    """A transmission [h, w] with the edges of a picture [H, W, C] that may be larger: [H, W] in [.1, 1].

    The guided filter's coefficients are slow over the picture, so they are found at ``longest`` pixels a side
    at most and enlarged; only then the full picture comes in ("Fast Guided Filter"). Two dozen megapixels so
    need no more memory than a handful of copies of the picture. In a picture larger than the published ones
    the window is the same share of it as it was of those.

    Args:
        transmission: as a fit has it.
        pixels: the hazy picture.
        longest: side of the largest picture that coefficients are found of.
        light: A, [C] or [H, W, C], if t is to be kept so high that J stays inside [0, 1]: around a pixel too
            (before the filter), or all pixels beyond the bound would come out alike.
    """
    full, size = pixels.shape[:2], reduced_size(*pixels.shape[:2], longest)
    small, values = resized(pixels, *size), resized(transmission, *size)
    if light is not None:
        bound = least_possible(small, resized(light, *size) if light.ndim == 3 else light, 0.0)
        values = np.maximum(values, -dark_channel(-bound[..., None], REACH))
    radius = max(1, round(RADIUS * max(size) / min(max(full), PUBLISHED_SIDE)))
    slope, offset = guided_coefficients(small, values, min(radius, RADIUS))
    found = resized(offset.astype(pixels.dtype), *full)
    for channel in range(pixels.shape[2]):
        found += resized(slope[..., channel].astype(pixels.dtype), *full) * pixels[..., channel]
    if light is not None:
        found = np.maximum(found, least_possible(pixels, light))
    return found.clip(LEAST_TRANSMISSION, 1)


def hazy(clear: np.ndarray, transmission: np.ndarray, light: np.ndarray) -> np.ndarray:
    """I = t*J + (1-t)*A, [H, W, C] of J [H, W, C], t [H, W] and A [C] or [H, W, C]."""
    share = transmission[..., None]
    return share * clear + (1 - share) * light


def cleared(pixels: np.ndarray, transmission: np.ndarray, light: np.ndarray) -> np.ndarray:
    """J = (I - (1-t)*A)/t, clipped to [0, 1]; shapes as in ``hazy``, t above 0."""
    share = transmission[..., None]
    return ((pixels - (1 - share) * light) / share).clip(0, 1)
