"""Whole fits to a text: similarity rises, states go on, and the engines that cannot say so.

The encoders know nothing (``stand_in_encoders``); that a fit finds what *they* call similar is what is
shown here.
"""

import numpy as np
import pytest
from PIL import Image

import dipedge as de

pytest.importorskip("torch")

from dipedge.engines.base import Settings
from dipedge.objectives import objective_for
from tests.stand_in_encoders import stand_in


def task(text="red fox", size=32, **options):
    return de.MatchText(text, stand_in(), size=size, **{"cutouts": 4} | options)


def similarity(image, text):
    """Cosine between a finished picture and a text, averaged over many pieces that no fit saw."""
    pixels = np.asarray(image, np.float32) / 255
    judge = objective_for(task(text, size=pixels.shape[:2], decorrelated=False, cutouts=40), seed=99)
    return float(np.mean([np.cos(np.sqrt(2 * judge(pixels, step)[0])) for step in range(3)]))


def fitted(text, prior, steps, **options):
    with de.Session(task(text, **options), prior=prior, engine="torch", steps=steps, threads=1) as session:
        return session.fit()


def test_a_few_steps_make_a_picture_that_is_more_like_its_text(tiny_pip):
    before, after = (fitted("red fox", tiny_pip, steps) for steps in (1, 60))
    assert isinstance(after.image, Image.Image) and after.image.size == (32, 32)
    assert similarity(after.image, "red fox") > similarity(before.image, "red fox") + 0.15
    assert after.history[-10:].mean() < after.history[:10].mean() - 0.15
    # What went up is the likeness to this text, not to any.
    other = fitted("deep sea", tiny_pip, 60)
    assert similarity(after.image, "red fox") > similarity(other.image, "red fox") + 0.1
    assert similarity(other.image, "deep sea") > similarity(after.image, "deep sea") + 0.1


def test_an_unwanted_text_is_kept_away_from(tiny_pip):
    without, wanted = (
        fitted("red fox", tiny_pip, 40, negative=negative) for negative in ("deep sea:2", None)
    )
    assert similarity(without.image, "deep sea") < similarity(wanted.image, "deep sea") - 0.05


def test_the_same_seed_makes_the_same_picture(tiny_pip):
    first, again = (fitted("red fox", tiny_pip, 5) for _ in range(2))
    assert np.array_equal(first.image, again.image) and first.loss == again.loss
    with de.Session(task(), prior=tiny_pip, engine="torch", steps=5, seed=1) as session:
        assert session.fit().loss != first.loss


def test_a_stored_fit_sees_the_same_pieces_and_goes_on_bit_for_bit(tiny_pip):
    settings = Settings(optimiser=de.Madgrad(), average=0.0, threads=1)
    given, engine = task(), de.get_engine("torch")
    first, second = (engine.compile(tiny_pip, given, (32, 32, 3), settings) for _ in range(2))
    for program in (first, second):
        program.set_target(given.blank())
    first.step(3)
    second.load_state(first.state())
    first.step(4)
    second.step(4)
    expected, found = first.state(), second.state()
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[key], found[key]) for key in expected)


def test_a_step_in_two_halves_is_the_step(tiny_pip):
    settings = Settings(optimiser=de.Adam(), average=0.0, threads=1)
    given, engine = task(), de.get_engine("torch")
    whole, halves = (engine.compile(tiny_pip, given, (32, 32, 3), settings) for _ in range(2))
    whole.set_target(given.blank())
    objective = objective_for(given, settings.seed)
    for step in range(3):
        whole.step()
        loss, gradient = objective(halves.forward(), step)
        halves.backward(gradient, loss)
        assert loss == pytest.approx(whole.loss(), rel=1e-5)
    assert np.allclose(whole.estimate(), halves.estimate(), atol=1e-4)


def test_pictures_may_be_oblong_and_float64_works(tiny_pip):
    with de.Session(
        task(size=(20, 36)), prior=tiny_pip, engine="torch", steps=2, precision="fp64"
    ) as session:
        assert session.fit().image.size == (36, 20)


def test_averages_over_seeds_are_made(tiny_pip):
    with de.Session(task(), prior=tiny_pip, engine="torch", steps=3, ensemble=2) as session:
        result = session.fit()
    assert len(result.members) == 2 and result.image.size == (32, 32)


def test_auto_takes_torch_where_other_engines_have_no_madgrad(tiny_pip):
    with de.Session(task(), prior=tiny_pip) as session:
        assert session.engine == "torch"


def test_the_native_engine_says_why_it_does_not_run_it(tiny_pip):
    pytest.importorskip("dipedge._native")
    with pytest.raises(de.EngineError, match=r"^engine 'native' has no MADGRAD; engine='torch' does$"):
        de.Session(task(), prior=tiny_pip, engine="native")


def test_a_picture_is_refused_and_a_file_of_the_session_too(tiny_pip, picture, tmp_path):
    with de.Session(task(), prior=tiny_pip, engine="torch", steps=1) as session:
        with pytest.raises(de.InputError, match="image was given; task 'text' begins from none"):
            session.fit(picture())
        session.fit()
        with pytest.raises(de.InputError):
            session.save(tmp_path / "scene.npz")
    assert list(tmp_path.iterdir()) == []
