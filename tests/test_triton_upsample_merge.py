"""The Triton kernels of the merge on the pointwise route: from two layers to the up convolution and back."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.triton_kernels import (  # isort: skip (it skips the module where there is no Triton)
    CELLS,
    arrays,
    assert_counters_are_zero,
    empty,
    empty_picture,
    in_both,
    pictures,
    scratch,
    torch,
)

from dipedge.kernels.conv_norm_act import reference as conv_reference
from dipedge.kernels.gpu import launch
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.upsample_merge import triton as kernels
from tests.native_kernels import (
    before_centring,
    draw_gamma,
    draw_layer,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    scaled,
)
from tests.tolerance import all_faults
from tests.triton_merge import (
    EPS,
    FITS,
    Arrays,
    Case,
    activation,
    allowed,
    axes,
    drawn,
    finish,
    layers,
    merge,
    merge_norm,
    parameters,
    places,
    strided,
)

pytestmark = pytest.mark.triton_interpret
CASES = (
    Case(5, 3, 6, 7, 9),
    Case(17, 1, 20, 6, 8, mode="nearest"),
    Case(3, 0, 2, 5, 70),  # three strips; no skip
    Case(2, 20, 3, 4, 35),  # more skip channels than one product takes
    Case(70, 40, 130, 2, 3),  # more channels than one block has, of each kind
    Case(1, 1, 1, 1, 1),
    Case(2, 4, 3, 1, 2),
    Case(1, 2, 1, 1, 1, sampled=True),
    Case(6, 4, 5, 9, 13, sampled=True),
    Case(3, 0, 2, 5, 59, sampled=True),
    Case(2, 1, 3, 8, 7, mode="nearest", sampled=True),
)
WRONG = Case(4, 2, 3, 7, 10)


@cache
def prepared(case: Case) -> list[tuple[Arrays, Arrays, dict[str, float]]]:
    """Per fit: arrays, wanted results and scales of the pointwise route, to the gradient of the up norm."""
    found = []
    for fit, values in enumerate(drawn(case)):
        seed, size = 100 * fit, [len(axis) for axis in places(case, fit)]
        given = {**values, "weight": draw_layer(seed + 9, case.out, case.deep + case.skip, mean=0)}
        given["up_gamma"] = draw_gamma(seed + 10, case.out)
        given["up_beta"] = draw_layer(seed + 11, case.out, mean=0)
        gradient = draw_layer(seed + 12, *size, case.out, mean=0)
        kept = {}

        def up(weight, up_gamma, up_beta, fit=fit, kept=kept, **layers):
            kept["y"] = torch.nn.functional.conv2d(merge(case, fit, **layers), weight[:, :, None, None])
            return conv_reference.batch_norm(kept["y"], up_gamma, up_beta, EPS)

        n, wanted, scales = reference(up, given, gradient)
        scales["n"] = before_centring(picture(kept["y"]), given["up_gamma"])
        wanted = {name: value for name, value in wanted.items() if not name.startswith("dup_")}
        found.append(({**given, "g": gradient}, {"n": n, **wanted}, scales))
    return found


def of_up(case: Case, output: Layer, precision: str) -> Gradient:
    """The gradient that comes in, with its means."""
    values = pictures([fit[0]["g"] for fit in prepared(case)], precision)
    g, y = values[..., : case.out].double(), output.values[..., : case.out].double()
    h = (y - output.norm[:, 0, None, None]) * output.norm[:, 1, None, None]
    return Gradient(values, torch.stack((g.mean((1, 2)), (g * h).mean((1, 2))), 1).float())


def forward(case: Case, precision: str, tables: list[kernels.Axis], used: launch.Scratch):
    """The pointwise route forward: layers, norm, weight and output."""
    deep, skip = layers(case, precision)
    norm = merge_norm(case, deep, skip, tables, used)
    given = [fit[0] for fit in prepared(case)]
    weight = parameters(given, "weight").to(CELLS[precision])[:, :, None, None]
    of_deep = norm[:, :, None, None, : case.deep]
    centred = (activation(deep) - of_deep[:, 0]) * of_deep[:, 2]
    z = torch.einsum("bhwc,boc->bhwo", centred, weight[:, :, 0, 0, : case.deep].float())
    output = Layer(
        empty_picture(FITS, *(table.count for table in tables), case.out, precision),
        case.out,
        empty(FITS, 4, case.out),
    )
    of_skip = weight[..., case.deep :] if case.skip else None
    up_norm = parameters(given, "up_gamma"), parameters(given, "up_beta")
    kernels.blend(pictures(arrays(z), precision), skip, norm, of_skip, *tables, output, *up_norm, EPS, used)
    return deep, skip, norm, weight, output


def pointwise(case: Case, precision: str = "fp32") -> list[Arrays]:
    """Everything the pointwise route computes, per fit, by the names of ``prepared``."""
    used, tables = scratch(FITS), axes(case)
    deep, skip, norm, weight, output = forward(case, precision, tables, used)
    found = {"n": output.values[..., : case.out].double() * output.norm[:, 2, None, None]}
    found["n"] += output.norm[:, 3, None, None]

    slots = kernels.blend_partials(*case.low, tables[0].step) + 1
    partials = empty(FITS, slots, case.out, 1, 1, case.deep + case.skip)
    dz = empty_picture(FITS, *case.low, case.out, precision)
    dskip, skip_means = (torch.empty_like(skip.values), empty(FITS, 2, case.skip)) if skip else (None, None)
    dgamma, dbeta = strided(FITS, case.deep + case.skip), strided(FITS, case.deep + case.skip)
    of_skip = (
        (weight[..., case.deep :], partials[..., case.deep :], dgamma[:, case.deep :], dbeta[:, case.deep :])
        if skip
        else (None,) * 4
    )
    kernels.blend_backward(
        of_up(case, output, precision), output, skip, norm, of_skip[0], *tables, dz, dskip, of_skip[1],
        skip_means, *of_skip[2:], used,
    )  # fmt: skip
    # What the product at low resolution does: the deep weights' gradient, u and its sums.
    dz, deep_weight = dz[..., : case.out].float(), weight[:, :, 0, 0, : case.deep].float()
    h = (activation(deep) - norm[:, 0, None, None, : case.deep]) * norm[:, 1, None, None, : case.deep]
    by_weight = torch.einsum("bhwo,bhwc->boc", dz, h) * parameters(drawn(case), "gamma")[:, None, : case.deep]
    u = pictures(arrays(torch.einsum("bhwo,boc->bhwc", dz, deep_weight)), precision)
    sums = torch.stack(
        [(u[..., : case.deep].float() * part).sum((1, 2)) for part in (torch.ones_like(h), h)], 1
    )
    dbeta[:, : case.deep], dgamma[:, : case.deep] = sums[:, 0], sums[:, 1]
    found["dweight"] = torch.cat((by_weight, partials.sum(1)[:, :, 0, 0, case.deep :]), 2)
    means = (sums / (tables[0].count * tables[1].count)).contiguous()
    finish(case, precision, deep, skip, norm, (u, means), (dskip, 0, skip_means), tables, found, used)
    assert_counters_are_zero(used)
    found |= {"dgamma": dgamma, "dbeta": dbeta}
    return [{name: np.asarray(value[fit]) for name, value in found.items()} for fit in range(FITS)]


def judged(case: Case, precision: str, found: list[Arrays]) -> list[dict]:
    """The faults of all fits."""
    return [
        all_faults(found[fit], results, allowed(case, precision), scales)
        for fit, (_, results, scales) in enumerate(prepared(case))
    ]


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """So few that each takes several pieces and tiles, even of these pictures."""
    monkeypatch.setattr(launch, "MAX_PROGRAMS", 4)


@in_both
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_pointwise_route_and_its_gradients_are_those_of_the_reference(case, precision):
    assert judged(case, precision, pointwise(case, precision)) == [{}, {}]


def test_the_number_of_programs_moves_results_by_rounding_only(monkeypatch):
    monkeypatch.setattr(launch, "MAX_PROGRAMS", 264)
    assert judged(WRONG, "fp32", pointwise(WRONG)) == [{}, {}]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("n", scaled), ("n", last_column_repeated), ("n", one_value_off), ("n", first_row_missing),
        ("ddeep", scaled), ("ddeep", last_column_repeated), ("ddeep", first_row_missing),
        ("dskip", scaled), ("dskip", last_column_repeated), ("dskip", one_value_off),
        ("dweight", scaled), ("dweight", one_value_off), ("ddeep_gamma", scaled),
        ("dskip_beta", one_value_off), ("dgamma", scaled),
    ],
)  # fmt: skip
def test_a_wrong_result_fails_the_judgement(name, wrong):
    found = right_results()
    assert judged(WRONG, "fp32", found) == [{}, {}]
    changed = [{**found[0], name: wrong(found[0][name])}, found[1]]
    assert [list(faults) for faults in judged(WRONG, "fp32", changed)] == [[name], []]


@cache
def right_results() -> list[Arrays]:
    """Of WRONG, computed once."""
    return pointwise(WRONG)


def test_the_other_interpolation_and_the_other_fits_weights_fail_the_judgement():
    nearest = pointwise(replace(WRONG, mode="nearest"))
    assert all({"n", "ddeep"} <= set(faults) for faults in judged(WRONG, "fp32", nearest))
    swapped = right_results()[::-1]
    assert all({"n", "ddeep", "dweight"} <= set(faults) for faults in judged(WRONG, "fp32", swapped))
