"""Head, data term and their way back as Triton kernels, against the reference in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
import triton
import triton.language as tl

from dipedge.kernels.conv_norm_act.reference import norm_act
from dipedge.kernels.gpu import launch
from dipedge.kernels.lanczos_conv.triton import lines_shape
from dipedge.kernels.lanczos_conv.triton_tables import filter_of
from dipedge.kernels.residual_loss import triton as tail
from dipedge.kernels.residual_loss import triton_lanczos, triton_loss
from dipedge.kernels.residual_loss.reference import data_term, head, running_average
from tests.native_kernels import (
    Arrays,
    draw,
    draw_layer,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    scaled,
    size,
    tensor,
    with_norm,
)
from tests.tolerance import all_faults, cell_tolerance, tolerance
from tests.triton_kernels import (
    DEVICE,
    arrays,
    assert_counters_are_zero,
    empty,
    empty_picture,
    in_both,
    layer,
    scratch,
    torch,
    vectors,
)

pytestmark = pytest.mark.triton_interpret
KEEP, SLOPE = 0.9, 0.2


@dataclass(frozen=True)
class Tail:
    """A last layer of ``into`` channels and a head of ``out``; ``sampled``: one of each 2 x 2 pixels."""

    kind: str
    into: int
    out: int
    height: int
    width: int
    sigmoid: bool = True
    sampled: bool = False
    scale: int = 1


CASES = (
    Tail("identity", 17, 3, 9, 31),
    Tail("mask", 16, 3, 12, 15),
    Tail("mask", 33, 6, 5, 11, sampled=True),
    Tail("identity", 5, 1, 1, 7, sigmoid=False),
    Tail("identity", 1, 4, 1, 1),
    Tail("identity", 128, 3, 7, 13, sampled=True),
)
LANCZOS_CASES = (
    Tail("lanczos", 5, 3, 11, 8, scale=2),
    Tail("lanczos", 3, 1, 7, 10, scale=3),
    Tail("lanczos", 16, 4, 9, 13, scale=4, sigmoid=False),
    Tail("lanczos", 1, 2, 3, 17, scale=8),
)
WRONG = Tail("mask", 5, 3, 9, 12)


def places(case: Tail, fit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the whole picture that the layer's pixels stand at."""
    if not case.sampled:
        return np.arange(case.height), np.arange(case.width)
    generator = np.random.default_rng(40 + fit)
    return tuple(
        np.minimum(2 * np.arange(-(-n // 2)) + generator.integers(0, 2, -(-n // 2)), n - 1)
        for n in (case.height, case.width)
    )


@cache
def prepared(case: Tail, fit: int) -> tuple[Arrays, Arrays, dict[str, float]]:
    """A fit's layer, head and target: arrays, wanted results, scales."""
    seed, whole = 100 * fit, (case.height, case.width, case.out)
    rows, columns = places(case, fit)
    seen = np.ix_(rows, columns)
    y = draw_layer(seed + 1, len(rows), len(columns), case.into, mean=0.3)
    given = {"y": y, "weight": draw(seed + 2, case.out, case.into, 1, 1), "bias": draw(seed + 3, case.out)}
    with_norm(given, "y", seed + 4)
    low = (-(-case.height // case.scale), -(-case.width // case.scale), case.out)
    target, average, output = draw(seed + 6, *low), draw(seed + 8, *whole), draw(seed + 9, *whole)
    wanted_of = target[seen] if case.scale == 1 else target
    mask = (draw(seed + 7, *whole[:2]) > 0).astype(np.float32)
    mask[rows[0], columns[0]] = 1
    logits: list[torch.Tensor] = []

    def loss(y, weight, bias, y_gamma, y_beta):
        logits.append(head(norm_act(y, y_gamma, y_beta, 1e-5, SLOPE), weight, bias, sigmoid=False))
        logits[-1].retain_grad()
        x = torch.sigmoid(logits[-1]) if case.sigmoid else logits[-1]
        known = torch.tensor(mask[seen], dtype=torch.float64)
        return data_term(x, tensor(wanted_of).detach(), case.kind, known, case.scale)

    value, wanted, scales = reference(loss, given, None)
    x = torch.sigmoid(logits[0]) if case.sigmoid else logits[0]
    wanted |= {"x": output.copy(), "average": average.copy(), "loss": value}
    wanted["dlogit"] = picture(logits[0].grad)
    wanted["x"][seen] = picture(x)
    wanted["average"][seen] = picture(running_average(tensor(average[seen]), x, KEEP))
    # As in test_kernel_residual_loss: sums that may cancel are judged by their terms.
    gain = np.abs(given["y_gamma"]) / np.sqrt(np.asarray(y, np.float64).var((0, 1)) + 1e-5)
    active = size(gain * (np.abs(y) + np.abs(y.mean((0, 1)))))
    scales["x"] = (0.25 if case.sigmoid else 1) * np.sqrt(case.into) * size(given["weight"]) * active
    scales["loss"] = (size(target) + size(picture(x)) + scales["x"]) ** 2
    scales["dlogit"] = 2 / wanted_of.size * (size(target) + max(size(picture(x)), scales["x"]))
    scales["average"] = scales["x"]
    pixels = len(rows) * len(columns)
    scales["dweight"] = np.sqrt(pixels) * scales["dlogit"] * active
    for name in ("dy", "dy_gamma", "dy_beta"):
        scales[name] *= max(1, scales["dlogit"] / max(size(wanted["dlogit"]), 1e-30))
    scales["dbias"] = np.sqrt(pixels) * scales["dlogit"]
    return {**given, "target": target, "mask": mask, "average": average, "output": output}, wanted, scales


def length(case: Tail) -> int:
    """The head's channels, the pixels of statistics and weights, and the taps of the decimation."""
    taps = 4 * case.scale if case.kind == "lanczos" else 0
    return case.into + case.height * case.width + 2 * taps


def allowed(case: Tail, precision: str = "fp32") -> float:
    """In bfloat16 a product's two factors are rounded, forward and backward."""
    if precision == "bf16":
        return cell_tolerance(length(case), cells=4)
    return tolerance(length(case), roundings=24)


class Fits:
    """Two fits of one case as the launches take them: every result is poisoned until it is written."""

    def __init__(self, case: Tail, precision: str) -> None:
        self.case = case
        self.given = given = [prepared(case, fit)[0] for fit in (0, 1)]
        names = ("y", "y_gamma", "y_beta")
        self.layer = layer(*([one[name] for one in given] for name in names), precision, SLOPE)
        self.fits, self.n, self.m = self.layer.shape
        flat = vectors([np.concatenate([[7, 7, 7], g["weight"].ravel(), g["bias"]]) for g in given])
        heads = case.out * case.into
        self.weight = flat[:, 3 : 3 + heads].unflatten(1, (case.out, 1, 1, case.into))
        self.bias = flat[:, 3 + heads :]
        self.target, self.mask, self.average, self.output = (
            vectors([g[name] for g in given]) for name in ("target", "mask", "average", "output")
        )
        self.positions = None
        if case.sampled:
            both = zip(*(places(case, fit) for fit in (0, 1)), strict=True)
            self.positions = tuple(torch.tensor(np.stack(p), dtype=torch.int32, device=DEVICE) for p in both)
        self.keep = torch.full((1,), KEEP, device=DEVICE)
        self.losses, self.step = empty(2, 5), torch.full((1,), 13, device=DEVICE)
        self.dlogit = empty(2, self.n, self.m, case.out)
        gradient = empty(2, 2 * case.into + 1)
        self.dgamma, self.dbeta = gradient[:, 1 : 1 + case.into], gradient[:, 1 + case.into :]
        self.scratch = scratch(2)
        self.sums = self.room_for_sums()

    def room_for_sums(self) -> tuple[torch.Tensor, ...]:
        """means, dgamma, dbeta and the partial sums of the head's gradients."""
        into, out, count = self.case.into, self.case.out, triton_loss.weight_partials(self.layer)
        partials = empty(2, count, out, 1, 1, into), empty(2, count, out)
        return empty(2, 2, into), self.dgamma, self.dbeta, *partials

    def loss(self) -> None:
        """`head_loss`."""
        triton_loss.head_loss(
            self.layer, self.weight, self.bias, self.target, self.output, self.losses, self.step,
            self.dlogit, *self.sums, self.scratch,
            mask=self.mask if self.case.kind == "mask" else None, positions=self.positions,
            average=self.average, keep=self.keep, sigmoid=self.case.sigmoid,
        )  # fmt: skip
        assert_counters_are_zero(self.scratch)

    def lanczos(self) -> None:
        """The four launches of a Lanczos term."""
        case = self.case
        tail.head_forward(
            self.layer, self.weight, self.bias, self.output, None, self.average, self.keep, case.sigmoid
        )
        tables = filter_of(case.height, case.width, case.scale, 2, DEVICE)
        lines, residual = empty(*lines_shape(2, case.width, case.out)), empty(*self.target.shape)
        triton_lanczos.decimate_loss(
            self.output, self.target, tables, lines, residual, self.dlogit, self.losses, self.step,
            self.scratch, case.sigmoid,
        )  # fmt: skip
        triton_loss.head_backward(self.layer, self.weight, self.dlogit, *self.sums, self.scratch)
        assert_counters_are_zero(self.scratch)

    def gradient(self) -> torch.Tensor:
        """g, by `store_gradient`, unrounded."""
        g = empty_picture(2, self.n, self.m, self.case.into, "fp32")
        tail.store_gradient(self.dlogit, self.weight, self.layer, g)
        return g

    def found(self, fit: int) -> Arrays:
        """What the launches made of one fit; the layer's gradient as its reader makes it of g and means."""
        means, dgamma, dbeta, partials, bias_partials = (a[fit].cpu().numpy() for a in self.sums)
        y, (mean, rstd, scale, _) = self.given[fit]["y"], self.layer.norm[fit].cpu().numpy()
        g = arrays(self.gradient(), self.case.into)[fit].astype(np.float64)
        dy = scale * (g - means[0] - (y - mean) * rstd * means[1])
        return {
            "x": arrays(self.output)[fit],
            "average": arrays(self.average)[fit],
            "loss": arrays(self.losses)[fit][13 % 5],
            "dlogit": arrays(self.dlogit)[fit],
            "dweight": partials.sum(0).reshape(self.case.out, self.case.into, 1, 1),
            "dbias": bias_partials.sum(0),
            "dy": dy,
            "dy_gamma": dgamma,
            "dy_beta": dbeta,
        }


def assert_right(fits: Fits, precision: str) -> None:
    for fit in (0, 1):
        _, wanted, scales = prepared(fits.case, fit)
        assert all_faults(fits.found(fit), wanted, allowed(fits.case, precision), scales) == {}


@in_both
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_loss_and_gradients_are_those_of_the_reference(case, precision):
    fits = Fits(case, precision)
    with (
        patch.dict(tail.PIXELS, {4: 16, 2: 16}),
        patch.object(launch, "MAX_PROGRAMS", 3),
    ):  # three walk over them
        fits.sums = fits.room_for_sums()
        fits.loss()
    assert_right(fits, precision)
    others = [i for i in range(5) if i != 13 % 5]
    assert torch.isnan(fits.losses[:, others]).all()  # one place of the ring, and no other


@in_both
@pytest.mark.parametrize("case", LANCZOS_CASES, ids=str)
def test_a_lanczos_terms_loss_and_gradients_are_those_of_the_reference(case, precision):
    fits = Fits(case, precision)
    with patch.object(launch, "MAX_PROGRAMS", 2):
        fits.sums = fits.room_for_sums()
        fits.lanczos()
    assert_right(fits, precision)
    others = [i for i in range(5) if i != 13 % 5]
    assert torch.isnan(fits.losses[:, others]).all()


@in_both
def test_the_two_halves_apart_are_those_of_the_reference(precision):
    """As a Lanczos term runs them: the output alone, and the way back from a dlogit that is given."""
    case = CASES[2]
    whole, apart = Fits(case, precision), Fits(case, precision)
    whole.loss()
    apart.losses, apart.dlogit = whole.losses, whole.dlogit
    tail.head_forward(
        apart.layer, apart.weight, apart.bias, apart.output, apart.positions, apart.average, apart.keep
    )
    triton_loss.head_backward(apart.layer, apart.weight, apart.dlogit, *apart.sums, apart.scratch)
    assert_counters_are_zero(apart.scratch)
    assert_right(apart, precision)


def test_without_an_average_none_is_touched():
    fits = Fits(CASES[0], "fp32")
    before = fits.average.clone()
    tail.head_forward(fits.layer, fits.weight, fits.bias, fits.output)
    assert torch.equal(fits.average, before)


def test_an_average_taken_later_is_the_same():
    now, later = Fits(CASES[0], "fp32"), Fits(CASES[0], "fp32")
    now.loss()
    tail.head_forward(later.layer, later.weight, later.bias, later.output)
    tail.running_average(later.output, later.average, later.keep)
    assert torch.equal(later.output, now.output) and torch.equal(later.average, now.average)


def test_the_first_output_starts_the_average_whatever_was_there():
    fits = Fits(CASES[1], "fp32")
    fits.average.fill_(float("nan"))
    fits.keep.fill_(0.0)
    fits.loss()
    assert torch.equal(fits.average, fits.output)


def test_the_number_of_programs_changes_sums_by_no_more_than_rounding():
    """More programs than there are rows for one reading of all of them, and one alone."""
    for most in (1, 264):
        fits = Fits(CASES[0], "fp32")
        with patch.dict(tail.PIXELS, {4: 16, 2: 16}), patch.object(launch, "MAX_PROGRAMS", most):
            fits.sums = fits.room_for_sums()
            fits.loss()
        assert fits.sums[3].shape[1] == min(most, 18)
        assert_right(fits, "fp32")


def test_unknown_pixels_move_nothing_however_wrong_they_are():
    one, other = Fits(WRONG, "fp32"), Fits(WRONG, "fp32")
    other.target[other.mask == 0] = float("nan")
    one.loss()
    other.loss()
    assert not one.dlogit[one.mask == 0].any()
    pairs = ((one.dlogit, other.dlogit), *zip(one.sums, other.sums, strict=True))
    assert all(torch.equal(a, b) for a, b in (*pairs, (one.losses[:, 3], other.losses[:, 3])))


@triton.jit
def _read_gradient(dlogit, weight, da, PIXELS: tl.constexpr, INTO: tl.constexpr, OUT: tl.constexpr):
    pixel, c = tl.arange(0, 16), tl.arange(0, 16)
    there, inside = pixel < PIXELS, c < INTO
    values = tail.head_gradient(dlogit, pixel, there, weight, c, inside, OUT, INTO)
    tl.store(da + pixel[:, None] * 16 + c[None, :], values)


def test_a_reader_gets_zeros_where_pixels_and_channels_end():
    dlogit, weight = vectors([draw(1, 5, 3)])[0], vectors([draw(2, 3, 7)])[0]
    da = empty(16, 16)
    _read_gradient[(1,)](dlogit, weight, da, PIXELS=5, INTO=7, OUT=3)
    wanted = np.zeros((16, 16))
    wanted[:5, :7] = draw(1, 5, 3).astype(np.float64) @ draw(2, 3, 7)
    assert all_faults({"da": da.cpu().numpy()}, {"da": wanted}, tolerance(3), {}) == {}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("x", scaled), ("x", last_column_repeated), ("x", one_value_off), ("loss", scaled),
        ("dlogit", scaled), ("dlogit", last_column_repeated), ("dweight", scaled), ("dweight", one_value_off),
        ("dbias", scaled), ("dy", scaled), ("dy", last_column_repeated), ("dy", first_row_missing),
        ("dy_gamma", scaled), ("dy_beta", one_value_off), ("average", scaled), ("average", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    fits = Fits(WRONG, "fp32")
    fits.loss()
    found, (_, wanted, scales) = fits.found(1), prepared(WRONG, 1)
    assert all_faults(found, wanted, allowed(WRONG), scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed(WRONG), scales)) == [name]


@pytest.mark.parametrize("wrong", [last_column_repeated, first_row_missing, lambda values: 1.5 * values])
@pytest.mark.parametrize("name", ["x", "dlogit", "dy"])
def test_a_wrong_result_fails_the_judgement_in_bfloat16(name, wrong):
    fits = Fits(WRONG, "bf16")
    fits.loss()
    found, (_, wanted, scales) = fits.found(1), prepared(WRONG, 1)
    changed = {**found, name: wrong(found[name])}
    assert list(all_faults(changed, wanted, allowed(WRONG, "bf16"), scales)) == [name]


def test_a_mask_that_is_left_out_fails_the_judgement():
    fits, (_, wanted, scales) = Fits(WRONG, "fp32"), prepared(WRONG, 0)
    fits.mask.fill_(1.0)
    fits.loss()
    assert {"loss", "dlogit", "dweight", "dy"} <= set(
        all_faults(fits.found(0), wanted, allowed(WRONG), scales)
    )


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("loss", scaled), ("dlogit", scaled), ("dlogit", first_row_missing), ("dy", last_column_repeated)],
)
def test_a_wrong_lanczos_term_fails_the_judgement(name, wrong):
    case = LANCZOS_CASES[0]
    fits, (_, wanted, scales) = Fits(case, "fp32"), prepared(case, 1)
    fits.lanczos()
    found = fits.found(1)
    assert all_faults(found, wanted, allowed(case), scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed(case), scales)) == [name]


def test_the_other_fits_weights_fail_the_judgement():
    fits = Fits(WRONG, "fp32")
    fits.loss()
    _, wanted, scales = prepared(WRONG, 0)
    assert set(all_faults(fits.found(1), wanted, allowed(WRONG), scales)) == set(wanted)
