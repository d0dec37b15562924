"""A step in two halves: the output goes out, the gradient of somebody else's loss comes in."""

from __future__ import annotations

import numpy as np
import pytest

_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge.engines import get_engine  # noqa: E402
from dipedge.engines.base import Program, Settings  # noqa: E402
from dipedge.errors import EngineError, InputError  # noqa: E402
from dipedge.optimisers import Adam, Muon  # noqa: E402
from dipedge.priors import Fourier, GivenImage, Hourglass, Level, Noise, Prior  # noqa: E402
from dipedge.tasks import Denoise, SuperResolve  # noqa: E402
from tests.configurations import relative  # noqa: E402

ISAS = _native.runnable_isas().split()
NET = Hourglass((Level(16, 16, 4), Level(20, 16, 4), Level(16, 16, 0)))
POINTWISE = Hourglass((Level(16, 16, 4, 1, 1),) * 3)
# Odd and gray pictures, wider than a tile of 96 pixels; every decimation, both paddings, kernels 1 to 7.
FITS = {
    "noise perturbed": (Prior(Noise(5), NET, perturbation=0.03), (38, 100, 3)),
    "frequencies": (Prior(Fourier(), POINTWISE), (37, 101, 3)),
    "learned frequencies perturbed": (
        Prior(Fourier(learned=True), POINTWISE, perturbation=0.1, perturb="frequencies"), (38, 100, 3)
    ),
    "gray, averages, zero, 5 and 7": (
        Prior(Noise(3), Hourglass((Level(16, 8, 4, 7, 5), Level(16, 8, 4, 5, 7)), "nearest", "zero", "avg")),
        (33, 97, 1),
    ),
    "gray, maxima, 3 and 5": (
        Prior(Noise(3), Hourglass((Level(16, 8, 0, 5, 3), Level(16, 8, 4)), downsample="max")), (31, 99, 1)
    ),
    "lanczos2, 7 and 7, no 1x1": (
        Prior(Noise(4), Hourglass((Level(8, 16, 4, 7, 7, 3),) * 2, downsample="lanczos2", need1x1_up=False)),
        (29, 103, 3),
    ),
    "lanczos3, zero, five outputs, no sigmoid": (
        Prior(
            Noise(4),
            Hourglass((Level(8, 16, 4, 5),) * 2, padding="zero", downsample="lanczos3", sigmoid=False),
        ),
        (27, 98, 5),
    ),
    "gray given picture": (Prior(GivenImage(1), NET, perturbation=0.02), (35, 98, 3)),
}  # fmt: skip
every_fit = pytest.mark.parametrize("name", FITS)


def settings_for(isa: str, precision: str, **others: object) -> Settings:
    if precision == "bf16" and not _native.multiplies_bf16(isa):
        pytest.skip(f"{isa} multiplies no bf16")
    return Settings(seed=5, precision=precision, **others)


def begun(name: str, settings: Settings, engine: str = "native") -> tuple[Program, np.ndarray]:
    """A fit of ``FITS`` before its first step, and the target it has."""
    prior, shape = FITS[name]
    program = get_engine(engine).compile(prior, Denoise(), shape, settings)
    draws = np.random.default_rng(0)
    target = draws.random(shape, np.float32)
    program.set_target(target)
    if isinstance(prior.encoding, GivenImage):
        program.set_input(draws.random((*shape[:2], prior.encoding.channels), np.float32))
    return program, target


def mean_square(output: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """The identity data term and its gradient, in float32 operations of the order the kernel has them."""
    difference = output - target
    loss = float(np.mean(difference.astype(np.float64) ** 2))
    return loss, np.float32(2 / output.size) * difference


def step_in_halves(program: Program, target: np.ndarray, count: int) -> None:
    for _ in range(count):
        loss, gradient = mean_square(program.forward(), target)
        program.backward(gradient, loss)


def differing(one: dict, other: dict) -> list[str]:
    assert set(one) == set(other)
    return [key for key in one if not np.array_equal(one[key], other[key])]


@every_fit
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("isa", ISAS)
def test_two_halves_with_the_data_terms_gradient_are_a_step_to_the_bit(name, precision, isa, monkeypatch):
    """On every instruction set, with either optimiser; the halves run with more threads than the step."""
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    for optimiser in (Adam(), Muon()):
        whole, _ = begun(name, settings_for(isa, precision, optimiser=optimiser, threads=1))
        halves, target = begun(name, settings_for(isa, precision, optimiser=optimiser, threads=3))
        whole.step(3)
        step_in_halves(halves, target, 3)
        one, other = whole.state(), halves.state()
        assert float(one.pop("loss")) == pytest.approx(float(other.pop("loss")), rel=1e-12)
        assert differing(one, other) == []
        assert halves.steps_done == 3 and halves.loss() == pytest.approx(whole.loss(), rel=1e-12)
        assert np.array_equal(halves.estimate(), whole.estimate())


@every_fit
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_halves_have_the_same_bits_with_any_number_of_threads(name, precision):
    states = []
    for threads in (1, 2, 8):
        settings = settings_for(ISAS[-1], precision, threads=threads)
        program, target = begun(name, settings)
        step_in_halves(program, target, 3)
        states.append(program.state())
    assert [differing(states[0], state) for state in states[1:]] == [[], []]


@every_fit
def test_the_gradients_of_another_loss_are_those_of_autograd(name):
    """Of a loss that no engine has: the mean of cubes, through PyTorch's own graph in float64."""
    torch = pytest.importorskip("torch", reason="autograd is the oracle")
    from dipedge.engines.torch_network import hourglass

    program, target = begun(name, Settings(seed=5, precision="fp32", threads=2))
    oracle, _ = begun(name, Settings(seed=5, precision="fp64"), "torch")
    prior, shape = FITS[name]
    draws = np.random.default_rng(1)  # norms that are not all 1 and 0, where much would cancel
    norms = {
        f"param/{key}": draws.normal(key.endswith("weight"), 0.3, of_key).astype(np.float32)
        for key, of_key in prior.parameter_shapes(shape[2]).items()
        if ".bn." in key
    }
    program.load_state(norms)
    oracle.load_state(norms)
    parameters = oracle._parameters
    output = hourglass(prior.network, parameters, oracle._input(perturb=False))
    wanted_target = torch.tensor(np.moveaxis(target, 2, 0)[None].astype(np.float64))
    ((output - wanted_target) ** 3).mean().abs().backward()

    found = program._program.forward(False)  # the halves of an evaluation: z as it is, nothing updated
    assert relative(found, oracle._array(output)) < 1e-5
    difference = found.astype(np.float64) - target
    sign = np.sign((difference**3).mean())
    program._program.backward((sign * 3 * difference**2 / found.size).astype(np.float32), 0.0)
    whole = np.sqrt(sum(float((p.grad**2).sum()) for p in parameters.values()))
    for key, parameter in parameters.items():
        gradient = program._program.get("grad", key)
        assert np.linalg.norm(gradient - parameter.grad.numpy()) < 1e-4 * float(parameter.grad.norm()) + (
            1e-6 * whole
        ), key
    assert program.steps_done == 0


def test_a_loss_of_the_whole_picture_is_fitted():
    """The mean of each channel, which no data term of the engine looks at."""
    program, _ = begun("frequencies", Settings(seed=0, precision="fp32", threads=1))
    wanted = np.array([0.2, 0.5, 0.7])
    losses = []
    for _ in range(60):
        difference = program.forward().mean((0, 1), np.float64) - wanted
        losses.append(float(np.mean(difference**2)))
        gradient = 2 / 3 * difference / (program.shape[0] * program.shape[1])
        program.backward(np.broadcast_to(gradient, program.shape), losses[-1])
    assert losses[-1] < 1e-3 * losses[0] and program.loss() == losses[-1]


def test_a_second_forward_gives_the_same_output_and_the_step_goes_on_from_it():
    once, target = begun("noise perturbed", Settings(seed=5, precision="fp32", threads=1))
    twice, _ = begun("noise perturbed", Settings(seed=5, precision="fp32", threads=1))
    step_in_halves(once, target, 2)
    for _ in range(2):
        first = twice.forward()
        assert np.array_equal(twice.forward(), first)
        loss, gradient = mean_square(first, target)
        twice.backward(gradient, loss)
    assert differing(once.state(), twice.state()) == []


def test_halves_and_whole_steps_may_take_turns():
    mixed, target = begun("noise perturbed", Settings(seed=5, precision="fp32", threads=1))
    whole, _ = begun("noise perturbed", Settings(seed=5, precision="fp32", threads=1))
    whole.step(5)
    mixed.step(2)
    step_in_halves(mixed, target, 2)
    mixed.step(1)
    assert differing(mixed.state(), whole.state()) == []


def test_a_data_term_of_decimated_pictures_is_left_out_of_it():
    """The gradient is by the estimate, not by what a super-resolution compares; no target is needed."""
    prior, shape = Prior(Noise(3), NET), (20, 36, 3)
    settings = Settings(seed=1, precision="fp32", threads=1)
    direct = get_engine("native").compile(prior, Denoise(), shape, settings)
    decimated = get_engine("native").compile(prior, SuperResolve(4), shape, settings)
    target = np.random.default_rng(2).random(shape, np.float32)
    step_in_halves(direct, target, 2)
    step_in_halves(decimated, target, 2)
    assert differing(direct.state(), decimated.state()) == []


@pytest.mark.parametrize(
    "between",
    [
        lambda program: None,
        lambda program: (program.forward(), program.step(1)),
        lambda program: (program.forward(), program.evaluate()),
        lambda program: (program.forward(), program.load_state(program.state("param/head"))),
        lambda program: (program.forward(), program.load_state(program.state("step"))),
        lambda program: (program.forward(), program.load_state(program.state("rng"))),
        lambda program: (program.forward(), program.set_input(program.state()["input"])),
        lambda program: (program.forward(), program.backward(np.zeros(program.shape), 0.0)),
    ],
    ids=["nothing", "step", "evaluate", "weights", "step number", "seed", "input", "backward"],
)
def test_backward_without_a_forward_of_its_own_is_an_error_that_says_so(between):
    program, _ = begun("noise perturbed", Settings(precision="fp32", threads=1))
    program.step(1)
    between(program)
    steps = program.steps_done
    with pytest.raises(EngineError, match="call forward first"):
        program.backward(np.zeros(program.shape, np.float32), 0.0)
    assert program.steps_done == steps


def test_a_gradient_of_another_shape_is_refused_and_the_step_can_still_be_made():
    program, target = begun("noise perturbed", Settings(precision="fp32", threads=1))
    output = program.forward()
    with pytest.raises(InputError, match=r"the gradient has shape \(38, 100\)"):
        program.backward(np.zeros((38, 100), np.float32), 0.0)
    loss, gradient = mean_square(output, target)
    program.backward(gradient, loss)
    assert program.steps_done == 1


def test_forward_needs_the_given_picture_and_nothing_else():
    prior = Prior(GivenImage(2), NET)
    program = get_engine("native").compile(prior, Denoise(), (20, 24, 3), Settings(threads=1))
    with pytest.raises(InputError, match="set_input"):
        program.forward()
    program.set_input(np.random.default_rng(0).random((20, 24, 2), np.float32))
    assert program.forward().shape == (20, 24, 3)
    with pytest.raises(EngineError, match="no step has been run"):
        program.loss()


def test_a_subsampled_step_has_no_halves():
    prior = Prior(Fourier(), POINTWISE)
    program = get_engine("native").compile(prior, Denoise(), (24, 24, 3), Settings(subsample=True))
    with pytest.raises(EngineError, match="does not see the whole output"):
        program.forward()
    with pytest.raises(EngineError, match="call forward first"):
        program.backward(np.zeros((24, 24, 3), np.float32), 0.0)


def test_an_evaluation_leaves_the_last_steps_loss_alone():
    program, _ = begun("noise perturbed", Settings(seed=5, precision="fp32", threads=1))
    program.step(2)
    before, output = program.loss(), program.estimate(averaged=False)
    assert program.evaluate().loss != before
    assert program.loss() == before and np.array_equal(program.estimate(averaged=False), output)
