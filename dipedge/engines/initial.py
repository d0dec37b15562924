"""Where every fit starts: weights, z and frequencies, the same on every engine, in numpy alone.

The weights are those of PyTorch's default initialisation to the bit: ``torch.manual_seed(seed)``, then
``nn.Conv2d``, ``nn.ConvTranspose2d`` and ``nn.BatchNorm2d`` in the published code's order (each network's
``parameter_shapes``). So a fit without PyTorch starts where the published code starts. The noise z comes
from a stream of its own, because the published code draws it before or after the net, depending on the task.
"""

from __future__ import annotations

import math

import numpy as np

from dipedge.priors import Encoding, Fourier, GivenImage, Meshgrid, NoInput, Noise, Prior, SpaceTime
from dipedge.views import View

# Third word of the key that seeds the noise, so that z is not the weights' stream once more.
NOISE_STREAM = 0x7A
DIGITS = 24
CHUNK = 1 << 20


def _uniform(stream: np.random.RandomState, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
    """``Tensor.uniform_(low, high)`` of a float32 tensor on the CPU, from the same Mersenne twister.

    PyTorch keeps the low 24 bits of each 32-bit word and computes ``x * (high - low) + low`` in float32
    with one rounding (a fused multiply-add on every CPU with AVX2). Product and sum of float32 values
    are exact in float64 here, so rounding that once gives the same bits.
    """
    low32, high32 = np.float32(low), np.float32(high)
    width = np.float64(high32 - low32)
    values = np.empty(math.prod(shape), np.float32)
    for start in range(0, values.size, CHUNK):  # a chunk at a time: float64 is only needed for a moment
        part = values[start : start + CHUNK]
        words = stream.randint(0, 2**32, part.size, dtype=np.uint32)
        part[:] = (words & np.uint32(2**DIGITS - 1)) * (width * 2.0**-DIGITS) + np.float64(low32)
    return values.reshape(shape)


def initial_parameters(
    prior: Prior, out_channels: int, seed: int, size: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    """Every learned tensor at step 0, float32, by the names of ``Prior.parameter_shapes``.

    Convolutions: weight and bias from U(-b, b), b = 1/sqrt(fan_in) (``kaiming_uniform_`` with
    a = sqrt(5), as ``nn.Conv2d.reset_parameters``); so are transposed ones, whose weights are
    [in, out, k, k]: there, too, PyTorch takes the second side for the inputs. BN: 1 and 0. Learned
    frequencies: as given. Pixels: from U(0, scale).

    Args:
        prior: the description.
        out_channels: channels of the estimate.
        seed: any integer; like PyTorch's CPU generator, its low 32 bits count.
        size: (H, W) of the estimate; only ``Pixels`` need it.
    """
    stream = np.random.RandomState(seed & 0xFFFFFFFF)
    parameters: dict[str, np.ndarray] = {}
    fan_in = 1
    for name, shape in prior.parameter_shapes(out_channels, size).items():
        if name == "encoding.frequencies":
            parameters[name] = initial_frequencies(prior.encoding)
        elif name == "pixels":
            parameters[name] = _uniform(stream, 0.0, prior.network.scale, shape)
        elif name.endswith("bn.weight"):
            parameters[name] = np.ones(shape, np.float32)
        elif name.endswith("bn.bias"):
            parameters[name] = np.zeros(shape, np.float32)
        elif name.endswith("conv.weight"):
            fan_in = math.prod(shape[1:])
            # Written as PyTorch writes it: the detour decides the last bit of the bound.
            gain = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2))
            bound = math.sqrt(3.0) * (gain / math.sqrt(fan_in))
            parameters[name] = _uniform(stream, -bound, bound, shape)
        else:
            bound = 1 / math.sqrt(fan_in)
            parameters[name] = _uniform(stream, -bound, bound, shape)
    return parameters


def initial_frequencies(encoding: Fourier) -> np.ndarray:
    """The frequencies [n] as the published code has them: float32 powers of a base rounded to float32.

    The highest of 2^8 so becomes 255.99997; ``Fourier.frequencies`` gives the exact values.
    """
    base = np.float64(np.float32(encoding.highest ** (1 / (encoding.count - 1))))
    return (base ** np.arange(encoding.count)).astype(np.float32)


def initial_time_frequencies(encoding: Encoding) -> np.ndarray:
    """The frequencies of time [m], rounded as the published code has them; none for other encodings."""
    if not isinstance(encoding, SpaceTime):
        return np.empty(0, np.float32)
    base = np.float32(encoding.highest ** (1 / (encoding.count - 1)))
    return (np.float64(base) ** np.linspace(0, 1, encoding.times)).astype(np.float32)


def time_features(encoding: Encoding, time: float) -> np.ndarray:
    """What a frame's time adds to the features of each of its pixels, [2m] float32."""
    angles = time * initial_time_frequencies(encoding).astype(np.float64)
    return np.concatenate((np.cos(angles), np.sin(angles))).astype(np.float32)


def view_features(encoding: Fourier, view: View, height: int, width: int) -> np.ndarray:
    """z of one frame, [H, W, channels] float32, at the initial frequencies."""
    of_space = fourier_features(initial_frequencies(encoding), height, width, view)
    of_time = np.broadcast_to(
        time_features(encoding, view.time), (height, width, encoding.channels - of_space.shape[2])
    )
    return np.concatenate((of_space, of_time), axis=2)


def coordinates(size: int) -> np.ndarray:
    """Coordinates j/(size-1) in [0, 1] of ``size`` pixels, float64; [0] for a single one."""
    return np.arange(size) / max(size - 1, 1)


def view_positions(view: View, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates u and v that a view gives the pixels, float64; 0 along a side of one pixel.

    Returns:
        Each broadcasts to [H, W]; of a shift u is [1, W] and v is [H, 1].
    """
    a, b, c, d, e, f = view.matrix
    x, y = np.arange(width)[None], np.arange(height)[:, None]
    u, v = (x + c, y + f) if view.is_shift else (a * x + b * y + c, d * x + e * y + f)
    return u * (width > 1) / max(width - 1, 1), v * (height > 1) / max(height - 1, 1)


def fourier_features(
    frequencies: np.ndarray, height: int, width: int, view: View | None = None
) -> np.ndarray:
    """The features of every pixel, [H, W, 4n] float32: cos u, sin u, cos v, sin v, rounded once.

    Args:
        frequencies: [n], radians per unit coordinate.
        height: H.
        width: W.
        view: where the pixels lie; where they are, by default.
    """
    n = len(frequencies)
    features = np.empty((height, width, 4 * n), np.float32)
    for side, positions in enumerate(view_positions(view or View(), height, width)):
        angles = positions[:, :, None] * np.asarray(frequencies, np.float64)
        features[:, :, 2 * n * side : 2 * n * side + n] = np.cos(angles)
        features[:, :, 2 * n * side + n : 2 * n * (side + 1)] = np.sin(angles)
    return features


def _meshgrid(height: int, width: int) -> np.ndarray:
    grid = np.empty((height, width, 2), np.float32)
    grid[:, :, 0] = coordinates(width)[None]
    grid[:, :, 1] = coordinates(height)[:, None]
    return grid


def initial_input(encoding: Encoding, shape: tuple[int, ...], seed: int) -> np.ndarray | None:
    """z before any perturbation, [H, W, channels] float32; None for a given image, which is not ours.

    Args:
        encoding: how z is made.
        shape: H and W first; what follows is not looked at.
        seed: any integer, 64 bits of it count; only noise depends on it. Its stream is the Mersenne
            twister seeded with the array (low word, high word, 0x7A).
    """
    height, width = shape[:2]
    if isinstance(encoding, Noise):
        words = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, NOISE_STREAM]
        stream = np.random.RandomState(words)
        low = -encoding.scale / 2 if encoding.centred else 0.0
        return _uniform(stream, low, low + encoding.scale, (height, width, encoding.channels))
    if isinstance(encoding, Meshgrid):
        return np.tile(_meshgrid(height, width), encoding.repeats)
    if isinstance(encoding, Fourier):
        return view_features(encoding, View(), height, width)
    if isinstance(encoding, NoInput):
        return np.empty((height, width, 0), np.float32)
    assert isinstance(encoding, GivenImage)
    return None
