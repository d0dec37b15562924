"""Convolutions with several taps, in Triton and by the library: launch by launch, and the whole chain."""

from __future__ import annotations

from functools import cache

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
import torch.nn.functional as F

from dipedge.kernels.conv_norm_act import Case, triton_conv, triton_conv_weight
from dipedge.kernels.conv_norm_act.reference import convolve as reference_convolve
from dipedge.kernels.conv_norm_act.triton_conv import convolve
from dipedge.kernels.conv_norm_act.triton_conv_backward import (
    convolve_backward_input,
    gradient_margins,
    output_gradient,
)
from dipedge.kernels.conv_norm_act.triton_conv_padding import fold, pack
from dipedge.kernels.conv_norm_act.triton_conv_weight import (
    convolve_backward_weight,
    convolve_weight_partials,
)
from dipedge.kernels.conv_norm_act.triton_library import (
    convolve_library,
    convolve_library_backward,
    statistics,
)
from dipedge.kernels.gpu import launch as gpu
from dipedge.kernels.gpu.layer import Gradient, Layer
from tests import native_convolutions
from tests.native_convolutions import Comparison, Shapes
from tests.native_kernels import draw, draw_gamma, draw_layer
from tests.test_triton_conv_norm_act import bf16, judge
from tests.tolerance import all_faults, cell_tolerance, size, tolerance

pytestmark = pytest.mark.triton_interpret
FITS, EPS = 2, 1e-5
CASES = (
    Case(8, 12, 6, 9),
    Case(5, 17, 7, 6, stride=2),
    Case(3, 9, 5, 6, kernel=7, stride=2),
    Case(1, 1, 1, 1, kernel=5),
    Case(6, 10, 2, 3, kernel=5),
    Case(132, 6, 3, 4),
    Case(16, 140, 3, 3, stride=2),
    Case(64, 5, 3, 3),
    Case(4, 64, 3, 4, stride=2),
    Case(2, 3, 5, 1, kernel=1, stride=2),
)
all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, vars(case).values())))
NARROW = Case(36, 40, 7, 6)  # in the smallest tiles several of every kind, and four channels left over


class Drawn:
    """What two fits need, as float32 arrays that bfloat16 holds too, and as the kernels take it."""

    def __init__(self, case: Case, precision: str) -> None:
        self.case, self.precision = case, precision
        margin = case.kernel - 1
        self.small = (-(-case.height // case.stride), -(-case.width // case.stride))
        self.large = (case.height + margin, case.width + margin)
        self.x = [draw_layer(1 + 9 * b, *self.large, case.into, mean=0.1) for b in range(FITS)]
        self.dc = [draw_layer(2 + 9 * b, *self.small, case.out, mean=0) for b in range(FITS)]
        shape = (case.out, case.kernel, case.kernel, case.into)
        self.weight = [bf16(draw(3 + 9 * b, *shape)) for b in range(FITS)]
        self.gamma = [draw_gamma(4 + 9 * b, case.out) for b in range(FITS)]
        self.beta = [draw(5 + 9 * b, case.out) for b in range(FITS)]

    def padded(self) -> torch.Tensor:
        """As ``pack`` leaves it: the surplus is 0."""
        return pictures(self.x, self.precision).nan_to_num(0.0)

    def weights(self) -> torch.Tensor:
        """[B, O, k, k, I] as a view into something larger, as in a program."""
        flat = empty(FITS, self.weight[0].size + 5).to(CELLS[self.precision])
        flat[:, 5:] = vectors(self.weight).flatten(1)
        return flat[:, 5:].unflatten(1, self.weight[0].shape)

    def bordered(self) -> torch.Tensor:
        """dc as ``output_gradient`` leaves it."""
        before, after = gradient_margins(self.case.kernel, self.case.stride)
        cells = pictures(self.dc, self.precision).nan_to_num(0.0)
        return F.pad(cells, (0, 0, before, after, before, after))

    def output(self) -> Layer:
        values = empty_picture(FITS, *self.small, self.case.out, self.precision)
        return Layer(values, self.case.out, empty(FITS, 4, self.case.out))

    def reference(self, b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y, dpadded and dweight [O, k, k, I] in float64."""
        x = torch.tensor(self.x[b].astype(np.float64)).permute(2, 0, 1)[None].requires_grad_()
        weight = torch.tensor(self.weight[b].astype(np.float64)).permute(0, 3, 1, 2).requires_grad_()
        y = F.conv2d(x, weight, stride=self.case.stride)
        y.backward(torch.tensor(self.dc[b].astype(np.float64)).permute(2, 0, 1)[None])
        found = y.detach()[0].permute(1, 2, 0), x.grad[0].permute(1, 2, 0), weight.grad.permute(0, 2, 3, 1)
        return tuple(values.numpy() for values in found)

    def allowed(self, length: int) -> float:
        return tolerance(length) if self.precision == "fp32" else cell_tolerance(length, cells=1)

    def judge_output(self, found: list[np.ndarray]) -> None:
        terms = self.case.kernel**2 * self.case.into
        for b in range(FITS):
            scale = np.sqrt(terms) * size(self.x[b]) * size(self.weight[b])
            judge(found[b], self.reference(b)[0], self.allowed(terms), scale)

    def judge_norm(self, output: Layer) -> None:
        """Against the statistics of what is stored."""
        found = arrays(output.values, self.case.out)
        wanted = norms(found, self.gamma, self.beta, EPS)
        allowed = tolerance(found[0][..., 0].size)
        for row in range(4):
            right = wanted[:, row].cpu().numpy()
            scale = size(right) + (row != 1) * 8 * size(wanted[:, 1].cpu().numpy()) * max(map(size, found))
            judge(output.norm[:, row].cpu().numpy(), right, allowed, scale)

    def judge_gradients(self, dpadded: torch.Tensor | None, partials: torch.Tensor, rounded: bool) -> None:
        """``rounded``: the gradient by the weights comes in cells."""
        taps, pixels = self.case.kernel**2, self.small[0] * self.small[1]
        dweight = partials.double().sum(1).cpu().numpy()
        for b in range(FITS):
            _, by_input, by_weight = self.reference(b)
            scale = np.sqrt(pixels) * size(self.x[b]) * size(self.dc[b])
            allowed = self.allowed(pixels) if rounded else tolerance(pixels)
            judge(dweight[b], by_weight, allowed, scale)
            scale = np.sqrt(taps * self.case.out) / self.case.stride * size(self.dc[b]) * size(self.weight[b])
            found = arrays(dpadded, self.case.into)[b]
            judge(found, by_input, self.allowed(taps * self.case.out), scale)


@pytest.fixture
def small_tiles(monkeypatch):
    """The smallest tiles, and so few programs that each has to walk."""
    monkeypatch.setattr(gpu, "MAX_PROGRAMS", 2)
    for module in (triton_conv, triton_conv_weight):
        monkeypatch.setattr(module, "ENOUGH", 10**6)


def check_forward(run, drawn: Drawn) -> None:
    case, output, used = drawn.case, drawn.output(), scratch(FITS)
    gamma, beta = vectors(drawn.gamma), vectors(drawn.beta)
    run(drawn.padded(), case.kernel, case.stride, drawn.weights(), output, gamma, beta, EPS, used)
    assert_counters_are_zero(used)
    drawn.judge_output(arrays(output.values, case.out))
    drawn.judge_norm(output)


def check_backward(drawn: Drawn, parts: int) -> None:
    case, dc, padded = drawn.case, drawn.bordered(), drawn.padded()
    dpadded = empty_picture(FITS, *drawn.large, case.into, drawn.precision)
    partials = empty(FITS, parts, *drawn.weight[0].shape)
    convolve_backward_input(dc, drawn.weights(), dpadded, case.kernel, case.stride)
    convolve_backward_weight(padded, dc, partials, case.kernel, case.stride)
    drawn.judge_gradients(dpadded, partials, rounded=False)


@in_both
@all_cases
def test_the_convolution_and_its_norm_are_those_of_the_reference(case, precision):
    check_forward(convolve, Drawn(case, precision))


@in_both
@pytest.mark.parametrize("stride", [1, 2])
def test_the_convolution_is_right_in_several_tiles_a_program(stride, precision, small_tiles):
    case = Case(NARROW.into, NARROW.out, NARROW.height, NARROW.width, stride=stride)
    check_forward(convolve, Drawn(case, precision))


@in_both
def test_the_convolution_without_norm_leaves_it_alone(precision):
    drawn = Drawn(CASES[1], precision)
    output, used = drawn.output(), scratch(FITS)
    convolve(drawn.padded(), 3, 2, drawn.weights(), output, None, None, EPS, used)
    drawn.judge_output(arrays(output.values, drawn.case.out))
    assert output.norm.isnan().all() and used.partials.isnan().all()
    assert_counters_are_zero(used)


@in_both
@all_cases
def test_the_gradients_of_the_convolution_are_those_of_the_reference(case, precision):
    cell = CELLS[precision].itemsize
    small = (-(-case.height // case.stride), -(-case.width // case.stride))
    check_backward(
        Drawn(case, precision), convolve_weight_partials(*small, case.into, case.out, case.kernel, cell)
    )


@in_both
@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradients_are_right_in_several_tiles_a_program(stride, precision, small_tiles):
    # At stride 2 there is one tile of pixels, so the second part of the weight gradient is 0.
    case = Case(NARROW.into, NARROW.out, NARROW.height, NARROW.width, stride=stride)
    check_backward(Drawn(case, precision), parts=2)


@in_both
@all_cases
def test_the_library_gives_the_same_results(case, precision):
    drawn = Drawn(case, precision)
    check_forward(convolve_library, drawn)
    dpadded = empty_picture(FITS, *drawn.large, case.into, precision)
    partials = empty(FITS, 2, *drawn.weight[0].shape)
    convolve_library_backward(
        drawn.padded(), drawn.bordered(), drawn.weights(), dpadded, partials, case.kernel, case.stride
    )
    drawn.judge_gradients(dpadded, partials, rounded=True)


@in_both
def test_statistics_of_values_that_are_there_leave_them_alone(precision, small_tiles):
    drawn, used = Drawn(NARROW, precision), scratch(FITS)
    output = Layer(pictures(drawn.dc, precision), NARROW.out, empty(FITS, 4, NARROW.out))
    statistics(output, vectors(drawn.gamma), vectors(drawn.beta), EPS, used)
    assert np.array_equal(arrays(output.values, NARROW.out), drawn.dc)
    drawn.judge_norm(output)
    assert_counters_are_zero(used)


@in_both
@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_by_the_output_stands_inside_a_border_of_zeros(stride, precision):
    channels, height, width = 11, 5, 7
    y = [draw_layer(1 + b, height, width, channels, mean=0.3) for b in range(FITS)]
    g = [draw_layer(3 + b, height, width, channels, mean=0.1) for b in range(FITS)]
    gamma, beta = ([make(5 + b, channels) for b in range(FITS)] for make in (draw_gamma, draw))
    means = [draw(7 + b, 2, channels) for b in range(FITS)]
    before, after = gradient_margins(5, stride)
    out = empty_picture(FITS, before + height + after, before + width + after, channels, precision)
    inner = (slice(None), slice(before, before + height), slice(before, before + width))
    mask = torch.ones_like(out, dtype=torch.bool)
    mask[inner] = False
    out[mask] = 0
    of = layer(y, gamma, beta, precision)
    output_gradient(Gradient(pictures(g, precision), vectors(means)), of, out, (before, after))
    assert not out[mask].any() and not out[..., channels:].any()
    for b, norm in enumerate(norms(y, gamma, beta).double().cpu().numpy()):
        h = (y[b] - norm[0]) * norm[1]
        wanted = norm[2] * (g[b] - means[b][0] - h * means[b][1])
        scale = size(norm[2]) * (size(g[b]) + size(means[b][0]) + size(h * means[b][1]))
        allowed = tolerance(0) if precision == "fp32" else cell_tolerance(0, cells=1)
        judge(arrays(out[inner], channels)[b], wanted, allowed, scale)


CHAINS = (
    Case(5, 7, 9, 8),
    Case(4, 6, 9, 8, stride=2),
    Case(3, 4, 6, 7, kernel=5, stride=2, padding="zero"),
    Case(6, 3, 2, 3, kernel=7),
)


@cache
def chained(case: Case, slope: float) -> Comparison:
    small = (-(-case.height // case.stride), -(-case.width // case.stride), case.out)
    shapes = Shapes(
        (case.height, case.width, case.into), (case.out, case.into, case.kernel, case.kernel), small
    )
    return native_convolutions.chained(
        lambda x, weight: reference_convolve(x, weight, None, case.stride, case.padding), shapes, slope
    )


def run_chain(case: Case, given: dict, precision: str, slope: float) -> dict[str, np.ndarray]:
    """Every launch of a layer, forward and backward, one fit: what ``chained`` wants, by name."""
    used, margin, reflect = scratch(1), (case.kernel - 1) // 2, case.padding == "reflection"
    source = layer([given["x"]], [given["x_gamma"]], [given["x_beta"]], precision, slope)
    weight = vectors([given["weight"].transpose(0, 2, 3, 1)]).to(CELLS[precision]).contiguous()
    large = (case.height + 2 * margin, case.width + 2 * margin)
    padded = empty_picture(1, *large, case.into, precision)
    pack(source, padded, margin, reflect)
    height, width = -(-case.height // case.stride), -(-case.width // case.stride)
    output = Layer(
        empty_picture(1, height, width, case.out, precision), case.out, empty(1, 4, case.out), slope
    )
    gamma, beta = vectors([given["gamma"]]), vectors([given["beta"]])
    convolve(padded, case.kernel, case.stride, weight, output, gamma, beta, EPS, used)
    z = empty_picture(1, height, width, case.out, precision)
    pack(output, z, 0, reflect)

    margins = gradient_margins(case.kernel, case.stride)
    dgamma, dbeta, dx_gamma, dx_beta = (empty(1, n) for n in (case.out, case.out, case.into, case.into))
    gradient = Gradient(torch.empty_like(output.values), empty(1, 2, case.out))
    dz = pictures([given["dz"]], precision)
    fold(None, 0, reflect, output, dz, 1, gradient, dgamma, dbeta, used)
    dc = F.pad(torch.zeros_like(output.values), (0, 0, *margins, *margins))
    output_gradient(gradient, output, dc, margins)
    parts = convolve_weight_partials(height, width, case.into, case.out, case.kernel)
    partials = empty(1, parts, *weight.shape[1:])
    convolve_backward_weight(padded, dc, partials, case.kernel, case.stride)
    dpadded = torch.empty_like(padded)
    convolve_backward_input(dc, weight, dpadded, case.kernel, case.stride)
    of_source = Gradient(torch.empty_like(source.values), empty(1, 2, case.into))
    fold(dpadded, margin, reflect, source, None, 1, of_source, dx_gamma, dx_beta, used)
    dx = empty_picture(1, case.height, case.width, case.into, precision)
    output_gradient(of_source, source, dx, (0, 0))
    assert_counters_are_zero(used)
    found = {
        "y": arrays(output.values, case.out), "z": arrays(z, case.out), "dx": arrays(dx, case.into),
        "dweight": arrays(partials.sum(1).permute(0, 1, 4, 2, 3)), "dgamma": arrays(dgamma),
        "dbeta": arrays(dbeta), "dx_gamma": arrays(dx_gamma), "dx_beta": arrays(dx_beta),
    }  # fmt: skip
    return {name: values[0] for name, values in found.items()}


# As in test_kernel_conv_norm_act: in bfloat16 a value of y may round to LeakyReLU's other side.
@pytest.mark.parametrize(("precision", "slope"), [("fp32", 0.2), ("bf16", 1.0)])
@pytest.mark.parametrize("case", CHAINS, ids=str)
def test_the_chain_of_launches_is_autograd_of_the_reference(case, precision, slope):
    given, wanted, scales = chained(case, slope)
    found = run_chain(case, given, precision, slope)
    length = case.kernel**2 * (case.into + case.out) + case.height * case.width
    # On the longest way, to dx: y, weight, dz, g, dc, dpadded, g of x and dx are rounded to cells.
    allowed = tolerance(length, 16) if precision == "fp32" else cell_tolerance(length, cells=8)
    assert all_faults(found, wanted, allowed, scales) == {}
    for name in ("y", "dx", "dweight", "dgamma"):
        wrong = {**found, name: found[name] + 5 * allowed * max(scales.get(name, 0), size(wanted[name]))}
        assert list(all_faults(wrong, wanted, allowed, scales)) == [name]
