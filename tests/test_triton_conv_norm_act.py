"""The pointwise layer in Triton, forward and backward, against the contract's formulas in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.triton_kernels import (
    CELLS,
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

from dipedge.kernels.conv_norm_act import triton as forward_kernel
from dipedge.kernels.conv_norm_act.triton import pointwise
from dipedge.kernels.conv_norm_act.triton_backward import (
    Head,
    MergeSums,
    pointwise_backward,
    weight_partials,
)
from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.layer import Gradient, Layer
from tests.native_kernels import draw, draw_gamma, draw_layer
from tests.tolerance import cell_tolerance, faults, size, tolerance

pytestmark = pytest.mark.triton_interpret
FITS, SLOPE, EPS = 2, 0.2, 1e-5


@dataclass(frozen=True)
class Case:
    into: int
    out: int
    height: int
    width: int
    stride: int = 1


CASES = (
    Case(32, 24, 8, 9),
    Case(5, 3, 7, 6, stride=2),
    Case(1, 1, 1, 1),
    Case(33, 17, 5, 4, stride=2),
    Case(20, 140, 3, 4),
    Case(132, 16, 4, 3),
)
all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, vars(case).values())))


def bf16(values: np.ndarray) -> np.ndarray:
    """Rounded to what bfloat16 holds."""
    return torch.tensor(values).to(torch.bfloat16).to(torch.float32).numpy()


class Drawn:
    """Everything two fits need, as float32 arrays that bfloat16 holds too, and as the kernels take it."""

    def __init__(self, case: Case, precision: str) -> None:
        self.case, self.precision = case, precision
        self.small = (-(-case.height // case.stride), -(-case.width // case.stride))
        fits = range(FITS)
        self.x = [draw_layer(1 + 50 * b, case.height, case.width, case.into, mean=0.3) for b in fits]
        self.y = [draw_layer(2 + 50 * b, *self.small, case.out, mean=-0.2) for b in fits]
        self.g = [draw_layer(3 + 50 * b, *self.small, case.out, mean=0.1) for b in fits]
        self.weight = [bf16(draw(4 + 50 * b, case.out, case.into)) for b in fits]
        self.merge = [np.abs(draw(5 + 50 * b, 4, case.into + 3)) + 0.1 for b in fits]
        self.gamma_x, self.gamma_y = ([draw_gamma(k + 50 * b, n) for b in fits] for k, n in self._widths(6))
        self.beta_x, self.beta_y = ([draw(k + 50 * b, n) for b in fits] for k, n in self._widths(8))
        self.means = [0.1 * draw(10 + 50 * b, 2, case.out) for b in fits]

    def _widths(self, seed: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return (seed, self.case.into), (seed + 1, self.case.out)

    def source(self) -> Layer:
        return layer(self.x, self.gamma_x, self.beta_x, self.precision, SLOPE)

    def output(self) -> Layer:
        return layer(self.y, self.gamma_y, self.beta_y, self.precision, SLOPE)

    def weights(self) -> torch.Tensor:
        """[B, O, 1, 1, I] as a view into something larger, as in a program."""
        flat = empty(FITS, self.case.out * self.case.into + 5).to(CELLS[self.precision])
        flat[:, 5:] = vectors(self.weight).flatten(1)
        return flat[:, 5:].unflatten(1, (self.case.out, 1, 1, self.case.into))

    def allowed(self, length: int) -> float:
        return tolerance(length) if self.precision == "fp32" else cell_tolerance(length)

    def activation(self, b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of x in float64: the normalised value n, h, and act(n)."""
        x = self.x[b].astype(np.float64)
        h = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + EPS)
        n = h * self.gamma_x[b] + self.beta_x[b]
        return n, h, np.where(n > 0, n, SLOPE * n)

    def before_centring(self, b: int) -> np.ndarray:
        """The size of what the activation's values are the difference of, [H, W, I]."""
        x = self.x[b].astype(np.float64)
        scale = np.abs(self.gamma_x[b]) / np.sqrt(x.var((0, 1)) + EPS)
        return (np.abs(x) + np.abs(x.mean((0, 1)))) * scale + np.abs(self.beta_x[b])

    def strided(self, values: np.ndarray) -> np.ndarray:
        return values[:: self.case.stride, :: self.case.stride]

    def by_output(self, b: int, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradient by y [pixels, O], and the size of what cancels in it."""
        y = self.y[b].astype(np.float64)
        rstd = 1 / np.sqrt(y.var((0, 1)) + EPS)
        scale, h = self.gamma_y[b] * rstd, (y - y.mean((0, 1))) * rstd
        mean, of_h = self.means[b].astype(np.float64)
        dc = scale * (g - mean - h * of_h)
        sizes = np.abs(scale) * (np.abs(g) + np.abs(mean) + np.abs(h * of_h))
        return dc.reshape(-1, self.case.out), sizes.reshape(-1, self.case.out)


def judge(found: np.ndarray, wanted: np.ndarray, allowed: float, scale: float = 0.0) -> None:
    """The result passes; with all values a little too large, or one a lot, it would not."""
    wanted = np.asarray(wanted, np.float64).reshape(found.shape)
    assert faults(found, wanted, allowed, scale) == []
    scale = max(scale, size(wanted))
    one_off = found.copy()
    one_off.flat[found.size // 2] += 20 * allowed * (scale + abs(wanted.flat[found.size // 2]))
    assert faults(one_off, wanted, allowed, scale)
    assert faults(found + np.sign(wanted) * 5 * allowed * scale, wanted, allowed, scale)


@pytest.fixture(params=["one program", "several tiles a program"])
def programs(request, monkeypatch):
    """Also with so few programs that each has to walk, and with small tiles."""
    if request.param != "one program":
        monkeypatch.setattr(gpu, "MAX_PROGRAMS", 2)
        monkeypatch.setattr(forward_kernel, "ENOUGH", 10**6)


@in_both
@all_cases
def test_pointwise_layer_and_its_norm_are_those_of_the_reference(case, precision, programs):
    drawn, used = Drawn(case, precision), scratch(FITS)
    shape = (FITS, *drawn.small, case.out)
    output = Layer(empty_picture(*shape, precision), case.out, empty(FITS, 4, case.out), SLOPE)
    gamma, beta = vectors(drawn.gamma_y), vectors(drawn.beta_y)
    pointwise(
        drawn.source(), drawn.weights(), output, used, gamma=gamma, beta=beta, eps=EPS, stride=case.stride
    )
    assert_counters_are_zero(used)
    found = arrays(output.values, case.out)
    for b in range(FITS):
        a = drawn.strided(drawn.activation(b)[2])
        sizes = drawn.strided(drawn.before_centring(b))
        scale = size(np.sqrt(sizes**2 @ drawn.weight[b].T.astype(np.float64) ** 2))
        judge(found[b], a @ drawn.weight[b].T, drawn.allowed(case.into), scale)
    wanted = norms(found, drawn.gamma_y, drawn.beta_y, EPS)
    scales = [size(wanted[:, row].cpu().numpy()) for row in range(4)]
    for row in range(4):
        length = drawn.small[0] * drawn.small[1]
        error = size((output.norm[:, row] - wanted[:, row]).cpu().numpy())
        assert error <= tolerance(length) * (scales[row] + scales[1] * max(map(size, found)) * 8), row


@in_both
def test_pointwise_layer_takes_a_picture_without_norm_from_inside_a_larger_one_and_a_merges_norm(precision):
    case = Case(6, 5, 9, 7, stride=2)
    drawn, used = Drawn(case, precision), scratch(FITS)
    padded = empty_picture(FITS, case.height + 4, case.width + 2, case.into, precision)
    padded[:, 2:-2, 1:-1] = pictures(drawn.x, precision)
    output = Layer(empty_picture(FITS, *drawn.small, case.out, precision), case.out)
    source = Layer(padded[:, 2:-2, 1:-1], case.into)
    pointwise(source, drawn.weights(), output, used, stride=2, merge=vectors(drawn.merge))
    for b, found in enumerate(arrays(output.values, case.out)):
        mean, _, scale, _ = drawn.merge[b][:, : case.into].astype(np.float64)
        x = drawn.strided(drawn.x[b])
        wanted = ((x - mean) * scale) @ drawn.weight[b].T
        sizes = size((np.abs(x) + mean) * scale) * np.sqrt(case.into)
        judge(found, wanted, drawn.allowed(case.into), sizes)


def run_backward(drawn, incoming, output, **options):
    """Runs it and returns the weight gradients [O, I] of all fits."""
    case, used = drawn.case, scratch(FITS)
    cell_bytes = CELLS[drawn.precision].itemsize
    count = weight_partials(*drawn.small, case.into, case.out, cell_bytes)
    partials = empty(FITS, count, case.out, 1, 1, case.into)
    pointwise_backward(
        incoming, output, drawn.source(), drawn.weights(), partials, used, stride=case.stride, **options
    )
    assert_counters_are_zero(used)
    return partials.double().sum(1)[:, :, 0, 0].cpu().numpy()


@in_both
@all_cases
def test_raw_gradient_and_weight_gradient_are_those_of_the_contract(case, precision, programs):
    drawn = Drawn(case, precision)
    raw = empty_picture(FITS, *drawn.small, case.into, precision)
    incoming = Gradient(pictures(drawn.g, precision), vectors(drawn.means))
    dweight = run_backward(drawn, incoming, drawn.output(), to=raw)
    pixels = drawn.small[0] * drawn.small[1]
    for b in range(FITS):
        dc, sizes = drawn.by_output(b, drawn.g[b].astype(np.float64))
        a = drawn.strided(drawn.activation(b)[2]).reshape(-1, case.into)
        before = drawn.strided(drawn.before_centring(b)).reshape(-1, case.into)
        scale = size(np.sqrt(sizes.T**2 @ before**2))
        judge(dweight[b], dc.T @ a, drawn.allowed(pixels), scale)
        scale = size(np.sqrt(sizes**2 @ drawn.weight[b].astype(np.float64) ** 2))
        judge(arrays(raw, case.into)[b], dc @ drawn.weight[b], drawn.allowed(case.out), scale)


@in_both
@pytest.mark.parametrize("extra_stride", [0, 1, 2])
@pytest.mark.parametrize("case", [Case(24, 8, 7, 6), Case(3, 140, 5, 5)], ids=["narrow", "wide"])
def test_finished_gradient_has_the_other_readers_part_and_its_means(case, precision, extra_stride, programs):
    drawn = Drawn(case, precision)
    to = Gradient(
        empty_picture(FITS, case.height, case.width, case.into, precision), empty(FITS, 2, case.into)
    )
    dgamma, dbeta = empty(FITS, case.into), empty(FITS, case.into)
    options = {"to": to, "dgamma": dgamma, "dbeta": dbeta}
    parts = [np.zeros_like(drawn.x[b]) for b in range(FITS)]
    if extra_stride:
        few = (-(-case.height // extra_stride), -(-case.width // extra_stride))
        extra = [draw_layer(20 + b, *few, case.into, mean=0.0) for b in range(FITS)]
        options |= {"extra": pictures(extra, precision), "extra_stride": extra_stride}
        for b in range(FITS):
            parts[b][::extra_stride, ::extra_stride] = extra[b]
    incoming = Gradient(pictures(drawn.g, precision), vectors(drawn.means))
    run_backward(drawn, incoming, drawn.output(), **options)
    found = arrays(to.values, case.into)
    for b in range(FITS):
        dc, sizes = drawn.by_output(b, drawn.g[b].astype(np.float64))
        n, h, _ = drawn.activation(b)
        g = (dc @ drawn.weight[b]).reshape(n.shape) + parts[b]
        scale = size(np.sqrt(sizes**2 @ drawn.weight[b].astype(np.float64) ** 2)) + size(parts[b])
        judge(found[b], np.where(n > 0, g, SLOPE * g), drawn.allowed(case.out), scale)
        stored, pixels = found[b].astype(np.float64), case.height * case.width
        for sums, wanted, terms in (
            (dbeta, stored.sum((0, 1)), np.abs(stored)),
            (dgamma, (stored * h).sum((0, 1)), np.abs(stored * h)),
        ):
            of_fit = sums[b].cpu().numpy()
            assert faults(of_fit, wanted, tolerance(pixels, 16), size(terms.sum((0, 1)))) == []
        means = to.means[b].cpu().numpy() * pixels
        np.testing.assert_allclose(means, np.stack([dbeta[b].cpu(), dgamma[b].cpu()]), rtol=1e-6)


@in_both
def test_gradient_made_from_the_heads_three_numbers_equals_a_stored_one(precision):
    case = Case(12, 20, 6, 7)
    drawn, channels = Drawn(case, precision), 3
    dlogit = [draw(30 + b, *drawn.small, channels) for b in range(FITS)]
    head = [draw(40 + b, channels, case.out) for b in range(FITS)]
    raw = empty_picture(FITS, *drawn.small, case.into, precision)
    incoming = Head(
        vectors(dlogit), vectors(head).reshape(FITS, channels, 1, 1, case.out), vectors(drawn.means)
    )
    dweight = run_backward(drawn, incoming, drawn.output(), to=raw)
    for b in range(FITS):
        y = drawn.y[b].astype(np.float64)
        n = (y - y.mean((0, 1))) / np.sqrt(y.var((0, 1)) + EPS) * drawn.gamma_y[b] + drawn.beta_y[b]
        da = dlogit[b].astype(np.float64) @ head[b]
        dc, sizes = drawn.by_output(b, np.where(n > 0, da, SLOPE * da))
        a = drawn.activation(b)[2].reshape(-1, case.into)
        judge(dweight[b], dc.T @ a, drawn.allowed(42 + channels), size(np.sqrt(sizes.T**2 @ a**2)))
        scale = size(np.sqrt(sizes**2 @ drawn.weight[b].astype(np.float64) ** 2))
        judge(arrays(raw, case.into)[b], dc @ drawn.weight[b], drawn.allowed(case.out), scale)


@in_both
def test_gradient_of_an_output_without_norm_gives_a_merges_sums_and_scales_the_weight_gradient(precision):
    case = Case(10, 12, 5, 6)
    drawn = Drawn(case, precision)
    u = empty_picture(FITS, *drawn.small, case.into, precision)
    norm = vectors(drawn.merge)
    merged = MergeSums(norm, 99, empty(FITS, 2, case.into), empty(FITS, case.into), empty(FITS, case.into))
    output = Layer(pictures(drawn.y, precision), case.out)
    incoming = pictures(drawn.g, precision)
    dweight = run_backward(drawn, incoming, output, to=u, merge=norm, sums=merged)
    for b, found in enumerate(arrays(u, case.into)):
        dz = drawn.g[b].reshape(-1, case.out).astype(np.float64)
        a = drawn.activation(b)[2]
        mean, rstd, scale = norm[b, :3, : case.into].double().cpu().numpy()
        centred = (a - mean).reshape(-1, case.into) * scale
        sizes = size((np.abs(a) + mean) * scale) * size(dz) * np.sqrt(30)
        judge(dweight[b], dz.T @ centred, drawn.allowed(30), sizes)
        judge(found, dz @ drawn.weight[b], drawn.allowed(case.out))
        terms = found * (a - mean) * rstd
        assert faults(merged.dbeta[b].cpu().numpy(), found.sum((0, 1)), tolerance(30), size(found) * 6) == []
        scale = size(np.abs(found) * (np.abs(a) + mean) * rstd) * 6
        assert faults(merged.dgamma[b].cpu().numpy(), terms.sum((0, 1)), tolerance(30), scale) == []
        means = np.stack([merged.dbeta[b].cpu(), merged.dgamma[b].cpu()]) / 99
        np.testing.assert_allclose(merged.means[b].cpu().numpy(), means, rtol=1e-6)
