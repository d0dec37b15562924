"""Fits on the triton engine whose pixels lie elsewhere in the scene: as on the native one."""

from __future__ import annotations

import numpy as np
import pytest

import tests.triton_kernels  # skips this file where Triton cannot run

# isort: split
from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.errors import EngineError, InputError
from dipedge.priors import Fourier, Hourglass, Level, Prior, dip, pip, video_pip
from dipedge.tasks import Denoise
from dipedge.views import View
from tests.configurations import assert_evaluation, prepared, reference

pytestmark = pytest.mark.triton_interpret
assert tests.triton_kernels.DEVICE

SMALL = Hourglass((Level(16, 16, 4, 1, 1),))
FEATURES = {
    "fixed": (Prior(Fourier(4, 16.0), SMALL), {}),
    "perturbed": (Prior(Fourier(4, 16.0, learned=True), SMALL, 0.03, "frequencies"), {}),
    "subsampled": (Prior(Fourier(4, 16.0), SMALL), {"subsample": True}),
}


def begun(engine, name, shape=(6, 7, 3)):
    prior, settings = FEATURES[name]
    program = get_engine(engine).compile(
        prior, Denoise(), shape, Settings(seed=5, precision="fp32", **settings)
    )
    program.set_target(np.random.default_rng(1).random(shape, np.float32))
    return program


@pytest.mark.parametrize("name", ["learned frequencies into a 3x3 skip", "subsampled, learned, bilinear"])
def test_a_moved_picture_has_the_output_and_gradients_of_torch_in_float64(name):
    moved = (View.shift(3.3, -1.7),)
    seed, wanted = reference(name, moved)
    program = prepared("triton", "fp32", name, seed, views=moved)
    assert_evaluation(program.evaluate(), wanted)


@pytest.mark.parametrize("name", FEATURES)
def test_a_camera_that_moves_on_is_followed_as_by_the_native_engine(name):
    ours, native = (begun(engine, name) for engine in ("triton", "native"))
    for dx in (0.0, 1.5, 3.25):
        for program in (ours, native):
            program.set_views([View.shift(dx, -dx / 2)])
            program.step()
        assert ours.loss() == pytest.approx(native.loss(), rel=1e-4)
        assert np.allclose(ours.estimate(averaged=False), native.estimate(averaged=False), atol=1e-4)
    assert np.array_equal(ours.state("views")["views"], native.state("views")["views"])


def test_a_state_of_the_native_engine_brings_its_view_along():
    native, ours = begun("native", "fixed"), begun("triton", "fixed")
    native.set_views([View.shift(2, 3)])
    native.step(2)
    ours.load_state(native.state())
    for program in (native, ours):
        program.step()
    assert np.allclose(ours.estimate(averaged=False), native.estimate(averaged=False), atol=1e-4)


def test_views_that_cannot_be_followed_are_refused():
    program = begun("triton", "fixed")
    with pytest.raises(InputError, match="more than a shift"):
        program.set_views([View((1, 0.1, 0, 0, 1, 0))])
    with pytest.raises(InputError, match="more than a shift"):
        program.load_state({"views": np.array([[1, 0.1, 0, 0, 1, 0, 0]])})
    other = get_engine("triton").compile(dip(), Denoise(), (8, 8, 3), Settings())
    with pytest.raises(InputError, match="Noise has none"):
        other.set_views([View()])


@pytest.mark.parametrize(
    ("prior", "settings"), [(pip(), {"frames": 2}), (pip(), {"warped": True}), (video_pip(), {})]
)
def test_frames_warps_and_time_are_refused_in_one_sentence_that_says_who_has_them(prior, settings):
    engine = get_engine("triton")
    with pytest.raises(EngineError, match="engine='native' and engine='torch'"):
        engine.compile(prior, Denoise(), (16, 16, 3), Settings(**settings))
    assert engine.supports(pip(), Denoise()) is None
    assert "no features of time" in engine.supports(video_pip(), Denoise())
