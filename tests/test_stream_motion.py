"""Streams of a camera that moves: views, averages that move along, scene cuts, what is saved."""

import numpy as np
import pytest

import dipedge as de
from dipedge.motion import Motion
from dipedge.streaming.averaging import moved
from dipedge.streaming.following import Following, enlarged

SIDE = 32


def scene(height, width, seed=0):
    """A picture without noise that differs everywhere: sums of waves, float32 [H, W, 3] in [0.1, 0.9]."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    random = np.random.default_rng(seed)
    planes = np.zeros((height, width, 3), np.float32)
    for _ in range(12):
        down, right = random.uniform(-0.6, 0.6, 2)
        phases = random.uniform(0, 6.28, 3)
        planes += np.cos(down * rows[..., None] + right * columns[..., None] + phases)
    return np.clip(0.5 + 0.1 * planes, 0.1, 0.9).astype(np.float32)


def pan(count, dx=2, dy=1, sigma=15, seed=0):
    """Noisy frames of a camera that goes (dx, dy) pixels a frame."""
    wide = scene(SIDE + count * abs(dy), SIDE + count * abs(dx), seed)
    noise = np.random.default_rng(seed + 1)
    frames = []
    for k in range(count):
        frame = wide[k * dy : k * dy + SIDE, k * dx : k * dx + SIDE]
        noisy = frame + noise.normal(0, sigma / 255, frame.shape)
        frames.append(np.clip(noisy, 0, 1).astype(np.float32))
    return frames


@pytest.fixture
def follower(engine, tiny_pip):
    """``follower(**options)``: an open session on the engine; closed in the end."""
    opened = []

    def make(**options):
        options = {"prior": tiny_pip, "engine": engine, "threads": 1} | options
        opened.append(de.Session(options.pop("task", de.Denoise()), **options))
        return opened[-1]

    yield make
    for session in opened:
        session.close()


# Which sessions follow --------------------------------------------------------------------------------


def test_a_session_follows_shifts_where_its_input_has_coordinates(follower, tiny_dip):
    assert follower()._motion == "shift"
    assert follower(prior=tiny_dip)._motion is None
    assert follower(motion=None)._motion is None


@pytest.mark.parametrize("motion", ["shift", "affine"])
def test_a_prior_without_coordinates_cannot_be_moved(follower, tiny_dip, motion):
    with pytest.raises(de.InputError, match="no function of coordinates"):
        follower(prior=tiny_dip, motion=motion)


@pytest.mark.parametrize("motion", ["rotation", 1, True])
def test_other_words_for_motion_are_refused(follower, motion):
    with pytest.raises(de.InputError, match="None or one of auto, shift, affine"):
        follower(motion=motion)


# Views ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [False, True])
def test_results_say_where_their_frames_lie(follower, memory):
    session = follower(memory=memory)
    found = list(session.stream(pan(5), steps=3))
    assert found[0].view == de.View()
    for k, one in enumerate(found):
        assert not one.scene_cut
        dx, dy = one.view.matrix[2], one.view.matrix[5]
        assert (dx, dy) == pytest.approx((2 * k, k), abs=0.3)
    fitted, seen = session.state()["views"][0], found[-1].view.numbers()
    np.testing.assert_array_equal(fitted, np.rint(seen) if memory else seen)  # a memory moves by whole pixels


def test_the_users_motion_takes_the_place_of_the_estimate(follower):
    session = follower()
    frames = pan(4)
    session.push(frames[0], steps=2)
    assert session.push(frames[1], steps=2, motion=de.View.shift(7, -3)).view == de.View.shift(7, -3)
    # The next estimate is of this frame beside the last one, whatever the user said of that.
    view = session.push(frames[2], steps=2).view
    assert (view.matrix[2] - 7, view.matrix[5] + 3) == pytest.approx((2, 1), abs=0.3)


def test_the_users_motion_can_do_without_any_estimate(follower, monkeypatch):
    monkeypatch.setattr("dipedge.streaming.following.MotionEstimator.next", None)
    session = follower(motion=None)
    frames = pan(3)
    for frame in frames:
        view = session.push(frame, steps=2, motion=de.View.shift(1, 0)).view
    assert view == de.View.shift(2, 0)  # the first frame has none before it
    assert session.push(frames[0], steps=2).view == view


def test_a_turned_camera_needs_a_session_that_follows_it(follower):
    turned = de.View((0.99, -0.02, 1, 0.02, 0.99, 0))
    frames = pan(2)
    session = follower()
    session.push(frames[0], steps=2)
    with pytest.raises(de.InputError, match="affine"):
        session.push(frames[1], steps=2, motion=turned)
    assert session.push(frames[1], steps=2, motion=de.View()).view == de.View()  # it stands where it was
    session = follower(motion="affine")
    session.push(frames[0], steps=2)
    assert session.push(frames[1], steps=2, motion=turned).view == turned
    found = follower(motion="affine").stream(pan(3), steps=2)
    assert [one.view.matrix[2] for one in found] == pytest.approx([0, 2, 4], abs=1)


def test_a_motion_is_checked(follower, tiny_dip):
    session = follower(prior=tiny_dip)
    session.push(pan(1)[0], steps=1)
    with pytest.raises(de.InputError, match="no function of coordinates"):
        session.push(pan(1)[0], steps=1, motion=de.View())
    with pytest.raises(de.InputError, match="must be a View"):
        session.push(pan(1)[0], steps=1, motion=(1, 2))


def test_a_pan_is_restored_better_when_it_is_followed(follower):
    count, errors = 10, {}
    clean = pan(count, sigma=0)[-1]
    for motion in (None, "shift"):
        session = follower(motion=motion, memory=False)  # blocks of the memory follow by themselves
        for frame in pan(count):
            result = session.push(frame, stop=de.MaxSteps(30))
        errors[motion] = float(np.mean((result.image - clean) ** 2))
    assert errors["shift"] < 0.7 * errors[None]


def test_a_motion_of_a_small_frame_is_one_of_its_large_answer(follower):
    session = follower(task=de.SuperResolve(2))
    frames = pan(3)
    for frame in frames:
        view = session.push(frame, steps=2).view
    assert (view.matrix[2], view.matrix[5]) == pytest.approx((8, 4), abs=1)


def test_an_enlarged_view_maps_the_middles_of_enlarged_pixels():
    turned = de.View((0.9, -0.2, 3, 0.1, 1.1, -2))
    large = enlarged(turned, 4)

    def at(view, x, y):
        a, b, c, d, e, f = view.matrix
        return np.array([a * x + b * y + c, d * x + e * y + f])

    fine = at(large, 4 * 5 + 1.5, 4 * 7 + 1.5)  # the middle of pixel (5, 7) among those four times as fine
    np.testing.assert_allclose(fine, 4 * at(turned, 5, 7) + 1.5)
    assert enlarged(turned, 1) is turned


# Scene cuts -------------------------------------------------------------------------------------------


def texture(seed, side=48):
    """Fine grain that fits no other by any shift, float32 [side, side, 3]."""
    grain = np.random.default_rng(seed).normal(size=(side, side, 3))
    for axis in (0, 1, 0, 1):
        grain = (np.roll(grain, 1, axis) + 2 * grain + np.roll(grain, -1, axis)) / 4
    return np.clip(0.5 + 0.2 * grain / grain.std(), 0, 1).astype(np.float32)


def cut(first=3, then=3):
    """Noisy frames of one still scene, and of another."""
    noise = np.random.default_rng(7)
    clean = [texture(0)] * first + [texture(1)] * then
    return [np.clip(one + noise.normal(0, 0.05, one.shape), 0, 1).astype(np.float32) for one in clean]


def test_a_scene_cut_begins_anew_with_the_bits_of_a_new_session(follower):
    session = follower()
    found = list(session.stream(cut(), steps=4))
    assert [one.scene_cut for one in found] == [False] * 3 + [True] + [False] * 2
    fresh = follower()
    wanted = [fresh.push(frame, steps=4) for frame in cut()[3:]]
    for one, other in zip(found[3:], wanted, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.view == other.view
    assert session.state()["step"] == 12


def test_a_scene_cut_compiles_nothing(follower, monkeypatch):
    session = follower()
    frames = cut()
    session.push(frames[0], steps=2)
    program = session._program
    monkeypatch.setattr(session._engine, "compile", None)
    assert session.push(frames[3], steps=2).scene_cut
    assert session._program is program


def test_a_scene_cut_is_fitted_as_long_as_a_first_frame(follower):
    session = follower(steps=7)
    assert [session.push(frame).steps for frame in cut(2, 2)] == [7, 30, 7, 30]


def test_a_scene_cut_goes_with_its_deadline(follower):
    session = follower()
    frames = cut()
    session.push(frames[0], steps=2)
    result = session.push(frames[3], stop=de.Deadline(33))
    assert result.scene_cut and result.reason is de.StopReason.DEADLINE


def test_cuts_are_counted(follower):
    stream = follower().stream(cut(2, 2) + cut(1, 0), steps=2)
    list(stream)
    assert stream.statistics.scene_cuts == 2  # to the other scene and back


def test_a_session_without_motion_sees_no_cuts(follower, tiny_dip):
    for options in ({"motion": None}, {"prior": tiny_dip}):
        session = follower(**options)
        assert not any(one.scene_cut for one in session.stream(cut(), steps=2))
        assert session.state()["step"] == 12


def test_a_new_fit_is_a_new_scene_for_whoever_comes_after(follower):
    session = follower(steps=3)
    frames = pan(3)
    session.push(frames[0], steps=2)
    session.push(frames[2], steps=2)
    assert session.fit(frames[1]).view == de.View()
    view = session.push(frames[2], steps=2).view
    assert (view.matrix[2], view.matrix[5]) == pytest.approx((2, 1), abs=0.3)


# Averages ---------------------------------------------------------------------------------------------


def test_a_whole_shift_moves_every_pixel_as_it_is():
    picture = scene(20, 24)
    found = moved(picture, de.View.shift(3, -2))
    np.testing.assert_array_equal(found[2:, :-3], picture[:-2, 3:])
    np.testing.assert_array_equal(found[:2, :-3], picture[[0, 0], 3:])  # beyond the edge it is repeated
    np.testing.assert_array_equal(moved(picture, de.View()), picture)


@pytest.mark.parametrize("turned", [False, True])
def test_a_moved_picture_is_the_scene_at_the_moved_places(turned):
    rows, columns = np.mgrid[:40, :40].astype(np.float64)

    def wave(x, y):
        return np.repeat((0.5 + 0.4 * np.sin(0.2 * x + 0.15 * y))[..., None], 3, 2).astype(np.float32)

    a, b, c, d, e, f = (0.98, 0.03, 1.3, -0.03, 0.98, 2.6) if turned else (1, 0, 1.3, 0, 1, 2.6)
    found = moved(wave(columns, rows), de.View((a, b, c, d, e, f)))
    wanted = wave(a * columns + b * rows + c, d * columns + e * rows + f)
    inner = (slice(5, -5), slice(5, -5))
    assert np.abs(found - wanted)[inner].max() < (4e-3 if turned else 2e-3)
    assert found.dtype == np.float32


def test_the_average_moves_with_the_camera(follower):
    session = follower(stop=de.MaxSteps(30), average=0.999, memory=False)
    frames = pan(2)
    before = session.fit(frames[0]).image
    result = session.push(frames[1], steps=1, motion=de.View.shift(2, 1))
    assert np.abs(result.image[:-1, :-2] - before[1:, 2:]).max() < 0.01
    assert np.abs(result.image - before).max() > 0.1


# What is saved ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_a_saved_stream_goes_on_where_its_camera_was(follower, tmp_path, name):
    frames, session = pan(6), follower()
    for frame in frames[:3]:
        session.push(frame, steps=4)
    session.save(tmp_path / name)
    wanted = [session.push(frame, steps=4) for frame in frames[3:]]
    with de.Session.load(tmp_path / name, threads=1) as loaded:
        found = [loaded.push(frame, steps=4) for frame in frames[3:]]
    for one, other in zip(found, wanted, strict=True):
        assert one.view.matrix == pytest.approx(other.view.matrix, abs=0.1)
        np.testing.assert_allclose(one.image, other.image, atol=0.05)


@pytest.mark.parametrize("steps", [3, 40])
def test_a_saved_stream_whose_motion_is_known_goes_on_bit_for_bit(follower, tmp_path, steps):
    frames, session, along = pan(4), follower(), de.View.shift(2, 1)
    for frame in frames[:2]:
        session.push(frame, steps=steps, motion=along)
    session.save(tmp_path / "a.npz")
    wanted = session.push(frames[2], steps=4, motion=along)
    with de.Session.load(tmp_path / "a.npz", threads=1) as loaded:
        found = loaded.push(frames[2], steps=4, motion=along)
    assert found.view == wanted.view == de.View.shift(4, 2)
    np.testing.assert_array_equal(found.image, wanted.image)


def test_a_loaded_stream_sees_cuts_and_begins_anew(follower, tmp_path):
    session = follower()
    session.push(cut()[0], steps=4)
    session.save(tmp_path / "a.npz")
    with de.Session.load(tmp_path / "a.npz", threads=1) as loaded:
        found = loaded.push(cut()[3], steps=4)
        assert found.scene_cut
        assert loaded._motion == "shift"
    np.testing.assert_array_equal(found.image, follower().push(cut()[3], steps=4).image)


# Following alone --------------------------------------------------------------------------------------


class Scripted:
    """An estimator that says what the test wants, and notes what it was shown."""

    def __init__(self, *motions):
        self.motions, self.shown = list(motions), []

    def reset(self):
        self.shown.append("reset")

    def next(self, frame, estimate=None):
        self.shown.append(float(frame[0, 0, 0]))
        if len(self.shown) == 2:  # after a reset it has nothing to compare with
            return Motion(de.View(), False, 0.0)
        return self.motions.pop(0)


class Views:
    def __init__(self):
        self.views = []

    def set_views(self, views):
        self.views += views

    def state(self):
        return {}


def plane(value):
    return np.full((4, 4, 1), value, np.float32)


def test_a_camera_buffer_that_is_used_again_does_no_harm(follower):
    frames = pan(4)
    wanted = [one.view for one in follower().stream(frames, steps=2)]
    session, buffer, found = follower(), np.empty_like(frames[0]), []
    for frame in frames:
        buffer[:] = frame
        found.append(session.push(buffer, steps=2).view)
        buffer[:] = 0.5  # the camera begins the next one
    assert found == wanted


def test_a_camera_that_stands_still_moves_nothing():
    following, program = Following("shift"), Views()
    following._estimator = Scripted(Motion(de.View(), False, 1.0))
    following.begin(program)
    following.take(plane(0), de.View())
    assert following.next(plane(0), None, program).is_none
    assert program.views == []
