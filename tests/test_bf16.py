"""bfloat16 activations on the native engine: as near to float32 as 8 bits allow, and as repeatable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge.engines import get_engine  # noqa: E402
from dipedge.engines.base import Program, Settings  # noqa: E402
from dipedge.errors import EngineError  # noqa: E402
from dipedge.optimisers import Muon  # noqa: E402
from dipedge.priors import Fourier, GivenImage, Hourglass, Level, Noise, Prior  # noqa: E402
from dipedge.tasks import Denoise, SuperResolve  # noqa: E402

ISAS = [isa for isa in _native.runnable_isas().split() if _native.multiplies_bf16(isa)]
needs_bf16 = pytest.mark.skipif(not ISAS, reason="no instruction set here multiplies bf16")
SHAPE = (44, 101, 3)
PRIORS = {
    "pointwise": Prior(Fourier(8, learned=True), Hourglass((Level(48, 32, 4, 1, 1), Level(32, 33, 5, 1, 1)))),
    "3x3 strided": Prior(Noise(7), Hourglass((Level(40, 48, 4), Level(17, 32, 0))), perturbation=0.03),
    "wide kernels": Prior(Noise(3), Hourglass((Level(16, 24, 4, 5, 7, 3), Level(33, 16, 6, 7, 5))),),
    "nearest, zero, no 1x1": Prior(
        GivenImage(4),
        Hourglass((Level(20, 20, 4),) * 3, upsample="nearest", padding="zero", need1x1_up=False),
    ),
    "lanczos2": Prior(Noise(7), Hourglass((Level(40, 48, 4), Level(17, 32, 0)), downsample="lanczos2")),
    "lanczos3, 5x5, zero": Prior(
        Noise(3), Hourglass((Level(16, 24, 4, 5, 3),) * 2, padding="zero", downsample="lanczos3"),
    ),
    "lanczos2, pointwise": Prior(
        Fourier(8, learned=True), Hourglass((Level(48, 32, 4, 1, 1),) * 2, downsample="lanczos2")
    ),
    "averages": Prior(Noise(5), Hourglass((Level(24, 16, 4), Level(33, 16, 6)), downsample="avg")),
    "maxima": Prior(Noise(5), Hourglass((Level(24, 16, 4), Level(33, 16, 6)), downsample="max")),
}  # fmt: skip


def begun(prior: Prior, precision: str, threads: int = 1, **settings) -> Program:
    """A fit of a smooth, slightly noisy picture, with norms that are not all 1 and 0."""
    made = Settings(seed=3, precision=precision, threads=threads, **settings)
    program = get_engine("native").compile(prior, Denoise(), SHAPE, made)
    draws = np.random.default_rng(0)
    state = {
        f"param/{name}": draws.normal(name.endswith("weight"), 0.3, shape).astype(np.float32)
        for name, shape in prior.parameter_shapes(3).items()
        if ".bn." in name
    }
    program.load_state(state)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] / 30
    smooth = np.stack((np.sin(rows), np.cos(columns), np.sin(rows + columns)), axis=2) * 0.4 + 0.5
    program.set_target((smooth + draws.normal(0, 0.02, SHAPE)).astype(np.float32))
    if isinstance(prior.encoding, GivenImage):
        program.set_input(draws.random((*SHAPE[:2], prior.encoding.channels), np.float32))
    return program


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def judged(found, wanted) -> bool:
    """Whether an evaluation in bf16 is that of float32 up to its rounding.

    Every stored value is off by at most 2^-9 of itself. Through ten layers whose norms divide by what varies,
    an output moves by a few of these; a gradient also loses where it is a small difference, so whole
    gradients are compared by direction and length.
    """
    if np.linalg.norm(found.output - wanted.output) > 8 * 2**-9 * np.linalg.norm(wanted.output):
        return False
    names = [name for name in wanted.gradients if name.endswith("conv.weight")]
    ours = np.concatenate([found.gradients[name].ravel() for name in names])
    exact = np.concatenate([wanted.gradients[name].ravel() for name in names])
    length = np.linalg.norm(ours) / np.linalg.norm(exact)
    return cosine(ours, exact) > 0.98 and abs(length - 1) < 0.05


@needs_bf16
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", PRIORS)
def test_output_and_gradients_are_those_of_float32_up_to_rounding(name, isa, monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    wanted = begun(PRIORS[name], "fp32").evaluate()
    found = begun(PRIORS[name], "bf16").evaluate()
    assert judged(found, wanted)
    assert not np.array_equal(found.output, wanted.output)  # it did run in bf16
    for key in wanted.gradients:
        wrong = replace(found, gradients={**found.gradients, key: -found.gradients[key]})
        if np.linalg.norm(wanted.gradients[key]) > 0.3 * np.linalg.norm(wanted.gradients["head.conv.weight"]):
            assert not judged(wrong, wanted) or not key.endswith("conv.weight")
    assert not judged(replace(found, output=found.output * 1.02), wanted)


@needs_bf16
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", PRIORS)
def test_any_number_of_threads_gives_the_same_bits(name, isa, monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    states = []
    for threads in (1, 2, 3, 8):
        program = begun(PRIORS[name], "bf16", threads, optimiser=Muon())
        program.step(4)
        states.append(program.state())
    for state in states[1:]:
        assert [key for key in state if not np.array_equal(state[key], states[0][key])] == []


@needs_bf16
def test_a_saved_fit_goes_on_bit_for_bit():
    first = begun(PRIORS["3x3 strided"], "bf16")
    first.step(3)
    second = begun(PRIORS["3x3 strided"], "bf16")
    second.load_state(first.state())
    first.step(3)
    second.step(3)
    one, other = first.state(), second.state()
    assert all(np.array_equal(one[key], other[key]) for key in one)


@needs_bf16
@pytest.mark.parametrize("isa", ISAS)
def test_a_fit_takes_up_the_picture_as_well_as_in_float32(isa, monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    losses = {}
    for precision in ("fp32", "bf16"):
        program = begun(PRIORS["pointwise"], precision)
        program.step(200)
        losses[precision] = program.loss()
    assert losses["bf16"] < 1.25 * losses["fp32"] + 2e-4


def test_bf16_is_refused_where_it_cannot_be_had(monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", "generic")
    with pytest.raises(EngineError, match="'generic' does not"):
        get_engine("native").compile(PRIORS["pointwise"], Denoise(), SHAPE, Settings(precision="bf16"))


@needs_bf16
@pytest.mark.parametrize("down", ["stride", "avg", "max", "lanczos2", "lanczos3"])
def test_auto_takes_bf16_on_tiles_whatever_decimates(down, monkeypatch):
    prior = Prior(Noise(3), Hourglass((Level(8, 8, 4),), downsample=down))
    for isa in ISAS:
        monkeypatch.setenv("DIPEDGE_ISA", isa)
        outputs = {
            precision: begun(prior, precision).evaluate().output for precision in ("auto", "bf16", "fp32")
        }
        chosen = "bf16" if isa == "amx" else "fp32"
        assert [p for p in ("bf16", "fp32") if np.array_equal(outputs["auto"], outputs[p])] == [chosen]


@needs_bf16
def test_super_resolution_runs_in_bf16():
    prior = Prior(Noise(8), Hourglass((Level(32, 32, 4),) * 2), perturbation=0.03)
    made = get_engine("native").compile(prior, SuperResolve(4), (64, 48, 3), Settings(precision="bf16"))
    made.set_target(np.full((16, 12, 3), 0.25, np.float32))
    made.step(30)
    assert made.loss() < 0.02
