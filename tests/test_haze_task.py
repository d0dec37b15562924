"""Dehazing from end to end: sessions, files, sizes, kinds of pictures, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import dipedge as de
from dipedge import haze
from dipedge.errors import EngineError, InputError
from dipedge.images import open_image
from dipedge.priors import Fourier, HazePriors, Hourglass, Level, Meshgrid, Noise, Prior
from dipedge.tasks import Dehaze
from tests.conftest import smooth_picture

NET = Hourglass((Level(8, 8, 0), Level(8, 8, 2)))
PRIORS = HazePriors(
    Prior(Noise(4, centred=True), NET, 0.03),
    Prior(Noise(4, centred=True), NET),
    Prior(Meshgrid(2), NET, 0.03),
    learned=(False, True),
    pass_steps=3,
)
OPTIONS = {"prior": PRIORS, "steps": 6, "threads": 1}


def hazy_scene(height=48, width=64, channels=3):
    """(hazy, clear, transmission): checks of colour behind a haze that thickens to the right."""
    row, column = np.mgrid[:height, :width]
    checks = ((row // 6 + column // 6) % 2)[..., None] * smooth_picture(height, width, channels)
    transmission = np.broadcast_to(np.linspace(0.8, 0.3, width), (height, width))
    clear = (0.02 + 0.95 * checks).astype(np.float32)
    return haze.hazy(clear, transmission, 0.85).astype(np.float32), clear, transmission


def hazy_picture(*size, **options):
    return hazy_scene(*size, **options)[0]


@pytest.mark.parametrize("prior", ["dip", "pip"])
def test_dehazing_brings_a_hazy_picture_nearer_to_the_clear_one(engine, prior):
    pixels, clear, transmission = hazy_scene()
    task = de.Dehaze(airlight=(0.85, 0.85, 0.85))  # no place in it shows its haze alone
    result = de.restore(pixels, task, prior=prior, engine=engine, steps=60, threads=1)
    assert result.image.shape == clear.shape and result.image.dtype == np.float32
    assert de.psnr(result.image, clear) > de.psnr(pixels, clear) + 2
    found = result.parts["transmission"]
    assert np.corrcoef(found.mean(axis=0), transmission[0])[0, 1] > 0.9
    assert len(result.history) == 60


def test_picture_transmission_and_airlight_explain_the_hazy_picture():
    pixels = hazy_picture()
    result = de.restore(pixels, de.Dehaze(), **OPTIONS)
    share, light = result.parts["transmission"], result.parts["airlight"]
    assert share.shape == (48, 64) and light.shape == (48, 64, 3)
    assert share.min() >= 0.1 and share.max() <= 1
    inside = (result.image > 0) & (result.image < 1)  # clipped values explain nothing
    again = haze.hazy(result.image, share, light)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(again[inside], pixels[inside], rtol=0, atol=1e-5)


def test_nothing_is_clipped_unless_it_was_or_the_published_way_is_asked_for():
    pixels = hazy_picture()
    for keep_range in (True, False):
        task = de.Dehaze(airlight=(0.7, 0.7, 0.7), keep_range=keep_range)  # too dark: J leaves the range
        image = de.restore(np.rint(pixels * 255).astype(np.uint8), task, **OPTIONS).image
        clipped = ((image == 0) | (image == 255)).mean()
        assert clipped == 0 if keep_range else clipped > 0.01


def test_a_reference_is_compared_with_the_clear_picture_on_the_way():
    pixels, clear, _ = hazy_scene(100, 130)
    result = de.restore(pixels, de.Dehaze(longest=64), reference=clear, **OPTIONS)
    assert result.history.psnr[-1] == pytest.approx(de.psnr(result.image, clear), abs=1e-3)


def test_a_large_picture_is_fitted_small_and_answered_at_its_size():
    pixels = hazy_picture(150, 210)
    with de.Session(de.Dehaze(longest=64), **OPTIONS) as session:
        result = session.fit(pixels)
        assert session.state()["output"].shape == (46, 64, 7)
    assert result.image.shape == (150, 210, 3)
    assert result.parts["transmission"].shape == (150, 210)


def test_a_dehazing_is_never_cut_into_tiles():
    result = de.restore(hazy_picture(80, 100), de.Dehaze(longest=64), tiles=de.Tiles(32, 8), **OPTIONS)
    assert result.tiles == () and result.steps == 6


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (48, 64, 3), (48, 64, 4)])
def test_pictures_come_back_as_they_came(shape):
    grey = len(shape) == 2 or shape[2] == 1
    values = np.rint(hazy_picture(channels=1 if grey else 3) * 255).astype(np.uint8)
    values = values[..., 0] if len(shape) == 2 else values
    if len(shape) == 3 and shape[2] == 4:
        values = np.concatenate([values, np.full((48, 64, 1), 77, np.uint8)], axis=2)
    result = de.restore(values, de.Dehaze(), **OPTIONS)
    assert result.image.shape == shape and result.image.dtype == np.uint8
    if shape[-1] == 4:
        assert (result.image[..., 3] == 77).all()


def test_lists_and_ensembles_are_dehazed():
    pictures = [hazy_picture(48, 64), hazy_picture(48, 64)[:, ::-1].copy(), hazy_picture(50, 40)]
    results = de.restore(pictures, de.Dehaze(), **OPTIONS)
    np.testing.assert_array_equal(results[0].image, de.restore(pictures[0], de.Dehaze(), **OPTIONS).image)
    assert [result.image.shape for result in results] == [picture.shape for picture in pictures]
    together = de.restore(pictures[0], de.Dehaze(), ensemble=2, **OPTIONS)
    assert len(together.members) == 2 and together.parts["transmission"].shape == (48, 64)


def test_a_stored_dehazing_goes_on_bit_for_bit(tmp_path, engine):
    frames = [hazy_picture(), hazy_picture()[:, ::-1].copy()]
    with de.Session(de.Dehaze(airlight=(0.8, 0.85, 0.9)), engine=engine, **OPTIONS) as session:
        session.fit(frames[0])
        session.save(tmp_path / "scene.safetensors")
        expected = session.push(frames[1], steps=2)
    with de.Session.load(tmp_path / "scene.safetensors", threads=1) as loaded:
        assert loaded.task == de.Dehaze(airlight=(0.8, 0.85, 0.9))
        assert loaded.prior == PRIORS
        found = loaded.push(frames[1], steps=2)
    np.testing.assert_array_equal(found.image, expected.image)
    assert found.loss == expected.loss


def test_another_engine_goes_on_from_a_stored_dehazing(tmp_path):
    pytest.importorskip("torch")
    with de.Session(de.Dehaze(), engine="native", **OPTIONS) as session:
        before = session.fit(hazy_picture())
        session.save(tmp_path / "scene.npz")
    with de.Session.load(tmp_path / "scene.npz", engine="torch", threads=1) as loaded:
        after = loaded.push(hazy_picture(), steps=1)
    assert np.abs(after.image - before.image).mean() < 0.1


# Settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dip", "pip"])
def test_the_published_settings_are_in_the_table(name):
    chosen = de.preset(de.Dehaze(), name, "paper")
    assert (chosen.steps, chosen.optimiser.learning_rate) == (8000, 0.001)
    priors = chosen.prior
    assert (priors.learned, priors.pass_steps) == ((False, True), 4000)
    for part, _ in priors.parts(3).values():
        assert [level.down for level in part.network.levels] == [8, 16, 32, 64, 128]
        assert [level.up for level in part.network.levels] == [8, 16, 32, 64, 128]
        assert [level.skip for level in part.network.levels] == [0, 0, 0, 4, 4]
        assert {level.kernel_down for level in part.network.levels} == {3 if name == "dip" else 1}
    if name == "dip":
        assert priors.picture.encoding == priors.transmission.encoding == Noise(8, 0.1, centred=True)
        assert priors.airlight.encoding == Meshgrid(4)
        perturbed = [part.perturbation for part, _ in priors.parts(3).values()]
        assert perturbed == [1 / 30, 0, 1 / 30]
    else:
        assert isinstance(priors.transmission.encoding, Fourier)


@pytest.mark.parametrize(("quality", "steps"), [("balanced", 300), ("fast", 150)])
def test_our_settings_hold_the_airlight_through_one_short_pass(quality, steps):
    for name in ("dip", "pip"):
        chosen = de.preset(de.Dehaze(), name, quality)
        assert (chosen.steps, chosen.optimiser.learning_rate) == (steps, 0.01)
        assert (chosen.prior.learned, chosen.prior.pass_steps) == ((False,), steps)
        assert chosen.prior.airlight is None
    assert de.preset(de.Dehaze(), quality=quality).prior.name == "pip"
    own = de.preset(de.Dehaze(), PRIORS, quality)
    assert own.prior == PRIORS and own.steps == 6
    assert de.preset(de.Dehaze(), PRIORS, quality, steps=10).prior == replace(PRIORS, pass_steps=5)


def test_a_known_airlight_is_begun_from_and_learned_in_every_published_pass():
    assert de.preset(de.Dehaze(airlight=(0.5, 0.6, 0.7)), "dip", "paper").prior.learned == (True, True)
    light = np.array([0.5, 0.6, 0.7], np.float32)
    np.testing.assert_array_equal(de.Dehaze(airlight=(0.5, 0.6, 0.7)).airlight_of(hazy_picture()), light)


def test_passes_share_the_steps_that_are_asked_for():
    assert de.preset(de.Dehaze(), "dip", "paper", steps=101).prior.pass_steps == 51


def test_centred_noise_and_repeated_coordinates_are_the_inputs():
    from dipedge.engines.initial import initial_input

    noise = initial_input(Noise(8, 0.1, centred=True), (40, 50), seed=1)
    assert noise.shape == (40, 50, 8)
    assert -0.05 <= noise.min() < -0.0499 and 0.0499 < noise.max() <= 0.05
    np.testing.assert_allclose(noise, initial_input(Noise(8, 0.1), (40, 50), seed=1) - 0.05, atol=1e-8)
    grid = initial_input(Meshgrid(4), (40, 50), seed=1)
    np.testing.assert_array_equal(grid, np.tile(initial_input(Meshgrid(), (40, 50), 1), 4))


# What is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"airlight": (0.5, 0.5)}, "1 or 3 numbers"),
        ({"airlight": (0.5, 0.5, 1.5)}, r"in \[0, 1\]"),
        ({"airlight": (0.5, 0.5, float("nan"))}, "airlight is"),
        ({"airlight": "red"}, "airlight is 'red'"),
        ({"airlight": 0.5}, "airlight is 0.5"),
        ({"longest": 63}, "longest is 63"),
        ({"longest": 64.5}, "longest is 64.5"),
        ({"longest": True}, "longest is True"),
    ],
)
def test_a_task_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        Dehaze(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"learned": ()}, "learned is"),
        ({"learned": (False,) * 5}, "1 to 4 passes"),
        ({"learned": (True,), "airlight": None}, "no prior"),
        ({"pass_steps": 0}, "pass_steps is 0"),
    ],
)
def test_priors_that_cannot_be_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        replace(PRIORS, **arguments)


def test_one_prior_is_not_three_and_three_are_not_one():
    with pytest.raises(InputError, match="takes HazePriors"):
        de.Session(de.Dehaze(), prior=Prior(Noise(4), NET))
    with pytest.raises(InputError, match="takes a Prior"):
        de.Session(de.Denoise(), prior=PRIORS)


def test_an_airlight_of_three_values_is_none_of_a_grey_picture():
    with pytest.raises(InputError, match="a picture of 1 channels needs 1"):
        de.restore(hazy_picture(channels=1), de.Dehaze(airlight=(0.5, 0.6, 0.7)), **OPTIONS)
    assert de.restore(hazy_picture(channels=1), de.Dehaze(airlight=(0.7,)), **OPTIONS).steps == 6


def test_triton_says_who_can():
    pytest.importorskip("triton")
    with pytest.raises(EngineError, match="'dehaze'"):
        de.Session(de.Dehaze(), engine="triton")


# The command ----------------------------------------------------------------------------------------


def test_the_command_writes_the_clear_picture_and_the_transmission(run):
    Image.fromarray(np.rint(hazy_picture() * 255).astype(np.uint8)).save("hazy.png")
    files = ("-o", "out.png", "--transmission", "share.png")
    assert run("dehaze", "hazy.png", *files, "--airlight", "0.8,0.85,0.9", "--longest", 64, "--clip")[0] == 0
    assert open_image("out.png").size == open_image("share.png").size == (64, 48)
    assert open_image("share.png").mode == "L"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--airlight", "white"), "airlight is 'white'"),
        (("--airlight", "1,2,3"), "in [0, 1]"),
        (("--longest", 10), "longest is 10"),
        (("--prior", "deep"), "one of"),
        (("--transmission", "out.png"), "two outputs"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_no_file(run, folder, arguments, words):
    before = sorted(path.name for path in folder.iterdir())
    code, _, err = run("dehaze", "in.png", "-o", "out.png", *arguments)
    assert code == 2
    assert words in err and err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before
