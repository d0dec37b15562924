"""U-Net and ResNet: the published wiring, PyTorch's initial bits, any size, every task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dipedge as de

torch = pytest.importorskip("torch")

from dipedge.engines.base import Settings  # noqa: E402
from dipedge.engines.initial import initial_input, initial_parameters  # noqa: E402
from dipedge.engines.torch import TorchEngine  # noqa: E402
from tests.continuing import check_it_continues, check_it_is_saved  # noqa: E402
from tests.module_networks import modules_of  # noqa: E402

NETWORKS = {
    "unet": de.UNet(filters=(4, 6, 9)),
    "unet batch bilinear reflection": de.UNet((4, 7), "batch", "bilinear", "reflection"),
    "unet batch nearest": de.UNet((5, 3, 4), "batch", "nearest", "zero"),
    "unet instance bilinear": de.UNet((3, 4, 4), "instance", "bilinear", "reflection", eps=1e-3),
    "resnet": de.ResNet(blocks=3, channels=5),
    "resnet zero": de.ResNet(blocks=1, channels=4, padding="zero", slope=0.1, bn_eps=1e-3),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def picture(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def prior_of(network, perturbation=0.0):
    return de.Prior(de.Noise(3), network, perturbation, name="other")


def program(network, task=None, shape=(16, 12, 3), target=True, perturbation=0.0, **settings):
    made = TorchEngine().compile(
        prior_of(network, perturbation), task or de.Denoise(), shape, Settings(**settings)
    )
    if target:
        made.set_target(picture(*shape))
    return made


@pytest.mark.parametrize(
    "prior",
    [de.unet(), de.resnet(), *map(prior_of, NETWORKS.values())],
    ids=["unet()", "resnet()", *NETWORKS],
)
@pytest.mark.parametrize("seed", [0, 2**32 + 5])
def test_weights_are_those_of_torch_modules_to_the_bit(prior, seed):
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this processor has no fused multiply-add, and PyTorch rounds twice on it")
    net = modules_of(prior.network, prior.encoding.channels, 3, seed)
    found = initial_parameters(prior, 3, seed)
    wanted = [values.detach().numpy() for values in net.parameters()]
    assert [values.shape for values in found.values()] == [values.shape for values in wanted]
    for (name, values), same in zip(found.items(), wanted, strict=True):
        assert values.dtype == np.float32 and np.array_equal(values, same), name


@every_network
def test_outputs_and_gradients_are_those_of_modules_in_float64(network):
    made = program(network, seed=4, precision="fp64", input_gradient=True)
    found = made.evaluate()
    net = modules_of(network, 3, 3, seed=4).double()
    z = torch.tensor(initial_input(de.Noise(3), (16, 12), 4)).double().permute(2, 0, 1)[None]
    z.requires_grad_()
    output = net(z)
    wanted = torch.tensor(picture(16, 12, 3)).double().permute(2, 0, 1)[None]
    torch.nn.functional.mse_loss(output, wanted).backward()

    def as_picture(values):
        return values.detach()[0].permute(1, 2, 0).numpy()

    np.testing.assert_allclose(found.output, as_picture(output), rtol=1e-12)
    gradients = [values.grad.numpy() for values in net.parameters()]
    for (name, ours), theirs in zip(found.gradients.items(), [*gradients, as_picture(z.grad)], strict=True):
        # Biases ahead of a normalisation have no gradient but rounding: 1e-15 beside the others' 1e-3.
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-14, err_msg=name)


@every_network
def test_a_step_on_an_odd_size_follows_the_slope_of_its_loss(network):
    """No module gives these sizes back whole, so the gradient is compared with differences of the loss."""
    made = program(network, shape=(7, 9, 1), seed=2, precision="fp64")
    exact, start = made.evaluate(), made.state()
    draw = np.random.default_rng(0)
    for name in exact.gradients:
        direction = draw.standard_normal(exact.gradients[name].shape)
        losses = []
        for sign in (-1, 1):
            made.load_state({f"param/{name}": start[f"param/{name}"] + sign * 1e-7 * direction})
            losses.append(made.evaluate().loss)
        made.load_state({f"param/{name}": start[f"param/{name}"]})
        wanted = (exact.gradients[name] * direction).sum()
        # Rounding of the loss (1e-17) over the step, and the curvature and kinks met on the way.
        assert (losses[1] - losses[0]) / 2e-7 == pytest.approx(wanted, rel=1e-3, abs=2e-8), name


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (16, 16), (17, 31), (19, 16)])
@every_network
def test_every_net_takes_every_size(network, size):
    made = program(network, shape=(*size, 3), seed=1)
    made.step(2)
    assert made.estimate().shape == (*size, 3)
    assert np.isfinite(made.loss())
    assert all(np.isfinite(values).all() for values in made.state().values())


def test_the_published_nets_take_the_smallest_picture():
    """Five and six sizes: 16 pixels become one, and one stays one."""
    library = de.UNet(filters=(8, 16, 32, 64, 128, 128))
    for network in (de.UNet(), library, de.ResNet()):
        made = program(network, shape=(16, 16, 3))
        made.step(2)
        assert np.isfinite(made.estimate()).all()


def test_the_published_sizes_are_those_of_the_paper():
    assert de.unet().network.filters == tuple(n // 4 for n in (64, 128, 256, 512, 1024))
    assert 8 <= de.resnet().network.blocks <= 10 and 16 <= de.resnet().network.channels <= 32
    for prior in (de.unet(), de.resnet()):
        net = modules_of(prior.network, 32, 3, seed=0)
        assert prior.parameter_count() == sum(values.numel() for values in net.parameters())


@every_network
def test_a_restored_state_continues_bit_for_bit(network):
    first, second = (program(network, perturbation=0.03, seed=seed) for seed in (3, 99))
    check_it_continues(first, second)


@pytest.mark.parametrize("prior", ["unet", "resnet 4"])
@pytest.mark.parametrize(
    "task", [de.Denoise(), de.RemoveJpeg(), de.SuperResolve(2), de.Inpaint(picture(18, 17) > 0.4)], ids=str
)
def test_every_task_learns_its_picture(prior, task):
    network = de.UNet(filters=(4, 8)) if prior == "unet" else de.ResNet(blocks=2, channels=8)
    image = np.full((18, 17, 3), 0.2, np.float32)
    result = de.restore(image, task, prior=prior_of(network, 0.01), engine="torch", steps=30, seed=1)
    assert result.engine == "torch"
    assert result.image.shape == task.estimate_shape(image.shape)
    assert result.loss < 0.2 * result.history[0]


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("network", [NETWORKS["unet"], NETWORKS["resnet"]], ids=["unet", "resnet"])
def test_a_saved_session_goes_on_bit_for_bit(tmp_path, network, suffix):
    path = tmp_path / f"scene.{suffix}"
    check_it_is_saved(path, picture(16, 18, 3), prior=prior_of(network, 0.03))


def test_subsampled_steps_are_refused_for_they_need_an_hourglass():
    with pytest.raises(de.EngineError, match="not an hourglass"):
        program(NETWORKS["resnet"], subsample=True)


@pytest.mark.parametrize("quality", ["paper", "balanced", "fast"])
def test_presets_treat_them_as_published_fits(quality):
    chosen = de.preset(de.Denoise(), replace(de.unet(), name="mine"), quality)
    assert chosen.prior.name == "mine" and chosen.optimiser == de.Adam(0.01) and not chosen.subsample


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: de.UNet(filters=(4,)), "filters has 1 entries; a U-Net has 2 to 12"),
        (lambda: de.UNet(filters=(4, 0)), "filters has 0; each size needs 1 to 4096"),
        (lambda: de.UNet(norm="layer"), "norm is 'layer'; it must be one of batch, instance"),
        (lambda: de.UNet(up="lanczos"), "one of deconv, bilinear, nearest"),
        (lambda: de.UNet(padding="circular"), "one of reflection, zero"),
        (lambda: de.UNet(eps=0), "eps is 0; it must be above 0"),
        (lambda: de.ResNet(blocks=0), "blocks is 0"),
        (lambda: de.ResNet(channels=5000), "channels is 5000"),
        (lambda: de.ResNet(padding="no"), "padding is 'no'"),
        (lambda: de.ResNet(slope=2), "slope is 2"),
        (lambda: de.ResNet(bn_eps=-1), "bn_eps is -1"),
    ],
)
def test_a_wrong_description_is_refused_in_one_sentence(make, words):
    with pytest.raises(de.InputError, match=words):
        make()
