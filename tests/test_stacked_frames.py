"""Several frames in one fit, where and when each was taken: native against torch in float64, and edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipedge.engines import get_engine
from dipedge.engines.base import Program, Settings
from dipedge.errors import EngineError, InputError
from dipedge.optimisers import Adam
from dipedge.priors import Fourier, HazePriors, Hourglass, Prior, SpaceTime, dip, pip, video_pip
from dipedge.tasks import Dehaze, Denoise, Inpaint, SuperResolve
from dipedge.views import View
from tests.configurations import (
    CONFIGURATIONS,
    POINTWISE,
    ROUNDING,
    SCENES,
    assert_bfloat16_evaluation,
    assert_evaluation,
    prepared,
    reference,
    relative,
    without_effect,
)
from tests.native_kernels import ISAS, THREADS, with_bf16
from tests.test_view_programs import OF_FEATURES, unequal

ENGINES = ("torch", "native")
CAMERA = (View.shift(1.3, -0.6, 0.2), View.shift(-2.0, 0.4, 0.5), View.shift(0.0, 3.25, 0.9))
TURNED = View((0.97, -0.12, 1.5, 0.1, 1.04, -2.0), 0.3)
DENSE = [
    name
    for name in (*OF_FEATURES, *SCENES)
    if not name.startswith("subsampled") and (CONFIGURATIONS | SCENES)[name][0].network.downsample == "stride"
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("name", SCENES)
def test_stacked_frames_have_the_output_and_gradients_of_torch_in_float64(name, frames, isa, monkeypatch):
    seed, wanted = reference(name, CAMERA[:frames])
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    program = prepared("native", "fp32", name, seed, views=CAMERA[:frames])
    found = program.evaluate()
    program.close()
    assert_evaluation(found, wanted)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", DENSE)
def test_turned_frames_have_the_output_and_gradients_of_torch_in_float64(name, isa, monkeypatch):
    views = (TURNED, View.shift(1, 1, 0.5)) if name in SCENES else (TURNED,)
    seed, wanted = reference(name, views)
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    program = prepared("native", "fp32", name, seed, views=views)
    found = program.evaluate()
    program.close()
    assert_evaluation(found, wanted)


@with_bf16
@pytest.mark.parametrize("views", [CAMERA, (TURNED,)], ids=["stacked", "turned"])
@pytest.mark.parametrize("name", ["space and time", "learned space", "lanczos2 in time"])
def test_bfloat16_gives_the_direction_of_the_same_gradients(name, views, isa, monkeypatch):
    """With slope 1, as in tests/test_native_engine.py."""
    prior, task, shape = SCENES[name]
    straight = replace(prior, network=replace(prior.network, slope=1.0))
    monkeypatch.setitem(SCENES, name, (straight, task, shape))
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    answers = []
    for engine, precision in (("native", "bf16"), ("torch", "fp64")):
        program = prepared(engine, precision, name, seed=0, views=views)
        answers.append(program.evaluate())
        program.close()
    assert_bfloat16_evaluation(*answers, maxima=False)


@pytest.mark.parametrize("name", ["learned space", "lanczos2 in time"])
def test_features_of_frames_made_in_memory_give_what_their_tables_give(name):
    tables, made = (
        prepared("native", "fp32", name, 0, make_z=make_z, views=CAMERA).evaluate()
        for make_z in (False, True)
    )
    assert relative(tables.output, made.output) < 1e-6
    whole = np.sqrt(sum(np.linalg.norm(values) ** 2 for values in made.gradients.values()))
    for key, values in tables.gradients.items():
        allowed = 1e-4 * np.linalg.norm(values) + ROUNDING * whole
        assert without_effect(key) or np.linalg.norm(made.gradients[key] - values) < allowed, key


def begun(engine: str, prior: Prior, shape, frames: int, views=(), task=None, **settings) -> Program:
    """A program whose target shows the same picture in every frame."""
    settings = {"seed": 5, "precision": "fp32", "threads": 1, "optimiser": Adam(0.001)} | settings
    task = task or Denoise()
    stacked = (frames * shape[0], *shape[1:])
    program = get_engine(engine).compile(prior, task, stacked, Settings(frames=frames, **settings))
    scale, draws = task.data_term.scale, np.random.default_rng(0)
    target = draws.random((-(-shape[0] // scale), -(-shape[1] // scale), shape[2]), np.float32)
    mask = draws.random(shape[:2]) > 0.5 if task.data_term.kind == "mask" else None
    program.set_target(np.tile(target, (frames, 1, 1)), None if mask is None else np.tile(mask, (frames, 1)))
    if views:
        program.set_views(views)
    return program


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", [Denoise(), Inpaint(None), SuperResolve(2)], ids=lambda task: task.name)
@pytest.mark.parametrize("ways", [{}, {"downsample": "lanczos2"}, {"upsample": "nearest"}], ids=str)
def test_a_frame_seen_three_times_is_fitted_as_it_is_alone(engine, task, ways):
    """Nothing looks over a frame's edge, so nothing shows that there are others, at odd heights too."""
    prior = Prior(Fourier(4, learned=True), Hourglass(POINTWISE, **ways))
    view = View.shift(1.5, -2)
    precision = "fp64" if engine == "torch" else "fp32"
    one, three = (
        begun(engine, prior, (13, 18, 3), frames, (view,) * frames, task, precision=precision).evaluate()
        for frames in (1, 3)
    )
    near = 1e-9 if engine == "torch" else 1e-5
    for frame in np.split(three.output, 3):
        assert relative(frame, one.output) < near
    assert three.loss == pytest.approx(one.loss, rel=near)
    whole = np.sqrt(sum(np.linalg.norm(values) ** 2 for values in one.gradients.values()))
    for key, values in one.gradients.items():
        assert np.linalg.norm(three.gradients[key] - values) < 10 * near * whole, key


@pytest.mark.parametrize("subsample", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_steps_of_moving_frames_are_those_of_torch(learned, subsample):
    prior = Prior(SpaceTime(4, 16.0, learned, times=3), Hourglass(POINTWISE))
    exact, native = (
        begun(engine, prior, (11, 14, 3), 3, average=0.5, precision=precision, subsample=subsample)
        for engine, precision in (("torch", "fp64"), ("native", "fp32"))
    )
    for moved in range(3):
        views = [view.after(View.shift(0.8 * moved, -0.3 * moved)) for view in CAMERA]
        for program in (exact, native):
            program.set_views(views)
            program.step(3)
        assert native.complete == exact.complete
        assert native.loss() == pytest.approx(exact.loss(), rel=1e-4)
        for averaged in (False, True):
            assert np.allclose(native.estimate(averaged), exact.estimate(averaged), atol=1e-4)
        pixels = np.array([0, 100, 3 * 11 * 14 - 1])
        assert np.allclose(native.sample(pixels), exact.sample(pixels), atol=1e-4)


@pytest.mark.parametrize("warped", [False, True])
def test_threads_change_no_bit_of_stacked_frames(warped):
    prior = Prior(SpaceTime(4, learned=True), Hourglass(POINTWISE, downsample="lanczos2"))
    views = (TURNED, *CAMERA[1:]) if warped else CAMERA
    alone = begun("native", prior, (27, 31, 3), 3, views, warped=warped)
    alone.step(3)
    for threads in THREADS:
        together = begun("native", prior, (27, 31, 3), 3, views, warped=warped, threads=threads)
        together.step(3)
        assert unequal(alone.state(), together.state()) == [], threads


@pytest.mark.parametrize("engine", ENGINES)
def test_a_saved_clip_goes_on_to_the_bit(engine):
    prior = Prior(SpaceTime(4), Hourglass(POINTWISE))
    first = begun(engine, prior, (11, 14, 3), 3, (TURNED, *CAMERA[1:]), warped=True)
    first.step(2)
    state = first.state()
    assert state["views"].shape == (3, 7) and np.array_equal(state["views"][:, 6], [0.3, 0.5, 0.9])
    second = begun(engine, prior, (11, 14, 3), 3, warped=True)
    second.load_state(state)
    for program in (first, second):
        program.step(2)
    assert unequal(first.state(), second.state()) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_that_could_turn_but_does_not_is_the_plain_one(engine):
    prior = Prior(Fourier(4), Hourglass(POINTWISE))
    plain = begun(engine, prior, (20, 17, 3), 1, CAMERA[:1]).evaluate()
    turning = begun(engine, prior, (20, 17, 3), 1, CAMERA[:1], warped=True).evaluate()
    assert relative(turning.output, plain.output) < 1e-5
    nearly = View((1, 1e-9, 1.3, 0, 1, -0.6), 0.2)
    assert relative(begun(engine, prior, (20, 17, 3), 1, (nearly,), warped=True).evaluate().output,
                    plain.output) < 1e-5  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_time_changes_what_features_of_time_see_and_nothing_else(engine):
    for encoding, sees in ((SpaceTime(4, times=2), True), (Fourier(4), False)):
        early, late = (
            begun(engine, Prior(encoding, Hourglass(POINTWISE)), (12, 12, 3), 2,
                  (View(time=0.1), View(time=time))).evaluate().output
            for time in (0.2, 0.9)
        )  # fmt: skip
        assert np.allclose(early, late, atol=1e-6) != sees


def test_the_video_prior_has_the_published_parameters():
    assert video_pip().parameter_count() == 1_565_043
    assert video_pip().encoding.channels == 48
    assert SpaceTime().time_frequencies()[0] == 1
    assert SpaceTime().time_frequencies()[-1] == pytest.approx(SpaceTime().frequencies()[1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("prior", "task", "settings", "words"),
    [
        (pip(), Denoise(), {"frames": 3}, "16 rows is not so many frames"),
        (pip(), Denoise(), {"frames": 0}, "frames is 0"),
        (dip(), Denoise(), {"frames": 2}, "layers are not all pointwise"),
        (replace(dip(), network=pip().network), Denoise(), {"frames": 2}, "not made of Fourier features"),
        (HazePriors(pip(), pip()), Dehaze(), {"frames": 2}, "several parts"),
        (HazePriors(pip(), pip()), Dehaze(), {"warped": True}, "warped cannot be used"),
        (dip(), Denoise(), {"warped": True}, "warped cannot be used"),
        (pip(), Denoise(), {"warped": True, "subsample": True}, "subsample cannot be used"),
    ],
)
def test_what_cannot_be_stacked_or_turned_is_refused_with_the_reason(engine, prior, task, settings, words):
    with pytest.raises(EngineError, match=words):
        get_engine(engine).compile(prior, task, (16, 16, 3), Settings(**settings))


@pytest.mark.parametrize("engine", ENGINES)
def test_views_and_targets_of_another_count_are_refused(engine):
    program = begun(engine, pip(), (8, 8, 3), 2)
    with pytest.raises(InputError, match="of which it has 2"):
        program.set_views(CAMERA)
    with pytest.raises(InputError, match="more than a shift"):
        program.set_views([TURNED, View()])
    with pytest.raises(InputError, match=r"this fit needs \(16, 8, 3\)"):
        program.set_target(np.zeros((8, 8, 3), np.float32))
    small = begun(engine, pip(), (9, 9, 3), 2, task=SuperResolve(2))
    with pytest.raises(
        InputError, match=r"this fit needs \(10, 5, 3\)"
    ):  # 5 rows of each frame, not 9 of both
        small.set_target(np.zeros((9, 5, 3), np.float32))
