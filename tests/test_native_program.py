"""Native fits over several steps: threads, state, memory, and the torch engine's loss curve beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge.engines import get_engine  # noqa: E402
from dipedge.engines.base import Program, Settings  # noqa: E402
from dipedge.errors import DipedgeError, OutOfMemoryError  # noqa: E402
from dipedge.optimisers import Adam  # noqa: E402
from dipedge.priors import Fourier, Hourglass, Level, Noise, Prior, dip, pip  # noqa: E402
from dipedge.tasks import Denoise, Inpaint, SuperResolve  # noqa: E402
from tests.conftest import smooth_picture  # noqa: E402
from tests.tolerance import faults, tolerance  # noqa: E402

NET = Hourglass((Level(16, 16, 4), Level(20, 16, 4), Level(16, 16, 0)))
POOLED = Hourglass(NET.levels, "nearest", "zero", "max")
POINTWISE = Hourglass((Level(16, 16, 4, 1, 1),) * 3)
FITS = {
    "noise perturbed": (Prior(Noise(5), NET, perturbation=0.03), Denoise()),
    "pooled and nearest": (Prior(Noise(5), POOLED, perturbation=0.03), Inpaint(None)),
    "decimated": (Prior(Noise(3), Hourglass(NET.levels, downsample="lanczos2"), 0.05), SuperResolve(2)),
    "fixed frequencies": (Prior(Fourier(), POINTWISE), Denoise()),
    "learned frequencies perturbed": (
        Prior(Fourier(learned=True), POINTWISE, perturbation=0.1, perturb="frequencies"), Denoise()
    ),
    "subsampled": (Prior(Fourier(), POINTWISE), Inpaint(None)),
    "features perturbed": (Prior(Fourier(4), NET, perturbation=0.05), Denoise()),
}  # fmt: skip
SHAPE = (38, 100, 3)
no_bf16 = pytest.mark.skipif(
    not _native.multiplies_bf16(_native.runnable_isas().split()[-1]),
    reason="this processor multiplies no bf16",
)
every_fit = pytest.mark.parametrize(
    ("name", "precision"),
    [(name, "fp32") for name in FITS] + [pytest.param(name, "bf16", marks=no_bf16) for name in FITS],
)


def begun(name: str, precision: str = "fp32", threads: int = 1, seed: int = 5) -> Program:
    """A fit of ``FITS`` with its target, before its first step."""
    prior, task = FITS[name]
    settings = Settings(seed=seed, precision=precision, threads=threads, subsample=name == "subsampled")
    program = get_engine("native").compile(prior, task, SHAPE, settings)
    draws, scale = np.random.default_rng(0), task.data_term.scale
    mask = draws.random(SHAPE[:2]) > 0.5 if task.data_term.kind == "mask" else None
    program.set_target(draws.random((SHAPE[0] // scale, SHAPE[1] // scale, 3), np.float32), mask)
    return program


def differing(one: dict, other: dict) -> list[str]:
    """Names of all arrays that are not equal bit for bit."""
    assert set(one) == set(other)
    return [key for key in one if not np.array_equal(one[key], other[key])]


@every_fit
def test_five_steps_give_the_same_bits_with_any_number_of_threads(name, precision):
    states = {}
    for threads in (1, 2, 3, 8):
        program = begun(name, precision, threads)
        program.step(5)
        states[threads] = program.state()
        program.close()
    assert [differing(states[1], states[threads]) for threads in (2, 3, 8)] == [[], [], []]


@every_fit
def test_another_seed_gives_another_fit(name, precision):
    first, second = begun(name, precision, seed=1), begun(name, precision, seed=2)
    first.step(2)
    second.step(2)
    assert not np.array_equal(first.estimate(), second.estimate())


@every_fit
def test_a_restored_state_goes_on_bit_for_bit(name, precision):
    """In another program, with another seed and other threads, of which nothing may remain."""
    whole = begun(name, precision)
    whole.step(3)
    saved = whole.state()
    whole.step(3)
    restored = begun(name, precision, threads=2, seed=99)
    restored.step(1)
    restored.load_state(saved)
    assert differing(restored.state(), saved) == []
    restored.step(3)
    assert differing(restored.state(), whole.state()) == []


@every_fit
def test_steps_at_once_are_those_one_by_one(name, precision):
    at_once, singly = begun(name, precision), begun(name, precision)
    at_once.step(4)
    for _ in range(4):
        singly.step()
    assert differing(at_once.state(), singly.state()) == []


def test_a_step_is_adam_on_the_evaluated_gradients_and_moves_the_average():
    """With the engine's own constants: corrections, and what the betas leave of 1."""
    program = begun("fixed frequencies")
    adam, average = Adam(), 0.99
    for number in range(1, 4):
        before, evaluated = program.state(), program.evaluate()
        program.step()
        after = program.state()
        for name, gradient in evaluated.gradients.items():
            g = gradient.astype(np.float64)
            mean = adam.beta1 * before[f"adam/m/{name}"] + (1 - adam.beta1) * g
            square = adam.beta2 * before[f"adam/v/{name}"] + (1 - adam.beta2) * g**2
            root = np.sqrt(square) / np.sqrt(1 - adam.beta2**number) + adam.eps
            moved = adam.learning_rate / (1 - adam.beta1**number) * mean / root
            wanted = {"param": before[f"param/{name}"] - moved, "adam/m": mean, "adam/v": square}
            for kind, values in wanted.items():
                assert faults(after[f"{kind}/{name}"], values, tolerance(2)) == [], (kind, name)
        output = program.estimate(averaged=False)
        assert np.array_equal(output, evaluated.output)
        past = output if number == 1 else before["average"]
        assert faults(after["average"], average * past + (1 - average) * output, tolerance(2)) == []


def test_a_perturbed_step_draws_new_noise_every_time():
    """Steps from one state under two step numbers differ by the noise alone."""
    program = begun("noise perturbed")
    program.step(1)
    state = program.state()
    outputs = []
    for number in (1, 2, 1):
        program.load_state({**state, "step": np.array(number)})
        program.step(1)
        outputs.append(program.estimate(averaged=False))
    assert np.array_equal(outputs[0], outputs[2]) and not np.array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize("name", ["noise perturbed", "fixed frequencies"])
def test_two_hundred_programs_leave_no_memory_behind(name):
    process = pytest.importorskip("psutil").Process()
    prior, task = FITS[name]
    first = prior.network.levels[0]
    network = Hourglass((Level(16, 16, 4, first.kernel_down, first.kernel_up),))
    engine, target = get_engine("native"), np.zeros((48, 50, 3), np.float32)

    def open_and_close() -> None:
        program = engine.compile(replace(prior, network=network), task, target.shape, Settings(threads=2))
        assert program.memory_bytes > 2**20
        program.set_target(target)
        program.step(1)
        program.close()

    for _ in range(50):
        open_and_close()
    before = process.memory_info().rss
    for _ in range(200):
        open_and_close()
    # Less than one of the two hundred arenas, and 5 KB for each program.
    assert process.memory_info().rss - before < 2**20


@pytest.mark.parametrize("prior", [dip(), pip()], ids=["dip", "pip"])
def test_a_picture_beyond_the_memory_is_an_error_that_says_how_much_is_needed(prior):
    engine, settings = get_engine("native"), Settings(threads=1)
    with pytest.raises(OutOfMemoryError) as caught:
        engine.compile(prior, Denoise(), (60_000, 60_000, 3), settings)
    # At least one layer of 128 channels at full size, which alone is 1.8 TB.
    assert caught.value.needed > 60_000 * 60_000 * 128 * 4
    assert isinstance(caught.value, DipedgeError) and "\n" not in str(caught.value)
    small = engine.compile(FITS["noise perturbed"][0], Denoise(), (16, 16, 3), settings)
    small.set_target(np.zeros((16, 16, 3), np.float32))
    small.step(2)
    assert np.isfinite(small.loss())


CURVES = {
    "pip": Prior(Fourier(), Hourglass((Level(32, 32, 4, 1, 1),) * 2)),
    "dip": Prior(Noise(8), Hourglass((Level(16, 16, 4),) * 2)),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", CURVES)
def test_the_loss_curve_is_that_of_torch_for_fifty_steps(kind, seed):
    """From the same weights, without perturbation, which the engines draw from different streams.

    Adam's first steps are of the size of the learning rate whatever the gradient, so where a gradient is
    near 0 its rounding decides the direction. At 0.01 the curves of deeper nets part by more than 1 % for
    that alone, PyTorch's own in float32 and float64 too; hence the smaller rate.
    """
    pytest.importorskip("torch", reason="the curve to follow is PyTorch's")
    noise = np.random.default_rng(0).normal(0, 25 / 255, (64, 64, 3))
    target = np.clip(smooth_picture(64, 64) + noise, 0, 1).astype(np.float32)
    settings = Settings(Adam(learning_rate=0.003), seed=seed, precision="fp32", threads=1)
    curves = {"native": [], "torch": []}
    for engine, losses in curves.items():
        program = get_engine(engine).compile(CURVES[kind], Denoise(), target.shape, settings)
        program.set_target(target)
        for _ in range(50):
            program.step()
            losses.append(program.loss())
        program.close()
    assert curves["torch"][-1] < 0.2 * curves["torch"][0]  # there is a curve to follow
    np.testing.assert_allclose(curves["native"], curves["torch"], rtol=0.01)
