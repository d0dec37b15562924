"""Which engine "auto" takes for a prior, and that a named engine never gives way to another."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import dipedge as de
from dipedge.engines import engine_for
from dipedge.engines.base import Settings

pytest.importorskip("dipedge._native")

OTHERS = [de.unet(), de.resnet(), de.pixels()]
SENTENCE = r"engine 'native' runs hourglasses, not a network of kind \w+; engine='torch' runs it"


@pytest.fixture
def without_torch(monkeypatch):
    """As on a machine where PyTorch is not installed."""
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("dipedge.engines.torch")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def without_gpu(monkeypatch):
    """As on a machine without a GPU, whatever this one has."""
    monkeypatch.setattr("dipedge.engines.cuda_check.obstacle", lambda interpreter: Missing())


class Missing:
    device_there, reason = False, "there is no GPU"


def others(test):
    return pytest.mark.parametrize("prior", OTHERS, ids=lambda prior: prior.name)(test)


@others
def test_auto_takes_torch_for_what_native_does_not_run(prior, without_gpu):
    pytest.importorskip("torch")
    assert engine_for("auto", prior, de.Denoise()).name == "torch"
    assert engine_for("auto", de.dip(), de.Denoise()).name == "native"


@others
def test_without_torch_auto_says_what_would_run_it(prior, without_gpu, without_torch):
    with pytest.raises(de.EngineError, match=SENTENCE + r" \(pip install dipedge\[torch\]\)") as caught:
        engine_for("auto", prior, de.Denoise())
    assert "\n" not in str(caught.value)
    assert engine_for("auto", de.pip(), de.Denoise()).name == "native"


@others
def test_a_named_engine_that_cannot_run_a_network_is_an_error(prior):
    with pytest.raises(de.EngineError, match=SENTENCE):
        de.Session(de.Denoise(), prior=prior, engine="native")
    with pytest.raises(de.EngineError, match=SENTENCE):
        de.get_engine("native").compile(prior, de.Denoise(), (16, 16, 3), Settings())


def test_a_composition_is_refused_for_the_one_part_that_cannot_run(without_gpu):
    pytest.importorskip("torch")
    haze = de.HazePriors(de.dip(), de.unet())
    with pytest.raises(de.EngineError, match=SENTENCE):
        engine_for("native", haze, de.Dehaze())
    assert engine_for("auto", haze, de.Dehaze()).name == "torch"


def test_the_gpu_engine_refuses_other_networks_with_the_same_sentence():
    pytest.importorskip("triton")
    engine = de.get_engine("triton")  # in its interpreter where there is no GPU
    words = SENTENCE.replace("native", "triton")
    with pytest.raises(de.EngineError, match=words):
        engine_for("triton", de.unet(), de.Denoise())
    with pytest.raises(de.EngineError, match=words):
        engine.compile(de.unet(), de.Denoise(), (16, 16, 3), Settings())


def test_auto_says_once_that_a_gpu_is_not_used_and_names_what_is(monkeypatch):
    pytest.importorskip("torch")

    class Gpu:
        name = "triton"

        def supports(self, prior, task):
            return "engine 'triton' has no such network"

    monkeypatch.setattr("dipedge.engines._automatic", Gpu)
    monkeypatch.setattr("dipedge.engines._told", set())
    with pytest.warns(de.EngineFallbackWarning, match="takes the torch engine: engine 'triton' has no such"):
        assert engine_for("auto", de.unet(), de.Denoise()).name == "torch"
    with pytest.warns(de.EngineFallbackWarning, match="takes the native engine"):
        monkeypatch.setattr("dipedge.engines._told", set())
        assert engine_for("auto", de.pip(), de.Denoise()).name == "native"


def test_a_session_without_torch_refuses_before_it_does_anything(without_gpu, without_torch):
    with pytest.raises(de.EngineError, match=SENTENCE):
        de.restore(np.zeros((16, 16, 3), np.uint8), de.Denoise(), prior=de.pixels(), steps=1)
