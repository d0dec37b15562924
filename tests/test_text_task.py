"""MatchText as a description: what texts mean, the way back to colours, and what is refused."""

import numpy as np
import pytest

import dipedge as de
from dipedge.optimisers import Madgrad
from dipedge.priors import Fourier
from dipedge.tasks.text import colour_matrix

PAIR = de.Encoders(image=abs, text=len)  # never called here


@pytest.mark.parametrize(
    ("text", "negative", "prompts"),
    [
        ("a red fox in snow", None, (("a red fox in snow", 1.0),)),
        ("a lake at night | stars:0.5", None, (("a lake at night", 1.0), ("stars", 0.5))),
        ("a title: its end", "blur:2", (("a title: its end", 1.0), ("blur", -2.0))),
        (["clock at 12:30", ("sky | sea", 2)], None, (("clock at 12:30", 1.0), ("sky | sea", 2.0))),
        (("fox", "snow"), [("text", 0.25)], (("fox", 1.0), ("snow", 1.0), ("text", -0.25))),
    ],
)
def test_texts_may_be_several_with_weights_and_unwanted_ones(text, negative, prompts):
    assert de.MatchText(text, PAIR, negative=negative).prompts == prompts


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"text": " "}, "text holds ' '"),
        ({"text": "fox || snow"}, "text holds ''"),
        ({"text": []}, "text is an empty list"),
        ({"text": 7}, "text is 7; it must be a text"),
        ({"text": ["fox", 7]}, "text holds 7"),
        ({"text": "fox:0"}, "the weight 0.0; it must be above 0"),
        ({"text": "fox:nan"}, "the weight nan; it must be above 0"),
        ({"text": [("fox", True)]}, "the weight True"),
        ({"text": "fox", "negative": "blur:-1"}, "negative gives 'blur' the weight -1.0"),
        ({"text": "fox", "size": 15}, "size is 15; it must be a whole number from 16 to 4096"),
        ({"text": "fox", "size": (64, 4097)}, "size is 4097"),
        ({"text": "fox", "size": (64, 64, 3)}, r"size is \(64, 64, 3\); it must be one side or"),
        ({"text": "fox", "size": 64.0}, "size is 64.0"),
        ({"text": "fox", "cutouts": 0}, "cutouts is 0"),
        ({"text": "fox", "encoders": (abs, len)}, "encoders is .* must be an Encoders"),
    ],
)
def test_a_task_that_cannot_be_used_is_refused_with_its_argument(wrong, words):
    with pytest.raises(de.InputError, match=words):
        de.MatchText(**{"encoders": PAIR} | wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"image": 3}, "image is 3; encoders must be callable"),
        ({"text": None}, "text is None"),
        ({"size": 7}, "size is 7"),
        ({"mean": (0.5, 0.5)}, "mean is .* three numbers"),
        ({"std": (1, float("nan"), 1)}, "std is .* three numbers"),
        ({"std": (1, 0, 1)}, "std is .* above 0"),
    ],
)
def test_encoders_that_cannot_be_used_are_refused(wrong, words):
    with pytest.raises(de.InputError, match=words):
        de.Encoders(**{"image": abs, "text": len} | wrong)


def test_the_picture_is_as_large_as_the_task_says_and_needs_no_other():
    task = de.MatchText("fox", PAIR, size=(40, 56))
    assert task.blank().shape == (40, 56, 3)
    assert not task.needs_picture and not task.pieces
    assert de.MatchText("fox", PAIR).blank().shape == (512, 512, 3)


def test_decorrelated_colours_are_those_of_the_published_matrix():
    # Lucid's numbers, the first column over 1.6, and all over the length of the longest column.
    first = np.array([0.26, 0.27, 0.27]) / 1.6
    expected = np.stack([first, [0.09, 0.0, -0.09], [0.02, -0.05, 0.03]], axis=1) / np.linalg.norm(first)
    assert np.allclose(colour_matrix(), expected)
    values = np.random.default_rng(0).normal(size=(5, 6, 3))
    task = de.MatchText("fox", PAIR, size=16)
    answer = task.answer(1 / (1 + np.exp(-values)), task.blank()).image
    assert np.allclose(np.log(answer / (1 - answer)), values @ expected.T, atol=1e-9)


def test_brightness_is_the_first_channel_and_grey_outputs_stay_grey():
    task = de.MatchText("fox", PAIR, size=16)
    middle = np.full((2, 2, 3), 0.5, np.float32)
    assert np.allclose(task.answer(middle, middle).image, 0.5)
    bright = middle + np.array([0.3, 0, 0], np.float32)
    answer = task.answer(bright, bright).image
    assert (answer > 0.6).all() and np.ptp(answer) < 0.02


def test_outputs_at_the_ends_give_finite_colours():
    ends = np.stack([np.zeros((2, 2)), np.ones((2, 2)), np.full((2, 2), 0.5)], axis=2).astype(np.float32)
    answer = de.MatchText("fox", PAIR, size=16).answer(ends, ends).image
    assert np.isfinite(answer).all() and answer.min() >= 0 and answer.max() <= 1
    plain = de.MatchText("fox", PAIR, size=16, decorrelated=False)
    assert np.array_equal(plain.answer(ends, ends).image, ends)


def test_the_preset_is_the_published_one():
    chosen = de.preset(de.MatchText("fox", PAIR))
    assert chosen.steps == 700 and chosen.average == 0
    assert chosen.optimiser == Madgrad(learning_rate=0.0025, weight_decay=0.01, decay=0.99, final=1e-5)
    assert isinstance(chosen.prior.encoding, Fourier) and not chosen.prior.encoding.learned
    assert np.allclose(chosen.prior.encoding.frequencies(), [1, 2, 4, 8, 16, 32, 64, 128])
    levels = chosen.prior.network.levels
    assert [level.down for level in levels] == [level.up for level in levels] == [192] * 6
    assert all(level.kernel_down == level.kernel_up == 1 for level in levels)
    assert chosen.stop == de.MaxSteps(700)
