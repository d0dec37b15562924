"""MADGRAD in the torch engine: the paper's algorithm, the authors' package, states, and who refuses it."""

import numpy as np
import pytest

import dipedge as de
from dipedge.engines.base import Settings

torch = pytest.importorskip("torch")

from dipedge.engines.torch_optimiser import torch_optimiser  # noqa: E402

# Falls to its lowest rate within the steps below.
FAST_FALL = de.Madgrad(learning_rate=0.02, weight_decay=0.01, decay=0.8, final=0.001)
STEPS = 25


def slope(x):
    """The gradient of a function with a valley, steep walls and a flat direction, [n] -> [n]."""
    scale = np.linspace(0.01, 5, x.size)
    return scale * np.sin(x) + 0.3 * x**3


def oracle(given, start, steps):
    """Algorithm 1 of Defazio and Jelassi in float64, written from the paper, with its code's two additions.

    The paper's s is the weighted sum of gradients, nu that of their squares, lambda_k = gamma_k sqrt(k + 1),
    c = 1 - momentum. The code adds eps to the rate too, and an L2 penalty to the gradient.
    """
    x, first = start.astype(np.float64), start.astype(np.float64)
    s, nu = np.zeros_like(x), np.zeros_like(x)
    rate = given.learning_rate
    for k in range(steps):
        g = slope(x) + given.weight_decay * x
        weight = (rate + given.eps) * np.sqrt(k + 1)
        s = s + weight * g
        nu = nu + weight * g * g
        z = first - s / (np.cbrt(nu) + given.eps)
        c = 1 - given.momentum
        x = (1 - c) * x + c * z
        rate = max(given.final, given.decay * rate)  # as published: from step to step
    return x


def descend(make, start, steps, dtype=torch.float64):
    x = torch.tensor(start, dtype=dtype, requires_grad=True)
    update = make(x)
    for step in range(steps):
        x.grad = torch.tensor(slope(x.detach().numpy()), dtype=dtype)
        update(step)
    return x.detach().numpy()


def ours(given):
    def make(x):
        optimiser = torch_optimiser(given, {"x": x})
        return lambda step: optimiser.step()

    return make


START = np.random.default_rng(0).normal(0, 2, 40)


@pytest.mark.parametrize(
    "given",
    [de.Madgrad(), FAST_FALL, de.Madgrad(momentum=0.0), de.Madgrad(weight_decay=0.0, decay=1.0)],
    ids=["published", "fast fall", "no momentum", "no decay"],
)
def test_madgrad_is_the_papers_algorithm(given):
    expected = oracle(given, START, STEPS)
    assert np.abs(expected - START).max() > 1e-2  # it moved
    assert np.allclose(descend(ours(given), START, STEPS), expected, rtol=1e-12, atol=1e-13)
    # float32 rounds in every one of the steps; a wrong exponent, order or sign is off by percents.
    single = descend(ours(given), START, STEPS, torch.float32)
    assert np.allclose(single, expected, rtol=1e-4, atol=1e-5)


def test_madgrad_is_the_authors_package():
    package = pytest.importorskip("madgrad")

    def theirs(x):
        given = FAST_FALL
        optimiser = package.MADGRAD(
            [x], given.learning_rate, given.momentum, given.weight_decay, eps=given.eps
        )

        def update(step):
            optimiser.param_groups[0]["lr"] = given.rate(step)
            optimiser.step()

        return update

    expected = descend(theirs, START, STEPS)
    assert np.allclose(descend(ours(FAST_FALL), START, STEPS), expected, rtol=1e-12, atol=1e-13)


def test_the_published_rate_falls_by_a_hundredth_a_step_and_stays_at_its_end():
    given = de.Madgrad()
    rate, rates = given.learning_rate, []
    for _ in range(700):
        rates.append(rate)
        rate = max(0.00001, 0.99 * rate)
    assert np.allclose([given.rate(step) for step in range(700)], rates, rtol=1e-12)
    assert rates[-1] == given.rate(699) == 1e-5 and given.rate(540) > 1e-5
    assert de.Madgrad(learning_rate=1e-6).rate(0) == de.Madgrad(learning_rate=1e-6).rate(9) == 1e-6


def program(seed, prior, optimiser=FAST_FALL, engine="torch"):
    settings = Settings(optimiser=optimiser, seed=seed, threads=1, average=0.0)
    return de.get_engine(engine).compile(prior, de.Denoise(), (16, 20, 3), settings)


def test_a_stored_madgrad_fit_goes_on_bit_for_bit(tiny_prior, noisy):
    image, _ = noisy()
    first = program(0, tiny_prior)
    first.set_target(image)
    first.step(5)
    kept = first.state()
    first.step(5)
    # Another seed: weights and the point they began from can only come from the state.
    second = program(1, tiny_prior)
    second.set_target(image)
    second.load_state(kept)
    second.step(5)
    expected, found = first.state(), second.state()
    assert {key.split("/")[1] for key in kept if key.startswith("madgrad/")} == {"s", "v", "x0"}
    assert not any(key.startswith("adam/") for key in kept)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[key], found[key]) for key in expected)


def test_states_of_other_optimisers_are_refused(tiny_pip):
    kept = program(0, tiny_pip, de.Adam()).state("adam/m/head")
    with pytest.raises(de.InputError, match=r"'adam/m/head\.conv\.weight', which this fit does not have"):
        program(0, tiny_pip).load_state(kept)


def test_the_native_engine_refuses_madgrad_in_one_sentence(tiny_pip):
    pytest.importorskip("dipedge._native")
    with pytest.raises(de.EngineError, match=r"engine 'native' has no MADGRAD; engine='torch' does$"):
        program(0, tiny_pip, engine="native")


def test_the_triton_engine_refuses_madgrad_in_one_sentence(tiny_pip):
    pytest.importorskip("triton")
    with pytest.raises(de.EngineError, match=r"engine 'triton' has no MADGRAD; engine='torch' does$"):
        program(0, tiny_pip, engine="triton")


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0},
        {"weight_decay": -0.1},
        {"momentum": 1},
        {"decay": 0},
        {"decay": 1.1},
        {"final": 0},
        {"eps": 0},
    ],
)
def test_madgrad_names_the_argument_that_is_out_of_range(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(de.InputError, match=f"{name} is {value}; it must be"):
        de.Madgrad(**wrong)
