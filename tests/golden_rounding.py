"""What float32 rounding alone does to a golden file's quantities: the measure for numbers above a limit.

Some stored numbers are not determined to the limits' accuracy by float32 arithmetic, so that even the
published code, run on another processor than the file was written on, misses them:

- A BN scale ahead of LeakyReLU and another BN barely changes the output; its gradient is what is left
  when large sums cancel, and carries their rounding (1e-5 to 1e-4 of itself).
- Adam's first step is lr g / (|g| + 1e-8). For the few values with |g| near 1e-8, rounding decides the
  step; the output moves by 1e-5, some activation crosses LeakyReLU's corner, and in a deep level of 16
  pixels one crossing changes gradients by percents. Two steps later whole tensors differ by 1e-2.

So a number above its limit is judged by experiment. ``spread``: the reference in float32, started from
parameters that are off by a rounding error, against itself in float64. ``step_by_step``: the engine set
on the exact path before every Adam step, which is as strict as a single step and knows no chaos.
"""

from __future__ import annotations

import numpy as np

from dipedge.engines import get_engine
from dipedge.engines.base import Engine
from tests.golden_networks import (
    STEPS,
    Arrays,
    Finding,
    compare,
    compared_names,
    measure,
    prepare,
    relative_error,
)

TRIALS = 8


def spread(file: Arrays, jitter: float) -> dict[str, float]:
    """The worst tensor's relative error of each quantity over ``TRIALS`` float32 runs.

    Args:
        file: a net's golden file.
        jitter: relative standard deviation of what is added to the parameters of each run.
    """
    torch = get_engine("torch")
    names = compared_names(file)
    exact = {
        key: values
        for key, values in measure(file, torch, "fp64").items()
        if key[1] in names or key[0] in ("output", "losses") or key[1] == "input"
    }
    draw = np.random.default_rng(0)
    worst: dict[str, float] = {}
    for _ in range(TRIALS):
        start = {
            key: (values * (1 + jitter * draw.standard_normal(values.shape))).astype(np.float32)
            for key, values in file.items()
            if key.startswith("param/")
        }
        for finding in compare(measure(file, torch, "fp32", start), exact):
            worst[finding.quantity] = max(worst.get(finding.quantity, 0.0), finding.error)
    return worst


def step_by_step(file: Arrays, engine: Engine) -> Finding:
    """The worst tensor after single Adam steps, each from the exact state before it."""
    exact, held = prepare(file, get_engine("torch"), "fp64")
    tested, _ = prepare(file, engine)
    names = compared_names(file)
    worst = Finding("parameters", 0.0)
    for _ in range(STEPS):
        known = {
            key: values.astype(np.float32)
            for key, values in exact.state().items()
            if key.startswith(("param/", "adam/"))
        }
        tested.load_state({**known, "step": np.array(exact.steps_done)})
        exact.step()
        tested.step()
        wanted, found = exact.state(), tested.state()
        for name in names:
            error = relative_error(found[f"param/{name}"], wanted[f"param/{name}"])
            # A NaN must not lose the comparison: "not at most" holds for it.
            if not error <= worst.error:
                worst = Finding("parameters", error, name)
        exact.load_state(held)
    exact.close()
    tested.close()
    return worst
