"""Muon: the native update and the torch engine's against kernels/muon/reference.py in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.errors import InputError
from dipedge.kernels.muon import CASES, Case
from dipedge.optimisers import Adam, Muon
from dipedge.priors import GivenImage, Hourglass, Level, Prior
from dipedge.tasks import Denoise
from tests.tolerance import faults, tolerance

torch = pytest.importorskip("torch", reason="the reference is PyTorch")
reference = pytest.importorskip("dipedge.kernels.muon.reference")
_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")

ISAS = _native.runnable_isas().split()
MUON = Muon(learning_rate=0.03, momentum=0.9, rest=Adam(0.01, beta2=0.99))
SHAPE = (21, 26, 3)


def begun(case: Case, engine: str, threads: int = 1):
    """A fit whose level0.refine is the case's matrix as far as a level allows: out x out, and down's."""
    level = Level(case.out, case.out, 4, case.kernel, case.kernel)
    prior = Prior(GivenImage(case.into), Hourglass((level,)))
    settings = Settings(MUON, seed=1, precision="fp32", threads=threads)
    program = get_engine(engine).compile(prior, Denoise(), SHAPE, settings)
    draws = np.random.default_rng(0)
    program.set_input(draws.random((*SHAPE[:2], case.into), np.float32))
    program.set_target(draws.random(SHAPE, np.float32))
    return program


def expected(state: dict, gradients: dict, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights and mean after one step from ``state``, by the reference in float64."""
    arrays = (state[f"param/{name}"], gradients[name], state[f"adam/m/{name}"])
    tensors = [torch.from_numpy(array.astype(np.float64)) for array in arrays]
    moved, mean = reference.muon_step(*tensors, learning_rate=0.03, momentum=0.9)
    return moved.numpy(), mean.numpy()


def wide(case: Case) -> list[str]:
    """The matrices Muon takes; "down" reads the case's own number of channels."""
    names = ["level0.refine.conv.weight", "level0.up.conv.weight", "level0.up1x1.conv.weight"]
    return [*names, "level0.down.conv.weight"] if case.into * case.kernel**2 >= 16 else names


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_steps_are_those_of_the_reference(case, isa, monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    program = begun(case, "native")
    for _ in range(2):
        before, gradients = program.state(), program.evaluate().gradients
        program.step()
        after = program.state()
        for name in wide(case):
            moved, mean = expected(before, gradients, name)
            change = after[f"param/{name}"] - before[f"param/{name}"]
            wanted = moved - before[f"param/{name}"]
            # The change is a difference of float32 weights some thirty times its size, and comes out of
            # five products; a wrong coefficient or a missing momentum moves it by percents.
            assert np.linalg.norm(change - wanted) < 3e-4 * np.linalg.norm(wanted), name
            assert faults(after[f"adam/m/{name}"], mean, tolerance(1)) == [], name


def test_a_wrong_coefficient_would_be_found():
    program = begun(CASES[2], "native")
    before, gradients = program.state(), program.evaluate().gradients
    program.step()
    name = "level0.refine.conv.weight"
    change = program.state()[f"param/{name}"] - before[f"param/{name}"]
    moved, _ = expected(before, gradients, name)
    right = moved - before[f"param/{name}"]
    for factor in (0.999, 1.001):
        assert np.linalg.norm(factor * change - right) > 3e-4 * np.linalg.norm(right)


def test_the_norm_of_a_matrix_is_held_and_narrow_ones_move_by_adam():
    case = Case(17, 33)
    muon, rest = begun(case, "native"), Settings(MUON.rest, seed=1, precision="fp32", threads=1)
    adam_prior = Prior(GivenImage(case.into), Hourglass((Level(case.out, case.out, 4, 1, 1),)))
    adam = get_engine("native").compile(adam_prior, Denoise(), SHAPE, rest)
    draws = np.random.default_rng(0)
    adam.set_input(draws.random((*SHAPE[:2], case.into), np.float32))
    adam.set_target(draws.random(SHAPE, np.float32))
    start = muon.state()
    muon.step()
    adam.step()
    one, other = muon.state(), adam.state()
    for name in wide(case):
        norms = [np.linalg.norm(state[f"param/{name}"].astype(np.float64)) for state in (start, one)]
        assert norms[1] == pytest.approx(norms[0], rel=1e-6)
    for name in ("level0.skip.conv.weight", "head.conv.weight", "level0.up.bn.weight"):
        assert np.array_equal(one[f"param/{name}"], other[f"param/{name}"])


def test_the_torch_engine_takes_the_same_step():
    case = Case(24, 5, 3)
    states = {}
    for engine in ("native", "torch"):
        program = begun(case, engine)
        program.step()
        states[engine] = program.state()
    for key, values in states["torch"].items():
        if key.startswith("param/") and not key.endswith(("conv.bias", "bn.bias", "bn.weight")):
            assert np.linalg.norm(states["native"][key] - values) < 1e-4 * np.linalg.norm(values), key


FALLING = Muon(learning_rate=0.04, hold=2, decay=4, final=0.25)


def test_the_rate_is_kept_falls_in_a_line_and_stays():
    assert [FALLING.rate(step) for step in (0, 1, 2, 3, 4, 6, 99)] == pytest.approx(
        [0.04, 0.04, 0.04, 0.0325, 0.025, 0.01, 0.01]
    )
    assert FALLING.over(30) == replace(FALLING, hold=10, decay=20)
    assert MUON.over(30) == MUON and MUON.rate(99) == MUON.learning_rate


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_every_step_is_as_long_as_its_rate_says(engine):
    prior = Prior(GivenImage(16), Hourglass((Level(24, 24, 4, 1, 1),)))
    settings = Settings(FALLING, seed=1, precision="fp32", threads=1)
    program = get_engine(engine).compile(prior, Denoise(), SHAPE, settings)
    draws = np.random.default_rng(0)
    program.set_input(draws.random((*SHAPE[:2], 16), np.float32))
    program.set_target(draws.random(SHAPE, np.float32))
    name = "param/level0.refine.conv.weight"
    for step in range(8):
        before = program.state()[name].astype(np.float64)
        program.step()
        after = program.state()[name]
        angle = np.arccos(np.sum(before * after) / np.linalg.norm(before) / np.linalg.norm(after))
        # The step is added and the norm put back: its part along the weights does not turn them.
        assert 0.9 * FALLING.rate(step) < angle < 1.03 * FALLING.rate(step), step


def test_values_outside_their_range_are_refused():
    for wrong in (
        {"learning_rate": 0.0}, {"momentum": 1.0}, {"iterations": 0}, {"hold": -1}, {"final": 0.0}
    ):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(wrong))):
            Muon(**wrong)
