"""2x2 maxima in Triton with the norm behind them, and their gradient, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.triton_kernels import (
    arrays,
    assert_counters_are_zero,
    empty,
    empty_picture,
    in_both,
    layer,
    norms,
    pictures,
    scratch,
    vectors,
)

# isort: split
import torch

from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.pool import reference, triton
from dipedge.kernels.pool.triton import largest, largest_backward
from tests.native_kernels import draw, draw_gamma, draw_layer, last_column_repeated, picture, tensor
from tests.test_triton_conv_norm_act import judge
from tests.tolerance import cell_tolerance, size, tolerance

pytestmark = pytest.mark.triton_interpret
FITS, EPS = 2, 1e-5
SIZES = ((6, 8, 5), (7, 5, 16), (1, 1, 1), (1, 6, 3), (5, 1, 260), (2, 3, 8))
sizes = pytest.mark.parametrize("shape", SIZES, ids=str)


@pytest.fixture(params=["large tiles", "small tiles"])
def tiles(request, monkeypatch):
    """Also with tiles of a few pixels, several to a program."""
    if request.param == "small tiles":
        monkeypatch.setattr(triton, "TILE", 32)
        monkeypatch.setattr(gpu, "MAX_PROGRAMS", 2)


def maxima(values: np.ndarray) -> np.ndarray:
    return picture(reference.largest(tensor(values)))


@in_both
@sizes
def test_maxima_are_exact_and_their_norm_is_that_of_the_reference(shape, precision, tiles):
    height, width, channels = shape
    y = [draw_layer(1 + b, *shape, mean=-0.4) for b in range(FITS)]
    gamma, beta = ([make(3 + b, channels) for b in range(FITS)] for make in (draw_gamma, draw))
    values = empty_picture(FITS, -(-height // 2), -(-width // 2), channels, precision)
    output, used = Layer(values, channels, empty(FITS, 4, channels)), scratch(FITS)
    largest(pictures(y, precision), output, vectors(gamma), vectors(beta), EPS, used)
    assert_counters_are_zero(used)
    wanted = [maxima(one) for one in y]
    found = arrays(values, channels)
    assert np.array_equal(found, wanted)
    if width > 2:
        assert not np.array_equal([last_column_repeated(one) for one in found], wanted)
    right = norms(wanted, gamma, beta, EPS).cpu().numpy()
    for row in range(4):
        # Mean and shift are judged beside what was subtracted to make them.
        scale = size(right[:, row]) + (row != 1) * 8 * size(right[:, 1]) * max(map(size, wanted))
        allowed = tolerance(wanted[0][..., 0].size)
        judge(output.norm[:, row].cpu().numpy(), right[:, row], allowed, scale)


def run_backward(y, g, gamma, beta, means, precision, margins=(2, 2)):
    """The layer's norms in float64 and dc, whose border must have stayed 0."""
    height, width, channels = y[0].shape
    z = [maxima(one) for one in y]
    before, after = margins
    out = empty_picture(FITS, before + height + after, before + width + after, channels, precision)
    inner = (slice(None), slice(before, before + height), slice(before, before + width))
    outside = torch.ones_like(out, dtype=torch.bool)
    outside[inner] = False
    out[outside] = 0
    gradient = Gradient(pictures(g, precision), vectors(means))
    largest_backward(gradient, layer(z, gamma, beta, precision), pictures(y, precision), out, margins)
    assert not out[outside].any() and not out[..., channels:].any()
    return norms(z, gamma, beta).double().cpu().numpy(), z, arrays(out[inner], channels)


@in_both
@sizes
def test_the_gradient_by_the_maxima_goes_to_the_first_largest_value(shape, precision, tiles):
    height, width, channels = shape
    # Few different values, so that there are ties.
    y = [np.rint(draw_layer(1 + b, *shape, mean=0.3)) for b in range(FITS)]
    small = (-(-height // 2), -(-width // 2), channels)
    g = [draw_layer(3 + b, *small, mean=0.1) for b in range(FITS)]
    gamma, beta = ([make(5 + b, channels) for b in range(FITS)] for make in (draw_gamma, draw))
    means = [draw(7 + b, 2, channels) for b in range(FITS)]
    found_norms, z, found = run_backward(y, g, gamma, beta, means, precision)
    for b, norm in enumerate(found_norms):
        h = (z[b] - norm[0]) * norm[1]
        dz = norm[2] * (g[b] - means[b][0] - h * means[b][1])
        leaf = tensor(y[b])
        reference.largest(leaf).backward(torch.tensor(np.moveaxis(dz, 2, 0)[None].copy()))
        wanted = picture(leaf.grad)
        of_terms = np.abs(norm[2]) * (np.abs(g[b]) + np.abs(means[b][0]) + np.abs(h * means[b][1]))
        allowed = tolerance(0) if precision == "fp32" else cell_tolerance(0, cells=1)
        judge(found[b], wanted, allowed, size(of_terms))
        assert np.array_equal(found[b] != 0, wanted != 0)


@in_both
def test_a_tie_gives_all_to_the_first_value_in_row_major_order(precision):
    y, ones = [np.ones((3, 3, 2), np.float32)] * FITS, [np.ones(2, np.float32)] * FITS
    g, zeros = [np.ones((2, 2, 2), np.float32)] * FITS, [np.zeros(2, np.float32)] * FITS
    none = [np.zeros((2, 2), np.float32)] * FITS
    found = run_backward(y, g, ones, zeros, none, precision, margins=(0, 0))[2]
    assert (found[1][..., 1] != 0).astype(int).tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]
