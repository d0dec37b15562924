"""The tail: head, sigmoid, data term, and the gradient back to the last layer, in one row.

Forward and backward share one pass natively, so they are timed together.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.contest import (
    Arrays,
    TorchContestant,
    Work,
    computed,
    draw_layer,
    error,
    in_both,
    native,
    race,
    record,
    torch,
)
from dipedge.kernels.residual_loss import Case

CASES = {
    "128 to 3, 256x256": Case("identity", 128, 3, 256, 256),
    "128 to 3, 256x256, mask": Case("mask", 128, 3, 256, 256),
    "128 to 3, 256x256, decimated by 4": Case("lanczos", 128, 3, 256, 256, scale=4),
}


def arrays(case: Case) -> tuple[Arrays, Arrays]:
    """What has gradients, and what has none."""
    draws = np.random.default_rng(0)
    learnt = {
        "y": draw_layer(draws, case.height, case.width, case.into),
        "weight": draws.standard_normal((case.out, case.into, 1, 1), np.float32) / 16,
        "bias": draws.standard_normal(case.out, np.float32),
        "y_gamma": draws.uniform(0.5, 1.5, case.into).astype(np.float32),
        "y_beta": draws.standard_normal(case.into, np.float32),
    }
    size = (case.height // case.scale, case.width // case.scale, case.out)
    fixed = {
        "target": draws.random(size, np.float32),
        "mask": (draws.random((case.height, case.width)) > 0.5).astype(np.float32),
        "average": np.zeros((case.height, case.width, case.out), np.float32),
    }
    return learnt, fixed


def in_torch(name: str, dtype) -> TorchContestant:
    from dipedge.kernels.conv_norm_act.reference import norm_act
    from dipedge.kernels.residual_loss.reference import data_term, head

    case = CASES[name]
    learnt, fixed = arrays(case)
    target = torch.tensor(np.ascontiguousarray(np.moveaxis(fixed["target"], 2, 0)), dtype=dtype)[None]
    mask = torch.tensor(fixed["mask"], dtype=dtype)

    def compute(y, weight, bias, y_gamma, y_beta):
        x = head(norm_act(y, y_gamma, y_beta, 1e-5, 0.2), weight, bias)
        return data_term(x, target, case.kind, mask, case.scale)

    return TorchContestant(compute, learnt, None, "loss", dtype)


@cache
def wanted(name: str) -> Arrays | None:
    return None if torch is None else computed(in_torch(name, torch.float64))


@in_both
@pytest.mark.parametrize("name", CASES)
def test_time_of_the_tail(benchmark, name, engine):
    case = CASES[name]
    if engine[0] == "torch":
        contestant = in_torch(name, torch.float32)
    else:
        learnt, fixed = arrays(case)
        options = {"kind": case.kind, "scale": case.scale}
        contestant = native("residual_loss", {**learnt, **fixed}, options, engine[1])
    race(benchmark, contestant, "both", rounds=3 if engine[0] == "torch" else 10)
    off = error(computed(contestant), wanted(name), ("dy", "dweight"))
    pixels, width = case.height * case.width, 2 if engine[1] == "bf16" else 4
    work = Work(6 * case.into * case.out * pixels, 2 * width * case.into * pixels, pixels)
    record(benchmark, f"residual_loss, {name}", "both", engine, work, off)
