"""The table of settings: complete, cited, and used the way its text says."""

from dataclasses import replace

import pytest

from dipedge.errors import InputError
from dipedge.optimisers import Muon
from dipedge.presets import QUALITIES, TABLE, preset
from dipedge.priors import Fourier, Hourglass, Level, Meshgrid, Noise, Prior, dip, pip
from dipedge.stopping import MaxSteps
from dipedge.tasks import Dehaze, Denoise, Enhance, FlashNoFlash, Inpaint, RemoveJpeg, SuperResolve

TASKS = [Denoise(), RemoveJpeg(), *(SuperResolve(scale) for scale in (2, 3, 4, 8)), Inpaint(None)]


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("prior", [None, "dip", "pip", dip(), pip()])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_has_settings_for_every_prior_and_quality(task, prior, quality):
    found = preset(task, prior, quality)
    assert found.stop.limit == found.steps
    assert found.source


@pytest.mark.parametrize(
    ("task", "prior", "regime", "steps", "perturbation", "learning_rate"),
    [
        (Denoise(), "dip", None, 3000, 1 / 30, 0.01),
        (Denoise(), "pip", None, 1800, 0, 0.01),
        (RemoveJpeg(), "dip", None, 2400, 1 / 30, 0.01),
        (SuperResolve(4), "dip", None, 2000, 0.03, 0.01),
        (SuperResolve(8), "dip", None, 4000, 0.05, 0.01),
        (SuperResolve(2), "pip", None, 2000, 0.03, 0.01),
        (SuperResolve(8), "pip", None, 4001, 0.05, 0.01),
        (Inpaint(None), "dip", None, 6001, 0.03, 0.01),
        (Inpaint(None), "dip", "text", 6001, 0.03, 0.01),
        (Inpaint(None), "dip", "large-hole", 5001, 0.03, 0.01),
        (Inpaint(None), "dip", "large-hole-4", 3001, 0, 0.01),
        (Inpaint(None), "dip", "half", 11000, 0.03, 0.001),
        (Enhance(), "dip", None, 500, 0, 0.01),
        (FlashNoFlash(None), None, None, 601, 0, 0.1),
    ],
)
def test_published_numbers_stand_in_the_table(task, prior, regime, steps, perturbation, learning_rate):
    found = preset(task, prior, "paper", regime=regime)
    assert found.steps == steps
    assert found.prior.perturbation == perturbation
    assert found.optimiser.learning_rate == learning_rate


def test_published_nets_have_their_published_size():
    assert preset(Denoise(), "dip").prior.parameter_count() == 2_217_831
    assert preset(Denoise(), "pip").prior.parameter_count() == 329_575
    assert preset(SuperResolve(4), "pip").prior.parameter_count() == 329_575 + 8  # learned frequencies


def test_the_default_prior_is_pip():
    assert preset(Denoise()) == preset(Denoise(), "pip")


def test_frequencies_are_learned_and_perturbed_except_for_denoising():
    assert not preset(Denoise(), "pip").prior.encoding.learned
    for task in (SuperResolve(4), Inpaint(None)):
        prior = preset(task, "pip").prior
        assert prior.encoding.learned
        assert prior.perturb == "frequencies"


def test_denoising_and_jpeg_average_and_backtrack_and_others_do_neither():
    for task in TASKS:
        for prior in ("dip", "pip"):
            found = preset(task, prior, "paper")
            noisy = isinstance(task, Denoise | RemoveJpeg)
            assert (found.average, found.backtrack) == ((0.99, True) if noisy else (0.0, False))


def test_denoising_and_jpeg_end_by_themselves_unless_the_paper_is_wanted_to_the_letter():
    for task in (Denoise(), RemoveJpeg()):
        assert "NoiseFloor" in repr(preset(task).stop)
        assert "VarianceWindow" in repr(preset(task, "dip").stop)
        paper = preset(task, quality="paper")
        assert paper.stop == MaxSteps(paper.steps)
    assert preset(SuperResolve(4)).stop == MaxSteps(2000)


def test_a_plain_prior_is_taken_as_the_word_and_takes_the_rows_own_form():
    assert preset(Inpaint(None), dip()) == preset(Inpaint(None), "dip")
    assert preset(Inpaint(None), dip()).prior.network.upsample == "nearest"
    assert preset(SuperResolve(8), pip()).prior.perturbation == 0.05


def test_a_prior_of_the_users_own_stays_as_it_is_with_the_nearest_rows_settings():
    own = replace(dip(), perturbation=0.01)
    found = preset(SuperResolve(8), own)
    assert found.prior is own
    assert found.steps == 4000
    fourier = Prior(Fourier(count=5), Hourglass(), name="own")
    assert preset(Denoise(), fourier, "paper").steps == 1800
    assert preset(Denoise(), Prior(Meshgrid(), Hourglass())).steps == 3000


def test_large_hole_rows_are_those_of_their_pictures():
    vase = preset(Inpaint(None), "dip", regime="large-hole").prior
    assert vase.encoding == Meshgrid()
    assert {level.skip for level in vase.network.levels} == {0}
    library = preset(Inpaint(None), regime="large-hole-6").prior
    assert library.weight_noise == 1 / 50
    assert library.encoding == Noise(1)
    assert [level.down for level in library.network.levels] == [16, 32, 64, 128, 128, 128]
    assert not library.network.need1x1_up


def test_every_row_cites_its_source():
    assert all(row.source.startswith(("DIP", "PIP", "Double-DIP", "ours")) for row in TABLE.values())


@pytest.mark.parametrize(
    ("task", "prior", "quality", "regime", "words"),
    [
        (
            Denoise(),
            "vit",
            "balanced",
            None,
            "prior is 'vit'; for denoise .* pip, dip, dip3d, unet, resnet, pixels, tv",
        ),
        (FlashNoFlash(None), "unet", "balanced", None, "'unet', which task 'flash' cannot have"),
        (Dehaze(), "tv", "balanced", None, "'tv', which task 'dehaze' cannot have"),
        (Inpaint(None), "dpi", "balanced", "half", "for inpaint, half it must be a Prior or one of pip, dip"),
        (Inpaint(None), "pip", "balanced", "large-hole-4", "one of dip, unet"),
        (FlashNoFlash(None), "pip", "balanced", None, "one of dip, unet"),
        (Denoise(), 5, "balanced", None, "prior is 5"),
        (Denoise(), None, "best", None, "quality is 'best'; it must be one of paper, balanced, fast"),
        (Denoise(), None, "paper", "text", "preset is 'text'; denoise takes none"),
        (SuperResolve(4), None, "paper", "x4", "preset is 'x4'; superresolve takes none"),
        (Inpaint(None), None, "paper", "hole", "preset is 'hole'; it must be one of text, large-hole, "),
    ],
)
def test_unknown_words_are_refused_with_those_that_are_known(task, prior, quality, regime, words):
    with pytest.raises(InputError, match=words):
        preset(task, prior, quality, regime=regime)


@pytest.mark.parametrize("word", ["unet", "resnet", "pixels", "tv"])
@pytest.mark.parametrize("task", [Denoise(), SuperResolve(4), Inpaint(None)], ids=lambda task: task.name)
def test_what_the_papers_compare_with_goes_by_name(task, word):
    found = preset(task, word, "paper")
    assert found.prior.name == word
    assert found.steps == preset(task, "dip", "paper").steps
    assert found.optimiser.learning_rate == (0.001 if word in ("unet", "resnet") else 0.01)


def test_a_shallower_net_is_the_deep_one_sliced():
    six, two = (preset(Inpaint(None), regime=f"large-hole-{depth}").prior.network for depth in (6, 2))
    assert len(six.levels) == 6 and two.levels == six.levels[:2]


@pytest.mark.parametrize("quality", ["balanced", "fast"])
def test_our_qualities_take_muon_and_a_quarter_of_the_pixels_for_pip_alone(quality):
    ours, paper = preset(Denoise(), "pip", quality), preset(Denoise(), "pip", "paper")
    assert isinstance(ours.optimiser, Muon) and ours.subsample and not paper.subsample
    assert ours.optimiser.rate(0) > ours.optimiser.rate(400) and ours.stop.limit < paper.steps
    assert preset(RemoveJpeg(), "pip", quality).stop.limit < ours.stop.limit
    assert ours.prior == paper.prior
    conv = Prior(Fourier(), Hourglass(), name="custom")
    for task, prior in (
        (Denoise(), "dip"),
        (SuperResolve(4), "pip"),
        (SuperResolve(4), "dip"),
        (Denoise(), conv),
    ):
        assert preset(task, prior, quality).optimiser == preset(task, prior, "paper").optimiser
        assert not preset(task, prior, quality).subsample


@pytest.mark.parametrize(
    "prior",
    [
        replace(pip(), perturbation=0.1),
        replace(pip(), network=Hourglass((Level(16, 16, 4, 1, 1, 3),) * 2)),
    ],
    ids=["noise on z", "3x3 skip"],
)
@pytest.mark.parametrize("quality", ["balanced", "fast"])
def test_a_prior_that_looks_beyond_single_pixels_is_fitted_as_published(quality, prior):
    found = preset(Denoise(), prior, quality)
    assert not found.subsample and "VarianceWindow" in repr(found.stop)


def test_a_given_number_of_steps_keeps_balanced_to_the_published_optimiser():
    assert preset(Denoise(), "pip", "balanced", steps=1000) == preset(Denoise(), "pip", "paper")
    assert preset(Denoise(), "pip", "fast", steps=1000) == preset(Denoise(), "pip", "fast")


@pytest.mark.parametrize(("name", "value"), [("slope", 1.5), ("slope", -0.1), ("bn_eps", 0.0)])
def test_a_network_refuses_constants_that_its_kernels_could_not_keep(name, value):
    with pytest.raises(InputError, match=f"{name} is {value}"):
        Hourglass(**{name: value})


@pytest.mark.parametrize("prior", ["pip", "dip"])
@pytest.mark.parametrize("task", [SuperResolve(4), Inpaint(None)], ids=lambda task: task.name)
def test_fits_without_noise_to_end_at_are_averaged_and_taken_back_but_on_paper(task, prior):
    paper, balanced, fast = (preset(task, prior, quality) for quality in QUALITIES)
    assert (paper.average, paper.backtrack) == (0.0, False)
    assert all((ours.average, ours.backtrack) == (0.99, True) for ours in (balanced, fast))
    assert balanced.steps == paper.steps and fast.steps == paper.steps // 2 == fast.stop.limit
    assert preset(task, prior, "balanced", steps=100).average == 0.99
    assert balanced.optimiser == paper.optimiser


def test_a_flash_picture_is_fitted_at_a_tenth_of_the_published_rate_but_on_paper():
    paper, balanced = (preset(FlashNoFlash(None), None, quality) for quality in ("paper", "balanced"))
    assert (paper.optimiser.learning_rate, balanced.optimiser.learning_rate) == (0.1, 0.01)
    assert balanced.average == 0.99 and balanced.backtrack
