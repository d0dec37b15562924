"""Tasks whose answer or input is made of several pictures: enhancement, flash, pixels that are known."""

import numpy as np
import pytest

import dipedge as de
from dipedge.priors import GivenImage, Hourglass, Level, Noise, Prior
from tests.conftest import ENGINES

SMALL = Hourglass((Level(8, 8, 4), Level(8, 8, 4)))
NOISE = Prior(Noise(8), SMALL)
GIVEN = Prior(GivenImage(3), SMALL)


def picture(seed=0, height=24, width=32, channels=3):
    generator = np.random.default_rng(seed)
    ramp = np.linspace(0.2, 0.8, width)[None, :, None] + np.zeros((height, 1, channels))
    return np.clip(ramp + 0.05 * generator.standard_normal(ramp.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
def test_enhancing_adds_what_the_coarse_version_lacks(engine):
    image = picture()
    result = de.restore(image, de.Enhance(strength=2.0), prior=NOISE, engine=engine, steps=20)
    coarse = result.parts["coarse"]
    assert coarse.shape == image.shape
    assert np.allclose(result.image, np.clip(image + 2 * (image - coarse), 0, 1), atol=1e-6)
    assert np.allclose(result.parts["detail"], 0.5 + (image - coarse) / 2)
    assert not np.allclose(result.image, image)


def test_enhancing_stops_where_the_task_says():
    assert de.restore(picture(), de.Enhance(stop=7), prior=NOISE).steps == 7
    assert de.restore(picture(), de.Enhance(stop=7), prior=NOISE, steps=5).steps == 5


def test_tiles_and_ensembles_are_enhanced_as_a_whole():
    image = picture(width=80)
    for options in ({"tiles": de.Tiles(32, 8)}, {"ensemble": 2}):
        result = de.restore(image, de.Enhance(), prior=NOISE, steps=4, **options)
        expected = np.clip(2 * image - result.parts["coarse"], 0, 1)
        assert np.allclose(result.image, expected, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"tiles": de.Tiles(32, 8)}, {"ensemble": 2}], ids=["one", "tiles", "two"]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_known_pixels_come_back_to_the_bit_unless_asked_otherwise(dtype, options):
    known = np.random.default_rng(0).random((24, 80)) > 0.5
    image = picture(width=80)
    image = image if dtype in (np.float32, np.float64) else np.rint(image * np.iinfo(dtype).max)
    image = image.astype(dtype)
    settings = {"prior": NOISE, "steps": 3, **options}
    kept = de.restore(image, de.Inpaint(known), **settings).image
    fitted = de.restore(image, de.Inpaint(known, keep=False), **settings).image
    assert np.array_equal(kept[known], image[known])
    assert np.array_equal(kept[~known], fitted[~known])
    assert not np.array_equal(fitted[known], image[known])


def test_what_is_measured_beside_a_reference_has_the_known_pixels():
    known = np.random.default_rng(0).random((24, 80)) > 0.5
    truth = picture(width=80)
    for options in ({}, {"tiles": de.Tiles(32, 8)}):
        task = de.Inpaint(known)
        result = de.restore(truth, task, prior=NOISE, steps=3, reference=truth, **options)
        assert result.psnr == pytest.approx(de.psnr(result.image, truth))
        if not options:
            assert result.history.psnr[-1] == pytest.approx(result.psnr)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_flash_picture_is_the_networks_input(engine):
    image, flash = picture(0), picture(1)
    settings = {"prior": GIVEN, "engine": engine, "steps": 3}
    with de.Session(de.FlashNoFlash(flash), **settings) as session:
        result = session.fit(image)
        assert np.array_equal(session.state()["input"], flash)
        session.push(picture(2), steps=1)  # the next frame keeps the flash picture
        assert np.array_equal(session.state()["input"], flash)
    other = de.restore(image, de.FlashNoFlash(picture(3)), **settings)
    assert not np.array_equal(result.image, other.image)


def test_a_grey_flash_picture_is_taken_in_three_equal_channels():
    grey = picture(1, channels=1)
    with de.Session(de.FlashNoFlash(grey[..., 0]), prior=GIVEN, steps=1) as session:
        session.fit(picture())
        assert np.array_equal(session.state()["input"], np.repeat(grey, 3, axis=2))


def test_a_tile_sees_its_own_part_of_the_flash_picture():
    image, flash = picture(width=80), picture(1, width=80)
    tiled = de.restore(image, de.FlashNoFlash(flash), prior=GIVEN, steps=3, tiles=de.Tiles(32, 8))
    first = de.restore(image[:, :32], de.FlashNoFlash(flash[:, :32]), prior=GIVEN, steps=3)
    assert np.allclose(tiled.image[:, :20], first.image[:, :20], atol=1e-6)


def test_a_flash_session_is_saved_and_goes_on(tmp_path):
    path = tmp_path / "scene.safetensors"
    with de.Session(de.FlashNoFlash(picture(1)), prior=GIVEN, steps=2) as session:
        session.fit(picture())
        session.save(path)
        expected = session.push(picture(2), steps=2).image
    with de.Session.load(path) as loaded:
        assert np.array_equal(loaded.push(picture(2), steps=2).image, expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: de.Enhance(strength=0), "strength is 0; it must be above 0"),
        (lambda: de.Enhance(stop=0), "stop is 0"),
        (lambda: de.restore(picture(), de.FlashNoFlash(picture(height=30))), "30 x 32; .* 24 x 32"),
        (lambda: de.restore(picture(), de.FlashNoFlash("none.png")), "none.png"),
        (lambda: de.Session(de.FlashNoFlash(picture()), prior=NOISE), "GivenImage"),
        (lambda: de.Session(de.Denoise(), prior=GIVEN), "none to give"),
        (lambda: de.Session(de.Denoise()).fit(), "no image was given"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(call, words):
    with pytest.raises(de.DipedgeError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
