"""The Triton kernels of the merge on the padded route: the merged picture as a tensor, and its gradient."""

from __future__ import annotations

from functools import cache
from unittest.mock import patch

import numpy as np
import pytest

from tests.triton_kernels import (  # isort: skip (it skips the module where there is no Triton)
    assert_counters_are_zero,
    empty,
    empty_picture,
    in_both,
    pictures,
    scratch,
)

from dipedge.kernels.conv_norm_act import reference as conv_reference
from dipedge.kernels.gpu import launch
from dipedge.kernels.upsample_merge import triton as kernels
from tests.native_kernels import before_centring, draw_layer, picture, reference, tensor
from tests.tolerance import all_faults, size
from tests.triton_merge import (
    FITS,
    Arrays,
    Case,
    allowed,
    axes,
    drawn,
    finish,
    layers,
    merge,
    merge_norm,
    strided,
)

pytestmark = pytest.mark.triton_interpret
PADDED = (
    (Case(5, 3, 0, 7, 9), 1, "reflection"),
    (Case(17, 1, 0, 3, 36, mode="nearest"), 2, "zero"),
    (Case(3, 0, 0, 2, 5), 7, "reflection"),  # further out than the picture is large
    (Case(1, 20, 0, 1, 1), 1, "reflection"),
    (Case(70, 66, 0, 2, 3), 1, "zero"),
    (Case(2, 2, 0, 8, 6), 0, "zero"),
)


def scale_of_merged(case: Case, fit: int, values: Arrays) -> float:
    """What the merge's norm takes its means off from, in the units of its result."""
    kept = []

    def keep(x, *rest):
        kept.append(x)
        return as_it_is(x, *rest)

    as_it_is = conv_reference.batch_norm
    with patch.object(conv_reference, "batch_norm", keep):
        merge(case, fit, **{name: tensor(value) for name, value in values.items()})
    return before_centring(picture(kept[-1]), values["gamma"])


@cache
def prepared(case: Case) -> list[tuple[np.ndarray, Arrays, dict[str, float]]]:
    """Per fit: the gradient by the merged picture, wanted results and scales."""
    found = []
    for fit, values in enumerate(drawn(case)):
        gradient = draw_layer(77 + fit, case.height, case.width, case.deep + case.skip, mean=0)
        merged, wanted, scales = reference(
            lambda fit=fit, **layers: merge(case, fit, **layers), values, gradient
        )
        scales["merged"] = max(size(merged), scale_of_merged(case, fit, values))
        found.append((gradient, {"merged": merged, **wanted}, scales))
    return found


def padded(case: Case, margin: int, padding: str, precision: str) -> list[Arrays]:
    """Everything the padded route computes, per fit."""
    used, tables = scratch(FITS), axes(case)
    deep, skip = layers(case, precision)
    channels = case.deep + case.skip
    norm = merge_norm(case, deep, skip, tables, used)
    out = empty_picture(FITS, case.height + 2 * margin, case.width + 2 * margin, channels, precision)
    kernels.merge_padded(skip, deep, norm, *tables, out, margin, padding == "reflection")
    d = pictures([fit[0] for fit in prepared(case)], precision)
    u = empty_picture(FITS, *case.low, case.deep, precision)
    means, skip_means = empty(FITS, 2, case.deep), empty(FITS, 2, case.skip) if skip else None
    dgamma, dbeta = strided(FITS, channels), strided(FITS, channels)
    kernels.gather(d, skip, deep, norm, *tables, u, means, skip_means, dgamma, dbeta, used)
    found = {"merged": out[..., :channels].float(), "dgamma": dgamma, "dbeta": dbeta}
    finish(case, precision, deep, skip, norm, (u, means), (d, case.deep, skip_means), tables, found, used)
    assert_counters_are_zero(used)
    return [{name: np.asarray(value[fit]) for name, value in found.items()} for fit in range(FITS)]


@in_both
@pytest.mark.parametrize(("case", "margin", "padding"), PADDED, ids=str)
def test_the_padded_route_and_its_gradients_are_those_of_the_reference(case, margin, padding, precision):
    found = padded(case, margin, padding, precision)
    for fit, (_, results, scales) in enumerate(prepared(case)):
        merged = conv_reference.pad(tensor(results["merged"]), margin, padding)
        wanted = {**results, "merged": picture(merged)}
        assert all_faults(found[fit], wanted, allowed(case, precision), scales) == {}, fit


def test_the_other_padding_fails_the_judgement():
    case, margin, padding = PADDED[0]
    found = padded(case, margin, "zero", "fp32")
    _, results, scales = prepared(case)[0]
    wanted = {"merged": picture(conv_reference.pad(tensor(results["merged"]), margin, padding))}
    assert list(all_faults(found[0], wanted, allowed(case, "fp32"), scales)) == ["merged"]


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """So few that each takes several pieces and tiles, even of these pictures."""
    monkeypatch.setattr(launch, "MAX_PROGRAMS", 4)
