"""What a result tells of its way: the loss of every step and, beside a reference, PSNR and SSIM."""

import json
import time

import numpy as np
import pytest

import dipedge as de
from dipedge import measure as measure_module
from dipedge.history import History
from tests.lockstep import Interrupter, assert_same_fit

TILES = de.Tiles(32, 8)
STEPS = 6
# Every rule there is, each ending a fit of the tiny nets within its limit and some far before it.
RULES = {
    "limit": de.MaxSteps(30),
    "deadline": de.Deadline(ms=20) | de.MaxSteps(400),
    "discrepancy": de.Discrepancy(sigma=60) | de.MaxSteps(200),
    "noise floor": de.NoiseFloor(share=4.0, window=3, floor=5) | de.MaxSteps(200),
    "variance": de.VarianceWindow(window=8, patience=6) | de.MaxSteps(200),
    "variance cut short": de.VarianceWindow(window=8, patience=10**6) | de.MaxSteps(90),
    "variance and limit": de.VarianceWindow(window=8, patience=6) & de.MaxSteps(60),
    "variance or floor": de.NoiseFloor(share=4.0, window=3, floor=40) | de.VarianceWindow(window=8),
}


def test_a_history_is_the_sequence_of_its_losses():
    history = History(np.array([3.0, 2.0, 1.0]))
    assert (len(history), list(history), history[-1]) == (3, [3.0, 2.0, 1.0], 1.0)
    np.testing.assert_array_equal(np.asarray(history), [3.0, 2.0, 1.0])
    assert np.asarray(history, np.float32).dtype == np.float32
    assert list(history[1:]) == [2.0, 1.0]
    assert (len(history.psnr), len(history.ssim), len(history.steps_measured)) == (0, 0, 0)


def test_what_is_written_into_an_array_of_a_history_leaves_it_as_it_was():
    history = History(np.array([3.0, 2.0]))
    np.asarray(history)[0] = 9
    np.array(history)[0] = 9
    assert list(history) == [3.0, 2.0]


def test_joined_histories_count_on_and_come_apart_again():
    first = History(np.array([3.0, 2.0]), np.array([1, 2]), np.array([20.0, 21.0]), np.array([0.5, 0.6]))
    second = History(np.array([5.0, 4.0, 3.0]), np.array([3]), np.array([30.0]), np.array([0.9]))
    both = History.joined([first, second])
    assert (list(both), both.lengths) == ([3, 2, 5, 4, 3], (2, 3))
    assert list(both.steps_measured) == [1, 2, 5]
    assert list(both.loss[both.steps_measured - 1]) == [3, 2, 3]
    for found, expected in zip(both.parts(), (first, second), strict=True):
        for name in ("loss", "steps_measured", "psnr", "ssim"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert History.joined([both, first]).lengths == (2, 3, 2)


def test_a_history_goes_through_json():
    history = History(np.array([0.12345678]), np.array([1]), np.array([np.inf]), np.array([0.1234567]))
    told = json.loads(json.dumps(history.plain(), allow_nan=False))
    assert told == {"loss": [0.123457], "steps_measured": [1], "psnr": [None], "ssim": [0.12346]}
    assert History(np.array([0.5])).plain() == {"loss": [0.5]}


def test_every_measured_step_is_the_answer_a_fit_ended_there_would_have_given(opened, noisy):
    image, clean = noisy()
    options = {"steps": None, "stop": de.MaxSteps(5)}
    found = opened(**options, measure_every=1).fit(image, reference=clean)
    assert list(found.history.steps_measured) == [1, 2, 3, 4, 5]
    for steps, psnr, ssim in zip(
        found.history.steps_measured, found.history.psnr, found.history.ssim, strict=True
    ):
        alone = opened(steps=None, stop=de.MaxSteps(int(steps))).fit(image).image
        assert (psnr, ssim) == (de.psnr(alone, clean), de.ssim(alone, clean))
    assert (found.psnr, found.ssim) == (found.history.psnr[-1], found.history.ssim[-1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_measured_is_the_answer_as_it_is_handed_out_in_every_layout(opened, picture, dtype, channels):
    image = picture(16, 20, channels, dtype)
    truth = image[::-1].copy()
    found = opened(steps=2).fit(image, reference=truth)
    answer, truth = (one[..., :3] if channels == 4 else one for one in (found.image, truth))
    assert found.psnr == pytest.approx(de.psnr(answer, truth), abs=1e-9)
    assert found.ssim == pytest.approx(de.ssim(answer, truth), abs=1e-9)


def test_without_a_reference_nothing_is_measured(opened, noisy):
    found = opened().fit(noisy()[0])
    assert (found.psnr, found.ssim, len(found.history.psnr)) == (None, None, 0)


@pytest.mark.parametrize("how", [{}, {"tiles": TILES}, {"ensemble": 2}, {"ensemble": 2, "tiles": TILES}])
def test_a_fit_has_the_same_bits_with_a_reference_and_without(opened, noisy, how):
    image, clean = noisy(40, 50)
    expected = opened(**how).fit(image)
    assert_same_fit(opened(measure_every=1, **how).fit(image, reference=clean), expected)


def test_a_fit_has_the_same_bits_with_a_reference_on_every_engine(engine, opened, noisy):
    image, clean = noisy()
    expected = opened(engine=engine).fit(image)
    assert_same_fit(opened(engine=engine, measure_every=2).fit(image, reference=clean), expected)


def test_lockstep_and_looks_now_and_then_measure_what_single_fits_do(opened, lockstep, noisy):
    images, truths = zip(*(noisy(16, 20, seed=seed) for seed in range(3)), strict=True)
    expected = [opened(steps=9, measure_every=1).fit(*pair) for pair in zip(images, truths, strict=True)]
    lockstep(most=8, look_every=4)
    found = opened(steps=9, measure_every=1).fit(list(images), reference=list(truths))
    for one, alone in zip(found, expected, strict=True):
        assert list(one.history.steps_measured) == [4, 8, 9]
        np.testing.assert_array_equal(one.history.psnr, alone.history.psnr[[3, 7, 8]])
        assert_same_fit(one, alone)


def test_looks_come_as_often_as_they_were_asked_for_and_at_the_end(opened, noisy):
    def measured(**options):
        return list(opened(**options).fit(*noisy()).history.steps_measured)

    assert measured(steps=11, measure_every=4) == [1, 4, 8, 11]
    assert measured(steps=11, measure_every=100) == [1, 11]
    assert measured(steps=300) == [1, *range(3, 301, 3)]  # by default a hundredth of the limit
    assert measured(steps=None, stop=de.Deadline(ms=1) | de.MaxSteps(10**6))[:1] == [1]


def test_the_default_is_never_coarser_than_twenty_steps(opened, noisy):
    for limit in (de.MaxSteps(10**6), de.Deadline(ms=10**6)):
        session = opened(steps=None, stop=limit, progress=Interrupter(47))
        with pytest.raises(KeyboardInterrupt):
            session.fit(*noisy())
        assert list(session.result.history.steps_measured) == [1, 20, 40, 47]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("how", [{}, {"ensemble": 2}])
def test_under_every_rule_the_answer_is_the_estimate_of_the_chosen_step(opened, noisy, name, how):
    """The best step by the rule in use was put aside: bit for bit what a fit of so many steps gives."""
    image, clean = noisy(16, 20, sigma=40)
    options = {"steps": None, "seed": 3, "tiles": None}
    found = opened(stop=RULES[name], **options, **how).fit(image, reference=clean)
    fits = found.members or [found]
    total = 0
    for one, part in zip(fits, found.history.parts(), strict=True):
        assert 1 <= one.chosen_step <= one.steps == len(part)
        seed = {"seed": one.seed} if found.members else {}
        alone = opened(**options | seed, stop=de.MaxSteps(one.chosen_step)).fit(image).image
        total = total + alone
        at = list(part.steps_measured).index(one.chosen_step)
        assert part.psnr[at] == de.psnr(alone, clean)
        assert part.steps_measured[-1] == one.steps
    np.testing.assert_array_equal(found.image, total / np.float32(len(fits)))
    assert (found.psnr, found.ssim) == (de.psnr(found.image, clean), de.ssim(found.image, clean))


def test_a_variance_rule_chooses_a_step_before_the_last(opened, noisy):
    """Else the test before this one would show nothing of steps put aside."""
    image = noisy(16, 20, sigma=40)[0]
    found = {name: opened(steps=None, stop=rule, seed=3).fit(image) for name, rule in RULES.items()}
    early = {name for name, one in found.items() if one.chosen_step < one.steps}
    assert early and early <= {name for name in RULES if name.startswith("variance")}


def test_an_ensemble_has_the_history_of_every_member_and_the_figures_of_their_average(opened, noisy):
    image, clean = noisy()
    found = opened(ensemble=3, measure_every=2).fit(image, reference=clean)
    for seed, part in enumerate(found.history.parts()):
        alone = opened(seed=seed, measure_every=2).fit(image, reference=clean).history
        np.testing.assert_array_equal(part.psnr, alone.psnr)
        np.testing.assert_array_equal(part.steps_measured, alone.steps_measured)
    assert found.psnr == de.psnr(found.image, clean) != found.history.psnr[-1]


def test_tiles_are_measured_by_their_window_and_the_answer_as_a_whole(opened, noisy):
    image, clean = noisy(40, 50)
    found = opened(tiles=TILES, measure_every=2).fit(image, reference=clean)
    assert found.history.lengths == (5,) * len(found.tiles)
    for tile, part in zip(found.tiles, found.history.parts(), strict=True):
        rows, columns = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
        alone = opened(tiles=None, measure_every=2).fit(image[rows, columns], reference=clean[rows, columns])
        np.testing.assert_array_equal(part.psnr, alone.history.psnr)
        np.testing.assert_array_equal(part.ssim, alone.history.ssim)
    assert (found.psnr, found.ssim) == (de.psnr(found.image, clean), de.ssim(found.image, clean))


def test_super_resolution_is_measured_at_the_size_of_its_answer(opened, picture):
    small, large = picture(32, 50), picture(64, 100)
    for tiles in (None, de.Tiles(32, 16)):
        found = opened(task=de.SuperResolve(2), steps=2, tiles=tiles).fit(small, reference=large)
        assert found.psnr == pytest.approx(de.psnr(found.image, large), abs=1e-9)


def test_an_interrupted_fit_has_measured_the_answer_it_leaves(opened, noisy):
    image, clean = noisy()
    session = opened(steps=50, measure_every=30, progress=Interrupter(17))
    with pytest.raises(KeyboardInterrupt):
        session.fit(image, reference=clean)
    assert list(session.result.history.steps_measured) == [1, 17]
    assert session.result.psnr == de.psnr(session.result.image, clean) == session.result.history.psnr[-1]


def test_the_time_of_measuring_is_on_no_clock_of_the_fit(opened, noisy, monkeypatch):
    def slow(image, reference):
        time.sleep(0.05)
        return 0.5

    monkeypatch.setattr(measure_module, "ssim", slow)
    began = time.perf_counter()
    stop = de.Deadline(ms=60) | de.MaxSteps(8)
    found = opened(steps=None, stop=stop, measure_every=1).fit(*noisy())
    assert time.perf_counter() - began > 0.05 * len(found.history.ssim) > found.seconds
    # Eight steps of a tiny net take a few milliseconds; one look on the clock would have ended the fit.
    assert found.steps > 1


def test_a_list_takes_a_list_of_references_with_gaps(opened, noisy):
    images, truths = zip(*(noisy(16, 20, seed=seed) for seed in range(3)), strict=True)
    found = opened().fit(list(images), reference=[truths[0], None, truths[2]])
    assert [one.psnr is None for one in found] == [False, True, False]
    assert found[2].psnr == de.psnr(found[2].image, truths[2])


@pytest.mark.parametrize(
    ("count", "reference", "words"),
    [
        (2, lambda clean: clean, "reference is a ndarray; it must be a list of 2, one for each image"),
        (2, lambda clean: [clean], "reference is a list of 1; it must be a list of 2, one for each image"),
        (
            2,
            lambda clean: [clean, clean[:, :-1]],
            "image 2 of 2: reference is 16 x 19 x 3; the restored picture to compare with it is 16 x 20 x 3",
        ),
        (
            None,
            lambda clean: clean[..., 0],
            "reference is 16 x 20 x 1; the restored picture to compare with it is 16 x 20 x 3",
        ),
        (None, lambda clean: [clean], "reference is a list; it must be a numpy array"),
        (None, lambda clean: clean * 255, "reference has values from"),
    ],
)
def test_a_reference_that_does_not_fit_is_one_sentence(opened, noisy, count, reference, words):
    image, clean = noisy()
    session = opened()
    with pytest.raises(de.InputError, match="^" + words) as error:
        session.fit(image if count is None else [image] * count, reference=reference(clean))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "5"])
def test_measure_every_is_a_whole_number_of_one_or_more(opened, wrong):
    with pytest.raises(de.InputError, match="measure_every is"):
        opened(measure_every=wrong)


def test_a_reference_file_is_read_and_named(opened, noisy, tmp_path):
    from PIL import Image

    image, clean = noisy()
    Image.fromarray(np.rint(clean * 255).astype(np.uint8)).save(tmp_path / "truth.png")
    assert opened().fit(image, reference=tmp_path / "truth.png").psnr > 0
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(de.InputError, match=r"other\.png is 20 x 20 x 1; the restored"):
        opened().fit(image, reference=tmp_path / "other.png")


def test_restore_takes_a_reference(noisy, tiny_pip):
    image, clean = noisy()
    found = de.restore(image, de.Denoise(), reference=clean, prior=tiny_pip, steps=STEPS, measure_every=3)
    assert list(found.history.steps_measured) == [1, 3, 6]


def test_of_a_task_that_makes_its_answer_of_the_estimate_the_answer_is_measured(opened, noisy):
    image, clean = noisy(40, 50)
    for tiles in (None, TILES):
        found = opened(task=de.Enhance(0.5), steps=3, tiles=tiles).fit(image, reference=clean)
        assert found.psnr == de.psnr(found.image, clean)
        coarse = np.clip(found.parts["coarse"], 0, 1)
        assert found.psnr != de.psnr(coarse, clean)
    tile, part = found.tiles[0], found.history.parts()[0]
    rows, columns = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
    alone = opened(task=de.Enhance(0.5), steps=3).fit(image[rows, columns], reference=clean[rows, columns])
    np.testing.assert_array_equal(part.psnr, alone.history.psnr)


def test_of_a_fit_of_another_size_than_its_answer_the_answer_is_measured(opened, noisy):
    pytest.importorskip("torch")
    image, clean = noisy(48, 80)
    hazy = de.Dehaze(airlight=(0.8, 0.9, 1.0), longest=64)
    found = opened(task=hazy, prior=None, engine="torch", steps=2).fit(image, reference=clean)
    assert found.psnr == de.psnr(found.image, clean) == found.history.psnr[-1]
