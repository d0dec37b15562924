"""Pictures fitted tile by tile, on every engine that is here."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import dipedge as de
from dipedge import arrays, tiled_fit
from dipedge.fit import Alone
from dipedge.given import Given
from dipedge.stopping import Rule
from dipedge.tiled_fit import TiledFit
from dipedge.tiles import cut

STEPS, TILES = 3, de.Tiles(32, 8)


@pytest.fixture
def restore(engine, tiny_prior):
    """``restore(image, task, **options)`` with few steps, in tiles of 32 unless told otherwise."""

    def call(image, task=None, **options):
        options = {"steps": STEPS, "threads": 1, "tiles": TILES} | options
        return de.restore(image, task or de.Denoise(), prior=tiny_prior, engine=engine, **options)

    return call


def joined(fits, grid, channels):
    """Tiles [height, width, C], in order, cross-faded by hand."""
    answer = np.zeros((grid.rows.length, grid.columns.length, channels), np.float32)
    for (rows, columns), (down, across), image in zip(grid.places(), grid.weights(), fits, strict=True):
        answer[rows, columns] += image * (down * across)
    return np.clip(answer, 0, 1)


def test_the_answer_is_the_cross_fade_of_each_tile_fitted_alone(restore, noisy):
    image, _ = noisy(48, 70)
    grid = cut(image.shape, TILES)
    alone = [restore(image[rows, columns], tiles=None).image for rows, columns in grid.places()]
    assert len(alone) == 6
    np.testing.assert_array_equal(restore(image).image, joined(alone, grid, 3))


def test_tiles_of_a_jpeg_begin_with_blocks(restore, noisy):
    image, _ = noisy(53, 70)
    grid = cut(image.shape, TILES, block=16)
    alone = [restore(image[place], de.RemoveJpeg(), tiles=None).image for place in grid.places()]
    result = restore(image, de.RemoveJpeg())
    np.testing.assert_array_equal(result.image, joined(alone, grid, 3))
    assert {(tile.top % 16, tile.left % 16) for tile in result.tiles} == {(0, 0)}


def test_masks_are_cut_like_the_picture(restore, noisy):
    image, _ = noisy(48, 50)
    mask = np.random.default_rng(0).random((48, 50)) > 0.4
    grid = cut(image.shape, TILES)
    task = lambda place: de.Inpaint(mask[place], keep=False)  # noqa: E731
    alone = [restore(image[place], task(place), tiles=None).image for place in grid.places()]
    np.testing.assert_array_equal(restore(image, task(...)).image, joined(alone, grid, 3))


@pytest.mark.parametrize("scale", [2, 3])
def test_super_resolution_cuts_the_small_picture(restore, noisy, scale):
    image, _ = noisy(40, 60)
    tiles = de.Tiles(64, 16)
    grid = cut(image.shape, tiles, scale=scale)
    task = de.SuperResolve(scale)
    alone = [restore(image[place], task, tiles=None).image for place in grid.places()]
    result = restore(image, task, tiles=tiles)
    assert result.image.shape == (40 * scale, 60 * scale, 3)
    np.testing.assert_array_equal(result.image, joined(alone, grid.enlarged(scale), 3))


def test_a_rule_ends_every_tile_by_itself_and_its_best_step_is_the_answer(restore, noisy):
    image, _ = noisy(32, 50)
    rule = de.VarianceWindow(window=5, patience=20, floor=10) | de.MaxSteps(60)
    grid = cut(image.shape, TILES)
    alone = [restore(image[place], steps=None, stop=rule, tiles=None) for place in grid.places()]
    result = restore(image, steps=None, stop=rule)
    np.testing.assert_array_equal(result.image, joined([fit.image for fit in alone], grid, 3))
    assert [tile.steps for tile in result.tiles] == [fit.steps for fit in alone]
    assert [tile.chosen_step for tile in result.tiles] == [fit.chosen_step for fit in alone]
    assert [tile.reason for tile in result.tiles] == [fit.reason for fit in alone]


def test_pictures_not_larger_than_a_tile_are_fitted_as_ever(restore, noisy):
    for height, width in ((16, 20), (32, 32), (31, 17)):
        image, _ = noisy(height, width)
        whole = restore(image, tiles=None)
        for tiles in (TILES, "auto", False):
            result = restore(image, tiles=tiles)
            np.testing.assert_array_equal(result.image, whole.image)
            assert result.tiles == ()
            assert result.state is not None


@pytest.mark.parametrize("threads", [2, 3])
def test_native_tiles_have_the_same_bits_on_any_number_of_threads(tiny_prior, noisy, threads):
    pytest.importorskip("dipedge._native")
    image, _ = noisy(40, 50)
    options = {"prior": tiny_prior, "engine": "native", "steps": STEPS, "tiles": TILES, "seed": 7}
    one, several = (de.restore(image, de.Denoise(), threads=count, **options) for count in (1, threads))
    np.testing.assert_array_equal(one.image, several.image)
    np.testing.assert_array_equal(one.history, several.history)


def test_one_seed_gives_the_same_bits_in_tiles_and_another_gives_others(restore, noisy):
    image, _ = noisy(40, 50)
    first = restore(image, seed=1).image
    np.testing.assert_array_equal(restore(image, seed=1).image, first)
    assert (restore(image, seed=2).image != first).any()


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float64"])
def test_every_layout_and_type_can_be_fitted_in_tiles(restore, picture, channels, dtype):
    image = picture(33, 40, channels, dtype)
    result = restore(image, steps=1)
    assert (result.image.shape, result.image.dtype) == (image.shape, image.dtype)
    assert len(result.tiles) == 4
    if channels == 4:
        np.testing.assert_array_equal(result.image[..., 3], image[..., 3])


def test_the_result_tells_of_every_tile_and_of_all_together(restore, noisy):
    image, _ = noisy(32, 70)
    result = restore(image)
    places = [(tile.top, tile.left, tile.height, tile.width) for tile in result.tiles]
    assert places == [(0, left, 32, 32) for left in cut(image.shape, TILES).columns.starts]
    assert [tile.steps for tile in result.tiles] == [STEPS] * 3
    assert (result.steps, result.chosen_step, result.reason) == (3 * STEPS, 3 * STEPS, de.StopReason.STEPS)
    assert result.history.lengths == (STEPS,) * 3 and len(result.history) == 3 * STEPS
    assert [tile.loss for tile in result.tiles] == list(result.history[STEPS - 1 :: STEPS])
    assert result.loss == pytest.approx(result.history[STEPS - 1 :: STEPS].mean())
    assert result.state is None
    assert 0 < sum(tile.seconds for tile in result.tiles) <= result.seconds


def test_progress_counts_steps_of_the_whole_picture(restore, noisy):
    seen = []
    restore(noisy(32, 70)[0], progress=seen.append)
    assert [step.index for step in seen] == list(range(1, 10))
    assert [step.tile for step in seen] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [step.earlier for step in seen] == [0, 0, 0, 3, 3, 3, 6, 6, 6]
    assert {step.tiles for step in seen} == {3}
    assert {step.limit for step in seen} == {9}
    assert [step.reason for step in seen] == [None] * 8 + [de.StopReason.STEPS]
    assert all(before.seconds <= after.seconds for before, after in itertools.pairwise(seen))


def test_the_limit_of_steps_comes_down_when_a_tile_ends_early(restore, noisy):
    seen = []
    rule = de.VarianceWindow(window=5, patience=5) | de.MaxSteps(1000)
    result = restore(noisy(32, 50)[0], steps=None, stop=rule, progress=seen.append)
    first = result.tiles[0].steps
    assert first < 1000
    assert {step.limit for step in seen} == {2000, first + 1000}


# What goes wrong ------------------------------------------------------------------------------------


class Interrupter:
    """A progress callback that is Ctrl-C at one step of the whole picture."""

    def __init__(self, index):
        self.index = index

    def __call__(self, step):
        if step.index == self.index:
            raise KeyboardInterrupt


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("at", [1, STEPS, STEPS + 1, 2 * STEPS + 2, 3 * STEPS])
def test_an_interrupt_keeps_what_is_done_and_shows_the_picture_beyond(engine, tiny_pip, noisy, at, scale):
    image, _ = noisy(20, 70)
    task = de.Denoise() if scale == 1 else de.SuperResolve(2)
    tiles = de.Tiles(32 * scale, 8 * scale)
    grid = cut(image.shape, tiles, scale=scale)
    options = {"prior": tiny_pip, "engine": engine, "threads": 1}
    with de.Session(task, steps=STEPS, tiles=tiles, progress=Interrupter(at), **options) as session:
        with pytest.raises(KeyboardInterrupt):
            session.fit(image)
        result = session.result
    steps = [min(max(at - index * STEPS, 0), STEPS) for index in range(3)]
    assert [tile.steps for tile in result.tiles] == steps
    assert (result.reason, result.steps) == (de.StopReason.INTERRUPTED, at)
    expected = []
    for (rows, columns), done, tile in zip(grid.places(), steps, result.tiles, strict=True):
        window = image[rows, columns]
        if done:
            expected.append(de.restore(window, task, steps=done, **options).image)
        else:
            assert (tile.loss, tile.reason) == (None, de.StopReason.INTERRUPTED)
            expected.append(arrays.enlarged(window, tile.height, tile.width))
    np.testing.assert_array_equal(result.image, joined(expected, grid.enlarged(scale), 3))


def test_an_interrupt_between_two_tiles_loses_no_step(engine, tiny_pip, noisy, monkeypatch):
    image, _ = noisy(20, 70)
    options = {"prior": tiny_pip, "engine": engine, "threads": 1, "steps": STEPS, "tiles": TILES}
    with de.Session(de.Denoise(), **options) as session:
        monkeypatch.setattr(TiledFit, "_tile_clock", _interrupted_when(lambda fit: len(fit.tiles) == 2))
        with pytest.raises(KeyboardInterrupt):
            session.fit(image)
        assert [tile.steps for tile in session.result.tiles] == [STEPS, STEPS, 0]


def _interrupted_when(due):
    original = TiledFit._tile_clock

    def clock(self, *arguments):
        if due(self):
            raise KeyboardInterrupt
        return original(self, *arguments)

    return clock


def test_an_interrupt_before_the_first_step_leaves_no_result_of_tiles(engine, tiny_pip, noisy, monkeypatch):
    monkeypatch.setattr(TiledFit, "_tile_clock", _interrupted_when(lambda fit: True))
    options = {"prior": tiny_pip, "engine": engine, "threads": 1, "steps": STEPS, "tiles": TILES}
    with de.Session(de.Denoise(), **options) as session:
        with pytest.raises(KeyboardInterrupt):
            session.fit(noisy(20, 70)[0])
        assert session.result is None


def test_after_tiles_there_is_nothing_to_go_on_from_or_to_save(engine, tiny_pip, noisy, tmp_path):
    large, small = noisy(20, 70)[0], noisy(20, 30)[0]
    with de.Session(de.Denoise(), prior=tiny_pip, engine=engine, steps=1, threads=1, tiles=TILES) as session:
        session.fit(large)
        for act in (
            lambda: session.push(large),
            lambda: session.save(tmp_path / "a.npz"),
            session.state,
        ):
            with pytest.raises(
                de.InputError, match=r"the last fit was in tiles.* open the session with tiles=None"
            ):
                act()
        assert list(tmp_path.iterdir()) == []
        session.fit(small)
        assert session.push(small, steps=2).steps == 2


def test_frames_of_a_stream_are_never_cut(engine, tiny_pip, noisy):
    frame, _ = noisy(20, 70)
    options = {"prior": tiny_pip, "engine": engine, "steps": 2, "threads": 1}
    with de.Session(de.Denoise(), tiles=TILES, **options) as session:
        first = session.push(frame)
        assert first.tiles == ()
        assert session.push(frame, steps=1).steps == 1
    np.testing.assert_array_equal(first.image, de.restore(frame, de.Denoise(), **options).image)


def test_a_loaded_session_cuts_as_the_saved_one_did(engine, tiny_pip, noisy, tmp_path):
    options = {"prior": tiny_pip, "engine": engine, "steps": 1, "threads": 1}
    for tiles in ("auto", None, TILES):
        with de.Session(de.Denoise(), tiles=tiles, **options) as session:
            session.fit(noisy(20, 30)[0])
            session.save(tmp_path / "a.npz")
        with de.Session.load(tmp_path / "a.npz", threads=1) as loaded:
            assert len(loaded.fit(noisy(20, 70)[0]).tiles) == (3 if tiles is TILES else 0)
            assert loaded._tiles == tiles


def test_a_tile_without_a_known_pixel_is_refused_before_anything_is_lost(engine, tiny_pip, noisy):
    mask = np.ones((20, 70), bool)
    mask[:, :32] = False
    options = {"prior": tiny_pip, "engine": engine, "steps": 1, "threads": 1}
    with pytest.raises(
        de.InputError, match=r"tile 1 of 3 \(rows 0 to 19, columns 0 to 31\) has no known pixel"
    ):
        de.restore(noisy(20, 70)[0], de.Inpaint(mask), tiles=TILES, **options)


def test_a_tile_that_diverges_is_named_and_the_session_can_go_on(engine, tiny_dip, noisy, monkeypatch):
    image, _ = noisy(20, 70)
    options = {"prior": tiny_dip, "engine": engine, "steps": STEPS, "threads": 1, "tiles": TILES}
    with de.Session(de.Denoise(), **options) as session:
        program = type(session._engine.compile(tiny_dip, de.Denoise(), (16, 16, 3), session._settings))
        counts, loss = itertools.count(1), program.loss
        with monkeypatch.context() as patch:
            patch.setattr(program, "loss", lambda self: loss(self) if next(counts) < 5 else float("nan"))
            with pytest.raises(de.FitDivergedError, match=r"^tile 2 of 3 .*the loss is nan after step 2"):
                session.fit(image)
        assert len(session.fit(image).tiles) == 3


def test_an_answer_too_large_for_memory_is_refused_before_the_first_step(
    engine, tiny_pip, noisy, monkeypatch
):
    seen = []
    monkeypatch.setattr(tiled_fit, "_available_bytes", lambda: 10_000)
    with pytest.raises(de.OutOfMemoryError, match="an answer of 20 x 70 x 3 needs 0 MiB") as caught:
        de.restore(
            noisy(20, 70)[0], de.Denoise(), prior=tiny_pip, engine=engine, tiles=TILES, progress=seen.append
        )
    assert caught.value.needed == 4 * 20 * 70 * 3
    assert seen == []


def test_a_large_picture_in_one_piece_is_refused_at_once_with_the_bytes_needed(engine, tiny_dip, monkeypatch):
    # One pixel shown as 300,000 x 300,000: reading it would take a terabyte, and must not be tried.
    image = np.broadcast_to(np.uint8(90), (300_000, 300_000, 3))
    monkeypatch.setattr(arrays, "to_unit", lambda values: pytest.fail("converted before memory was checked"))
    options = {"prior": tiny_dip, "engine": engine, "steps": 1, "threads": 1, "tiles": None}
    with pytest.raises(de.OutOfMemoryError, match="smaller tiles need less") as caught:
        de.restore(image, de.Denoise(), **options)
    assert caught.value.needed > 2**40
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tiles", [True, 512, "none", "512", (512, 64), de.Tiles])
def test_other_values_for_tiles_are_refused(tiles):
    pytest.importorskip("torch")
    with pytest.raises(de.InputError, match=r'tiles is .*; it must be "auto", None or Tiles') as caught:
        de.Session(de.Denoise(), engine="torch", tiles=tiles)
    assert "\n" not in str(caught.value)


# Time -----------------------------------------------------------------------------------------------


class SlowProgram:
    """A program whose every step takes a second of invented time."""

    complete = True
    look_every = 1

    def __init__(self, shape):
        self.shape, self.now, self.steps_done = shape, 0.0, 0

    def state(self, prefix=""):
        return {"step": np.array(0)}

    def load_state(self, state):
        self.steps_done = int(state["step"])

    def set_target(self, target, mask=None):
        assert target.shape == self.shape

    def step(self, count=1):
        self.now += count
        self.steps_done += count

    def losses(self, count):
        return [0.5]

    def close(self):
        pass

    def sample(self, pixels):
        return np.zeros((pixels.size, 3))

    def estimate(self, averaged=True):
        return np.zeros(self.shape, np.float32)


def slow_fit(stop):
    """Steps of each of four tiles, and the seconds that all took."""
    grid = cut((32, 100, 3), de.Tiles(32, 8))
    picture = arrays.read(np.zeros((32, 100, 3), np.float32))
    program = SlowProgram((*grid.shape, 3))
    fit = TiledFit(Given(de.Denoise(), picture, grid=grid))
    fit.run(Alone(program), stop, lambda: program.now, False, None)
    return [tile.steps for tile in fit.tiles], program.now


def test_a_deadline_is_shared_out_among_the_tiles():
    assert slow_fit(de.Deadline(ms=40_500)) == ([10, 10, 10, 10], 40.0)


class FirstIsShort(Rule):
    """Ends its first watcher's fit after two steps, and no other."""

    def __init__(self):
        self._started = itertools.count()

    def start(self):
        first = next(self._started) == 0
        return SimpleNamespace(
            marks=False,
            keep=False,
            most=None,
            update=lambda seen: de.StopReason.STEPS if first and seen.index == 2 else None,
        )


def test_a_tile_that_ends_early_leaves_its_time_to_the_others():
    assert slow_fit(FirstIsShort() | de.Deadline(ms=41_500)) == ([2, 13, 13, 13], 41.0)


def test_every_tile_makes_one_step_however_short_the_deadline():
    assert slow_fit(de.Deadline(ms=1)) == ([1, 1, 1, 1], 4.0)
