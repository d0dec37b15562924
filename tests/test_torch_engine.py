"""The torch engine: the published method step by step, every prior and task, exact continuation."""

from __future__ import annotations

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dipedge.engines import ENGINE_NAMES, get_engine  # noqa: E402
from dipedge.engines.base import Settings  # noqa: E402
from dipedge.engines.initial import initial_input  # noqa: E402
from dipedge.engines.torch import TorchEngine  # noqa: E402
from dipedge.errors import EngineError, InputError, OutOfMemoryError  # noqa: E402
from dipedge.kernels.lanczos_conv.reference import decimate  # noqa: E402
from dipedge.optimisers import Adam  # noqa: E402
from dipedge.priors import Fourier, GivenImage, Hourglass, Level, Meshgrid, Noise, Prior, pip  # noqa: E402
from dipedge.tasks import Denoise, Inpaint, RemoveJpeg, SuperResolve  # noqa: E402

SMALL = Hourglass(levels=(Level(6, 5, 2), Level(4, 6, 3)))
POINTWISE = Hourglass(levels=(Level(6, 5, 2, 1, 1), Level(4, 6, 3, 1, 1)))
PRIORS = {
    "noise": Prior(Noise(3), SMALL, perturbation=0.03),
    "meshgrid": Prior(Meshgrid(), SMALL),
    "fixed frequencies": Prior(Fourier(4), POINTWISE),
    "jittered frequencies": Prior(Fourier(4), POINTWISE, 0.03, "frequencies"),
    "learned frequencies": Prior(Fourier(4, learned=True), POINTWISE, 0.03, "frequencies"),
    "learned frequencies, jittered input": Prior(Fourier(4, learned=True), SMALL, 0.03, "input"),
}


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def program(prior=PRIORS["noise"], task=None, shape=(16, 12, 3), target=True, **settings):
    made = TorchEngine().compile(prior, task or Denoise(), shape, Settings(**settings))
    if target:
        made.set_target(picture(*shape))
    return made


def module_net(prior: Prior, seed: int) -> torch.nn.Module:
    """SMALL as the published code builds it, of modules, drawn from PyTorch's own generator."""
    nn = torch.nn
    torch.manual_seed(seed)

    def block(into, out, kernel, stride=1):
        pad = nn.ReflectionPad2d((kernel - 1) // 2)
        return [pad, nn.Conv2d(into, out, kernel, stride), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]

    class Side(nn.Module):
        def __init__(self, skip, deep):
            super().__init__()
            self.skip, self.deep = skip, deep

        def forward(self, x):
            return torch.cat((self.skip(x), self.deep(x)), 1)

    skip0, deep0 = nn.Sequential(*block(3, 2, 1)), [*block(3, 6, 3, 2), *block(6, 6, 3)]
    up0 = [*block(8, 5, 3), *block(5, 5, 1)]
    skip1, deep1 = nn.Sequential(*block(6, 3, 1)), [*block(6, 4, 3, 2), *block(4, 4, 3)]
    up1 = [*block(7, 6, 3), *block(6, 6, 1)]
    double = nn.Upsample(scale_factor=2, mode="bilinear")
    level1 = [Side(skip1, nn.Sequential(*deep1, double)), nn.BatchNorm2d(7), *up1]
    level0 = [Side(skip0, nn.Sequential(*deep0, *level1, double)), nn.BatchNorm2d(8), *up0]
    return nn.Sequential(*level0, nn.Conv2d(5, 3, 1), nn.Sigmoid())


def test_ten_steps_equal_those_of_the_same_net_built_of_modules():
    prior = Prior(Noise(3), SMALL)
    target = picture(16, 12, 3)
    ours = program(prior, seed=5, average=0.5)
    net = module_net(prior, seed=5)
    z = torch.tensor(initial_input(prior.encoding, (16, 12), 5)).permute(2, 0, 1)[None].contiguous()
    wanted = torch.tensor(target).permute(2, 0, 1)[None].contiguous()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    average = None
    for _ in range(10):
        output = net(z)
        loss = torch.nn.functional.mse_loss(output, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average = output.detach() if average is None else average * 0.5 + output.detach() * 0.5
        ours.step()
        # The same operators on the same numbers: the same bits, wherever the first bits agree.
        assert ours.loss() == pytest.approx(loss.item(), rel=1e-5)
    as_picture = average[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours.estimate(), as_picture, atol=1e-4)
    raw = output.detach()[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours.estimate(averaged=False), raw, atol=1e-4)


@pytest.mark.parametrize("downsample", ["stride", "avg", "max", "lanczos2", "lanczos3"])
@pytest.mark.parametrize(("padding", "upsample"), [("reflection", "bilinear"), ("zero", "nearest")])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 5), (17, 16)])
def test_every_net_takes_every_size(downsample, padding, upsample, size):
    levels = (Level(4, 5, 0, 7, 3), Level(3, 4, 2, 5, 5, 3), Level(5, 3, 2, 1, 1))
    network = Hourglass(levels, upsample, padding, downsample)
    made = program(Prior(Noise(2), network), shape=(*size, 1), seed=1)
    made.step(2)
    assert made.estimate().shape == (*size, 1)
    assert np.isfinite(made.loss())
    assert all(np.isfinite(values).all() for values in made.state().values())


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_match_finite_differences_in_float64(name):
    prior = PRIORS[name]
    made = program(prior, shape=(6, 7, 2), precision="fp64", input_gradient=True, seed=2)
    exact = made.evaluate()
    assert exact.gradients["input"].shape == (6, 7, prior.encoding.channels)
    start = made.state()
    draw = np.random.default_rng(0)
    for key in (f"param/{name}" for name in made.evaluate().gradients if name != "input"):
        direction = draw.standard_normal(start[key].shape)
        losses = []
        for sign in (-1, 1):
            made.load_state({key: start[key] + sign * 1e-7 * direction})
            losses.append(made.evaluate().loss)
        made.load_state({key: start[key]})
        slope = (losses[1] - losses[0]) / 2e-7
        wanted = (exact.gradients[key.removeprefix("param/")] * direction).sum()
        # Rounding of the loss (1e-17) over the step, and the curvature met on the way.
        assert slope == pytest.approx(wanted, rel=1e-4, abs=2e-8), key


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_restored_state_continues_bit_for_bit(name, precision):
    first = program(PRIORS[name], seed=3, precision=precision)
    first.step(3)
    saved = first.state()
    second = program(PRIORS[name], seed=99, precision=precision)
    second.step()
    second.load_state(saved)
    assert second.steps_done == 3 and second.loss() == first.loss()
    assert np.array_equal(second.estimate(), first.estimate())
    for made in (first, second):
        made.step(3)
    wanted, found = first.state(), second.state()
    assert wanted.keys() == found.keys()
    for key, values in wanted.items():
        assert np.array_equal(found[key], values), key


def test_the_state_of_a_fresh_fit_starts_another_one_over():
    first, second = program(seed=3), program(seed=4)
    fresh = first.state()
    assert not {"average", "output", "loss"} & fresh.keys()
    second.step(2)
    second.load_state(fresh)
    with pytest.raises(EngineError, match="no step has been run yet"):
        second.estimate()
    first.step(2)
    second.step(2)
    assert np.array_equal(first.estimate(), second.estimate())


def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    estimates = []
    for seed in (6, 6, 7):
        made = program(seed=seed)
        made.step(3)
        estimates.append(made.estimate())
    assert np.array_equal(estimates[0], estimates[1])
    assert not np.array_equal(estimates[0], estimates[2])


@pytest.mark.parametrize("name", ["noise", "learned frequencies"])
def test_evaluating_between_steps_changes_nothing(name):
    plain, looked_at = program(PRIORS[name]), program(PRIORS[name], input_gradient=True)
    plain.step(4)
    for _ in range(4):
        looked_at.evaluate()
        looked_at.step()
    assert np.array_equal(plain.estimate(), looked_at.estimate())
    assert looked_at.steps_done == 4


def test_the_perturbation_has_the_size_the_prior_names():
    # One linear look at z: with a still net, the outputs' change comes from the noise on z alone.
    prior = Prior(Noise(3), SMALL, perturbation=0.25)
    made = program(prior, shape=(64, 64, 3))
    noise = (made._input(perturb=True) - made._input(perturb=False)).numpy()
    count = noise.size
    assert abs(noise.mean()) < 5 * 0.25 / np.sqrt(count)
    assert abs(noise.std() - 0.25) < 5 * 0.25 / np.sqrt(2 * count)
    assert not np.array_equal(noise, (made._input(perturb=True) - made._input(perturb=False)).numpy())


def test_average_zero_gives_the_raw_output():
    made = program(average=0.0)
    made.step(3)
    assert np.array_equal(made.estimate(), made.estimate(averaged=False))


def test_sample_reads_the_raw_output_at_flat_pixels():
    made = program()
    made.step(2)
    pixels = np.array([0, 11, 12, 191])
    assert np.array_equal(made.sample(pixels), made.estimate(averaged=False).reshape(-1, 3)[pixels])


@pytest.mark.parametrize(
    ("task", "size"),
    [
        (Denoise(25), (16, 12)),
        (RemoveJpeg(), (16, 12)),
        (Inpaint(np.ones((16, 12))), (16, 12)),
        (SuperResolve(3), (6, 4)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_loss_is_the_data_term_of_the_last_output(task, size):
    target, mask = picture(*size, 3), picture(*size, seed=2) > 0.4
    shape = task.estimate_shape(target.shape)
    made = program(task=task, shape=shape, target=False)
    made.set_target(target, mask if task.name == "inpaint" else None)
    made.step(2)
    output = made.estimate(averaged=False).astype(np.float64)
    if task.name == "superresolve":
        output = decimate(torch.tensor(output).permute(2, 0, 1)[None], 3, 2)[0].permute(1, 2, 0).numpy()
    residual = (output - target) * (mask[..., None] if task.name == "inpaint" else 1)
    assert made.loss() == pytest.approx((residual**2).mean(), rel=1e-5)


def test_a_new_target_keeps_weights_mask_and_average():
    made = program(task=Inpaint(np.ones((16, 12))), target=False)
    mask = picture(16, 12, seed=2) > 0.4
    made.set_target(picture(16, 12, 3), mask)
    made.step(2)
    before = made.state()
    made.set_target(picture(16, 12, 3, seed=9))
    after = made.state()
    assert all(np.array_equal(after[key], values) for key, values in before.items())
    made.step()
    residual = (made.estimate(averaged=False) - picture(16, 12, 3, seed=9)) * mask[..., None]
    assert made.loss() == pytest.approx((residual**2).mean(), rel=1e-5)


def test_a_given_image_is_z_and_survives_saving():
    prior = Prior(GivenImage(5), SMALL)
    made = program(prior)
    with pytest.raises(InputError, match="set_input"):
        made.step()
    assert "input" not in made.state()
    made.set_input(picture(16, 12, 5, seed=1))
    made.step()
    assert np.array_equal(made.state()["input"], picture(16, 12, 5, seed=1))


def test_a_replaced_fourier_input_is_part_of_the_state():
    made = program(PRIORS["fixed frequencies"])
    assert "input" not in made.state()
    made.set_input(picture(16, 12, 16))
    other = program(PRIORS["fixed frequencies"])
    other.load_state(made.state())
    for one in (made, other):
        one.step(2)
    assert np.array_equal(made.estimate(), other.estimate())


def test_adam_settings_reach_the_optimiser():
    made = program(optimiser=Adam(learning_rate=0.5, beta1=0.3, beta2=0.7, eps=1e-3))
    before, gradient = made.state(), program(Prior(Noise(3), SMALL)).evaluate().gradients["head.conv.bias"]
    still = program(Prior(Noise(3), SMALL), optimiser=Adam(0.5, 0.3, 0.7, 1e-3))
    still.step()
    moved = still.state()["param/head.conv.bias"] - before["param/head.conv.bias"]
    np.testing.assert_allclose(moved, -0.5 * gradient / (np.abs(gradient) + 1e-3), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda made: made.set_target(picture(16, 12, 4)), "target has shape"),
        (lambda made: made.set_target(picture(16, 12, 3), np.ones((16, 12))), "takes none"),
        (lambda made: made.set_input(picture(16, 12, 4)), "z has shape"),
        (lambda made: made.load_state({"param/nothing": np.zeros(3)}), "does not have"),
        (lambda made: made.load_state({"param/head.conv.bias": np.zeros(4)}), "has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_change_nothing(call, words):
    made = program()
    before = made.state()
    with pytest.raises(InputError, match=words):
        call(made)
    assert all(np.array_equal(made.state()[key], values) for key, values in before.items())


def test_inpainting_needs_a_mask_of_the_right_size():
    made = program(task=Inpaint(np.ones((16, 12))), target=False)
    with pytest.raises(InputError, match="no mask was given"):
        made.set_target(picture(16, 12, 3))
    with pytest.raises(InputError, match="mask has shape"):
        made.set_target(picture(16, 12, 3), np.ones((12, 16)))


def test_moving_frequencies_leave_no_input_to_set():
    with pytest.raises(InputError, match="frequencies"):
        program(PRIORS["learned frequencies"]).set_input(picture(16, 12, 16))


def test_a_step_without_target_says_so():
    with pytest.raises(InputError, match="set_target"):
        program(target=False).step()


@pytest.mark.parametrize(
    ("settings", "shape", "kind", "words"),
    [
        ({"precision": "bf16"}, (16, 16, 3), EngineError, "no precision 'bf16'"),
        ({"threads": 0}, (16, 16, 3), InputError, "threads is 0"),
        ({}, (0, 16, 3), InputError, "sides of 1 or more"),
    ],
)
def test_compile_refuses_what_it_cannot_run(settings, shape, kind, words):
    with pytest.raises(kind, match=words):
        program(shape=shape, target=False, **settings)


def test_missing_memory_is_reported_with_the_bytes_needed():
    with pytest.raises(OutOfMemoryError) as caught:
        program(shape=(3_000_000, 3_000_000, 3), target=False)
    # z alone is 3 float32 channels; numpy names the size to three digits.
    assert caught.value.needed == pytest.approx(3_000_000**2 * 3 * 4, rel=0.01)
    made = program()
    made.step()
    assert np.isfinite(made.loss())


def test_a_closed_program_says_that_it_is_closed():
    made = program()
    made.close()
    for call in (made.step, made.loss, made.estimate, made.state):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_an_unknown_device_is_one_clear_line():
    with pytest.raises(EngineError, match="cannot use device 'nonsense'") as caught:
        TorchEngine("nonsense")
    assert "\n" not in str(caught.value)


def test_the_engine_describes_its_device():
    described = TorchEngine().device()
    assert described["device"] == "cpu" and described["version"] == torch.__version__ and described["isa"]
    assert TorchEngine().supports(pip(), Denoise()) is None


def test_threads_are_handed_to_torch():
    before = torch.get_num_threads()
    try:
        program(threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_engines_are_found_by_name():
    assert get_engine("torch").name == "torch"
    with pytest.raises(InputError, match="one of auto, native, triton, torch"):
        get_engine("cuda")
    assert ENGINE_NAMES == ("auto", "native", "triton", "torch")


def test_a_missing_torch_is_one_line_that_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "dipedge.engines.torch")
    with pytest.raises(EngineError, match=r"pip install dipedge\[torch\]") as caught:
        get_engine("torch")
    assert "\n" not in str(caught.value)
