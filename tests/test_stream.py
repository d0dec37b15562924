"""Streams and saved scenes: going on from where the last fit stood, on every engine that is here."""

import numpy as np
import pytest

import dipedge as de

STEPS = 4  # of the fixture ``session``


def test_the_first_push_fits_as_the_session_says(session, picture):
    result = session.push(picture())
    assert result.steps == STEPS


def test_further_pushes_go_on_from_the_last_frame(session, picture):
    session.push(picture())
    loss = session.result.loss
    result = session.push(picture(), steps=200)
    assert result.steps == 200
    assert result.history[0] < 1.5 * loss
    assert result.loss < loss
    assert session.push(picture()).steps == 30  # the default for a frame
    assert result.state is None
    assert session.state()["step"] == STEPS + 230


def test_push_returns_best_so_far_when_deadline_passes(session, picture):
    session.fit(picture())
    result = session.push(picture(), stop=de.Deadline(ms=60))
    assert result.reason is de.StopReason.DEADLINE
    assert result.steps >= 1
    assert result.image.shape == picture().shape


def test_push_makes_one_step_however_short_the_deadline(session, picture):
    session.fit(picture())
    assert session.push(picture(), stop=de.Deadline(ms=0.001)).steps == 1


def test_push_refuses_a_frame_of_another_size_and_goes_on(session, picture):
    session.fit(picture())
    for other in (picture(16, 24), picture(16, 20, 1)):
        with pytest.raises(de.InputError, match="use fit for a new size"):
            session.push(other)
    assert session.push(picture(), steps=1).steps == 1


def test_a_bad_frame_leaves_the_stream_where_it_was(engine, tiny_dip, picture):
    def stream(with_bad_frame):
        with de.Session(de.Denoise(), prior=tiny_dip, engine=engine, steps=2, threads=1) as session:
            session.push(picture())
            if with_bad_frame:
                with pytest.raises(de.InputError, match="frame holds NaN"):
                    session.push(np.full((16, 20, 3), np.nan))
                with pytest.raises(de.FileError, match="no such file"):
                    session.push("missing.png")
            return session.push(picture(dtype="float32"), steps=3).image

    np.testing.assert_array_equal(stream(True), stream(False))


# Files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_a_loaded_session_goes_on_bit_for_bit(session, picture, tmp_path, name):
    session.fit(picture())
    session.save(tmp_path / name)
    expected = session.push(picture(dtype="float32"), steps=5)
    with de.Session.load(tmp_path / name, threads=1) as loaded:
        found = loaded.push(picture(dtype="float32"), steps=5)
        assert loaded.engine == session.engine
        assert loaded.prior == session.prior
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.history, expected.history)
        state = loaded.state()
        for key, value in session.state().items():
            np.testing.assert_array_equal(state[key], value, err_msg=key)


def test_a_loaded_session_has_its_task_mask_stop_and_settings(engine, tiny_dip, picture, tmp_path):
    mask = np.ones((16, 20), np.uint8)
    mask[3:8] = 0
    rule = de.MaxSteps(3) | de.Deadline(1e6)
    options = {"learning_rate": 0.02, "average": 0.5, "seed": 7, "quality": "fast", "stop": rule}
    with de.Session(de.Inpaint(mask), prior=tiny_dip, engine=engine, threads=1, **options) as session:
        session.fit(picture())
        session.save(tmp_path / "a.npz")
        expected = session.push(picture(dtype="float32"), steps=2).image
        refit = session.fit(picture(dtype="float32")).image
    with de.Session.load(tmp_path / "a.npz", threads=1) as loaded:
        np.testing.assert_array_equal(loaded.push(picture(dtype="float32"), steps=2).image, expected)
        result = loaded.fit(picture(dtype="float32"))
        assert result.steps == 3
        np.testing.assert_array_equal(result.image, refit)


def test_a_super_resolution_can_be_saved_too(engine, tiny_pip, picture, tmp_path):
    with de.Session(de.SuperResolve(2), prior=tiny_pip, engine=engine, steps=2, threads=1) as session:
        session.fit(picture())
        session.save(tmp_path / "a.safetensors")
    with de.Session.load(tmp_path / "a.safetensors", threads=1) as loaded:
        assert loaded.push(picture(), steps=1).image.shape == (32, 40, 3)


def test_saving_before_a_fit_is_refused(session, tmp_path):
    with pytest.raises(de.InputError, match="nothing has been fitted"):
        session.save(tmp_path / "a.npz")


def _rewritten(path, change):
    """The scene with ``change`` applied to its description and arrays."""
    from dipedge.scene_file import load_scene, save_scene

    arrays, description = load_scene(path)
    change(arrays, description)
    save_scene(path, arrays, description)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, text: arrays.pop("param/head.conv.bias"),
        lambda arrays, text: arrays.update({"param/more": np.zeros(3, np.float32)}),
        lambda arrays, text: arrays.update({"output": np.zeros((16, 21, 3), np.float32)}),
        lambda arrays, text: arrays.update({"adam/m/head.conv.bias": np.zeros(5, np.float32)}),
        lambda arrays, text: text.update(shape=[4000, 4000, 3]),
        lambda arrays, text: text.update(shape=[16, 20]),
        lambda arrays, text: text.update(shape="large"),
        lambda arrays, text: text.update(task={"kind": "Inpaint"}),
        lambda arrays, text: text.update(task={"kind": "Nothing"}),
        lambda arrays, text: text.update(prior=None),
        lambda arrays, text: text.update(seed="one"),
        lambda arrays, text: text.update(average=2),
        lambda arrays, text: text.update(engine="warp"),
        lambda arrays, text: text.update(engine=[]),
        lambda arrays, text: text.update(quality="none"),
        lambda arrays, text: text.update(precision=5),
        lambda arrays, text: text.pop("optimiser"),
    ],
)
def test_a_scene_whose_parts_do_not_fit_is_refused(tiny_pip, picture, tmp_path, change):
    pytest.importorskip("torch")
    path = tmp_path / "a.npz"
    with de.Session(de.Denoise(), prior=tiny_pip, engine="torch", steps=1, threads=1) as session:
        session.fit(picture())
        session.save(path)
    _rewritten(path, change)
    with pytest.raises(de.DipedgeError) as caught:
        de.Session.load(path, threads=1)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
