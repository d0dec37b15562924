"""restore_video: clips in and out, segments, scenes, what lies between frames."""

import numpy as np
import pytest

import dipedge as de
from dipedge import video
from dipedge.clips import VideoInterrupted, restore_video
from dipedge.priors import Hourglass, Level, Prior, SpaceTime

STEPS = 3


@pytest.fixture
def tiny():
    """A network of coordinates and time that fits small frames in milliseconds."""
    level = Level(16, 16, 4, kernel_down=1, kernel_up=1)
    return Prior(SpaceTime(count=4, highest=16.0, times=2), Hourglass((level, level)), name="tiny clip")


@pytest.fixture
def clip(picture):
    """``clip(count, dtype)``: a pan of one pixel a frame over a smooth picture, [N, 16, 20, 3]."""

    def make(count=5, dtype="uint8"):
        wide = picture(16, 20 + count, 3, dtype)
        return np.stack([wide[:, k : k + 20] for k in range(count)])

    return make


@pytest.fixture
def restore(engine, tiny):
    """``restore(source, **options)``: a quick restoration."""

    def run(source, output=None, **options):
        task = options.pop("task", de.Denoise())
        options = {"engine": engine, "prior": tiny, "steps": STEPS, "threads": 1, "motion": None} | options
        return restore_video(source, task, output, **options)

    return run


def test_an_array_gives_an_array_of_its_kind(restore, clip):
    for dtype in ("uint8", "uint16", "float32"):
        given = clip(3, dtype)
        result = restore(given)
        assert result.frames.shape == given.shape
        assert result.frames.dtype == given.dtype
        assert (result.restored, result.resumed, result.path) == (3, 0, None)
    assert isinstance(restore(list(clip(2))).frames, list)
    gray = restore(clip(2)[..., 0]).frames
    assert gray.shape == (2, 16, 20)


def test_a_clip_is_fitted_and_not_only_passed_on(restore, clip):
    given = clip(6, "float32")
    result = restore(given, steps=150, reference=given)
    assert result.psnr > 25
    assert 10 * np.log10(given.var() ** -1) < result.psnr - 5  # a constant would come as far as this
    assert result.segments[0].history[-1] < 0.1 * result.segments[0].history[0]
    assert result.reason is de.StopReason.STEPS


@pytest.mark.parametrize("quality", ["paper", "balanced", "fast"])
def test_every_quality_runs_with_its_own_network(engine, clip, quality):
    options = {"engine": engine, "quality": quality, "steps": 1, "threads": 1}
    result = restore_video(clip(7), de.Denoise(), **options)
    assert result.frames.shape == (7, 16, 20, 3)
    assert result.steps == {"paper": 2, "balanced": 2, "fast": 3}[quality]


def test_steps_say_how_often_each_frame_is_seen(restore, clip):
    result = restore(clip(8), segment=8)
    assert result.steps == STEPS * 2  # two batches of six see eight frames
    assert [one.steps for one in result.segments] == [STEPS * 2]


def test_long_clips_are_fitted_segment_by_segment(restore, clip):
    result = restore(clip(8), segment=4, overlap=1)
    assert [(one.first, one.frames, one.fresh) for one in result.segments] == [
        (0, 4, True), (3, 4, False), (6, 2, False),
    ]  # fmt: skip
    assert len(result.frames) == 8


def test_a_segment_goes_on_from_the_weights_of_the_one_before(restore, clip):
    given = np.repeat(clip(1, "float32"), 8, axis=0)
    result = restore(given, steps=40, segment=5, overlap=2)
    first, second = result.segments
    assert second.history[0] < 0.5 * first.history[0]


def test_the_same_seed_gives_the_same_bits(restore, clip):
    one, two = (restore(clip(), segment=3, overlap=1, seed=5).frames for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, restore(clip(), segment=3, overlap=1, seed=6).frames)


def test_the_number_of_threads_changes_no_bit(tiny, clip):
    def run(threads):
        options = {"prior": tiny, "steps": 2, "segment": 3, "overlap": 1, "motion": None}
        return restore_video(clip(), de.Denoise(), engine="native", threads=threads, **options).frames

    np.testing.assert_array_equal(run(1), run(3))


def test_frames_are_enlarged(restore, clip):
    result = restore(clip(3), task=de.SuperResolve(2))
    assert result.frames.shape == (3, 32, 40, 3)


def test_large_frames_are_fitted_tile_by_tile(restore, picture):
    wide = picture(40, 64, 3, "float32")
    given = np.stack([wide[:, k : k + 60] for k in range(4)])
    result = restore(given, tiles=de.Tiles(32, 8), segment=3, overlap=1, steps=20, reference=given)
    assert [len(one.history.lengths) for one in result.segments] == [6, 6]  # two rows of three tiles
    assert result.psnr > 15
    moved = restore(given, tiles=de.Tiles(32, 8), segment=3, overlap=1, steps=2, motion="affine")
    assert moved.frames.shape == given.shape


def test_a_tile_alone_is_fitted_as_the_whole_would_be(restore, clip):
    given = clip(3, "float32")
    one, two = (restore(given, tiles=tiles).frames for tiles in ("auto", de.Tiles(64)))
    np.testing.assert_array_equal(one, two)


def test_a_tile_that_is_never_seen_is_refused(restore, picture):
    given = np.stack([picture(40, 60)] * 2)
    mask = np.ones((40, 60), bool)
    mask[:, 20:] = False
    with pytest.raises(de.InputError, match=r"tile 2 of 4 .* has no known pixel in 2 frames"):
        restore(given, task=de.Inpaint(mask), tiles=de.Tiles(32, 4))


def test_holes_are_filled_and_known_pixels_stay(restore, clip):
    masks = np.ones((4, 16, 20), bool)
    for number in range(4):
        masks[number, 4 : 6 + number, 3:9] = False
    given = clip(4)
    for mask in (masks, list(masks), masks[0]):
        frames = restore(given, task=de.Inpaint(mask)).frames
        known = np.broadcast_to(mask, masks.shape)
        np.testing.assert_array_equal(frames[known], given[known])
        assert np.all(frames[~known].std(axis=0) > 0)
    estimate = restore(given, task=de.Inpaint(masks, keep=False)).frames
    assert not np.array_equal(estimate[masks], given[masks])


def test_what_a_hole_hides_does_not_change_the_answer(restore, clip):
    mask = np.ones((16, 20), bool)
    mask[4:8, 3:9] = False
    other = clip(4)
    other[:, ~mask] = 255
    one, two = (restore(given, task=de.Inpaint(mask)).frames for given in (clip(4), other))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("times", "between"), [(2, "query"), (3, "query"), (3, "blend")])
def test_frames_between_frames_are_made(restore, clip, times, between):
    given = clip(7, "float32")
    result = restore(given, times=times, between=between, segment=4, overlap=2, steps=60)
    assert len(result.frames) == times * 6 + 1
    assert result.restored == 7
    before, between, after = result.frames[0], result.frames[1], result.frames[times]
    assert np.abs(between - before).mean() < np.abs(after - before).mean()


@pytest.mark.parametrize(("quality", "steps"), [("paper", 4), ("fast", 9)])
def test_a_prior_of_single_pictures_fits_frame_by_frame(engine, clip, tiny_pip, quality, steps):
    options = {
        "prior": tiny_pip,
        "steps": steps,
        "engine": engine,
        "threads": 1,
        "seed": 3,
        "quality": quality,
    }
    frames = restore_video(clip(2), de.Denoise(), **options).frames
    for found, given in zip(frames, clip(2), strict=True):
        alone = de.restore(given, de.Denoise(), **options).image
        np.testing.assert_array_equal(found, alone)


def test_progress_says_which_segment_of_how_many(restore, clip):
    seen = []
    restore(clip(8), segment=4, overlap=1, progress=seen.append)
    assert [(one.fit, one.fits) for one in seen] == [(k, 3) for k in (1, 2, 3) for _ in range(STEPS)]
    assert [one.index for one in seen] == [1, 2, 3] * 3


def test_the_camera_is_followed_and_cuts_begin_anew(restore, picture):
    """Two scenes of enough texture to be told apart, one of them panned."""
    rng = np.random.default_rng(0)
    first, second = (np.kron(rng.random((24, 24, 3)), np.ones((3, 3, 1))) for _ in range(2))
    scenes = [first[4:52, 2 * k : 2 * k + 48] for k in range(4)] + [second[4:52, 4:52]] * 3
    result = restore(np.stack(scenes).astype(np.float32), motion="shift", segment=6, overlap=2)
    assert [(one.first, one.frames, one.fresh) for one in result.segments] == [(0, 4, True), (4, 3, True)]


# Bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment": 0}, "segment is 0"),
        ({"segment": 4, "overlap": 4}, "overlap is 4"),
        ({"times": 0}, "times is 0"),
        ({"between": "morph"}, "between is 'morph'"),
        ({"motion": "zoom"}, "motion is 'zoom'"),
        ({"steps": 0}, "steps is 0"),
        ({"quality": "best"}, "quality is 'best'"),
        ({"resume": True}, "resume is True; that needs an output"),
        ({"prior": "pip", "times": 2}, "knows nothing between them"),
        ({"task": "denoise"}, "task is 'denoise'"),
        ({"crf": 3}, "crf given, but no output"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(restore, clip, options, message):
    with pytest.raises(de.InputError, match=message):
        restore(clip(2), **options)


# Files ----------------------------------------------------------------------------------------------


def written(folder, frames):
    from PIL import Image

    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03}.png")
    return folder


def read(folder):
    return np.stack([frame.pixels for frame in video.open_video(folder)])


def test_a_folder_of_frames_gives_a_folder_of_the_same_frames(restore, clip, tmp_path):
    source, output = written(tmp_path / "in", clip(5)), tmp_path / "out"
    result = restore(source, output, segment=3, overlap=1)
    assert (result.frames, result.path, result.restored) == (None, str(output), 5)
    np.testing.assert_array_equal(read(output), restore(clip(5), segment=3, overlap=1).frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    assert sorted(path.name for path in output.iterdir()) == [f"{k:03}.png" for k in range(5)]


def test_a_fault_in_the_source_keeps_the_frames_before_it(restore, clip, tmp_path):
    source = written(tmp_path / "in", clip(5))
    (source / "003.png").write_bytes(b"no picture")
    with pytest.raises(de.FileError, match=r"the 3 frames before it are in .*out\.partial") as caught:
        restore(source, tmp_path / "out", segment=2, overlap=1)
    assert "\n" not in str(caught.value)
    assert len(read(tmp_path / "out.partial")) == 3
    assert not (tmp_path / "out").exists()


def test_an_interruption_keeps_what_was_finished_and_names_it(restore, clip, tmp_path):
    def stop_in_second_segment(step):
        if step.fit == 2:
            raise KeyboardInterrupt

    options = {"segment": 3, "overlap": 1, "progress": stop_in_second_segment}
    with pytest.raises(VideoInterrupted) as caught:
        restore(clip(5), **options)
    assert caught.value.result.reason is de.StopReason.INTERRUPTED
    assert caught.value.result.frames.shape == (2, 16, 20, 3)
    with pytest.raises(KeyboardInterrupt) as caught:
        restore(written(tmp_path / "in", clip(5)), tmp_path / "out", **options)
    partial = caught.value.result.path
    assert partial == str(tmp_path / "out.partial")
    assert len(read(partial)) == caught.value.result.restored == 2
    assert not (tmp_path / "out").exists()
    result = restore(tmp_path / "in", tmp_path / "out", segment=3, overlap=1, resume=True)
    assert (result.restored, result.resumed) == (5, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
