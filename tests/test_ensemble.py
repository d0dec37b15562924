"""Ensembles of seeds, and tiles: several fits of one picture, in lockstep and one after another."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

import dipedge as de
from dipedge import arrays, cli
from dipedge import session as session_module
from dipedge.cli import progress
from dipedge.given import Given
from dipedge.result import Step
from dipedge.tiled_fit import TiledFit
from dipedge.tiles import cut
from tests.lockstep import ByNoise, Interrupter, assert_same_fit, pictures_of
from tests.test_tiled_fit import SlowProgram

pytest.importorskip("dipedge._native")
STEPS = 5  # of the fixture ``opened``
TILES = de.Tiles(32, 8)


# Ensembles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 8])
def test_an_ensemble_is_the_average_of_fits_with_seeds_in_a_row(lockstep, opened, noisy, most):
    image, _ = noisy()
    alone = [opened(seed=seed).fit(image) for seed in (7, 8, 9)]
    engine = lockstep(most=most)
    with opened(seed=7, ensemble=3) as session:
        found = session.fit(image)
        assert session.result is found
    total = alone[0].image + alone[1].image + alone[2].image
    np.testing.assert_array_equal(found.image, np.clip(total / 3, 0, 1))
    assert engine.batches == {1: [1, 1, 1], 2: [2, 1], 8: [3]}[most]
    assert (found.steps, found.chosen_step, found.reason) == (3 * STEPS, 3 * STEPS, de.StopReason.STEPS)
    assert found.loss == pytest.approx(np.mean([one.loss for one in alone]))
    np.testing.assert_array_equal(found.history.loss, np.concatenate([one.history.loss for one in alone]))
    assert [member.seed for member in found.members] == [7, 8, 9]
    assert [member.loss for member in found.members] == [one.loss for one in alone]
    assert found.state is None
    assert all(0 < member.seconds <= found.seconds for member in found.members)


def test_an_ensemble_is_closer_to_the_truth_than_its_members(tiny_pip, noisy):
    degraded, clean = noisy(32, 32)
    options = {"engine": "native", "prior": tiny_pip, "steps": 150, "threads": 1}
    alone = [
        de.psnr(de.restore(degraded, de.Denoise(), seed=seed, **options).image, clean) for seed in range(4)
    ]
    together = de.restore(degraded, de.Denoise(), ensemble=4, **options)
    assert de.psnr(together.image, clean) > max(alone)


@pytest.mark.parametrize("most", [1, 4, 8])
def test_a_list_of_ensembles_is_a_list_of_what_each_gives_alone(lockstep, opened, noisy, most):
    pictures = pictures_of(noisy, (16, 20), (20, 16), (16, 20))
    alone = [opened(ensemble=2).fit(picture) for picture in pictures]
    engine = lockstep(most=most)
    for found, expected in zip(opened(ensemble=2).fit(pictures), alone, strict=True):
        assert_same_fit(found, expected)
        assert len(found.members) == 2
    assert engine.batches == {1: [1] * 6, 4: [4, 2], 8: [4, 2]}[most]


@pytest.mark.parametrize("most", [1, 4])
def test_an_ensemble_of_tiled_fits_averages_their_answers(lockstep, opened, noisy, most):
    image, _ = noisy(20, 70)
    alone = [opened(seed=seed, tiles=TILES).fit(image) for seed in (0, 1)]
    lockstep(most=most)
    found = opened(ensemble=2, tiles=TILES).fit(image)
    np.testing.assert_allclose(found.image, (alone[0].image + alone[1].image) / 2, atol=1e-6)
    assert [len(member.tiles) for member in found.members] == [3, 3]
    assert (found.tiles, found.steps) == ((), 6 * STEPS)


@pytest.mark.parametrize(("most", "call", "seeds"), [(1, 7, [0]), (1, 2, [0]), (8, 7, [0, 1, 2])])
def test_an_interrupted_ensemble_averages_fits_that_ended_or_where_none_did_all(
    lockstep, opened, noisy, most, call, seeds
):
    image, _ = noisy()
    lockstep(most=most)
    with opened(ensemble=3, progress=Interrupter(call)) as session:
        with pytest.raises(KeyboardInterrupt):
            session.fit(image)
        found = session.result
    assert [member.seed for member in found.members] == seeds
    assert found.reason is de.StopReason.INTERRUPTED
    steps = {1: {7: [5], 2: [2]}, 8: {7: [3, 3, 3]}}[most][call]
    assert [member.steps for member in found.members] == steps
    total = sum(
        opened(seed=s, steps=n).fit(image).image.astype(float) for s, n in zip(seeds, steps, strict=True)
    )
    np.testing.assert_allclose(found.image, total / len(seeds), atol=1e-6)


def test_a_deadline_is_shared_out_among_the_fits_of_an_ensemble(opened, noisy, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(session_module, "Stopwatch", lambda: lambda: now[0])

    def tick(step):
        now[0] += 1.0

    stop = de.Deadline(ms=20_500) | de.MaxSteps(100)
    found = opened(steps=None, stop=stop, ensemble=2, progress=tick).fit(noisy()[0])
    assert found.reason is de.StopReason.DEADLINE
    assert sum(member.steps for member in found.members) in (20, 21)
    assert abs(found.members[0].steps - found.members[1].steps) <= 1


def test_a_stream_takes_no_ensemble(opened, noisy):
    with opened(ensemble=2) as session:
        with pytest.raises(de.InputError, match=r"ensemble is 2; a stream has one set .* ensemble=1"):
            session.push(noisy()[0])
        session.fit(noisy()[0])
        with pytest.raises(de.InputError, match="the last fit was of an ensemble"):
            session.state()


@pytest.mark.parametrize("ensemble", [0, 65, -1, 1.5, True, "2"])
def test_an_ensemble_of_another_size_is_refused(opened, ensemble):
    with pytest.raises(de.InputError, match=r"ensemble is .*; it must be a whole number from 1 to 64"):
        opened(ensemble=ensemble)


def test_the_highest_seed_leaves_room_for_an_ensemble(opened, noisy):
    assert len(opened(seed=2**63 - 1, ensemble=2).fit(noisy()[0]).members) == 2


# Tiles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look_every", [1, 4])
@pytest.mark.parametrize("most", [2, 3, 8])
def test_tiles_in_lockstep_are_the_tiles_one_by_one(lockstep, opened, noisy, most, look_every):
    image, _ = noisy(48, 70)
    expected = opened(tiles=TILES).fit(image)
    assert len(expected.tiles) == 6
    seen = []
    engine = lockstep(most=most, look_every=look_every)
    found = opened(tiles=TILES, progress=seen.append).fit(image)
    assert_same_fit(found, expected)
    assert engine.batches == [{2: 2, 3: 3, 8: 6}[most]]
    assert engine.open == 0
    assert [step.index for step in seen] == sorted(step.index for step in seen)
    assert [step.reason for step in seen if step.reason is not None] == [de.StopReason.STEPS]
    assert (seen[-1].index, seen[-1].limit, seen[-1].tiles) == (6 * STEPS, 6 * STEPS, 6)


def test_tiles_that_end_apart_keep_their_places_and_a_round_may_be_short(lockstep, opened, noisy):
    image, _ = noisy(32, 120)
    options = {"steps": None, "stop": ByNoise() | de.MaxSteps(20), "tiles": TILES}
    expected = opened(**options).fit(image)
    assert len(expected.tiles) == 5
    assert len({tile.steps for tile in expected.tiles}) > 1
    engine = lockstep(most=3)
    found = opened(**options).fit(image)
    assert_same_fit(found, expected)
    assert [tile.steps for tile in found.tiles] == [tile.steps for tile in expected.tiles]
    assert engine.batches == [3]


@pytest.mark.parametrize(
    ("call", "steps"), [(1, [1, 1, 0, 0]), (3, [3, 3, 0, 0]), (5, [5, 5, 0, 0]), (6, [5, 5, 1, 1])]
)
def test_an_interrupt_among_tiles_in_lockstep_loses_no_step(lockstep, opened, noisy, call, steps):
    image, _ = noisy(20, 100)
    lockstep(most=2)
    with opened(tiles=TILES, progress=Interrupter(call)) as session:
        with pytest.raises(KeyboardInterrupt):
            session.fit(image)
        found = session.result
    assert [tile.steps for tile in found.tiles] == steps
    assert found.reason is de.StopReason.INTERRUPTED


class SlowBatch:
    """Programs that step together: every step takes a second of invented time, however many they are."""

    def __init__(self, shape, count):
        self.members = tuple(SlowProgram(shape) for _ in range(count))

    def step(self, count=1):
        for member in self.members:
            member.step(count)


def test_a_deadline_is_shared_out_among_rounds_of_tiles():
    grid = cut((32, 100, 3), TILES)
    batch = SlowBatch((*grid.shape, 3), 2)
    picture = arrays.read(np.zeros((32, 100, 3), np.float32))
    fit = TiledFit(Given(de.Denoise(), picture, grid=grid))
    now = batch.members[0]
    fit.run(batch, de.Deadline(ms=40_500), lambda: now.now, False, None)
    assert [tile.steps for tile in fit.tiles] == [20] * 4
    assert now.now == 40


def test_the_time_left_of_tiles_in_lockstep_counts_every_tile_once():
    step = Step(70, 0.5, 7.0, limit=400, tile=3, tiles=4, earlier=40)  # 20 a tile, 2 in hand with 15 each
    assert "about 0:01 left" in progress.status(step)


# The command line -----------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, picture, monkeypatch, capsys):
    """``run(*options)``: denoises a picture with three seeds; (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture()).save("in.png")

    def command(*options):
        quick = ["--engine", "native", "--steps", "2", "--threads", "1", "--json", "out.json"]
        code = cli.main(["denoise", "in.png", "-o", "out.png", "--ensemble", "3", *quick, *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_the_command_line_averages_and_tells_of_every_member(run):
    code, out, err = run("--seed", "5")
    assert (code, err) == (0, "")
    assert "  the average of 3 fits; 3 ended because all steps that were asked for are done\n" in out
    with open("out.json") as file:
        told = json.load(file)
    assert (told["ensemble"], told["steps"], told["tiles"]) == (3, 6, [])
    assert [(one["seed"], one["steps"], one["reason"]) for one in told["members"]] == [
        (seed, 2, "steps") for seed in (5, 6, 7)
    ]


def test_members_in_tiles_tell_of_those(run, picture):
    Image.fromarray(picture(20, 70)).save("in.png")
    assert run("--tiles", "32,8")[0] == 0
    with open("out.json") as file:
        told = json.load(file)
    assert [[tile["reason"] for tile in one["tiles"]] for one in told["members"]] == [["steps"] * 3] * 3


@pytest.mark.parametrize(("call", "words"), [(1, "1 fit"), (3, "1 fit"), (6, "2 fits")])
def test_ctrl_c_writes_the_average_so_far(run, monkeypatch, call, words):
    interrupt = Interrupter(call)
    monkeypatch.setattr(progress.Lines, "__call__", lambda self, step: interrupt(step))
    code, out, err = run()
    assert code == 130
    assert err == f"dipedge: interrupted; the average of {words} so far is in out.png\n"
    assert f"the average of {words}; ended because it was interrupted" in out


def test_an_ensemble_of_no_fits_is_one_line(run):
    code, _, err = run("--ensemble", "0")
    assert code == 2
    assert err == "dipedge: ensemble is 0; it must be a whole number from 1 to 64\n"


def test_progress_names_the_fit_and_says_that_time_left_is_its_own(capsys):
    now = [0.0]
    lines = progress.Lines(sys.stderr, clock=lambda: now[0])
    lines.begin("in.png")
    now[0] = 11.0
    lines(Step(10, 0.01, 10.0, limit=100, fit=2, fits=4))
    assert capsys.readouterr().err == (
        "in.png, fit 2 of 4: step 10/100, 1.0 steps/s, at most 1:30 of this fit left, loss 0.01000\n"
    )
