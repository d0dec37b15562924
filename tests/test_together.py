"""Lists of pictures in one call, in lockstep and one after another."""

import numpy as np
import pytest

import dipedge as de
from dipedge import kept_fit
from dipedge import session as session_module
from tests.lockstep import ByNoise, Interrupter, Lockstep, assert_same_fit, pictures_of

pytest.importorskip("dipedge._native")
STEPS = 5  # of the fixture ``opened``

SIZES = (16, 20), (24, 17), (16, 20), (16, 20, 1), (16, 20)


@pytest.mark.parametrize("look_every", [1, 4])
@pytest.mark.parametrize("most", [1, 2, 8])
def test_every_picture_of_a_list_has_the_fit_it_would_have_had_alone(
    lockstep, opened, noisy, most, look_every
):
    pictures = pictures_of(noisy, *SIZES)
    alone = [opened().fit(picture) for picture in pictures]
    engine = lockstep(most=most, look_every=look_every)
    with opened() as session:
        found = session.fit(pictures)
        assert session.result is found
    for one, expected in zip(found, alone, strict=True):
        assert_same_fit(one, expected)
        assert one.seconds > 0
    # Three of one size: in two rounds where two go together.
    assert engine.batches == {1: [1] * 5, 2: [2, 1, 1, 1], 8: [3, 1, 1]}[most]
    assert engine.open == 0


def test_a_list_is_fitted_on_every_engine_and_may_be_a_tuple_or_of_one(engine, tiny_pip, noisy):
    pictures = pictures_of(noisy, (16, 20), (20, 16))
    options = {"prior": tiny_pip, "engine": engine, "steps": STEPS, "threads": 1}
    alone = [de.restore(picture, de.Denoise(), **options) for picture in pictures]
    for found, expected in zip(de.restore(tuple(pictures), de.Denoise(), **options), alone, strict=True):
        assert_same_fit(found, expected)
    (only,) = de.restore(pictures[:1], de.Denoise(), **options)
    assert_same_fit(only, alone[0])


@pytest.mark.parametrize("most", [1, 8])
def test_a_fit_that_ends_first_keeps_its_answer_and_state_while_the_others_go_on(
    lockstep, opened, noisy, most, tiny_pip
):
    pictures = pictures_of(noisy, *[(32, 32)] * 4)
    options = {"steps": None, "stop": ByNoise() | de.MaxSteps(20), "prior": tiny_pip}
    alone = [opened(**options).fit(picture) for picture in pictures]
    assert len({one.steps for one in alone}) > 1
    lockstep(most=most)
    with opened(**options) as session:
        for found, expected in zip(session.fit(pictures), alone, strict=True):
            assert_same_fit(found, expected)


def test_the_best_step_of_each_is_its_answer(lockstep, opened, noisy):
    pictures = pictures_of(noisy, *[(20, 24)] * 3)
    rule = de.VarianceWindow(window=5, patience=10, floor=10) | de.MaxSteps(60)
    alone = [opened(steps=None, stop=rule).fit(picture) for picture in pictures]
    lockstep()
    with opened(steps=None, stop=rule) as session:
        for found, expected in zip(session.fit(pictures), alone, strict=True):
            assert_same_fit(found, expected)


def test_a_list_of_masked_and_of_enlarged_pictures_can_be_fitted(lockstep, opened, noisy):
    pictures = pictures_of(noisy, (16, 20), (16, 20))
    mask = np.random.default_rng(0).random((16, 20)) > 0.4
    for task in (de.Inpaint(mask), de.SuperResolve(2)):
        alone = [opened(task=task).fit(picture) for picture in pictures]
        with pytest.MonkeyPatch.context() as patch:
            engine = Lockstep()
            patch.setattr(session_module, "engine_for", lambda name, prior, task, engine=engine: engine)
            found = opened(task=task).fit(pictures)
            assert engine.batches == [2]
        for one, expected in zip(found, alone, strict=True):
            assert_same_fit(one, expected)


def test_progress_tells_which_fit_of_how_many(lockstep, opened, noisy):
    pictures = pictures_of(noisy, (16, 20), (16, 20), (20, 16))
    for most, order in ((1, [1, 1, 2, 2, 3, 3]), (2, [1, 2, 1, 2, 3, 3])):
        seen = []
        lockstep(most=most)
        opened(steps=2, progress=seen.append).fit(pictures)
        assert [step.fit for step in seen] == order
        assert {step.fits for step in seen} == {3}
        assert [step.index for step in seen if step.fit == 2] == [1, 2]
        assert [step.reason is None for step in seen if step.fit == 2] == [True, False]


def test_after_a_list_there_is_nothing_to_go_on_from_or_to_save(opened, noisy, tmp_path):
    pictures = pictures_of(noisy, (16, 20), (16, 20))
    with opened() as session:
        session.fit(pictures)
        for act in (
            lambda: session.push(pictures[0]),
            session.state,
            lambda: session.save(tmp_path / "a.npz"),
        ):
            with pytest.raises(de.InputError, match=r"the last fit was of a list .*fit a picture alone"):
                act()
        assert list(tmp_path.iterdir()) == []
        session.fit(pictures[0])
        assert session.push(pictures[0], steps=2).steps == 2


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (np.full((16, 20, 3), np.nan), de.InputError, "image 2 of 3: image holds NaN"),
        (np.zeros((8, 40, 3)), de.InputError, "image 2 of 3: .*both sides must be 16"),
        ("missing.png", de.FileError, "image 2 of 3: missing.png: no such file"),
        ([], de.InputError, "image 2 of 3: image is a list"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named_before_any_fit_begins(opened, noisy, bad, kind, words):
    good, seen = noisy()[0], []
    with opened(progress=seen.append) as session:
        session.fit(good)
        before = len(seen)
        with pytest.raises(kind, match=words) as caught:
            session.fit([good, bad, good])
        assert "\n" not in str(caught.value)
        assert len(seen) == before
        assert session.push(good, steps=1).steps == 1  # the session stands where it was


def test_an_empty_list_is_refused(opened):
    with pytest.raises(de.InputError, match="image is an empty list"), opened() as session:
        session.fit([])


@pytest.mark.parametrize(
    ("most", "call", "steps"),
    [(1, 1, [1, None, None]), (1, 7, [5, 2, None]), (2, 3, [2, 2, None]), (2, 2, [1, 1, None]),
     (2, 10, [5, 5, None]), (2, 12, [5, 5, 2]), (8, 4, [2, 2, 2])],
)  # fmt: skip
def test_an_interrupted_list_has_the_best_so_far_of_each_that_was_begun(
    lockstep, opened, noisy, most, call, steps
):
    pictures = pictures_of(noisy, (16, 20), (16, 20), (16, 20))
    engine = lockstep(most=most)
    with opened(progress=Interrupter(call)) as session:
        with pytest.raises(KeyboardInterrupt):
            session.fit(pictures)
        found = session.result
    assert [one and one.steps for one in found] == steps
    assert engine.open == 0
    ended = [one.reason is de.StopReason.STEPS for one in found if one is not None]
    # The one whose report was interrupted has not handed in its answer yet.
    assert sum(ended) == {(1, 7): 1, (2, 10): 1, (2, 12): 2}.get((most, call), 0)


def test_an_interrupted_list_shows_the_estimates_of_the_steps_it_tells_of(lockstep, opened, noisy):
    pictures = pictures_of(noisy, (16, 20), (16, 20))
    lockstep()
    with opened(progress=Interrupter(6)) as session:
        with pytest.raises(KeyboardInterrupt):
            session.fit(pictures)
        found = session.result
    for one, picture in zip(found, pictures, strict=True):
        assert (one.steps, one.reason) == (3, de.StopReason.INTERRUPTED)
        np.testing.assert_array_equal(one.image, opened(steps=3).fit(picture).image)


def test_an_interrupt_before_the_first_step_of_a_list_leaves_no_result(opened, noisy, monkeypatch):
    with opened() as session:
        session.fit(noisy()[0])
        monkeypatch.setattr(kept_fit.FitsTogether, "_together", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            session.fit([noisy()[0]])
        assert session.result is None
        assert session.push(noisy()[0]).steps == STEPS


@pytest.mark.parametrize("most", [1, 8])
def test_a_fit_that_diverges_is_named_and_what_had_ended_is_kept(lockstep, opened, noisy, most, monkeypatch):
    pictures = pictures_of(noisy, (16, 20), (16, 20), (16, 20))
    engine = lockstep(most=most)
    program = type(engine.inner.compile(de.pip(), de.Denoise(), (16, 16, 3), opened()._settings))
    loss, target = program.loss, noisy(16, 20, seed=1)[0]
    chosen = []

    def watched(self, pixels, mask=None, set_target=program.set_target):
        if np.array_equal(pixels, target):
            chosen.append(self)
        set_target(self, pixels, mask)

    def diverging(self):
        return float("nan") if self in chosen and self.steps_done == 3 else loss(self)

    with opened() as session:
        with monkeypatch.context() as patch:
            patch.setattr(program, "set_target", watched)
            patch.setattr(program, "loss", diverging)
            with pytest.raises(de.FitDivergedError, match=r"^image 2 of 3: the loss is nan after step 3; a"):
                session.fit(pictures)
        kept = [one is not None for one in session.result] if most == 1 else session.result
        assert kept == ([True, False, False] if most == 1 else None)
        assert engine.open == 0
        assert len(session.fit(pictures)) == 3
