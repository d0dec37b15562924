"""Steps that see a quarter of the pixels: which ones, what comes out, and what refuses them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipedge.engines import get_engine
from dipedge.engines.base import Program, Settings
from dipedge.engines.sampling import CYCLE, completes, seen
from dipedge.errors import EngineError
from dipedge.fit import fit_steps
from dipedge.optimisers import Adam
from dipedge.priors import Hourglass, Level, dip, pip
from dipedge.stopping import MaxSteps, Observation
from dipedge.tasks import Denoise, Inpaint, SuperResolve, Task
from dipedge.variance import VarianceWindow

POINTWISE = replace(pip(), network=Hourglass((Level(16, 16, 4, 1, 1),) * 2))
ENGINES = ("torch", "native")


def counts(height: int, width: int, cycle: int, seed: int = 0) -> np.ndarray:
    """How often the four steps of a cycle see each pixel."""
    found = np.zeros((height, width), int)
    for step in range(CYCLE * cycle, CYCLE * cycle + CYCLE):
        places = seen(height, width, seed, step)
        np.add.at(found, np.ix_(places.rows, places.columns), 1)
    return found


@pytest.mark.parametrize("cycle", [0, 1, 77])
def test_a_cycle_sees_every_pixel_once(cycle):
    assert (counts(16, 24, cycle) == 1).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 8), (9, 5), (1, 6)])
def test_odd_sides_lose_no_pixel_and_repeat_only_their_last(height, width):
    found = counts(height, width, 3)
    assert (found >= 1).all()
    assert (found[: height // 2 * 2, : width // 2 * 2] == 1).all()


def test_positions_change_with_cycle_and_seed_and_lie_on_no_grid():
    rows = [tuple(seen(64, 64, seed, step).rows % 2) for seed in (0, 1) for step in (0, 4, 8)]
    assert len(set(rows)) == 6
    assert all(0.2 < np.mean(one) < 0.8 for one in rows)


def test_the_other_pixels_of_a_step_are_those_its_cycle_sees():
    def pixels(step: int, other: int = 0) -> tuple[tuple[int, ...], ...]:
        places = seen(10, 12, 5, step, other)
        return tuple(places.rows), tuple(places.columns)

    assert {pixels(9, other) for other in range(4)} == {pixels(step) for step in range(8, 12)}


def begun(engine: str, shape: tuple[int, int, int], task: Task | None = None, **settings) -> Program:
    chosen = Settings(Adam(0.001), average=0.5, seed=3, threads=1, subsample=True, **settings)
    program = get_engine(engine).compile(POINTWISE, task or Denoise(), shape, chosen)
    draws = np.random.default_rng(0)
    mask = draws.random(shape[:2]) > 0.3 if task else None
    program.set_target(draws.random(shape, np.float32), mask)
    return program


@pytest.mark.parametrize("task", [None, Inpaint(None)], ids=["denoise", "inpaint"])
@pytest.mark.parametrize("shape", [(16, 24, 3), (9, 7, 1)], ids=str)
def test_both_engines_see_the_same_pixels_and_give_the_same_pictures(shape, task):
    exact, native = (
        begun("torch", shape, task, precision="fp64"),
        begun("native", shape, task, precision="fp32"),
    )
    for _ in range(9):
        for program in (exact, native):
            program.step()
        assert native.complete == exact.complete == completes(native.steps_done - 1)
        assert native.loss() == pytest.approx(exact.loss(), rel=1e-4)
        for averaged in (False, True):
            assert np.allclose(native.estimate(averaged), exact.estimate(averaged), atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_moves_its_own_pixels_and_a_completing_one_all(engine):
    program = begun(engine, (12, 10, 3), precision="fp32")
    program.step()
    for _ in range(8):
        before, average = program.estimate(averaged=False), program.estimate()
        places = seen(12, 10, 3, program.steps_done)
        program.step()
        moved = (program.estimate(averaged=False) != before).any(axis=2)
        expected = np.zeros((12, 10), bool)
        expected[np.ix_(places.rows, places.columns)] = True
        assert np.array_equal(moved, np.ones_like(expected) if program.complete else expected)
        assert np.array_equal(program.estimate(), average) != program.complete


def test_the_average_forgets_in_a_cycle_what_it_would_in_four_steps():
    program = begun("native", (12, 10, 3), precision="fp32")
    program.step()
    first = program.estimate()
    program.step(3)
    assert np.allclose(
        program.estimate(), 0.5**4 * first + (1 - 0.5**4) * program.estimate(averaged=False), atol=1e-6
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_every_new_target_is_seen_whole_however_few_steps_it_is_given(engine):
    program = begun(engine, (12, 10, 3), precision="fp32")
    program.step(5)  # into a cycle's middle
    for frame in range(3):
        before = program.estimate()
        program.set_target(np.full((12, 10, 3), 0.1 * frame, np.float32))
        program.step()
        assert program.complete
        output = program.estimate(averaged=False)
        weight = 0.5**CYCLE if completes(program.steps_done - 1) else 0.5
        assert np.allclose(program.estimate(), weight * before + (1 - weight) * output, atol=1e-6)
    program.step()
    assert program.complete == completes(program.steps_done - 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("prior", "task", "why"),
    [
        (dip(), Denoise(), "not pointwise"),
        (pip(), SuperResolve(2), "decimated output"),
        (replace(pip(), perturbation=0.1), Denoise(), "unperturbed Fourier"),
        (replace(dip(), network=POINTWISE.network), Denoise(), "unperturbed Fourier"),
    ],
)
def test_what_is_not_pointwise_is_refused_with_the_reason(engine, prior, task, why):
    with pytest.raises(EngineError, match=why):
        get_engine(engine).compile(prior, task, (16, 16, 3), Settings(subsample=True))


def test_stopping_statistics_take_whole_outputs_only():
    shown = []
    watcher = VarianceWindow(window=2, patience=1).start()
    for index in range(1, 9):
        complete = completes(index - 1)
        seen_by = Observation(
            index, 0.0, 0.1, (4, 4, 3), lambda pixels: shown.append(1) or np.zeros((16, 3)), complete
        )
        watcher.update(seen_by)
    assert len(shown) == 3  # steps 1, 4 and 8


def test_a_fit_goes_on_to_its_limit_and_its_estimate_is_a_whole_picture():
    program = begun("native", (16, 16, 3), precision="fp32")
    steps = list(fit_steps(program, MaxSteps(7), clock=lambda: 0.0))
    assert [step.index for step in steps] == list(range(1, 8))
    assert program.estimate().shape == (16, 16, 3)
    assert program.estimate().std() > 0
