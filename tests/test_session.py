"""Sessions and restore, on every engine that is here."""

import resource

import numpy as np
import pytest
from PIL import Image

import dipedge as de
from dipedge.engines import get_engine

STEPS = 4  # of the fixture ``session``


def test_fit_gives_back_a_picture_of_the_same_kind_and_tells_how_it_went(session, picture, engine):
    result = session.fit(picture(17, 21))
    assert result.image.shape == (17, 21, 3)
    assert result.image.dtype == np.uint8
    assert (result.steps, result.chosen_step, result.reason) == (STEPS, STEPS, de.StopReason.STEPS)
    assert len(result.history) == STEPS
    assert result.loss == result.history[-1]
    assert result.seconds > 0
    assert result.engine == engine
    assert result.device == session.device()
    assert "param/head.conv.weight" in result.state
    assert session.result is result


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_layout_and_type_can_be_fitted(engine, tiny_pip, picture, channels, dtype):
    image = picture(16, 19, channels, dtype)
    result = de.restore(image, de.Denoise(), prior=tiny_pip, engine=engine, steps=2, threads=1)
    assert result.image.shape == image.shape
    assert result.image.dtype == image.dtype
    if channels == 4:
        np.testing.assert_array_equal(result.image[..., 3], image[..., 3])


def test_gray_pictures_are_fitted_with_one_channel(session, picture):
    assert session.fit(picture(16, 16, 0)).state["param/head.conv.weight"].shape[0] == 1
    assert session.fit(picture(16, 16, 3)).state["param/head.conv.weight"].shape[0] == 3


def test_fitting_removes_noise(engine, tiny_pip, noisy):
    degraded, clean = noisy(32, 32)
    options = {"engine": engine, "prior": tiny_pip, "steps": 300, "threads": 1}
    result = de.restore(degraded, de.Denoise(), **options)
    assert de.psnr(result.image, clean) > de.psnr(degraded, clean) + 5


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_super_resolution_enlarges(engine, tiny_prior, picture, scale):
    image = picture(16, 18, 4)
    result = de.restore(image, de.SuperResolve(scale), prior=tiny_prior, engine=engine, steps=2, threads=1)
    assert result.image.shape == (16 * scale, 18 * scale, 4)


def test_inpainting_does_not_look_at_the_holes(engine, tiny_prior, picture):
    mask = np.ones((16, 20), bool)
    mask[4:9, 5:12] = False
    one, other = picture(), picture()
    other[~mask] = 255 - other[~mask]
    fits = [
        de.restore(image, de.Inpaint(mask), prior=tiny_prior, engine=engine, steps=STEPS, threads=1)
        for image in (one, other)
    ]
    np.testing.assert_array_equal(fits[0].image, fits[1].image)


def test_masks_and_pictures_may_be_paths(engine, tiny_pip, picture, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "in.png")
    Image.fromarray(np.full((16, 20), 255, np.uint8)).save(tmp_path / "mask.png")
    task = de.Inpaint(tmp_path / "mask.png")
    result = de.restore(tmp_path / "in.png", task, prior=tiny_pip, engine=engine, steps=2, threads=1)
    assert isinstance(result.image, Image.Image)
    assert result.image.size == (20, 16)


def test_one_seed_gives_the_same_bits_and_another_gives_others(engine, tiny_dip, picture):
    def fit(seed):
        options = {"prior": tiny_dip, "engine": engine, "steps": STEPS, "threads": 1, "seed": seed}
        return de.restore(picture(dtype="float32"), de.Denoise(), **options).image

    np.testing.assert_array_equal(fit(1), fit(1))
    assert (fit(1) != fit(2)).any()


def test_a_second_fit_starts_from_scratch(session, picture):
    first = session.fit(picture(dtype="float32")).image
    session.push(picture(dtype="float32"), steps=3)
    np.testing.assert_array_equal(session.fit(picture(dtype="float32")).image, first)


def test_a_second_fit_may_be_of_another_size(session, picture):
    session.fit(picture(16, 20))
    assert session.fit(picture(24, 17, 1)).image.shape == (24, 17, 1)


def test_average_zero_gives_the_raw_output(engine, tiny_dip, picture):
    options = {"prior": tiny_dip, "engine": engine, "steps": STEPS, "threads": 1}
    raw = de.restore(picture(dtype="float32"), de.Denoise(), average=0.0, **options)
    averaged = de.restore(picture(dtype="float32"), de.Denoise(), **options)
    np.testing.assert_array_equal(raw.image, np.clip(raw.state["output"], 0, 1))
    assert (raw.image != averaged.image).any()


def test_the_answer_is_the_estimate_of_the_step_that_the_rule_chose(engine, tiny_pip, noisy):
    degraded, _ = noisy(24, 24)
    rule = de.VarianceWindow(window=5, patience=10_000, floor=20) | de.MaxSteps(60)
    options = {"prior": tiny_pip, "engine": engine, "threads": 1, "quality": "paper"}
    result = de.restore(degraded, de.Denoise(), stop=rule, **options)
    assert 20 <= result.chosen_step <= result.steps == 60
    again = de.restore(degraded, de.Denoise(), steps=result.chosen_step, **options)
    np.testing.assert_array_equal(result.image, again.image)


def test_a_rule_that_may_never_end_is_given_a_limit(engine, tiny_pip, picture):
    limits = []
    options = {
        "prior": tiny_pip,
        "engine": engine,
        "threads": 1,
        "quality": "paper",
        "progress": lambda s: limits.append(s.limit),
    }
    with de.Session(de.Denoise(), stop=de.Discrepancy(250), **options) as session:
        session.fit(picture())
    assert limits == [18_000]


def test_progress_is_called_after_every_step(engine, tiny_pip, picture):
    steps = []
    de.restore(
        picture(), de.Denoise(), prior=tiny_pip, engine=engine, steps=STEPS, threads=1, progress=steps.append
    )
    assert [step.index for step in steps] == [1, 2, 3, 4]


# What goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps is 0; it must be a whole number from 1"),
        ({"steps": -3}, "steps is -3"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": 5, "stop": de.MaxSteps(5)}, "steps is 5 and stop is .*; give one"),
        ({"stop": 5}, "stop is 5; it must be a stopping rule"),
        ({"average": 1.0}, r"average is 1.0; it must be in \[0, 1\)"),
        ({"average": -0.1}, "average is -0.1"),
        ({"average": "all"}, "average is 'all'"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"threads": 0}, "threads is 0"),
        ({"engine": "warp"}, "engine is 'warp'; it must be one of"),
        ({"quality": "best"}, "quality is 'best'"),
        ({"prior": "vit"}, "prior is 'vit'"),
        ({"prior": de.Prior(de.GivenImage(), de.Hourglass())}, "given image"),
        ({"task": "denoise"}, r"task is 'denoise'; it must be a description such as Denoise"),
        ({"task": de.Denoise}, "task is <class"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_when_the_session_opens(options, words):
    options = {"task": de.Denoise(), "engine": "torch"} | options
    with pytest.raises(de.InputError, match=words) as caught:
        de.Session(options.pop("task"), **options)
    assert "\n" not in str(caught.value)


def test_an_unknown_precision_is_refused(engine, tiny_pip, picture):
    with pytest.raises(de.EngineError, match="precision 'fp8'"):
        de.restore(picture(), de.Denoise(), prior=tiny_pip, engine=engine, precision="fp8")


@pytest.mark.parametrize("scale", [0, 1, 5, 16, 2.5, "4"])
def test_super_resolution_by_another_factor_is_refused(scale):
    with pytest.raises(de.InputError, match=r"scale is .*; it must be one of 2, 3, 4, 8"):
        de.SuperResolve(scale)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((16, 21)), "16 x 21.*16 x 20"),
        (np.zeros((16, 20)), "every pixel as a hole"),
        ("missing.png", "missing.png: no such file"),
    ],
)
def test_a_bad_mask_is_refused_before_anything_is_computed(engine, tiny_pip, picture, mask, words):
    with pytest.raises(de.InputError, match=words):
        de.restore(picture(), de.Inpaint(mask), prior=tiny_pip, engine=engine)


def test_a_file_is_named_when_its_picture_cannot_be_used(engine, tiny_pip, tmp_path):
    Image.new("RGB", (40, 10)).save(tmp_path / "flat.png")
    with pytest.raises(de.InputError, match=r"flat.png is 10 x 40 x 3; both sides must be 16"):
        de.restore(tmp_path / "flat.png", de.Denoise(), prior=tiny_pip, engine=engine)


def test_a_fit_that_diverges_says_so_and_the_session_can_go_on(engine, tiny_dip, picture, monkeypatch):
    with de.Session(de.Denoise(), prior=tiny_dip, engine=engine, steps=2, threads=1) as session:
        program = type(get_engine(engine).compile(tiny_dip, de.Denoise(), (16, 16, 3), session._settings))
        with monkeypatch.context() as patch:
            patch.setattr(program, "loss", lambda self: float("nan"))
            with pytest.raises(de.FitDivergedError, match="learning_rate"):
                session.fit(picture())
        assert session.fit(picture()).steps == 2


def test_out_of_memory_says_how_much_was_needed_and_the_session_can_go_on(
    engine, tiny_dip, picture, monkeypatch
):
    # Six million pixels a side are petabytes: more than a process can address, so no machine hands them out.
    with de.Session(de.Denoise(), prior=tiny_dip, engine=engine, steps=2, threads=1) as session:
        kind = type(session._engine)
        compile_for = kind.compile

        def enlarged(self, prior, task, shape, settings):
            return compile_for(self, prior, task, (6_000_000, 6_000_000, shape[2]), settings)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "compile", enlarged)
            with pytest.raises(de.OutOfMemoryError) as caught:
                session.fit(picture())
        assert caught.value.needed > 2**47
        assert "\n" not in str(caught.value)
        assert session.fit(picture()).steps == 2


def test_a_closed_session_refuses_to_fit(engine, tiny_pip, picture):
    session = de.Session(de.Denoise(), prior=tiny_pip, engine=engine, steps=1)
    session.fit(picture())
    session.close()
    session.close()
    for act in (session.fit, session.push):
        with pytest.raises(de.InputError, match="closed"):
            act(picture())


def test_an_interrupted_fit_hands_out_the_best_so_far(engine, tiny_pip, picture):
    def interrupt(step):
        if step.index == 3:
            raise KeyboardInterrupt

    options = {"prior": tiny_pip, "engine": engine, "threads": 1, "progress": interrupt, "quality": "paper"}
    with de.Session(de.Denoise(), **options) as session:
        with pytest.raises(KeyboardInterrupt):
            session.fit(picture(dtype="float32"))
        result = session.result
    assert (result.reason, result.steps) == (de.StopReason.INTERRUPTED, 3)
    expected = de.restore(picture(dtype="float32"), de.Denoise(), **{**options, "progress": None}, steps=3)
    np.testing.assert_array_equal(result.image, expected.image)


def test_an_interrupt_before_the_first_step_leaves_no_result(engine, tiny_pip, picture, monkeypatch):
    with de.Session(de.Denoise(), prior=tiny_pip, engine=engine, steps=1, threads=1) as session:
        session.fit(picture())
        program = type(session._program)

        def interrupted(self, count=1):
            raise KeyboardInterrupt

        monkeypatch.setattr(program, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.push(picture())
        assert session.result is None


def resident_bytes():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        pytest.skip("this system does not tell how much memory a process uses")


def test_two_hundred_sessions_in_one_process_do_not_grow_memory(engine, tiny_dip, picture):
    image = picture(64, 64)

    def open_and_close(count):
        for _ in range(count):
            with de.Session(de.Denoise(), prior=tiny_dip, engine=engine, steps=1, threads=1) as session:
                session.fit(image)
        return resident_bytes()

    before = open_and_close(20)  # allocators take what they keep
    # Input, target, average and output of one fit alone are 200 KB: left behind, 200 of them are 40 MB.
    assert open_and_close(200) - before < 20 * 2**20
