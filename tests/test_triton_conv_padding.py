"""Padding in Triton, with its noise, and the way back, against the reference's index table in float64."""

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

from dipedge.kernels.conv_norm_act import triton_conv_padding
from dipedge.kernels.conv_norm_act.reference import reflected_indices
from dipedge.kernels.conv_norm_act.triton_conv_padding import fold, pack
from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.perturb.reference import normal
from tests.native_kernels import away_from_corner, draw, draw_gamma, draw_layer
from tests.test_triton_conv_norm_act import judge
from tests.tolerance import BF16, cell_tolerance, faults, size, tolerance

pytestmark = pytest.mark.triton_interpret
FITS, SLOPE = 2, 0.2
# height, width, channels, margin
SIZES = ((7, 5, 9, 1), (4, 6, 3, 3), (2, 3, 1, 3), (1, 1, 2, 2), (2, 3, 260, 1), (5, 4, 8, 0))
sizes = pytest.mark.parametrize("shape", SIZES, ids=str)
both_kinds = pytest.mark.parametrize(
    ("reflect", "precision"), [(True, "fp32"), (True, "bf16"), (False, "bf16")]
)


@pytest.fixture(params=["large tiles", "small tiles"])
def tiles(request, monkeypatch):
    """Also with tiles of a few pixels, several to a program."""
    if request.param == "small tiles":
        monkeypatch.setattr(triton_conv_padding, "TILE", 128)
        monkeypatch.setattr(gpu, "MAX_PROGRAMS", 2)


def shown(side: int, margin: int, reflect: bool) -> np.ndarray:
    """[side + 2 margin, side]: which pixel stands where, once each."""
    if reflect:
        return np.eye(side)[reflected_indices(side, margin).numpy()]
    return np.eye(side + 2 * margin)[:, margin : margin + side]


def pad(values: np.ndarray, margin: int, reflect: bool) -> np.ndarray:
    down, across = (shown(side, margin, reflect) for side in values.shape[:2])
    return np.einsum("qi,rj,ijc->qrc", down, across, values)


def unpad(values: np.ndarray, margin: int, reflect: bool) -> np.ndarray:
    """The adjoint of ``pad``."""
    down, across = (shown(side - 2 * margin, margin, reflect) for side in values.shape[:2])
    return np.einsum("qi,rj,qrc->ijc", down, across, values)


class Drawn:
    """A layer of two fits, no value of which is near LeakyReLU's corner."""

    def __init__(self, height: int, width: int, channels: int, precision: str) -> None:
        self.y = [draw_layer(1 + b, height, width, channels, mean=0.3) for b in range(FITS)]
        self.gamma = [draw_gamma(3 + b, channels) for b in range(FITS)]
        self.norms = norms(self.y, self.gamma, [np.zeros(channels)] * FITS).double().cpu().numpy()
        self.beta = [
            away_from_corner(self.normalised(b), np.zeros(channels, np.float32)) for b in range(FITS)
        ]
        self.norms = norms(self.y, self.gamma, self.beta).double().cpu().numpy()
        self.layer = layer(self.y, self.gamma, self.beta, precision, SLOPE)

    def normalised(self, b: int) -> np.ndarray:
        return self.y[b] * self.norms[b, 2] + self.norms[b, 3]

    def activation(self, b: int) -> np.ndarray:
        n = self.normalised(b)
        return np.where(n > 0, n, SLOPE * n)

    def cancelling(self, b: int) -> float:
        """The size of the two terms of the normalised value."""
        return size(np.abs(self.y[b] * self.norms[b, 2]) + np.abs(self.norms[b, 3]))


@both_kinds
@sizes
def test_pack_writes_the_activation_with_its_border(shape, reflect, precision, tiles):
    height, width, channels, margin = shape
    drawn = Drawn(height, width, channels, precision)
    out = empty_picture(FITS, height + 2 * margin, width + 2 * margin, channels, precision)
    pack(drawn.layer, out, margin, reflect)
    assert not out[..., channels:].any()
    allowed = tolerance(0) if precision == "fp32" else cell_tolerance(0, cells=1)
    for b, found in enumerate(arrays(out, channels)):
        wanted = pad(drawn.activation(b), margin, reflect)
        if not reflect:
            inner = pad(np.ones((height, width, 1)), margin, False)[..., 0] == 1
            assert not found[~inner].any()
            found, wanted = found[inner], wanted[inner]
        judge(found, wanted, allowed, drawn.cancelling(b))


@both_kinds
def test_pack_copies_a_picture_without_norm_from_rows_without_surplus(reflect, precision):
    z = [draw_layer(b, 4, 3, 5, mean=0) for b in range(FITS)]
    out = empty_picture(FITS, 10, 9, 5, precision)
    pack(Layer(vectors(z), 5), out, 3, reflect)
    assert np.array_equal(arrays(out, 5), [pad(values, 3, reflect) for values in z])
    assert not out[..., 5:].any()


@in_both
@pytest.mark.parametrize("channels", [3, 12])
def test_pack_perturbs_every_pixel_once_and_the_border_repeats_it(channels, precision, tiles):
    height, width, margin, sigma = 3, 5, 2, 0.5
    z = [draw(b, height, width, channels) for b in range(FITS)]
    seeds, step = [7, 2**63 + 5], 2**33 + 4
    out = empty_picture(FITS, height + 2 * margin, width + 2 * margin, channels, precision)
    bits = torch.tensor(np.array(seeds, np.uint64).astype(np.int64), device=out.device)
    steps = torch.tensor([step], device=out.device)
    pack(Layer(vectors(z), channels), out, margin, True, (sigma, bits, steps))
    # The logarithm's and the sine's polynomials are within 2 ulp of their largest values.
    allowed = tolerance(0, roundings=24) + (BF16 if precision == "bf16" else 0)
    for b, found in enumerate(arrays(out, channels)):
        noise = normal(seeds[b], step, z[b].size).reshape(z[b].shape)
        judge(found, pad(z[b] + sigma * noise, margin, True), allowed)


@both_kinds
@sizes
def test_fold_finishes_the_gradient_of_the_layer_that_was_packed(shape, reflect, precision, tiles):
    height, width, channels, margin = shape
    drawn, used = Drawn(height, width, channels, precision), scratch(FITS)
    given = [draw_layer(5 + b, height + 2 * margin, width + 2 * margin, channels, mean=0.2) for b in (0, 1)]
    extra = [draw_layer(7 + b, -(-height // 2), -(-width // 2), channels, mean=0) for b in (0, 1)]
    out = Gradient(empty_picture(FITS, height, width, channels, precision), empty(FITS, 2, channels))
    # Views into one flat vector, as in a program.
    dgamma, dbeta = empty(FITS, 2 * channels + 3).split([channels, channels + 3], dim=1)
    fold(
        pictures(given, precision), margin, reflect, drawn.layer, pictures(extra, precision), 2, out,
        dgamma, dbeta[:, 3:], used,
    )  # fmt: skip
    assert_counters_are_zero(used)
    places = (1 + 2 * margin) ** 2 * (height == width == 1) + 9
    for b, found in enumerate(arrays(out.values, channels)):
        total = unpad(given[b], margin, reflect)
        total[::2, ::2] += extra[b]
        wanted = np.where(drawn.normalised(b) > 0, total, SLOPE * total)
        judge(found, wanted, tolerance(places) if precision == "fp32" else cell_tolerance(places, cells=1))
        # The sums are those of what is stored.
        h = (drawn.y[b] - drawn.norms[b, 0]) * drawn.norms[b, 1]
        length = height * width
        allowed, scale = tolerance(length), np.sqrt(length) * size(found)
        # h is a difference that rounding leaves something of, where a picture has one pixel too.
        of_h = drawn.norms[b, 1] * (np.abs(drawn.y[b]) + np.abs(drawn.norms[b, 0]))
        sums = found.sum((0, 1), dtype=np.float64), (found * h).sum((0, 1))
        for row, vector in enumerate((dbeta[b, 3:], dgamma[b])):
            of_sum = scale if row == 0 else scale * size(of_h)
            check = (
                judge if sums[row].any() else (lambda *given: faults(*given) == [] or pytest.fail("not 0"))
            )
            check(vector.cpu().numpy(), sums[row], allowed, of_sum)
            check(out.means[b, row].cpu().numpy(), sums[row] / length, allowed, of_sum / length)


@in_both
def test_fold_takes_only_what_a_strided_reader_gives(precision, tiles):
    drawn, used = Drawn(5, 4, 3, precision), scratch(FITS)
    extra = [draw_layer(7 + b, 3, 2, 3, mean=0) for b in range(FITS)]
    out = Gradient(empty_picture(FITS, 5, 4, 3, precision), empty(FITS, 2, 3))
    fold(None, 0, True, drawn.layer, pictures(extra, precision), 2, out, empty(FITS, 3), empty(FITS, 3), used)
    for b, found in enumerate(arrays(out.values, 3)):
        total = np.zeros((5, 4, 3))
        total[::2, ::2] = extra[b]
        wanted = np.where(drawn.normalised(b) > 0, total, SLOPE * total)
        judge(found, wanted, tolerance(0) if precision == "fp32" else cell_tolerance(0, cells=1))


@both_kinds
def test_fold_without_a_layer_stores_the_sum(reflect, precision, tiles):
    given = [draw_layer(5 + b, 8, 9, 3, mean=0.2) for b in range(FITS)]
    out = empty_picture(FITS, 4, 5, 3, precision)
    fold(pictures(given, precision), 2, reflect, None, None, 1, out, None, None, scratch(FITS))
    for b, found in enumerate(arrays(out, 3)):
        allowed = tolerance(9) if precision == "fp32" else cell_tolerance(9, cells=1)
        judge(found, unpad(given[b], 2, reflect), allowed)
