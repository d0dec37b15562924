"""What a step must do at least, counted from its description: the numbers that shares of a limit are of."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dipedge.priors import Fourier, Prior

ADAM_FLOATS = 7  # of a parameter: itself, two moments and the gradient read, all but the gradient written


def flops(prior: Prior, side: int) -> float:
    """Of all convolutions, forward and both gradients; everything else is passes over memory."""
    total, into, pixels = 0.0, prior.encoding.channels, side * side
    for index, level in enumerate(prior.network.levels):
        deeper = prior.network.levels[index + 1].up if index + 1 < len(prior.network.levels) else level.down
        lower = pixels // 4
        total += pixels * into * level.skip * level.kernel_skip**2
        total += lower * (into + level.down) * level.down * level.kernel_down**2
        total += pixels * (level.skip + deeper) * level.up * level.kernel_up**2
        total += pixels * level.up**2 * prior.network.need1x1_up
        into, pixels = level.down, lower
    return 3 * 2 * (total + side * side * prior.network.levels[0].up * 3)


def layers(prior: Prior, side: int, channels: int = 3) -> Iterator[tuple[int, int]]:
    """(values read, values written) by each layer going forward, of a picture of side x side.

    A pointwise layer of stride 2 reads a quarter of its pixels. What is enlarged is read at its own size, and
    what is merged by the layer behind the merge: neither is written a second time. Fourier features are made
    from two small tables where they are needed, and count nothing.
    """
    network = prior.network
    into = 0 if isinstance(prior.encoding, Fourier) else prior.encoding.channels
    edge = side
    for index, level in enumerate(network.levels):
        deeper = network.levels[index + 1].up if index + 1 < len(network.levels) else level.down
        below = -(-edge // 2)
        pixels, lower = edge * edge, below * below
        if level.skip:
            yield pixels * into, pixels * level.skip
        strided = level.kernel_down == 1 and network.downsample == "stride"
        yield (lower if strided else pixels) * into, lower * level.down
        yield lower * level.down, lower * level.down
        yield pixels * level.skip + lower * deeper, pixels * level.up
        if network.need1x1_up:
            yield pixels * level.up, pixels * level.up
        into, edge = level.down, below
    yield side * side * network.levels[0].up, side * side * channels


def least_bytes(prior: Prior, side: int, cell_bytes: int, channels: int = 3) -> float:
    """Of a step: every layer reads and writes once forward, and reads three pictures and writes one backward.

    Those three are the gradient by its output, its output (whose norm is differentiated) and its input; what
    is written is the gradient by the input. Adam's floats come on top. Whoever keeps pictures in a cache from
    one layer to the next, or fuses layers, needs less: shares above 100 % are possible, and small nets reach
    them.
    """
    values = sum(read + written + (2 * written + 2 * read) for read, written in layers(prior, side, channels))
    parameters = sum(math.prod(shape) for shape in prior.parameter_shapes(channels).values())
    return values * cell_bytes + parameters * ADAM_FLOATS * 4
