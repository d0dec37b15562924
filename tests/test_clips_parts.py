"""The parts of a clip's restoration that need no fit: batches, segments, joining, masks, comparison."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

import dipedge as de
from dipedge import arrays, metrics
from dipedge.clips.batches import epoch, epochs
from dipedge.clips.between import blended, moved
from dipedge.clips.clip_presets import clip_preset
from dipedge.clips.comparison import Comparison
from dipedge.clips.given_clip import GivenClip, as_written
from dipedge.clips.joining import Joining
from dipedge.clips.masks import masks_of
from dipedge.clips.pieces import WHOLE, inside
from dipedge.clips.segments import Start, frames_of, segments_of
from dipedge.motion import Motion
from dipedge.views import View


def pictures(count, height=16, width=20, dtype=np.uint8):
    """A clip whose frame k is k everywhere."""
    return np.stack([np.full((height, width, 3), k, dtype) for k in range(count)])


def read_frames(clip, masks=None):
    given = GivenClip(clip)
    return frames_of(iter(given.reader), given.read, masks)


def cut(count, length, overlap, follower=None, start=None):
    return list(segments_of(read_frames(pictures(count)), length, overlap, start or Start(), 0.4, follower))


class Scripted:
    """A follower that says what it was told for each frame, which it knows by its colour."""

    def __init__(self, cuts=(), step=(0.0, 0.0), zoom=1.0):
        self.cuts, self.step, self.zoom, self.before = cuts, step, zoom, None

    def reset(self):
        self.before = None

    def next(self, frame):
        number, before = round(float(frame[0, 0, 0]) * 255), self.before
        self.before = number
        if before is None:
            return Motion(View(), False, 0.0)
        assert number == before + 1, "every frame is compared with the one before it"
        matrix = (self.zoom, 0.0, self.step[0], 0.0, self.zoom, self.step[1])
        return Motion(View(matrix), number in self.cuts, 1.0)


# Batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 12, 13])
@pytest.mark.parametrize("size", [1, 2, 6])
def test_an_epoch_sees_every_frame_in_as_few_batches_as_can_be(frames, size):
    batches = epoch(frames, size, np.random.default_rng(0))
    assert len(batches) == -(-frames // size)
    assert set(np.concatenate(batches)) == set(range(frames))
    for batch in batches:
        assert np.all(np.diff(batch) % frames == 1 % frames)


def test_batches_are_drawn_anew_and_the_same_for_a_seed():
    def first(seed):
        made = epochs(12, 6, seed)
        return [tuple(next(made)) for _ in range(12)]

    assert first((3, 0)) == first((3, 0))
    assert first((3, 0)) != first((3, 1))
    assert len(set(first((3, 0)))) > 2


# Segments -------------------------------------------------------------------------------------------


def test_segments_cover_a_clip_and_share_their_overlap():
    found = cut(11, 5, 2)
    assert [(one.first, len(one.frames), one.kept, one.last) for one in found] == [
        (0, 5, 2, False), (3, 5, 2, False), (6, 5, 0, True),
    ]  # fmt: skip
    assert [one.fresh for one in found] == [True, False, False]


def test_a_clip_that_ends_with_a_segment_has_no_further_one():
    assert [len(one.frames) for one in cut(8, 5, 2)] == [5, 5]
    assert [len(one.frames) for one in cut(5, 5, 2)] == [5]
    assert [len(one.frames) for one in cut(9, 5, 2)] == [5, 5, 3]


def test_time_goes_on_from_segment_to_segment():
    times = [[view.time for view in one.views] for one in cut(8, 5, 2)]
    np.testing.assert_allclose(times[0], np.arange(1, 6) * 0.4)
    np.testing.assert_allclose(times[1], np.arange(4, 9) * 0.4)


def test_a_segment_ends_at_a_scene_cut_and_the_next_begins_anew():
    found = cut(10, 5, 2, Scripted(cuts=(3,)))
    assert [(one.first, len(one.frames), one.kept, one.fresh) for one in found] == [
        (0, 3, 0, True), (3, 5, 2, True), (6, 4, 0, False),
    ]  # fmt: skip
    assert found[1].views[0].time == pytest.approx(0.4)


def test_views_follow_the_camera_across_segments():
    found = cut(8, 5, 2, Scripted(step=(2.0, -1.0)))
    places = {one.first + k: view.matrix for one in found for k, view in enumerate(one.views)}
    assert places == {k: (1, 0, 2.0 * k, 0, 1, -1.0 * k) for k in range(8)}


def test_coordinates_begin_anew_where_the_camera_has_zoomed_far():
    found = cut(8, 5, 2, Scripted(zoom=1.2))
    assert [one.fresh for one in found] == [True, True]
    assert found[1].kept == 0 and found[0].kept == 2  # the frames are shared, the weights are not
    np.testing.assert_allclose(found[1].views[0].matrix, (1, 0, 0, 0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(found[1].views[1].matrix, (1.2, 0, 0, 0, 1.2, 0), atol=1e-12)


def test_segments_taken_up_in_the_middle_are_those_of_the_whole_clip():
    follower = Scripted(step=(2.0, -1.0), cuts=(6,))
    whole = cut(12, 5, 2, follower)
    for before, expected in pairwise(whole):
        start = before.next_start()
        frames = list(read_frames(pictures(12)))[start.first :]
        again = list(segments_of(iter(frames), 5, 2, start, 0.4, follower))
        assert [one.views for one in again] == [one.views for one in whole[expected.number :]]
        assert again[0].first == expected.first and again[0].fresh == expected.fresh


def test_a_fault_in_the_source_ends_the_clip_with_the_frames_before_it():
    clip = [*pictures(4), np.zeros((16, 24, 3), np.uint8)]
    found = list(segments_of(read_frames(clip), 5, 2, Start()))
    assert [len(one.frames) for one in found] == [4]
    assert "frame 4 of source is 16 x 24 x 3; those before it are 16 x 20 x 3" in str(found[0].fault)


def test_a_tile_and_an_answer_have_the_same_view_in_their_own_pixels():
    view = View((1.1, 0.1, 3.0, -0.2, 0.9, 5.0), 0.3)
    a, b, c, d, e, f = inside(view, (slice(8, 16), slice(4, 12)), 2).matrix

    def centre(column, row):  # of a frame's pixel, in the tile's answer: it is 2 x 2 pixels there
        return 2 * (column - 4) + 0.5, 2 * (row - 8) + 0.5

    for column, row in ((4, 8), (11, 15), (7.5, 9.25)):
        moved = view.matrix
        there = (
            moved[0] * column + moved[1] * row + moved[2],
            moved[3] * column + moved[4] * row + moved[5],
        )
        x, y = centre(column, row)
        np.testing.assert_allclose((a * x + b * y + c, d * x + e * y + f), centre(*there), atol=1e-9)
    assert inside(view, WHOLE, 1).matrix == pytest.approx(view.matrix)
    shift = inside(View.shift(2.0, -1.0), (slice(0, 8), slice(4, 12)), 4)
    assert shift.is_shift and shift.matrix[2::3] == pytest.approx((8.0, -4.0))


# Between frames -------------------------------------------------------------------------------------


def waves(height, width, matrix=((1, 0, 0), (0, 1, 0))):
    """A smooth picture, looked at through ``matrix``."""
    row, column = np.mgrid[:height, :width]
    (a, b, c), (d, e, f) = matrix
    x, y = a * column + b * row + c, d * column + e * row + f
    return np.stack([0.5 + 0.3 * np.sin(x / 4) * np.cos(y / 5), 0.5 + 0.2 * np.sin((x + y) / 6)], -1).astype(
        np.float32
    )


def test_a_picture_moved_by_whole_pixels_is_the_same_pixels():
    picture = np.random.default_rng(0).random((9, 12, 3)).astype(np.float32)
    shifted = moved(picture, np.array([[1, 0, 2], [0, 1, -3], [0, 0, 1.0]]))
    np.testing.assert_array_equal(shifted[3:, :-2], picture[:-3, 2:])
    assert moved(picture, np.eye(3)) is picture


def test_a_moved_picture_is_the_scene_seen_from_there(monkeypatch):
    monkeypatch.setattr("dipedge.clips.between.BAND", 100)  # several bands
    matrix = np.array([[1.02, 0.03, 0.7], [-0.02, 0.98, 1.3], [0, 0, 1.0]])
    found, expected = moved(waves(40, 50), matrix), waves(40, 50, matrix[:2])
    np.testing.assert_allclose(found[4:-4, 4:-4], expected[4:-4, 4:-4], atol=3e-3)
    assert np.abs(waves(40, 50) - expected).max() > 0.1


def test_what_lies_between_two_frames_of_a_moving_camera_lies_half_way():
    views = View.shift(1.0, 2.0), View.shift(4.0, 1.0)
    first, second, middle = (
        waves(40, 50, ((1, 0, x), (0, 1, y))) for x, y in ((1.0, 2.0), (4.0, 1.0), (2.5, 1.5))
    )
    found = blended(first, second, views, 0.5)
    np.testing.assert_allclose(found[4:-4, 4:-4], middle[4:-4, 4:-4], atol=3e-3)
    assert np.abs((first + second) / 2 - middle)[4:-4, 4:-4].max() > 0.02


# Joining --------------------------------------------------------------------------------------------


def joined(count, length, overlap, times, follower=None):
    joining = Joining(times, keep=True)
    out = []
    for one in cut(count, length, overlap, follower):
        made = [
            np.full((16, 20, 3), (one.number + 1) / 10, np.float32)
            for _ in range(times * (len(one.frames) - 1) + 1)
        ]
        out += list(joining.add(one, made))
    return out


@pytest.mark.parametrize("times", [1, 2, 3])
def test_every_frame_comes_out_once_and_in_time(times):
    out = joined(11, 5, 2, times)
    assert [one.own for one in out].count(True) == 11
    assert [one.time for one in out] == [Fraction(k, 25 * times) for k in range(times * 10 + 1)]
    assert {one.duration for one in out} == {Fraction(1, 25 * times)}


def test_answers_fade_from_one_segment_to_the_next():
    values = [round(float(one.pixels[0, 0, 0]) / 255, 2) for one in joined(8, 5, 2, 1)]
    np.testing.assert_allclose(values, [0.1, 0.1, 0.1, 0.1333, 0.1667, 0.2, 0.2, 0.2], atol=0.01)


def test_the_last_frame_of_a_scene_stands_where_there_is_nothing_between():
    out = joined(6, 5, 2, 2, Scripted(cuts=(3,)))
    assert len(out) == 11
    assert float(out[5].pixels[0, 0, 0]) == float(out[4].pixels[0, 0, 0])
    assert not out[5].own


# What users hand over -------------------------------------------------------------------------------


def test_a_clip_comes_back_as_what_it_was():
    clip = pictures(3)
    assert isinstance(GivenClip(clip).gather(list(clip)), np.ndarray)
    assert isinstance(GivenClip(list(clip)).gather(list(clip)), list)
    assert GivenClip(frame for frame in clip).reader.frames is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((0, 16, 16, 3), np.uint8), "source has no frame"),
        (np.zeros((16, 16), np.uint8), "a clip is N x H x W"),
        (7, "source is a int"),
        ([np.zeros((8, 16, 3), np.uint8)], "frame 0 of source is 8 x 16 x 3"),
        ("missing.mp4", "missing.mp4: no such file"),
    ],
)
def test_what_is_no_clip_is_refused_in_one_line(source, message):
    with pytest.raises(de.InputError, match=message) as caught:
        GivenClip(source)
    assert "\n" not in str(caught.value)


def test_frames_are_written_in_the_depth_of_the_file():
    assert as_written(np.full((2, 2), 0.5, np.float32), np.dtype(np.uint8)).tolist() == [[[128]] * 2] * 2
    assert as_written(np.ones((2, 2, 3)), np.dtype(np.uint16)).max() == 65535


def test_one_mask_serves_all_frames_and_each_may_have_its_own():
    shape, hole = (16, 20, 3), np.ones((16, 20), bool)
    hole[3:5] = False
    one = masks_of(hole, shape)
    assert all(np.array_equal(next(one), hole) for _ in range(3))
    several = masks_of(np.stack([hole, ~hole]), shape)
    assert np.array_equal(next(several), hole) and np.array_equal(next(several), ~hole)
    with pytest.raises(de.InputError, match="mask ends after 2 frames"):
        next(several)
    with pytest.raises(de.InputError, match="frame 0 of mask is 8 x 8"):
        next(masks_of([np.ones((8, 8))], shape))


def test_comparing_frame_by_frame_gives_what_whole_clips_give():
    rng = np.random.default_rng(0)
    true = rng.random((9, 16, 20, 3)).astype(np.float32)
    found = np.clip(true + rng.normal(0, 0.1, true.shape), 0, 1).astype(np.float32)
    comparison = Comparison(iter(true))
    for frame in found:
        comparison.add(frame)
    assert comparison.psnr == pytest.approx(metrics.psnr(found, true))
    assert comparison.ssim3d == pytest.approx(metrics.ssim3d(found, true))
    with pytest.raises(de.InputError, match="reference ends after 9 frames"):
        comparison.add(found[0])


def test_published_settings_stand_to_the_letter():
    preset = clip_preset(de.Denoise(), None, "paper")
    assert (preset.epochs, preset.average, preset.segment) == (5000, 0.0, None)
    assert preset.optimiser == de.Adam(0.01)
    assert preset.prior.parameter_count() == 1_565_043
    assert clip_preset(de.SuperResolve(4), None, "paper").epochs == 10_000
    assert preset.batch((64, 64, 3), 30) == 6


def test_a_frame_averages_a_sixteenth_of_its_outputs():
    preset = clip_preset(de.Denoise(), None, "balanced")
    assert preset.weight(640, 24, 6) == pytest.approx(0.9)  # 160 outputs of each frame: ten count
    assert preset.weight(3, 6, 6) == 0.0
    assert clip_preset(de.Denoise(), None, "paper").weight(640, 24, 6) == 0.0


def test_large_frames_come_fewer_at_a_time():
    preset = clip_preset(de.Denoise(), None, "balanced")
    assert [preset.batch((side, side, 3), 24) for side in (128, 512, 1024, 2048)] == [6, 4, 1, 1]
    assert preset.batch((128, 128, 3), 4) == 4
    assert clip_preset(de.Denoise(), None, "fast").batch((128, 128, 3), 24) == 3


def test_tasks_of_single_pictures_are_refused():
    with pytest.raises(de.InputError, match="clips can be restored with Denoise, RemoveJpeg"):
        clip_preset(de.Enhance(), None, "balanced")


def test_a_frame_keeps_its_alpha():
    clip = np.zeros((2, 16, 16, 4), np.uint8)
    clip[..., 3] = 77
    given = GivenClip(clip)
    assert given.shape == (16, 16, 3) and given.reader.has_alpha
    assert isinstance(given.read(clip[0], 0), arrays.Picture)
