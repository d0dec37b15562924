"""3D-DIP: the published wiring and initial bits, frames that are kept apart, and a clip that is fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dipedge as de
from dipedge.clips.batches import in_order
from dipedge.clips.clip_presets import clip_preset
from dipedge.descriptions import from_plain, to_plain
from dipedge.networks import Hourglass3d, Level
from dipedge.presets import preset
from dipedge.priors import dip3d

torch = pytest.importorskip("torch")

from dipedge.engines import engine_for  # noqa: E402
from dipedge.engines.base import Settings  # noqa: E402
from dipedge.engines.initial import initial_input, initial_parameters  # noqa: E402
from dipedge.engines.torch import TorchEngine  # noqa: E402
from dipedge.engines.torch_hourglass3d import convolve3d  # noqa: E402
from tests.conftest import smooth_picture  # noqa: E402
from tests.module_networks import modules_of  # noqa: E402


def network(*levels, **options):
    return Hourglass3d(de.Hourglass(levels, upsample="nearest", **options))


NETWORKS = {
    "two levels": network(Level(4, 5, 2), Level(6, 3, 1)),
    "no skip": network(Level(3, 4, 0), Level(5, 5, 0, 3, 1), bn_eps=1e-3, slope=0.1),
    "kernel 5": network(Level(4, 4, 2, 5, 3, 3)),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
SMALL = de.Prior(de.Noise(8), network(Level(8, 8, 4), Level(16, 16, 4)), name="small 3d")


def program(prior=SMALL, task=None, frames=3, size=(12, 16), **settings):
    shape = (frames * size[0], size[1], 3)
    return TorchEngine().compile(prior, task or de.Denoise(), shape, Settings(frames=frames, **settings))


def moving_clip(frames, height, width):
    """A smooth scene that moves a column a frame, [T, H, W, 3]."""
    scene = smooth_picture(height, width + frames)
    return np.stack([scene[:, t : t + width] for t in range(frames)])


@pytest.mark.parametrize("network", [Hourglass3d(), NETWORKS["two levels"]], ids=["published", "two levels"])
def test_weights_are_those_of_torch_modules_to_the_bit(network):
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this processor has no fused multiply-add, and PyTorch rounds twice on it")
    net = modules_of(network, 32, 3, seed=7)
    found = initial_parameters(de.Prior(de.Noise(32), network), 3, seed=7)
    wanted = [values.detach().numpy() for values in net.parameters()]
    assert [values.shape for values in found.values()] == [values.shape for values in wanted]
    for (name, values), same in zip(found.items(), wanted, strict=True):
        assert np.array_equal(values, same), name


@every_network
@pytest.mark.parametrize(("frames", "size"), [(3, (12, 16)), (4, (9, 7)), (1, (8, 8))])
def test_outputs_and_gradients_are_those_of_modules_in_float64(network, frames, size):
    prior = de.Prior(de.Noise(3), network)
    made = program(prior, frames=frames, size=size, seed=4, precision="fp64", input_gradient=True)
    target = np.random.default_rng(1).random(made.shape)
    made.set_target(target)
    found = made.evaluate()
    net = modules_of(network, 3, 3, seed=4).double()
    net.frames = frames
    z = torch.tensor(initial_input(de.Noise(3), made.shape, 4)).double().permute(2, 0, 1)[None]
    z.requires_grad_()
    output = net(z)
    torch.nn.functional.mse_loss(output, torch.tensor(target).permute(2, 0, 1)[None]).backward()

    def as_picture(values):
        return values.detach()[0].permute(1, 2, 0).numpy()

    np.testing.assert_allclose(found.output, as_picture(output), rtol=1e-11)
    gradients = [values.grad.numpy() for values in net.parameters()]
    for (name, ours), theirs in zip(found.gradients.items(), [*gradients, as_picture(z.grad)], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-13, err_msg=name)


def test_a_convolution_repeats_the_first_and_the_last_frame():
    draw = torch.Generator().manual_seed(0)
    x = torch.rand((1, 2, 6, 7), generator=draw, dtype=torch.float64)
    weight = torch.rand((3, 2, 3, 3, 3), generator=draw, dtype=torch.float64)
    bias = torch.rand(3, generator=draw, dtype=torch.float64)
    alone = convolve3d(x, weight, bias, 1)
    flat = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    expected = torch.nn.functional.conv2d(flat, weight.sum(2), bias)
    torch.testing.assert_close(alone, expected, rtol=1e-12, atol=1e-12)
    # What lies two frames away is not seen; what lies one frame away is.
    clip = torch.cat((x, x, x, torch.zeros_like(x)))
    seen = convolve3d(clip, weight, bias, 2)
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(seen[1], seen[2])


def test_decimation_keeps_to_each_frame():
    made = program(task=de.SuperResolve(4), precision="fp64")
    target = np.random.default_rng(0).random((9, 4, 3))
    made.set_target(target)
    whole = made.evaluate()
    single = TorchEngine().compile(SMALL, de.SuperResolve(4), (12, 16, 3), Settings(precision="fp64"))
    losses = []
    for index in range(3):
        single.set_target(target[3 * index : 3 * index + 3])
        output = torch.tensor(whole.output[12 * index : 12 * index + 12]).permute(2, 0, 1)[None]
        losses.append(float(single._data_term(output)))
    assert whole.loss == pytest.approx(np.mean(losses), rel=1e-12)


def test_the_published_network_has_its_count_of_parameters():
    modules = modules_of(Hourglass3d(), 32, 3, seed=0)
    count = sum(values.numel() for values in modules.parameters())
    assert dip3d().parameter_count() == count == 4_395_563


def test_a_clip_is_denoised_better_than_its_frames_are_noisy():
    clean = moving_clip(6, 24, 32)
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape), 0, 1)
    made = program(frames=6, size=(24, 32), seed=1, average=0.9)
    made.set_target(noisy.reshape(made.shape).astype(np.float32))
    made.step(150)
    found = made.estimate().reshape(clean.shape)
    assert de.psnr(np.clip(found, 0, 1), clean) > de.psnr(noisy, clean) + 6


def test_a_saved_fit_goes_on_to_the_bit():
    made, again = program(), program(seed=5)
    made.set_target(np.random.default_rng(0).random(made.shape).astype(np.float32))
    again.set_target(np.random.default_rng(0).random(made.shape).astype(np.float32))
    made.step(2)
    again.load_state(made.state())
    for one in (made, again):
        one.step(2)
    assert np.array_equal(made.estimate(), again.estimate())


def test_a_picture_is_a_clip_of_one_frame(picture):
    result = de.restore(picture(), de.Denoise(), prior=SMALL, steps=3)
    assert (result.engine, result.steps) == ("torch", 3)
    assert result.image.shape == picture().shape


@pytest.mark.parametrize("task", [de.Denoise(), de.SuperResolve(4)], ids=["denoise", "superresolve"])
@pytest.mark.parametrize("prior", ["dip3d", dip3d()], ids=["word", "description"])
def test_the_word_and_the_description_have_the_same_published_settings(task, prior):
    found = preset(task, prior, "paper")
    assert found.prior == dip3d()
    assert found.source.startswith("PIP code, video") and found.optimiser == de.Adam(0.01)
    assert preset(task, prior, "balanced").prior == dip3d()


def test_what_has_no_settings_for_clips_names_the_priors_there_are():
    with pytest.raises(de.InputError, match=r"'dip3d'.*pip, dip"):
        preset(de.RemoveJpeg(), "dip3d")


def test_only_the_torch_engine_takes_it():
    assert engine_for("auto", dip3d(), de.Denoise()).name == "torch"
    with pytest.raises(de.EngineError, match=r"Hourglass3d.*engine='torch'"):
        engine_for("native", dip3d(), de.Denoise())


def test_frames_are_refused_where_nothing_could_treat_them_as_frames(tiny_dip):
    with pytest.raises(de.EngineError, match="layers are not all pointwise"):
        program(tiny_dip)
    with pytest.raises(de.EngineError, match="13 rows is not so many frames"):
        TorchEngine().compile(SMALL, de.Denoise(), (13, 8, 3), Settings(frames=3))


@pytest.mark.parametrize("options", [{"padding": "zero"}, {"downsample": "avg"}])
def test_a_space_it_cannot_have_is_refused_by_name(options):
    (name,) = options
    with pytest.raises(de.InputError, match=f"{name} is"):
        Hourglass3d(replace(de.Hourglass(), **options))


def test_a_description_survives_being_saved():
    assert from_plain(to_plain(dip3d()), de.Prior) == dip3d()


# Whole clips ----------------------------------------------------------------------------------------


def test_a_short_segment_comes_back_the_way_it_went():
    assert next(in_order(5, 5)).tolist() == [0, 1, 2, 3, 4]
    assert next(in_order(3, 8)).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert next(in_order(2, 3)).tolist() == [0, 1, 0]
    assert next(in_order(1, 2)).tolist() == [0, 0]


def test_restore_video_fits_all_frames_of_a_segment_in_every_step():
    clip = moving_clip(5, 16, 20).astype(np.float32)
    result = de.restore_video(clip, de.Denoise(), prior=SMALL, steps=4, seed=2)
    assert (result.engine, result.steps, len(result.segments)) == ("torch", 4, 1)
    chosen = preset(de.Denoise(), SMALL, "balanced", 4)
    made = program(frames=5, size=(16, 20), seed=2, average=chosen.average, optimiser=chosen.optimiser)
    made.set_target(clip.reshape(made.shape))
    made.step(4)
    np.testing.assert_array_equal(result.frames, np.clip(made.estimate(), 0, 1).reshape(clip.shape))


def test_a_long_clip_is_fitted_segment_by_segment_and_none_begins_from_another():
    clip = moving_clip(8, 16, 20).astype(np.float32)
    options = {"prior": SMALL, "steps": 3, "seed": 2}
    whole = de.restore_video(clip, de.Denoise(), segment=5, **options)
    assert [(one.first, one.frames, one.fresh) for one in whole.segments] == [(0, 5, True), (5, 3, True)]
    first = de.restore_video(clip[:5], de.Denoise(), **options)
    np.testing.assert_array_equal(whole.frames[:5], first.frames)
    assert whole.frames.shape == clip.shape


def test_a_clip_is_enlarged_and_its_holes_are_filled():
    clip = moving_clip(3, 16, 16).astype(np.float32)
    large = de.restore_video(clip, de.SuperResolve(4), prior=SMALL, steps=2)
    assert large.frames.shape == (3, 64, 64, 3)
    mask = np.ones((16, 16), bool)
    mask[2:4, 2:4] = False
    filled = de.restore_video(clip, de.Inpaint(mask), prior=SMALL, steps=2)
    np.testing.assert_array_equal(filled.frames[:, mask], clip[:, mask])
    assert not np.any(filled.frames[:, ~mask] == clip[:, ~mask])


def test_clips_have_the_published_settings_of_3d_dip_by_its_word():
    found = clip_preset(de.Denoise(), "dip3d", "paper")
    assert found.whole and found.prior == dip3d()
    assert found.batch((480, 854, 3), 24) == found.segment == 24
    assert found.steps(24, 24) == found.steps(7, 24) == 5000
