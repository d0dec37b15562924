"""Decimation as Triton kernels, alone and as one operation with a convolution, against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest

from dipedge.kernels.conv_norm_act import reference as conv_reference
from dipedge.kernels.conv_norm_act.reference import pad
from dipedge.kernels.conv_norm_act.triton_conv_backward import output_gradient
from dipedge.kernels.gpu import launch
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.lanczos_conv import Case, ConvCase, triton_conv
from dipedge.kernels.lanczos_conv import triton as lanczos
from dipedge.kernels.lanczos_conv import triton_conv_backward as backward
from dipedge.kernels.lanczos_conv.reference import conv_decimate, decimate
from dipedge.kernels.lanczos_conv.triton_tables import (
    Decimation,
    decimation,
    filter_of,
    filter_weights,
    groups,
)
from tests.native_kernels import (
    Arrays,
    draw,
    draw_gamma,
    draw_layer,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    scaled,
    size,
    tensor,
)
from tests.tolerance import all_faults, cell_tolerance, faults, tolerance
from tests.triton_kernels import (
    CELLS,
    DEVICE,
    arrays,
    assert_counters_are_zero,
    empty,
    empty_picture,
    in_both,
    pictures,
    scratch,
    torch,
    vectors,
)

pytestmark = pytest.mark.triton_interpret
CASES = (
    Case(2, 2, 3, 14, 23),
    Case(4, 2, 3, 17, 18),
    Case(8, 2, 1, 9, 35),
    Case(3, 3, 2, 10, 11),
    Case(4, 3, 5, 6, 3),
    Case(2, 2, 4, 1, 1),
)
WRONG = Case(2, 2, 3, 9, 12)


# Decimation alone -------------------------------------------------------------------------------------


@cache
def prepared(case: Case, fit: int) -> tuple[Arrays, Arrays]:
    x = draw(10 * fit + 1, case.height, case.width, case.channels)
    dy = draw(10 * fit + 2, -(-case.height // case.factor), -(-case.width // case.factor), case.channels)
    y, wanted, _ = reference(lambda x: decimate(x, case.factor, case.lobes), {"x": x}, dy)
    return {"x": x, "dy": dy}, {"y": y, **wanted}


def allowed(case: Case) -> float:
    """Over the taps of both sides; where the ends are replicated, several outputs' taps add up."""
    return tolerance(4 * (2 * case.lobes * case.factor + 2))


def filtered(case: Case, lobes: int | None = None) -> list[Arrays]:
    """y and dx of two fits, several rows per program."""
    given = [prepared(case, fit)[0] for fit in (0, 1)]
    x, dy = (vectors([one[name] for one in given]) for name in ("x", "dy"))
    y, dx = empty(*dy.shape), empty(*x.shape)
    tables = filter_of(case.height, case.width, case.factor, case.lobes if lobes is None else lobes, DEVICE)
    lines = empty(*lanczos.lines_shape(2, case.width, case.channels))
    with patch.object(launch, "MAX_PROGRAMS", 3), patch.object(lanczos, "FLOATS", 64):
        lanczos.decimate(x, y, tables, lines)
        lanczos.decimate_adjoint(dy, dx, tables, lines)
    return [{"y": a, "dx": b} for a, b in zip(arrays(y), arrays(dx), strict=True)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_decimation_and_its_adjoint_are_those_of_the_reference(case):
    for fit, found in enumerate(filtered(case)):
        assert all_faults(found, prepared(case, fit)[1], allowed(case), {}) == {}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_adjoint_is_the_transpose_of_the_decimation(case):
    """<d x, y> = <x, d^T y> needs no reference: it holds the two kernels against each other."""
    given, _ = prepared(case, 1)
    y, dx = (np.float64(values) for values in filtered(case)[1].values())
    x, dy = np.float64(given["x"]), np.float64(given["dy"])
    scale = np.sqrt(y.size) * size(y) * size(dy) + np.sqrt(x.size) * size(x) * size(dx)
    assert abs((y * dy).sum() - (x * dx).sum()) < allowed(case) * scale


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_decimation_fails_the_judgement(name, wrong):
    wanted, found = prepared(WRONG, 0)[1], filtered(WRONG)[0]
    assert all_faults(found, wanted, allowed(WRONG), {}) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed(WRONG), {})) == [name]


def test_the_other_window_fails_the_judgement():
    assert set(all_faults(filtered(WRONG, 3)[0], prepared(WRONG, 0)[1], allowed(WRONG), {})) == {"y", "dx"}


# Convolution and decimation as one operation ----------------------------------------------------------

CONV_CASES = (
    ConvCase(4, 6, 8, 7),
    ConvCase(17, 5, 5, 12, kernel=1, lobes=3),
    ConvCase(5, 17, 5, 6, lobes=3, padding="zero"),
    ConvCase(3, 4, 7, 7, factor=3),
    ConvCase(6, 5, 7, 6, lobes=0),
    ConvCase(2, 3, 9, 6, kernel=5, factor=4),
    # Sides shorter than the filter, than the padding, and of one pixel.
    ConvCase(2, 3, 2, 9, kernel=7),
    ConvCase(4, 4, 1, 9),
    ConvCase(3, 8, 1, 1, kernel=5, lobes=3),
)
WRONG_CONV = ConvCase(3, 5, 9, 10)


@cache
def chained(case: ConvCase, fit: int) -> tuple[Arrays, Arrays, dict[str, float]]:
    """The operation with a norm behind it: g is the gradient by the normalised value."""
    seed, k = 100 * fit, case.kernel
    small = (-(-case.height // case.factor), -(-case.width // case.factor), case.out)
    given = {
        "x": draw_layer(seed + 1, case.height, case.width, case.into, mean=0.3),
        "weight": draw(seed + 2, case.out, case.into, k, k),
        "gamma": draw_gamma(seed + 3, case.out),
        "beta": draw(seed + 4, case.out),
    }
    g = draw_layer(seed + 5, *small, mean=0.2)
    products: list[torch.Tensor] = []

    def compute(x, weight, gamma, beta):
        products.append(conv_decimate(x, weight, None, case.factor, case.lobes, case.padding))
        return conv_reference.batch_norm(products[-1], gamma, beta, 1e-5)

    _, wanted, scales = reference(compute, given, g)
    y = picture(products[0])
    h = (y - y.mean((0, 1))) / np.sqrt(y.var((0, 1)) + 1e-5)
    padded = np.moveaxis(pad(tensor(given["x"]).detach(), k // 2, case.padding).numpy()[0], 0, 2)
    means = np.stack((g.mean((0, 1), dtype=np.float64), (g * h).mean((0, 1))))
    wanted = {"y": y, "mean": y.mean((0, 1)), "dx": wanted["dx"], "dweight": wanted["dweight"]}
    scales["y"] = k * np.sqrt(case.into) * size(given["weight"]) * size(given["x"])
    scales["mean"] = scales["y"]
    return {**given, "g": g, "padded": padded, "means": means}, wanted, scales


def folded(dpadded: np.ndarray, case: ConvCase) -> np.ndarray:
    """The gradient by x [H, W, I] from that by the padded picture."""
    x = torch.zeros(1, case.into, case.height, case.width, dtype=torch.float64, requires_grad=True)
    pad(x, case.kernel // 2, case.padding).backward(tensor(dpadded).detach())
    return picture(x.grad)


def flat_weights(values: list[np.ndarray], precision: str) -> torch.Tensor:
    """[B, O, k, k, I] of cells, as a view into longer vectors."""
    turned = [np.moveaxis(w, 1, 3) for w in values]
    flat = vectors([np.concatenate([[np.nan] * 8, w.ravel()]) for w in turned]).to(CELLS[precision])
    return flat[:, 8:].unflatten(1, turned[0].shape)


def forward(case: ConvCase, precision: str, tables: Decimation) -> tuple[torch.Tensor, torch.Tensor, Layer]:
    """The lines, the weights and the layer, of two fits."""
    given = [chained(case, fit)[0] for fit in (0, 1)]
    padded = pictures([one["padded"] for one in given], precision)
    lines = empty_picture(2, tables.lines, padded.shape[2], case.into, precision)
    weight = flat_weights([one["weight"] for one in given], precision)
    gamma, beta = (vectors([one[name] for one in given]) for name in ("gamma", "beta"))
    y, used = empty_picture(2, *tables.result, case.out, precision), scratch(2)
    layer = Layer(y, case.out, empty(2, 4, case.out))
    triton_conv.filter_lines(padded, lines, tables)
    triton_conv.conv_decimate(lines, weight, gamma, beta, layer, tables, used)
    assert_counters_are_zero(used)
    return lines, weight, layer


def tables_of(case: ConvCase, lobes: int | None = None) -> Decimation:
    lobes = case.lobes if lobes is None else lobes
    return decimation(case.height, case.width, case.kernel, case.factor, lobes, DEVICE)


def convolved(case: ConvCase, precision: str, lobes: int | None = None) -> list[Arrays]:
    """Everything the launches compute, for two fits."""
    given, tables = [chained(case, fit)[0] for fit in (0, 1)], tables_of(case, lobes)
    lines, weight, layer = forward(case, precision, tables)
    g = Gradient(pictures([one["g"] for one in given], precision), vectors([one["means"] for one in given]))
    dc = torch.full_like(layer.values, float("nan"))
    dpadded = empty_picture(2, *tables.padded, case.into, precision)
    count = backward.weight_partials(tables, case.into, case.out)
    partials = empty(2, count, case.out, case.kernel, case.kernel, case.into)
    output_gradient(g, layer, dc, (0, 0))
    backward.weight_gradient(lines, dc, partials, tables)
    backward.padded_gradient(dc, weight, lines, dpadded, tables)
    return [
        {
            "y": arrays(layer.values, case.out)[fit],
            "mean": arrays(layer.norm)[fit][0],
            "dx": folded(arrays(dpadded, case.into)[fit], case),
            "dweight": np.moveaxis(arrays(partials)[fit].sum(0), 3, 1),
        }
        for fit in (0, 1)
    ]


def allowed_of(case: ConvCase, precision: str = "fp32") -> float:
    """As in test_kernel_lanczos_conv: a convolution's six roundings, and of filtered rows two more."""
    taps = 4 * (2 * max(case.lobes, 1) * case.factor + 1)
    length = case.kernel**2 * (case.into + case.out) + taps + case.height * case.width
    return tolerance(length, roundings=16) if precision == "fp32" else cell_tolerance(length, cells=8)


@contextmanager
def small_tiles() -> Iterator[None]:
    """Several programs, several tiles for each of them, and several blocks of more than 16 channels."""
    sizes = {"PIXELS": 16, "CHANNELS": 16}
    with (
        patch.multiple(triton_conv, **sizes, CONTRACTED={2: 16, 4: 16}, VALUES=128),
        patch.multiple(backward, **sizes, CONTRACTED={2: 16, 4: 16}, SUMMED_PIXELS={2: 16, 4: 16}),
        patch.object(launch, "MAX_PROGRAMS", 3),
    ):
        yield


@in_both
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_the_decimated_convolution_and_its_gradients_are_those_of_the_reference(case, precision):
    with small_tiles():
        found = convolved(case, precision)
    for fit in (0, 1):
        _, wanted, scales = chained(case, fit)
        assert all_faults(found[fit], wanted, allowed_of(case, precision), scales) == {}


@cache
def of_wrong_case(precision: str) -> Arrays:
    return convolved(WRONG_CONV, precision)[1]


def test_the_gradients_are_the_transposes_of_the_operation():
    """y is linear in x and in the weights: <y, dc> = <x, dx> = <weight, dweight>, dc the gradient by y."""
    given, _, scales = chained(WRONG_CONV, 1)
    found = of_wrong_case("fp32")
    by_x = (np.float64(found["dx"]) * given["x"]).sum()
    by_weight = (np.float64(found["dweight"]) * given["weight"]).sum()
    scale = np.sqrt(given["x"].size) * scales["dx"] * size(given["x"])
    assert abs(by_x - by_weight) < allowed_of(WRONG_CONV) * scale


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("y", one_value_off), ("mean", scaled),
        ("dx", scaled), ("dx", last_column_repeated), ("dx", first_row_missing), ("dx", one_value_off),
        ("dweight", scaled), ("dweight", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_decimated_convolution_fails_the_judgement(name, wrong):
    (_, wanted, scales), found = chained(WRONG_CONV, 1), of_wrong_case("fp32")
    allowed = allowed_of(WRONG_CONV)
    assert all_faults(found, wanted, allowed, scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed, scales)) == [name]


@pytest.mark.parametrize("wrong", [last_column_repeated, first_row_missing, lambda values: 1.1 * values])
@pytest.mark.parametrize("name", ["y", "dx", "dweight"])
def test_a_wrong_decimated_convolution_fails_the_judgement_in_bfloat16(name, wrong):
    (_, wanted, scales), found = chained(WRONG_CONV, 1), of_wrong_case("bf16")
    allowed = allowed_of(WRONG_CONV, "bf16")
    assert all_faults(found, wanted, allowed, scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed, scales)) == [name]


@pytest.mark.parametrize("lobes", [0, 3])
def test_another_filter_fails_the_judgement(lobes):
    _, wanted, scales = chained(WRONG_CONV, 0)
    found = convolved(WRONG_CONV, "fp32", lobes)[0]
    assert {"y", "dx", "dweight"} <= set(all_faults(found, wanted, allowed_of(WRONG_CONV), scales))


def test_filtering_ahead_without_regard_to_the_border_fails_the_judgement():
    """Windows cut off at the padded picture's ends and not at the convolved one's: right inside only.

    That is filtering the padded input first and convolving it with stride 2 afterwards.
    """
    case = ConvCase(3, 5, 13, 6)
    (_, wanted, scales), tables = chained(case, 0), tables_of(case)
    taps, rows = filter_weights(case.factor, case.lobes), []
    for line in range(case.factor * (tables.result[0] - 1) + case.kernel):
        row: dict[int, float] = {}
        for q, weight in enumerate(taps):
            seen = min(max(line + q - (len(taps) - case.factor) // 2, 0), tables.padded[0] - 1)
            row[seen] = row.get(seen, 0.0) + weight
        rows.append(row)
    outputs = torch.arange(tables.result[0], dtype=torch.int32, device=DEVICE)
    point = case.factor * outputs[:, None] + torch.arange(case.kernel, dtype=torch.int32, device=DEVICE)
    swapped = replace(tables, down=groups(rows, DEVICE), point=point.contiguous())
    found, inside = arrays(forward(case, "fp32", swapped)[2].values, case.out)[0], slice(2, 5)
    assert faults(found[inside], wanted["y"][inside], allowed_of(case), scales["y"]) == []
    assert faults(found, wanted["y"], allowed_of(case), scales["y"]) != []


def test_two_different_rows_of_points_belong_to_an_output_row_away_from_the_border():
    """Half as many as there are taps and outputs, but for the rows that a clamped window has to itself."""
    tables = decimation(512, 512, 3, 2, 2, "cpu")
    assert 2 * 256 < tables.lines < 2 * 256 + 8
    assert tables.down.index.shape[1] <= 16  # rows that eight sums read together, not 64
