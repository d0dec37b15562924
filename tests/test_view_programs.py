"""Programs whose pixels lie elsewhere in the scene: native against torch in float64, states, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipedge.engines import get_engine
from dipedge.engines.base import Program, Settings
from dipedge.engines.initial import fourier_features
from dipedge.errors import EngineError, InputError
from dipedge.optimisers import Adam
from dipedge.priors import Fourier, Hourglass, Meshgrid, Prior, dip
from dipedge.tasks import Denoise
from dipedge.views import View
from tests.configurations import (
    CONFIGURATIONS,
    POINTWISE,
    assert_bfloat16_evaluation,
    assert_evaluation,
    prepared,
    reference,
    relative,
)
from tests.native_kernels import ISAS, THREADS, with_bf16

ENGINES = ("torch", "native")
MOVED = (View.shift(3.3, -1.7),)
OF_FEATURES = [name for name in CONFIGURATIONS if isinstance(CONFIGURATIONS[name][0].encoding, Fourier)]
FEATURES = {
    "fixed": Prior(Fourier(), Hourglass(POINTWISE)),
    "learned": Prior(Fourier(learned=True), Hourglass(POINTWISE)),
    "perturbed": Prior(Fourier(learned=True), Hourglass(POINTWISE), 0.03, "frequencies"),
    "noisy": Prior(Fourier(4), Hourglass(POINTWISE), 0.03),
}


def begun(engine: str, prior: Prior | str, shape=(20, 26, 3), views=(), **settings) -> Program:
    settings = {"seed": 5, "precision": "fp32", "threads": 1, "optimiser": Adam(0.001)} | settings
    prior = FEATURES[prior] if isinstance(prior, str) else prior
    program = get_engine(engine).compile(prior, Denoise(), shape, Settings(**settings))
    program.set_target(np.random.default_rng(0).random(shape, np.float32))
    if views:
        program.set_views(views)
    return program


def unequal(one: dict, other: dict) -> list[str]:
    """Keys whose arrays differ in a bit, or that one of the two does not have."""
    keys = set(one) | set(other)
    return sorted(
        key for key in keys if not (key in one and key in other and np.array_equal(one[key], other[key]))
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", OF_FEATURES)
def test_a_moved_picture_has_the_output_and_gradients_of_torch_in_float64(name, isa, monkeypatch):
    seed, wanted = reference(name, MOVED)
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    program = prepared("native", "fp32", name, seed, views=MOVED)
    found = program.evaluate()
    program.close()
    assert_evaluation(found, wanted)


@pytest.mark.parametrize("name", ["fixed frequencies", "learned frequencies into 3x3"])
def test_a_view_that_is_not_followed_would_be_found(name):
    seed, wanted = reference(name, MOVED)
    program = prepared("native", "fp32", name, seed)
    found = program.evaluate()
    program.close()
    assert relative(found.output, wanted.output) > 0.01
    with pytest.raises(AssertionError):
        assert_evaluation(found, wanted)


@with_bf16
@pytest.mark.parametrize(
    "name", ["fixed frequencies", "learned frequencies", "lanczos2 of fixed frequencies"]
)
def test_bfloat16_follows_a_view_too(name, isa, monkeypatch):
    """With slope 1, as in tests/test_native_engine.py."""
    prior, task, shape = CONFIGURATIONS[name]
    straight = replace(prior, network=replace(prior.network, slope=1.0))
    monkeypatch.setitem(CONFIGURATIONS, name, (straight, task, shape))
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    answers = []
    for engine, precision in (("native", "bf16"), ("torch", "fp64")):
        program = prepared(engine, precision, name, seed=0, views=MOVED)
        answers.append(program.evaluate())
        program.close()
    assert_bfloat16_evaluation(*answers, maxima=False)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", FEATURES)
def test_a_view_of_the_first_frame_changes_no_bit(name, engine):
    plain, viewed = begun(engine, name), begun(engine, name, views=(View(),))
    for program in (plain, viewed):
        program.step(3)
    assert unequal(plain.state(), viewed.state()) == []
    viewed.set_views([View.shift(0.5, 0)])
    for program in (plain, viewed):
        program.step(1)
    assert "output" in unequal(plain.state(), viewed.state())


@pytest.mark.parametrize("subsample", [False, True])
@pytest.mark.parametrize("name", ["fixed", "learned"])
def test_a_camera_that_moves_on_is_followed_as_by_torch(name, subsample):
    exact, native = (
        begun(engine, name, subsample=subsample, average=0.5, precision=precision)
        for engine, precision in (("torch", "fp64"), ("native", "fp32"))
    )
    view = View()
    for _ in range(3):
        view = view.after(View.shift(1.7, -0.4))
        for program in (exact, native):
            program.set_views([view])
            program.step(3)
        assert native.loss() == pytest.approx(exact.loss(), rel=1e-4)
        for averaged in (False, True):
            assert np.allclose(native.estimate(averaged), exact.estimate(averaged), atol=1e-4)


def test_perturbed_frequencies_are_taken_at_the_moved_places():
    """A step's noise is the same wherever the camera stands: moved by whole pixels, so are its features."""
    made = []
    for views in ((View(),), (View.shift(6, -4),)):
        program = begun("native", "perturbed", views=views, input_gradient=True)
        program.step(1)
        made.append(program._program.get_input())
    here, there = made
    assert np.array_equal(there[4:, :-6], here[:-4, 6:])
    assert not np.allclose(here, fourier_features(Fourier().frequencies(), *here.shape[:2]), atol=0.01)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", FEATURES)
def test_a_saved_stream_goes_on_to_the_bit_where_its_camera_stands(name, engine):
    first = begun(engine, name, views=(View.shift(2.25, 1.5, time=0.5),))
    first.step(3)
    state = first.state()
    assert state["views"].dtype == np.float64
    assert np.array_equal(state["views"], [[1, 0, 2.25, 0, 1, 1.5, 0.5]])
    second = begun(engine, name, views=(View.shift(-7, 0),))
    second.load_state(state)
    for program in (first, second):
        program.step(2)
    assert unequal(first.state(), second.state()) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_brings_the_camera_back_and_one_without_views_leaves_it(engine):
    program = begun(engine, "fixed")
    state = program.state()
    program.set_views([View.shift(4, 4)])
    program.load_state({key: values for key, values in state.items() if key != "views"})
    assert np.array_equal(program.state("views")["views"], [[1, 0, 4, 0, 1, 4, 0]])
    program.load_state(state)
    assert np.array_equal(program.state("views")["views"], [[1, 0, 0, 0, 1, 0, 0]])
    program.step(1)
    fresh = begun(engine, "fixed")
    fresh.step(1)
    assert np.array_equal(program.estimate(), fresh.estimate())


def test_threads_change_no_bit_of_a_moved_fit():
    alone = begun("native", "learned", (47, 51, 3), MOVED)
    alone.step(3)
    for threads in THREADS:
        together = begun("native", "learned", (47, 51, 3), MOVED, threads=threads)
        together.step(3)
        assert unequal(alone.state(), together.state()) == [], threads


@pytest.mark.parametrize("engine", ENGINES)
def test_a_view_between_the_halves_of_a_step_throws_the_first_away(engine):
    program = begun(engine, "fixed")
    output = program.forward()
    program.set_views(MOVED)
    with pytest.raises(EngineError, match=r"without forward|call forward first"):
        program.backward(np.zeros_like(output), 0.0)
    assert not np.allclose(program.forward(), output, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("prior", "views", "words"),
    [
        (FEATURES["fixed"], [], "needs one View for each"),
        (FEATURES["fixed"], [View(), View()], "needs one View for each"),
        (FEATURES["fixed"], [(1.0, 2.0)], "needs one View for each"),
        (FEATURES["fixed"], [View((1, 0.1, 0, 0, 1, 0))], "more than a shift"),
        (dip(), [View()], "Noise has none"),
        (replace(dip(), encoding=Meshgrid()), [View()], "Meshgrid has none"),
    ],
)
def test_views_that_cannot_be_followed_are_refused_and_change_nothing(engine, prior, views, words):
    program = begun(engine, prior, (16, 16, 3))
    before = program.state()
    with pytest.raises(InputError, match=words):
        program.set_views(views)
    assert unequal(before, program.state()) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("views", [np.zeros((2, 7)), np.array([[1, 0.1, 0, 0, 1, 0, 0]])])
def test_a_state_with_views_of_another_fit_changes_nothing(engine, views):
    program = begun(engine, "fixed")
    before = program.state()
    with pytest.raises(InputError, match="view"):
        program.load_state({**before, "step": np.array(9), "views": views})
    assert unequal(before, program.state()) == []
