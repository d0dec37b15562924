"""The GPU's first layer of Fourier features, its tables and learned frequencies, against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.triton_kernels import (
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

# isort: split
from dipedge.kernels.conv_norm_act.reference import norm_act
from dipedge.kernels.fourier_mlp import CASES, Case, triton_backward, triton_tables
from dipedge.kernels.fourier_mlp import triton as kernel
from dipedge.kernels.fourier_mlp.reference import features, first_layer, table
from dipedge.kernels.gpu import launch
from dipedge.kernels.gpu.layer import Gradient, Layer
from tests.native_kernels import (
    Arrays,
    before_centring,
    draw,
    draw_layer,
    first_row_missing,
    gain,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    scaled,
    tensor,
    with_norm,
)
from tests.test_kernel_fourier_mlp import allowed, frequencies, length
from tests.tolerance import all_faults, cell_tolerance, faults, size, tolerance

pytestmark = pytest.mark.triton_interpret
WRONG = Case(4, 9, 12, 5)
BEYOND = 37  # values between one fit's parameters and the next's, in the flat vectors of these tests
NAMES = ("y", "z", "dweight", "dfrequencies")


@cache
def prepared(case: Case, fit: int) -> tuple[Arrays, Arrays, dict[str, float]]:
    """The layer with its norm, without activation: arrays, wanted results, scales. Every fit differs."""
    seed = 10 * fit
    own = (frequencies(case.count) * (1 + 0.1 * fit)).astype(np.float32)
    arrays = {"frequencies": own, "weight": draw(seed + 1, case.out, 4 * case.count, 1, 1)}

    def before_norm(frequencies, weight):
        bias = torch.zeros(case.out, dtype=torch.float64)
        return first_layer(frequencies, weight, bias, case.height, case.width, case.stride)

    y = picture(before_norm(*(tensor(values) for values in arrays.values())))
    with_norm(arrays, "", seed + 2, y)
    dz = draw_layer(seed + 4, *y.shape, mean=0.0)
    z, wanted, scales = reference(
        lambda gamma, beta, **rest: norm_act(before_norm(**rest), gamma, beta, 1e-5, 1.0), arrays, dz
    )
    of_y = gain(y, arrays["gamma"])
    scales["y"] = np.sqrt(4 * case.count) * size(arrays["weight"])
    scales["z"] = before_centring(y, arrays["gamma"]) + (y[..., 0].size > 1) * size(of_y) * scales["y"]
    scales["dweight"] = np.sqrt(dz[..., 0].size) * size(of_y * dz)
    scales["dfrequencies"] = np.sqrt(2 * case.out) * size(arrays["weight"]) * scales["dweight"]
    if case.height == case.width == 1:
        scales["dfrequencies"] = 0  # coordinate 0, whatever the frequency
    found = {"y": y, "z": z, "dweight": wanted["dweight"], "dfrequencies": wanted["dfrequencies"]}
    return {**arrays, "dz": dz}, found, scales


def side(values: list[np.ndarray], positions: np.ndarray, whole: int) -> triton_tables.Side:
    """A side of as many fits as ``values`` (frequencies) has, its table and gradient unwritten."""
    shape = (len(values), len(positions), 2 * len(values[0]))
    places = torch.tensor(np.tile(positions, (len(values), 1)), dtype=torch.int32, device=DEVICE)
    return triton_tables.Side(places, whole, empty(*shape), empty(*shape))


def view(values: list[np.ndarray], *shape: int) -> torch.Tensor:
    """[B, ...] within flat vectors that are longer: fits are further apart than they are long."""
    flat = [np.append(value.ravel(), np.full(BEYOND, np.nan, np.float32)) for value in values]
    return vectors(flat)[:, : values[0].size].view(len(values), *shape)


def means_of(case_arrays: Arrays, y: np.ndarray) -> np.ndarray:
    """``Gradient.means`` [2, C] of a layer without activation: g is dz."""
    y, g = np.asarray(y, np.float64), case_arrays["dz"].astype(np.float64)
    h = (y - y.mean((0, 1))) / np.sqrt(y.var((0, 1)) + 1e-5)
    return np.stack((g.mean((0, 1)), (g * h).mean((0, 1))))


def forward(case: Case, precision: str, fits: int = 2):
    """The layer of several fits after its launches, with all that the way back needs."""
    given = [prepared(case, fit)[0] for fit in range(fits)]
    own = [fit["frequencies"] for fit in given]
    columns = side(own, np.arange(case.width), case.width)
    rows = side(own, np.arange(case.height), case.height)
    triton_tables.tables(view(own, case.count), columns, rows)
    height, width = (-(-count // case.stride) for count in (case.height, case.width))
    layer = Layer(
        empty_picture(fits, height, width, case.out, precision), case.out, empty(fits, 4, case.out), 1.0
    )
    weight = view([fit["weight"] for fit in given], case.out, 1, 1, 4 * case.count)
    gamma, beta = (view([fit[name] for fit in given], case.out) for name in ("gamma", "beta"))
    parts, used = empty(fits, kernel.parts_rows(width, height), case.out), scratch(fits)
    kernel.first_layer(columns, rows, case.stride, weight, parts, layer, gamma, beta, 1e-5, used)
    assert_counters_are_zero(used)
    return given, layer, columns, rows, weight, parts, used


def run(case: Case, precision: str, fits: int = 2) -> list[Arrays]:
    """Everything the layer computes, forward and backward, by name, of every fit."""
    given, layer, columns, rows, weight, parts, used = forward(case, precision, fits)
    _, height, width = layer.shape
    wanted_y = [prepared(case, fit)[1]["y"] for fit in range(fits)]
    gradient = Gradient(
        pictures([fit["dz"] for fit in given], precision),
        vectors([means_of(fit, y) for fit, y in zip(given, wanted_y, strict=True)]),
    )
    partials = empty(fits, triton_backward.weight_partials(width, height), case.out, 1, 1, 4 * case.count)
    triton_backward.first_layer_backward(
        gradient, layer, columns, rows, case.stride, weight, parts, partials, used
    )
    assert_counters_are_zero(used)
    by_frequency = empty(fits, case.count + BEYOND)[:, : case.count]
    triton_tables.frequency_gradient(columns, rows, by_frequency)
    results = []
    for fit in range(fits):
        y, norm = arrays(layer.values, case.out)[fit], arrays(layer.norm)[fit]
        z = y * norm[2] + norm[3]
        dweight = partials[fit].double().sum(0).cpu().numpy().reshape(case.out, -1, 1, 1)
        results.append(dict(zip(NAMES, (y, z, dweight, arrays(by_frequency)[fit]), strict=True)))
    return results


def judged(case: Case, precision: str, fit: int, found: Arrays) -> dict[str, list[str]]:
    """Faults; only y, and so z, is rounded to cells: dz is given in numbers that a cell holds."""
    _, wanted, scales = prepared(case, fit)
    said = {}
    for name in NAMES:
        cells = precision == "bf16" and name in "yz"
        limit = cell_tolerance(length(case), cells=1) if cells else allowed(case)
        said |= all_faults({name: found[name]}, {name: wanted[name]}, limit, scales)
    return said


@in_both
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_layer_and_its_gradients_are_those_of_the_reference(case, precision):
    for fit, found in enumerate(run(case, precision)):
        assert judged(case, precision, fit, found) == {}


@pytest.mark.parametrize("most", [1, 2, 5])
def test_any_number_of_programs_computes_the_same_layer(most, monkeypatch):
    """Several tiles for a program, several chunks of rows, and sums over more than one load of them."""
    case = CASES[5]
    monkeypatch.setattr(launch, "MAX_PROGRAMS", most)
    monkeypatch.setattr(triton_backward, "TILE", 64)
    for fit, found in enumerate(run(case, "fp32")):
        assert judged(case, "fp32", fit, found) == {}


def test_many_small_tiles_of_the_backward_pass_add_up(monkeypatch):
    case = CASES[7]
    monkeypatch.setattr(triton_backward, "TILE", 64)
    for fit, found in enumerate(run(case, "fp32")):
        assert judged(case, "fp32", fit, found) == {}


def test_a_fit_alone_gives_the_bits_it_gives_beside_another():
    case = CASES[1]
    (alone,), (beside, _) = run(case, "bf16", fits=1), run(case, "bf16", fits=2)
    assert [name for name in NAMES if not np.array_equal(alone[name], beside[name])] == []


def test_the_surplus_of_the_layer_is_zero():
    _, layer, *_ = forward(WRONG, "bf16")
    assert not layer.values[..., WRONG.out :].any()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", scaled), ("y", last_column_repeated), ("z", first_row_missing), ("z", one_value_off),
        ("dweight", scaled), ("dweight", one_value_off), ("dfrequencies", scaled),
        ("dfrequencies", one_value_off),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    _, wanted, scales = prepared(WRONG, 0)
    found = run(WRONG, "fp32")[0]
    assert all_faults(found, wanted, allowed(WRONG), scales) == {}
    assert list(all_faults({**found, name: wrong(found[name])}, wanted, allowed(WRONG), scales)) == [name]


def test_a_backward_pass_without_its_means_fails_the_judgement():
    given, layer, columns, rows, weight, parts, used = forward(WRONG, "fp32", 1)
    gradient = Gradient(
        pictures([given[0]["dz"]]), 0 * vectors([means_of(given[0], layer.values[0, ..., :5])])
    )
    partials = empty(1, 1, WRONG.out, 1, 1, 4 * WRONG.count)
    triton_backward.first_layer_backward(gradient, layer, columns, rows, 1, weight, parts, partials, used)
    _, wanted, scales = prepared(WRONG, 0)
    dweight = {"dweight": partials[0, 0].cpu().numpy().reshape(wanted["dweight"].shape)}
    assert all_faults(dweight, {"dweight": wanted["dweight"]}, allowed(WRONG), scales) != {}


@pytest.mark.parametrize("stride", [1, 2])
def test_a_second_reader_adds_to_the_gradients_of_the_tables(stride):
    case = Case(4, 7, 10, 5, stride)
    _, layer, columns, rows, weight, parts, used = forward(case, "fp32")
    _, height, width = layer.shape
    gradient = Gradient(pictures([draw(1, height, width, 5)] * 2), vectors([draw(2, 2, 5)] * 2))
    partials = empty(2, triton_backward.weight_partials(width, height), 5, 1, 1, 16)
    found = []
    for add in (False, True):
        triton_backward.first_layer_backward(
            gradient, layer, columns, rows, stride, weight, parts, partials, used, add=add
        )
        found.append((columns.gradient.clone(), rows.gradient.clone()))
    for once, twice in zip(*found, strict=True):
        assert torch.equal(2 * once, twice) and once[:, ::stride].all()
        assert stride == 1 or not once[:, 1::2].any()


def test_fixed_frequencies_change_nothing_else():
    given, layer, columns, rows, weight, parts, used = forward(WRONG, "fp32")
    gradient = Gradient(
        pictures([fit["dz"] for fit in given]),
        vectors([means_of(fit, prepared(WRONG, i)[1]["y"]) for i, fit in enumerate(given)]),
    )
    fixed = [triton_tables.Side(each.positions, each.size, each.table) for each in (columns, rows)]
    found = []
    for sides in ((columns, rows), fixed):
        partials = empty(2, 1, WRONG.out, 1, 1, 4 * WRONG.count)
        triton_backward.first_layer_backward(gradient, layer, *sides, 1, weight, parts, partials, used)
        found.append(partials)
    assert torch.equal(*found)


# Tables and features --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [CASES[1], CASES[2], CASES[4], CASES[11]], ids=str)
def test_tables_are_computed_in_float64_and_rounded_once(case, dtype):
    """At sampled positions too: every third pixel here."""
    own = [(scale * 256.0 ** (np.arange(case.count) / (case.count - 1))).astype(dtype) for scale in (1, -1.7)]
    seen = [np.arange(0, count, 3) for count in (case.width, case.height)]
    columns, rows = (
        side(own, positions, count) for positions, count in zip(seen, (case.width, case.height), strict=True)
    )
    triton_tables.tables(torch.tensor(np.stack(own), device=DEVICE), columns, rows)
    for each, positions, count in zip((columns, rows), seen, (case.width, case.height), strict=True):
        for found, exact in zip(arrays(each.table), own, strict=True):
            u = torch.tensor(positions / max(count - 1, 1))
            wanted = table(u, torch.tensor(exact.astype(np.float64))).numpy()
            np.testing.assert_allclose(found, wanted, rtol=2.0**-24 * (1 + 1e-6), atol=1e-13)


def test_tables_computed_in_float32_fail_the_judgement():
    u, f = np.arange(33) / 32, frequencies(8)
    wanted = table(torch.tensor(u), torch.tensor(f.astype(np.float64))).numpy()
    found = np.cos(u.astype(np.float32)[:, None] * f)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, wanted[:, :8], rtol=2.0**-24 * (1 + 1e-6), atol=1e-13)


@in_both
@pytest.mark.parametrize("case", [Case(2, 1, 1, 1), Case(3, 5, 7, 1), Case(8, 9, 16, 1)], ids=str)
def test_features_and_their_gradient_are_those_of_the_reference(case, precision, monkeypatch):
    """In bfloat16 the picture is the table, rounded; the sums of its gradient are float32."""
    monkeypatch.setattr(launch, "MAX_PROGRAMS", 2)
    monkeypatch.setattr(triton_backward, "TILE", 256)
    own = [frequencies(case.count), 1.3 * frequencies(case.count)]
    columns = side(own, np.arange(case.width), case.width)
    rows = side(own, np.arange(case.height), case.height)
    triton_tables.tables(vectors(own), columns, rows)
    out = empty_picture(2, case.height, case.width, 4 * case.count, precision)
    triton_tables.features(columns, rows, out)
    dz = [draw_layer(5 + fit, case.height, case.width, 4 * case.count, mean=0.0) for fit in range(2)]
    by_frequency = empty(2, case.count)
    for add in (False, True):
        triton_backward.features_backward(pictures(dz, precision), columns, rows, scratch(2), add=add)
    triton_tables.frequency_gradient(columns, rows, by_frequency)
    for fit in range(2):
        leaf = tensor(own[fit])
        z = features(leaf, case.height, case.width)
        z.backward(tensor(2 * dz[fit]))
        found = {"z": arrays(out, 4 * case.count)[fit], "df": arrays(by_frequency)[fit]}
        # Every frequency's gradient is a sum over all pixels of two features.
        of_gradient = size(dz[fit]) * np.sqrt(4 * case.height * case.width)
        once = tolerance(2) if precision == "fp32" else cell_tolerance(2, cells=1)
        assert faults(found["z"], picture(z), once) == []
        bound = tolerance(case.height * case.width)
        assert faults(found["df"], leaf.grad.numpy(), bound, of_gradient if leaf.grad.any() else 0) == []
        assert case.height == 1 or faults(scaled(found["z"]), picture(z), tolerance(2)) != []
