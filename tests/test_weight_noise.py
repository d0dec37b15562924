"""Noise on the weights: how much, where, drawn from what, and that a fit lives with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge.descriptions import from_plain, to_plain  # noqa: E402
from dipedge.engines import get_engine  # noqa: E402
from dipedge.engines.base import Program, Settings  # noqa: E402
from dipedge.errors import InputError  # noqa: E402
from dipedge.kernels.perturb.reference import normal  # noqa: E402
from dipedge.optimisers import Adam, Muon  # noqa: E402
from dipedge.priors import Fourier, Hourglass, Level, Noise, Prior  # noqa: E402
from dipedge.tasks import Denoise  # noqa: E402
from tests.conftest import smooth_picture  # noqa: E402

ISAS = _native.runnable_isas().split()
SHARE = 1 / 50
NET = Hourglass((Level(16, 20, 3, 5, 3), Level(24, 16, 4), Level(17, 16, 0)))
PRIOR = Prior(Noise(5), NET, weight_noise=SHARE)
PRIORS = {
    "noise": PRIOR,
    "noise perturbed": replace(PRIOR, perturbation=0.05),
    "learned frequencies": Prior(
        Fourier(learned=True), Hourglass((Level(16, 16, 4, 1, 1),) * 2), 0.03, "frequencies", "pip", SHARE
    ),
}
SHAPE = (37, 42, 3)
STILL = Adam(learning_rate=1e-30)  # an update that every number but 0 rounds away: what changes is the noise


def begun(prior: Prior = PRIOR, engine: str = "native", **settings) -> Program:
    made = Settings(**{"seed": 7, "precision": "fp32", "threads": 1, "optimiser": STILL} | settings)
    program = get_engine(engine).compile(prior, Denoise(), SHAPE, made)
    program.set_target(np.random.default_rng(0).random(SHAPE, np.float32))
    return program


def added(program: Program, steps: int = 1) -> dict[str, np.ndarray]:
    """What so many steps put onto each tensor."""
    before = program.state("param/")
    program.step(steps)
    return {key[6:]: values - before[key] for key, values in program.state("param/").items()}


def numbered(prior: Prior, name: str, seed: int, step: int) -> np.ndarray:
    """The normal values of a tensor [out, in, k, k], from the specification of the generator in numpy.

    Rows begin new blocks of four: the outputs of each tap and input; of the head the inputs of each output.
    """
    tensor = list(begun(prior).state("param/")).index(f"param/{name}")
    outputs, inputs, side, _ = prior.parameter_shapes(SHAPE[2])[name]
    rows, length = (outputs, inputs) if name.startswith("head") else (side * side * inputs, outputs)
    blocks = -(-length // 4)
    values = normal(seed, step, 4 * rows * blocks, 2**63 + tensor * 2**32).reshape(rows, 4 * blocks)[
        :, :length
    ]
    if name.startswith("head"):
        return values.reshape(outputs, inputs, 1, 1)
    return values.reshape(side, side, inputs, outputs).transpose(3, 2, 0, 1)


def untouched(values: np.ndarray) -> bool:
    return float(np.abs(values).max()) < 1e-25


def is_weight(name: str) -> bool:
    return name.endswith("conv.weight")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("isa", ISAS)
def test_a_step_adds_numpys_noise_of_a_share_of_numpys_deviation_to_every_convolution(
    isa, precision, monkeypatch
):
    """To the numbers themselves, in both precisions the same; norms and biases stay as they are."""
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    if precision == "bf16" and not _native.multiplies_bf16(isa):
        pytest.skip(f"{isa} multiplies no bf16")
    program = begun(precision=precision)
    before = program.state("param/")
    for step in range(2):
        noise = added(program)
        for name, values in noise.items():
            if not is_weight(name):
                assert untouched(values), name
                continue
            weights = before[f"param/{name}"].astype(np.float64)
            wanted = SHARE * weights.std(ddof=1) * numbered(PRIOR, name, 7, step)
            # A sum of weight and noise is rounded once, and the noise by its float32 polynomials.
            allowed = 2**-23 * np.abs(weights).max() + 3e-6 * np.abs(wanted).max()
            assert np.abs(values - wanted).max() < allowed, (name, step)
        before = program.state("param/")


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_what_is_added_has_the_deviation_that_was_asked_for(engine):
    """Of n normal values the measured deviation is within 4 of its own, s / sqrt(2 n)."""
    if engine == "torch":
        pytest.importorskip("torch")
    program = begun(engine=engine)
    before = program.state("param/")
    for name, noise in added(program).items():
        if is_weight(name):
            share = noise.std() / before[f"param/{name}"].std(ddof=1)
            assert abs(share / SHARE - 1) < 4 / np.sqrt(2 * noise.size), name
            assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(noise.size), name
        else:
            assert untouched(noise), name


def test_noise_is_drawn_anew_for_every_tensor_step_and_seed_and_apart_from_that_of_z():
    prior = PRIORS["noise perturbed"]
    draws = {
        f"{name} of step {step}": numbered(prior, name, 7, step).ravel()[:200]
        for step in (0, 1)
        for name in prior.parameter_shapes()
        if is_weight(name) and "skip" not in name
    }
    draws |= {f"z of step {step}": normal(7, step, 200) for step in (0, 1)}
    draws["another seed"] = numbered(prior, "level0.down.conv.weight", 8, 0).ravel()[:200]
    long = {key: values for key, values in draws.items() if values.size == 200}
    assert len(long) > 20
    correlations = np.corrcoef(list(long.values())) - np.eye(len(long))
    assert np.abs(correlations).max() < 5 / np.sqrt(200)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("optimiser", [Adam(), Muon()], ids=["adam", "muon"])
def test_a_noisy_fit_goes_on_bit_for_bit_and_has_the_same_bits_with_any_number_of_threads(name, optimiser):
    def fit(**settings) -> Program:
        return begun(PRIORS[name], optimiser=optimiser, **settings)

    whole = fit()
    whole.step(3)
    saved = whole.state()
    whole.step(3)
    wanted = whole.state()
    for threads in (2, 8):
        restored = fit(threads=threads, seed=99)
        restored.step(1)
        restored.load_state(saved)
        restored.step(3)
        found = restored.state()
        assert [key for key in wanted if not np.array_equal(wanted[key], found[key])] == []


def test_a_noisy_fit_on_torch_goes_on_bit_for_bit():
    pytest.importorskip("torch")
    whole, restored = (
        begun(engine="torch", optimiser=Adam()),
        begun(engine="torch", optimiser=Adam(), seed=99),
    )
    whole.step(2)
    restored.load_state(whole.state())
    whole.step(2)
    restored.step(2)
    assert np.array_equal(whole.estimate(), restored.estimate())


def test_a_step_in_halves_has_the_noise_of_one_step():
    """However often the first half is computed; weights that are set in between get noise of their own."""
    whole, halves = begun(optimiser=Adam()), begun(optimiser=Adam())
    target = np.random.default_rng(0).random(SHAPE, np.float32)
    for _ in range(2):
        whole.step(1)
        output = halves.forward()
        halves.evaluate()
        assert np.array_equal(halves.forward(), output)
        difference = output - target
        halves.backward(np.float32(2 / output.size) * difference, float((difference**2).mean()))
    one, other = whole.state("param"), halves.state("param")
    assert [key for key in one if not np.array_equal(one[key], other[key])] == []
    before = halves.state("param/")
    first = halves.forward()
    halves.load_state(before)
    assert np.array_equal(halves.forward(), first)


def test_an_evaluation_looks_at_the_weights_without_adding_noise():
    program = begun()
    before = program.state("param/")
    program.evaluate()
    after = program.state("param/")
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_a_fit_with_noise_on_its_weights_still_takes_up_the_picture():
    """Down to where the noise is what is left: far below where it began, above the fit without noise."""
    target = smooth_picture(48, 48)
    losses = {}
    for share in (0.0, SHARE):
        prior = Prior(Noise(8), Hourglass((Level(16, 16, 4),) * 3), weight_noise=share)
        settings = Settings(Adam(0.01), seed=0, precision="fp32", threads=1)
        program = get_engine("native").compile(prior, Denoise(), target.shape, settings)
        program.set_target(target.astype(np.float32))
        program.step(1)
        first = program.loss()
        program.step(299)
        losses[share] = program.loss()
        assert losses[share] < first / 20
    assert losses[SHARE] > losses[0.0]


def test_no_noise_leaves_a_fit_as_it_was():
    with_field, without = begun(replace(PRIOR, weight_noise=0.0)), begun(Prior(Noise(5), NET))
    for program in (with_field, without):
        program.step(2)
    assert np.array_equal(with_field.estimate(), without.estimate())
    assert all(untouched(values) for values in added(with_field).values())


def test_a_tensor_of_one_number_has_no_deviation_and_gets_no_noise():
    prior = Prior(Noise(1), Hourglass((Level(1, 1, 0, 1, 1),)), weight_noise=SHARE)
    program = get_engine("native").compile(prior, Denoise(), SHAPE, Settings(STILL, threads=1))
    program.set_target(np.random.default_rng(0).random(SHAPE, np.float32))
    noise = added(program)
    assert noise.pop("head.conv.weight").shape == (3, 1, 1, 1)  # all others have one number
    assert all(untouched(values) for values in noise.values())


@pytest.mark.parametrize("wrong", [-0.01, float("inf"), float("nan")])
def test_a_weight_noise_outside_its_range_is_refused(wrong):
    with pytest.raises(InputError, match="weight_noise"):
        replace(PRIOR, weight_noise=wrong)


def test_a_saved_description_keeps_its_weight_noise_and_an_older_one_has_none():
    plain = to_plain(PRIOR)
    assert from_plain(plain, Prior) == PRIOR
    del plain["weight_noise"]
    assert from_plain(plain, Prior) == replace(PRIOR, weight_noise=0.0)


def test_engine_triton_says_that_it_adds_no_noise_to_weights():
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    from dipedge.engines.triton import TritonEngine

    assert "no noise to weights" in TritonEngine("cpu").supports(PRIOR, Denoise())
    assert TritonEngine("cpu").supports(replace(PRIOR, weight_noise=0.0), Denoise()) is None
