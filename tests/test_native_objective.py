"""Tasks whose loss is their own, and inputs that are a user's picture, on the native engine."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge import objectives  # noqa: E402
from dipedge.engines import get_engine  # noqa: E402
from dipedge.engines.base import Program, Settings  # noqa: E402
from dipedge.errors import EngineError, InputError  # noqa: E402
from dipedge.optimisers import Adam  # noqa: E402
from dipedge.priors import Fourier, GivenImage, Hourglass, Level, Noise, Prior  # noqa: E402
from dipedge.tasks import BaseTask, DataTerm, Denoise  # noqa: E402
from tests.configurations import cosine, relative  # noqa: E402
from tests.conftest import smooth_picture  # noqa: E402

NET = Hourglass((Level(16, 16, 4), Level(16, 16, 4)))
SHAPE = (33, 42, 3)
no_bf16 = pytest.mark.skipif(
    not _native.multiplies_bf16(_native.runnable_isas().split()[-1]),
    reason="this processor multiplies no bf16",
)
either_precision = pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=no_bf16)])


@dataclass(frozen=True)
class Watched(BaseTask):
    """Mean square against the target, on pixels that are drawn anew in every step."""

    name: ClassVar[str] = "watched"

    @property
    def data_term(self) -> DataTerm:
        return DataTerm("outer")


class DrawnPixels:
    """Its loss; remembers the steps it was asked for."""

    def __init__(self, task: BaseTask, seed: int) -> None:
        self.seed, self.steps, self.target = seed, [], None

    def set_target(self, target: np.ndarray) -> None:
        self.target = target

    def __call__(self, estimate: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        self.steps.append(step)
        seen = np.random.default_rng((self.seed, step)).random(estimate.shape[:2]) < 0.5
        difference = (estimate - self.target) * seen[..., None]
        return float((difference**2).sum() / seen.sum()), np.float32(2 / seen.sum()) * difference


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The task above has its objective in a module of this name, as any other has."""
    homes = {"watched": ("drawn_pixels", "DrawnPixels")}
    monkeypatch.setattr(objectives, "_HOMES", homes)
    module = SimpleNamespace(DrawnPixels=DrawnPixels)
    monkeypatch.setitem(__import__("sys").modules, "dipedge.objectives.drawn_pixels", module)


def begun(prior: Prior | None = None, task: BaseTask | None = None, **settings: object) -> Program:
    made = Settings(**{"seed": 3, "precision": "fp32", "threads": 1} | settings)
    prior = prior or Prior(Noise(6), NET, perturbation=0.02)
    program = get_engine("native").compile(prior, task or Watched(), SHAPE, made)
    program.set_target(smooth_picture(*SHAPE[:2]))
    return program


def differing(one: dict, other: dict) -> list[str]:
    assert set(one) == set(other)
    return [key for key in one if not np.array_equal(one[key], other[key])]


@either_precision
def test_a_tasks_own_loss_is_fitted_in_whole_steps_as_it_is_in_halves(precision):
    program, by_hand = begun(precision=precision), begun(precision=precision, threads=3)
    objective = DrawnPixels(Watched(), 3)
    objective.set_target(smooth_picture(*SHAPE[:2]))
    program.step(40)
    first = None
    for step in range(40):
        loss, gradient = objective(by_hand.forward(), step)
        by_hand.backward(gradient, loss)
        first = first or loss
    assert differing(program.state(), by_hand.state()) == []
    assert program.loss() < 0.5 * first and program.steps_done == 40
    assert program._objective.steps == list(range(40))


def test_a_fit_of_a_tasks_own_loss_goes_on_bit_for_bit():
    whole = begun()
    whole.step(3)
    saved = whole.state()
    whole.step(3)
    restored = begun(threads=2)
    restored.step(1)
    restored.load_state(saved)
    restored.step(3)
    assert restored._objective.steps == [0, 3, 4, 5]
    assert differing(restored.state(), whole.state()) == []


def test_an_evaluation_of_a_tasks_own_loss_changes_nothing_and_is_that_of_the_halves():
    program = begun(Prior(Fourier(learned=True), NET), input_gradient=True)
    program.step(2)
    before = program.state()
    found = program.evaluate()
    assert differing(program.state(), before) == []
    loss, _ = DrawnPixels.__call__(program._objective, found.output, 2)
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert (
        found.gradients["input"].shape == (*SHAPE[:2], 32) and found.gradients["encoding.frequencies"].any()
    )


def test_a_step_of_a_tasks_own_loss_needs_a_target_and_takes_a_new_one():
    program = get_engine("native").compile(Prior(Noise(3), NET), Watched(), SHAPE, Settings(threads=1))
    with pytest.raises(InputError, match="set_target"):
        program.step(1)
    with pytest.raises(InputError, match="target has shape"):
        program.set_target(np.zeros((4, 4, 3), np.float32))
    for level in (0.25, 0.75):
        program.set_target(np.full(SHAPE, level, np.float32))
        program.step(60)
        assert program.estimate(averaged=False).mean() == pytest.approx(level, abs=0.1)


def test_an_objective_that_fails_leaves_a_fit_that_can_go_on(monkeypatch):
    """A Ctrl-C in somebody's network, between the halves: the step is made again, with the noise it had."""
    prior = Prior(Noise(6), NET, perturbation=0.02, weight_noise=0.02)
    interrupted, straight = begun(prior), begun(prior)
    for program in (interrupted, straight):
        program.step(2)
    objective = interrupted._objective

    def failing(estimate, step):
        raise KeyboardInterrupt

    interrupted._objective = failing
    with pytest.raises(KeyboardInterrupt):
        interrupted.step(1)
    assert interrupted.steps_done == 2
    interrupted._objective = objective
    for program in (interrupted, straight):
        program.step(2)
    assert differing(interrupted.state(), straight.state()) == []


def test_a_tasks_own_loss_cannot_be_subsampled():
    pointwise = Prior(Fourier(), Hourglass((Level(16, 16, 4, 1, 1),)))
    with pytest.raises(EngineError, match="loss of the whole output"):
        get_engine("native").compile(pointwise, Watched(), SHAPE, Settings(subsample=True))


# A picture as the network's input ---------------------------------------------------------------------


def given(channels: int, draws: np.random.Generator) -> np.ndarray:
    return draws.random((*SHAPE[:2], channels), np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 64])
def test_a_given_input_of_any_number_of_channels_gives_what_torch_gives(channels):
    """Around whole blocks of 16 and 32 channels; output and gradients, that by the input too."""
    pytest.importorskip("torch", reason="engine torch is what it is compared with")
    z, answers = given(channels, np.random.default_rng(channels)), []
    target = smooth_picture(*SHAPE[:2])
    bf16 = ["bf16"] if _native.multiplies_bf16(_native.runnable_isas().split()[-1]) else []
    for engine, precision in [("torch", "fp64"), ("native", "fp32"), *(("native", name) for name in bf16)]:
        settings = Settings(seed=1, precision=precision, threads=2, input_gradient=True)
        program = get_engine(engine).compile(Prior(GivenImage(channels), NET), Denoise(), SHAPE, settings)
        program.set_target(target)
        program.set_input(z)
        answers.append(program.evaluate())
    wanted, found = answers[:2]
    assert relative(found.output, wanted.output) < 1e-5
    # Not the skip's: of one channel through a norm the weight does nothing but choose a sign.
    for key in ("input", "level0.down.conv.weight", "level0.refine.conv.weight", "head.conv.weight"):
        assert relative(found.gradients[key], wanted.gradients[key]) < 1e-3, key
    for rounded in answers[2:]:
        assert relative(rounded.output, wanted.output) < 0.02
        assert cosine(rounded.gradients["head.conv.weight"], wanted.gradients["head.conv.weight"]) > 0.99


@either_precision
@pytest.mark.parametrize("perturbation", [0.0, 0.03])
@pytest.mark.parametrize("channels", [1, 5, 33])
def test_a_fit_to_a_given_input_goes_on_bit_for_bit_with_the_input_in_its_state(
    channels, perturbation, precision
):
    """The program that is restored was never given the picture itself."""
    prior = Prior(GivenImage(channels), NET, perturbation)
    z = given(channels, np.random.default_rng(0))
    whole = begun(prior, Denoise(), precision=precision)
    whole.set_input(z)
    whole.step(2)
    saved = whole.state()
    assert np.array_equal(saved["input"], z)  # before perturbation
    whole.step(2)
    restored = begun(prior, Denoise(), precision=precision, threads=3, seed=77)
    restored.load_state(saved)
    restored.step(2)
    assert differing(restored.state(), whole.state()) == []


@either_precision
@pytest.mark.parametrize("perturbation", [0.0, 0.03])
def test_a_new_frame_brings_a_new_input_and_nothing_of_the_old_one_remains(perturbation, precision):
    """After the change a fit is that of a program which never had another input."""
    prior, draws = Prior(GivenImage(1), NET, perturbation), np.random.default_rng(0)
    first, second = given(1, draws), given(1, draws)
    changed, other = (begun(prior, Denoise(), precision=precision) for _ in range(2))
    changed.set_input(first)
    changed.step(2)
    state = {key: values for key, values in changed.state().items() if key != "input"}
    changed.set_input(second)
    other.set_input(second)
    other.load_state(state)
    target = smooth_picture(*SHAPE[:2])[::-1].copy()
    for program in (changed, other):
        program.set_target(target)
        program.step(2)
    assert differing(changed.state(), other.state()) == []


def test_a_given_input_decides_the_answer():
    prior = Prior(GivenImage(1), NET)
    outputs = []
    for seed in (0, 1):
        program = begun(prior, Denoise(), optimiser=Adam())
        program.set_input(given(1, np.random.default_rng(seed)))
        program.step(2)
        outputs.append(program.estimate())
    assert not np.allclose(*outputs, atol=1e-3)


def test_a_state_from_before_the_input_was_set_holds_none():
    """Or a fit that is restored from it would take zeros for the picture it was never given."""
    prior = Prior(GivenImage(2), NET)
    early = begun(prior, Denoise())
    saved = early.state()
    assert "input" not in saved
    restored = begun(prior, Denoise())
    restored.load_state(saved)
    with pytest.raises(InputError, match="set_input"):
        restored.step(1)


def test_an_input_of_other_channels_is_refused():
    program = begun(Prior(GivenImage(1), NET), Denoise())
    with pytest.raises(InputError, match=r"\(33, 42, 3\); this fit needs \(33, 42, 1\)"):
        program.set_input(np.zeros(SHAPE, np.float32))
