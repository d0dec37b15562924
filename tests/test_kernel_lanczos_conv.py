"""The native Lanczos decimation, alone and as one operation with a convolution, against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dipedge.kernels.conv_norm_act.reference import convolve
from dipedge.kernels.lanczos_conv import CASES, CONV_CASES, Case, ConvCase
from dipedge.kernels.lanczos_conv.reference import conv_decimate, decimate, phase_of, weights
from tests import native_convolutions
from tests.native_convolutions import Comparison, Convolve, Shapes
from tests.native_kernels import (
    ISAS,
    Arrays,
    _native,
    assert_right,
    assert_threads_change_nothing,
    draw,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    run,
    scaled,
    tensor,
    with_bf16,
)
from tests.tolerance import all_faults, cell_tolerance, faults, size, tolerance

WRONG = Case(2, 2, 3, 9, 12)
WRONG_CONV = ConvCase(3, 5, 13, 18)


# Decimation alone -------------------------------------------------------------------------------------


@cache
def prepared(case: Case) -> tuple[Arrays, Arrays]:
    x = draw(1, case.height, case.width, case.channels)
    dy = draw(2, -(-case.height // case.factor), -(-case.width // case.factor), case.channels)
    y, wanted, _ = reference(lambda x: decimate(x, case.factor, case.lobes), {"x": x}, dy)
    return {"x": x, "dy": dy}, {"y": y, **wanted}


def allowed(case: Case) -> float:
    """Over the taps of both sides; where the ends are replicated, several outputs' taps add up."""
    return tolerance(4 * (2 * case.lobes * case.factor + 1))


def options(case: Case | ConvCase) -> dict:
    given = {"scale": case.factor, "lobes": case.lobes}
    return {**given, "padding": case.padding} if isinstance(case, ConvCase) else given


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_decimation_and_its_adjoint_are_those_of_the_reference(case, isa):
    arrays, wanted = prepared(case)
    found = run("lanczos_conv", arrays, options(case), isa)
    assert all_faults(found, wanted, allowed(case), {}) == {}
    assert_threads_change_nothing("lanczos_conv", arrays, options(case), isa, found)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_adjoint_is_the_transpose_of_the_decimation(case, isa):
    """<d x, y> = <x, d^T y> needs no reference: it holds the two native halves against each other."""
    arrays, _ = prepared(case)
    found = run("lanczos_conv", arrays, options(case), isa)
    x, dy, y, dx = (a.astype(np.float64) for a in (arrays["x"], arrays["dy"], found["y"], found["dx"]))
    scale = np.sqrt(y.size) * size(y) * size(dy) + np.sqrt(x.size) * size(x) * size(dx)
    assert abs((y * dy).sum() - (x * dx).sum()) < allowed(case) * scale


@pytest.mark.parametrize("lobes", [2, 3])
@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_the_weights_are_those_of_the_reference_in_float64(factor, lobes):
    found = _native.lanczos_weights(factor, lobes, phase_of(factor))
    wanted = weights(factor, lobes, phase_of(factor)).numpy()
    assert faults(np.array(found), wanted, tolerance(len(wanted), dtype=np.float64)) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_decimation_fails_the_judgement(name, wrong):
    arrays, wanted = prepared(WRONG)
    found = run("lanczos_conv", arrays, options(WRONG))
    assert all_faults(found, wanted, allowed(WRONG), {}) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed(WRONG), {})) == [name]


def test_the_other_window_fails_the_judgement():
    arrays, wanted = prepared(WRONG)
    found = run("lanczos_conv", arrays, {**options(WRONG), "lobes": 3})
    assert set(all_faults(found, wanted, allowed(WRONG), {})) == {"y", "dx"}


# Convolution and decimation as one operation ----------------------------------------------------------


def of(case: ConvCase) -> tuple[Convolve, Shapes]:
    def compute(x, weight):
        return conv_decimate(x, weight, None, case.factor, case.lobes, case.padding)

    small = (-(-case.height // case.factor), -(-case.width // case.factor), case.out)
    weight = (case.out, case.into, case.kernel, case.kernel)
    return compute, Shapes((case.height, case.width, case.into), weight, small)


@cache
def plain(case: ConvCase) -> Comparison:
    return native_convolutions.plain(*of(case))


@cache
def chained(case: ConvCase, slope: float = 0.2, behind: bool = True) -> Comparison:
    return native_convolutions.chained(*of(case), slope, behind, cell=case.factor)


# A norm over two to four pixels leaves nothing of its gradient but rounding.
CHAINED_CASES = [
    case
    for case in CONV_CASES
    if not 2 <= -(-case.height // case.factor) * -(-case.width // case.factor) <= 4
]


def length(case: ConvCase) -> int:
    """Of all sums on the way: taps and channels both ways, the filter's taps, the statistics' pixels."""
    taps = 4 * (2 * max(case.lobes, 1) * case.factor + 1)
    return case.kernel**2 * (case.into + case.out) + taps + case.height * case.width


def allowed_of(case: ConvCase) -> float:
    return tolerance(length(case), roundings=16)


def allowed_in_bf16(case: ConvCase) -> float:
    """A convolution's six roundings to bfloat16, and that of the filtered rows."""
    return cell_tolerance(length(case), cells=7)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_the_decimated_convolution_and_its_gradients_are_those_of_the_reference(case, isa):
    arrays, wanted, scales = plain(case)
    assert_right("lanczos_conv", arrays, options(case), isa, wanted, allowed_of(case), scales)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CHAINED_CASES, ids=str)
def test_the_chain_of_norms_and_decimated_convolution_is_that_of_the_reference(case, isa):
    arrays, wanted, scales = chained(case)
    assert_right("lanczos_conv", arrays, options(case), isa, wanted, allowed_of(case), scales)


# As in test_kernel_conv_norm_act: a norm behind with slope 1, the activation with the layer before.
BF16_CHAINS = {
    "a picture": plain,
    "a layer": lambda case: chained(case, 0.2, False),
    "a layer, with a norm behind": lambda case: chained(case, 1.0),
}


@with_bf16
@pytest.mark.parametrize("chain", BF16_CHAINS)
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_the_decimated_convolution_in_bfloat16_is_that_of_the_reference(case, chain, isa):
    arrays, wanted, scales = BF16_CHAINS[chain](case)
    settings = {**options(case), "bf16": True, "slope": 1.0 if "dz" in arrays else 0.2}
    assert_right("lanczos_conv", arrays, settings, isa, wanted, allowed_in_bf16(case), scales)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_the_gradients_are_the_transposes_of_the_operation(kernel, isa):
    """y is linear in x and in the weights: <y, dy> = <x, dx> = <weight, dweight>."""
    case = ConvCase(5, 7, 31, 26, kernel)
    arrays, _, _ = plain(case)
    found = run("lanczos_conv", arrays, options(case), isa)
    products = [
        (np.float64(one) * other).sum()
        for one, other in (
            (found["y"], arrays["dy"]),
            (found["dx"], arrays["x"]),
            (found["dweight"], arrays["weight"]),
        )
    ]
    scale = np.sqrt(arrays["dy"].size) * size(found["y"]) * size(arrays["dy"])
    assert max(products) - min(products) < allowed_of(case) * scale


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_bias_and_its_gradient_pass_the_decimation_unchanged(kernel, isa):
    x, weight, bias = draw(1, 19, 22, 3), draw(2, 5, 3, kernel, kernel), draw(3, 5)
    dy = draw(4, 10, 11, 5)
    found = _native.lanczos_conv_forward(x, weight, bias, 2, 2, isa)
    gradients = _native.lanczos_conv_backward(x, weight, dy, 2, 2, isa)
    leaves = tensor(x), *(torch.tensor(w, dtype=torch.float64).requires_grad_() for w in (weight, bias))
    y = conv_decimate(*leaves, 2, 2)
    y.backward(tensor(dy).detach())
    case = ConvCase(3, 5, 19, 22, kernel)
    scale = kernel * np.sqrt(3) * size(weight)
    assert faults(found, picture(y), allowed_of(case), scale) == []
    assert faults(gradients[2], leaves[2].grad.numpy(), allowed_of(case), np.sqrt(110.0)) == []
    assert faults(gradients[1], leaves[1].grad.numpy(), allowed_of(case), np.sqrt(110.0)) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("z", scaled), ("z", last_column_repeated), ("z", first_row_missing),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
        ("dweight", scaled), ("dweight", one_value_off),
        ("dgamma", scaled), ("dbeta", scaled), ("dx_gamma", scaled), ("dx_beta", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_decimated_convolution_fails_the_judgement(name, wrong):
    arrays, wanted, scales = chained(WRONG_CONV)
    found = run("lanczos_conv", arrays, options(WRONG_CONV))
    allowed = allowed_of(WRONG_CONV)
    assert all_faults(found, wanted, allowed, scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed, scales)) == [name]


@with_bf16
@pytest.mark.parametrize("wrong", [last_column_repeated, first_row_missing, lambda values: 1.03 * values])
@pytest.mark.parametrize("name", ["y", "dx"])
def test_a_wrong_decimated_convolution_fails_the_judgement_in_bfloat16(name, wrong, isa):
    arrays, wanted, scales = chained(WRONG_CONV, 0.2, False)
    found = run("lanczos_conv", arrays, {**options(WRONG_CONV), "bf16": True}, isa)
    allowed = allowed_in_bf16(WRONG_CONV)
    assert all_faults(found, wanted, allowed, scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed, scales)) == [name]


@pytest.mark.parametrize("change", [{"lobes": 3}, {"lobes": 0}, {"padding": "zero"}])
def test_another_filter_or_padding_fails_the_judgement(change):
    arrays, wanted, scales = plain(WRONG_CONV)
    found = run("lanczos_conv", arrays, {**options(WRONG_CONV), **change})
    assert set(all_faults(found, wanted, allowed_of(WRONG_CONV), scales)) == {"y", "dx", "dweight"}


def test_filtering_ahead_without_regard_to_the_border_fails_the_judgement():
    """Inside it is the same to filter first and convolve with stride 2; at the border it is not."""
    arrays, wanted, _ = plain(WRONG_CONV)
    kernel = weights(2, 2, 0.5).expand(3, 1, -1)
    x = F.pad(tensor(arrays["x"]).detach(), (3, 4, 3, 4), mode="replicate")
    filtered = F.conv2d(F.conv2d(x, kernel[..., None], groups=3), kernel[:, :, None], groups=3)
    swapped = picture(convolve(filtered, torch.tensor(arrays["weight"]).double(), None, 2, "reflection"))
    inside = (slice(2, -3), slice(2, -3))
    assert faults(swapped[inside], wanted["y"][inside], allowed_of(WRONG_CONV)) == []
    assert faults(swapped, wanted["y"], allowed_of(WRONG_CONV)) != []
