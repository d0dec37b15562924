"""The choice of an instruction set, and that all of them compute the same up to rounding.

That no set's instructions leak into another's objects is in test_native_objects.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge.engines import get_engine  # noqa: E402
from dipedge.engines.base import Evaluation, Settings  # noqa: E402
from dipedge.errors import EngineError  # noqa: E402
from dipedge.priors import Fourier, Hourglass, Level, Noise, Prior  # noqa: E402
from dipedge.tasks import Denoise  # noqa: E402
from tests.tolerance import size  # noqa: E402

ORDER = ("generic", "avx2", "avx512", "avx512bf16", "amx", "neon")
ISAS = _native.runnable_isas().split()
PRIORS = {
    "dip": Prior(Noise(5), Hourglass((Level(16, 20, 4), Level(20, 17, 5)))),
    "pip": Prior(Fourier(learned=True), Hourglass((Level(16, 16, 4, 1, 1),) * 3)),
}
FIT = """
import numpy as np
from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.errors import EngineError
from dipedge.priors import Hourglass, Level, Noise, Prior
from dipedge.tasks import Denoise
engine = get_engine("native")
try:
    prior = Prior(Noise(3), Hourglass((Level(8, 8, 4),) * 2))
    program = engine.compile(prior, Denoise(), (16, 19, 3), Settings(threads=1))
except EngineError as error:
    print("refused:", error)
else:
    program.set_target(np.full((16, 19, 3), 0.5, np.float32))
    program.step(3)
    print("ran:", engine.device()["isa"], program.loss() < 1)
"""


def fit_in_a_new_process(isa: str) -> str:
    """What a fit prints when the environment names an instruction set before Python starts."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", FIT],
        env={**os.environ, "DIPEDGE_ISA": isa}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_runnable_sets_are_named_from_the_smallest_to_the_best():
    assert ISAS[0] == "generic"
    assert [isa for isa in ORDER if isa in ISAS] == ISAS


@pytest.mark.parametrize("isa", ISAS)
def test_a_set_named_in_the_environment_is_used(isa):
    assert fit_in_a_new_process(isa) == f"ran: {isa} True"


def test_without_a_name_the_best_set_is_used():
    assert fit_in_a_new_process("") == f"ran: {ISAS[-1]} True"


@pytest.mark.parametrize("isa", ["sse9", "AVX2 ", "avx", *(isa for isa in ORDER if isa not in ISAS)])
def test_a_set_that_cannot_run_is_an_error_with_the_choice(isa):
    if isa.strip() in ISAS:
        pytest.skip(f"{isa!r} runs here")
    said = fit_in_a_new_process(isa)
    assert said.startswith("refused:") and repr(isa.strip()) in said and ", ".join(ISAS) in said


def test_an_unknown_set_is_refused_by_every_door(monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", "sse9")
    engine = get_engine("native")
    for call in (engine.device, lambda: engine.compile(PRIORS["dip"], Denoise(), (16, 16, 3), Settings())):
        with pytest.raises(EngineError, match="DIPEDGE_ISA is 'sse9'; this processor runs generic"):
            call()
    for call in (
        lambda: _native.Kernel("pool", {}, {}, "sse9"),
        lambda: _native.normal(0, 0, 4, "sse9"),
        lambda: _native.fma_gflops("sse9", 1),
    ):
        with pytest.raises(ValueError, match="'sse9' cannot run here"):
            call()


def evaluated(prior: Prior, isa: str, monkeypatch) -> tuple[Evaluation, float]:
    """Gradients at the initial weights, and the loss after ten steps."""
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    settings = Settings(precision="fp32", threads=2)
    program = get_engine("native").compile(prior, Denoise(), (27, 101, 3), settings)
    program.set_target(np.random.default_rng(0).random((27, 101, 3), np.float32))
    evaluation = program.evaluate()
    program.step(10)
    loss = program.loss()
    program.close()
    return evaluation, loss


@pytest.mark.skipif(len(ISAS) == 1, reason="this processor has one instruction set")
@pytest.mark.parametrize("isa", ISAS[1:])
@pytest.mark.parametrize("name", PRIORS)
def test_every_set_computes_what_the_generic_one_does(name, isa, monkeypatch):
    wanted, wanted_loss = evaluated(PRIORS[name], "generic", monkeypatch)
    found, loss = evaluated(PRIORS[name], isa, monkeypatch)
    assert size(found.output - wanted.output) < 2e-6 * size(wanted.output)
    assert loss == pytest.approx(wanted_loss, rel=1e-3)
    whole = np.sqrt(sum(np.linalg.norm(values) ** 2 for values in wanted.gradients.values()))
    for key, values in wanted.gradients.items():
        allowed = 1e-4 * np.linalg.norm(values) + 1e-6 * whole
        assert np.linalg.norm(found.gradients[key] - values) < allowed, key
    # Different instructions do round differently: equal bits would mean that the choice does nothing.
    assert not np.array_equal(found.output, wanted.output)


def test_limits_of_the_machine_are_measured_and_ordered():
    """Vectors of twice the width do about twice the work; half as much again is left for disturbances."""
    widths = [isa for isa in ISAS if isa in ("generic", "avx2", "avx512")]  # the others widen bf16 alone
    reached = {isa: _native.fma_gflops(isa, 1) for isa in widths}
    assert all(0.5 < value < 10_000 for value in reached.values())
    assert all(reached[better] > 1.3 * reached[isa] for isa, better in pairwise(widths))
