"""The native tail over a layer, head to running average and its gradients, against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from dipedge.kernels.conv_norm_act.reference import norm_act
from dipedge.kernels.residual_loss import CASES, Case
from dipedge.kernels.residual_loss.reference import data_term, head, running_average
from tests.native_kernels import (
    ISAS,
    Arrays,
    assert_right,
    assert_threads_change_nothing,
    before_centring,
    draw,
    draw_layer,
    first_row_missing,
    last_column_repeated,
    one_value_off,
    picture,
    reference,
    run,
    scaled,
    tensor,
    with_bf16,
    with_norm,
)
from tests.tolerance import all_faults, cell_tolerance, size, tolerance

WRONG = Case("mask", 5, 3, 9, 12)
AVERAGE = 0.9


@cache
def prepared(case: Case) -> tuple[Arrays, Arrays, dict[str, float]]:
    """A layer, its head and its target: arrays, wanted results, scales."""
    y, out = draw_layer(1, case.height, case.width, case.into, mean=0.3), (case.height, case.width, case.out)
    arrays = {"y": y, "weight": draw(2, case.out, case.into, 1, 1), "bias": draw(3, case.out)}
    with_norm(arrays, "y", 4)
    target = draw(6, -(-case.height // case.scale), -(-case.width // case.scale), case.out)
    mask = (draw(7, case.height, case.width) > 0).astype(np.float32)
    mask[0, 0] = 1  # at least one pixel is known
    average = draw(8, *out)
    logits: list[torch.Tensor] = []

    def loss(y, weight, bias, y_gamma, y_beta):
        logits.append(head(norm_act(y, y_gamma, y_beta, 1e-5, 0.2), weight, bias, sigmoid=False))
        logits[-1].retain_grad()
        x = torch.sigmoid(logits[-1]) if case.sigmoid else logits[-1]
        known = torch.tensor(mask, dtype=torch.float64)
        return data_term(x, tensor(target).detach(), case.kind, known, case.scale)

    value, wanted, scales = reference(loss, arrays, None)
    x = torch.sigmoid(logits[0]) if case.sigmoid else logits[0]
    dlogit = picture(logits[0].grad)
    wanted |= {"x": picture(x), "loss": value, "dlogit": dlogit}
    wanted["average"] = picture(running_average(tensor(average), x, AVERAGE))
    # Sums that may cancel are judged by their terms, and differences by what they are taken of.
    active, pixels = before_centring(y, arrays["y_gamma"]), case.height * case.width
    scales["x"] = (0.25 if case.sigmoid else 1) * np.sqrt(case.into) * size(arrays["weight"]) * active
    scales["loss"] = (size(target) + size(picture(x))) ** 2
    scales["dlogit"] = 2 / target.size * (size(target) + max(size(picture(x)), scales["x"]))
    scales["dweight"] = np.sqrt(pixels) * scales["dlogit"] * active
    for name in ("dy", "dy_gamma", "dy_beta"):
        scales[name] *= max(1, scales["dlogit"] / max(size(dlogit), 1e-30))
    scales["dbias"] = np.sqrt(pixels) * scales["dlogit"]
    return {**arrays, "target": target, "mask": mask, "average": average}, wanted, scales


def length(case: Case) -> int:
    """The head's channels, the pixels of statistics and weights, and the taps of the decimation."""
    taps = 4 * case.scale if case.kind == "lanczos" else 0
    return case.into + case.height * case.width + 2 * taps


def allowed(case: Case) -> float:
    return tolerance(length(case), roundings=24)


def options(case: Case) -> dict:
    return {"kind": case.kind, "scale": case.scale, "sigmoid": case.sigmoid, "average_weight": AVERAGE}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_loss_and_gradients_are_those_of_the_reference(case, isa):
    arrays, wanted, scales = prepared(case)
    assert_right("residual_loss", arrays, options(case), isa, wanted, allowed(case), scales)


@with_bf16
@pytest.mark.parametrize("case", CASES, ids=str)
def test_after_a_layer_in_bfloat16_only_its_gradient_is_rounded(case, isa):
    arrays, wanted, scales = prepared(case)
    settings = {**options(case), "bf16": True}
    found = run("residual_loss", arrays, settings, isa)
    of_layer = {"dy": wanted["dy"]}
    assert all_faults(found, of_layer, cell_tolerance(length(case), cells=1), scales) == {}
    rest = {name: values for name, values in wanted.items() if name != "dy"}
    assert all_faults(found, rest, allowed(case), scales) == {}
    assert_threads_change_nothing("residual_loss", arrays, settings, isa, found)


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
    arrays, wanted, scales = prepared(WRONG)
    found = run("residual_loss", arrays, options(WRONG))
    assert all_faults(found, wanted, allowed(WRONG), scales) == {}
    wrong_results = {**found, name: wrong(found[name])}
    assert list(all_faults(wrong_results, wanted, allowed(WRONG), scales)) == [name]


def test_a_mask_that_is_left_out_fails_the_judgement():
    arrays, wanted, scales = prepared(WRONG)
    found = run("residual_loss", arrays, {**options(WRONG), "kind": "identity"})
    assert {"loss", "dlogit", "dweight", "dy"} <= set(all_faults(found, wanted, allowed(WRONG), scales))


@pytest.mark.parametrize("isa", ISAS)
def test_unknown_pixels_move_nothing_however_wrong_they_are(isa):
    arrays, _, _ = prepared(WRONG)
    holes = arrays["mask"] == 0
    target = arrays["target"].copy()
    target[holes] = 1e6
    before = run("residual_loss", arrays, options(WRONG), isa)
    after = run("residual_loss", {**arrays, "target": target}, options(WRONG), isa)
    assert holes.any() and not after["dlogit"][holes].any()
    assert [name for name in before if not np.array_equal(before[name], after[name])] == []
