"""Programs that are looked at every few steps only: nothing is missed, and no rule ends much later."""

import numpy as np
import pytest

from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.engines.sampling import CYCLE, completes
from dipedge.errors import InputError
from dipedge.fit import FitDivergedError, Fitting, fit_steps, fit_together
from dipedge.result import Step, StopReason
from dipedge.stopping import Deadline, Discrepancy, MaxSteps, NoiseFloor, Observation
from dipedge.tasks import Denoise
from dipedge.variance import MovingVariance, Trail, VarianceWindow
from tests.test_fit import Scripted

SHAPE = (4, 4, 3)


class Timed(Scripted):
    """Steps take ten milliseconds each of invented time, the first five times as long."""

    now = 0.0

    def step(self, count=1):
        self.now += 0.010 * count + (0.040 if self.steps_done == 0 else 0.0)
        super().step(count)


def run(program, stop, **options):
    options.setdefault("clock", lambda: 0.0)
    return list(fit_steps(program, stop, **options))


def losses_of(steps):
    return [loss for step in steps for loss in step.losses]


# The loop -------------------------------------------------------------------------------------------


def test_a_program_is_looked_at_as_seldom_as_it_likes_and_no_loss_is_missed():
    program = Scripted(lambda i: 1 / i, look_every=8)
    steps = run(program, MaxSteps(30))
    assert program.calls == [8, 8, 8, 6]
    assert [step.index for step in steps] == [8, 16, 24, 30]
    assert losses_of(steps) == [1 / i for i in range(1, 31)]
    assert [step.loss for step in steps] == [1 / i for i in (8, 16, 24, 30)]


def test_a_step_made_by_hand_has_its_own_loss_alone():
    assert Step(3, 0.5, 1.0).losses == (0.5,)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_stream_of_few_steps_runs_no_more_than_it_is_given(steps):
    program = Scripted(lambda i: 1.0, look_every=8)
    for _ in range(5):
        before = program.steps_done
        run(program, MaxSteps(steps))
        assert program.steps_done == before + steps


def test_stretches_end_where_cycles_of_a_sampled_fit_do():
    program = Scripted(lambda i: 1.0, look_every=8)
    program.steps_done = 3
    run(program, MaxSteps(40))
    assert program.calls == [5, 8, 8, 8, 8, 3]
    assert [completes(done - 1) for done in (8, 16, 24, 32, 40)] == [True] * 5


def test_a_stretch_that_was_asked_for_is_kept_to():
    program = Scripted(lambda i: 1.0, look_every=8)
    run(program, MaxSteps(15), every=6)
    assert program.calls == [6, 6, 3]


def test_losses_that_a_program_did_not_remember_are_left_out():
    steps = run(Scripted(lambda i: float(i), look_every=2), MaxSteps(10), every=5)
    assert losses_of(steps) == [4, 5, 9, 10]


@pytest.mark.parametrize("at", [9, 12, 16])
def test_a_loss_that_is_no_number_is_found_wherever_it_lies_and_named(at):
    program = Scripted(lambda i: float("nan") if i == at else 1.0, look_every=8)
    with pytest.raises(FitDivergedError, match=f"after step {at};"):
        run(program, MaxSteps(40))
    assert program.steps_done == 16


def test_a_jump_that_is_over_by_the_next_look_brings_back_the_weights_too():
    program = Scripted(lambda i: 0.4 if i == 150 else 0.1, look_every=8)
    steps = run(program, MaxSteps(200), backtrack=True)
    assert [step.index for step in steps if step.restored] == [152]
    assert [int(state["param/w"][0]) for state in program.loaded] == [104]


class Lockstep:
    """A batch of programs by hand."""

    def __init__(self, *members):
        self.members = members

    def step(self, count=1):
        for member in self.members:
            member.step(count)


def test_in_lockstep_no_rule_is_made_to_wait_longer_than_it_can():
    programs = [Scripted(lambda i: 1.0, look_every=8) for _ in range(3)]
    rules = MaxSteps(6), MaxSteps(19), VarianceWindow(window=40, patience=10**6) | MaxSteps(12)
    fittings = [Fitting(p, rule, clock=lambda: 0.0) for p, rule in zip(programs, rules, strict=True)]
    ends = {}
    for seen in fit_together(Lockstep(*programs), fittings):
        ends |= {which: step.index for which, step in seen if step.reason is not None}
    assert ends == {0: 6, 1: 19, 2: 12}
    assert programs[0].calls == programs[1].calls == [4, 2, 2, 4, 7]


def test_of_a_batch_with_a_fit_that_diverges_the_others_are_seen_once_more():
    programs = [Scripted(lambda i, at=at: float("nan") if i == at else 1.0) for at in (9, 3)]
    fittings = [Fitting(p, MaxSteps(9), clock=lambda: 0.0, name=f"fit {p.script(0)}") for p in programs]
    seen = []
    with pytest.raises(FitDivergedError, match=r"^fit 1.0: the loss is nan after step 3"):
        for look in fit_together(Lockstep(*programs), fittings):
            seen.append([which for which, _ in look])
    assert seen == [[0, 1], [0, 1], [0]]


# Time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look_every", [1, 4, 8, 32])
@pytest.mark.parametrize("ms", [30, 75, 333, 1111])
def test_a_deadline_is_met_whatever_the_stretch_and_no_step_is_given_away(look_every, ms):
    def steps_in_time(every):
        program = Timed(lambda i: 1.0, look_every=every)
        last = run(program, Deadline(ms), clock=lambda: program.now)[-1]
        assert last.reason is StopReason.DEADLINE
        assert 1000 * program.now < ms or program.steps_done == 1
        return program.steps_done

    assert steps_in_time(look_every) == steps_in_time(1)


def test_steps_are_timed_one_by_one_before_a_deadline_allows_a_stretch():
    program = Timed(lambda i: 1.0, look_every=8)
    run(program, Deadline(345), clock=lambda: program.now)
    assert program.calls == [1, 1, 6, 8, 8, 4, 2]  # up to step 8, where a cycle ends; then in eights


def test_a_clock_that_stands_still_allows_any_stretch():
    program = Scripted(lambda i: 1.0, look_every=8)
    run(program, Deadline(10) | MaxSteps(18))
    assert program.calls == [1, 1, 6, 8, 2]


def test_of_several_rules_the_least_patient_says_how_long_a_stretch_may_be():
    watcher = (VarianceWindow(window=200) | VarianceWindow(window=40) | MaxSteps(100)).start()
    assert watcher.most == 5
    assert (VarianceWindow(window=3) & MaxSteps(100)).start().most == 1
    assert (Discrepancy(25) | NoiseFloor() | MaxSteps(100)).start().most is None


# Rules ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Discrepancy(25), NoiseFloor(share=1.0, window=3, floor=20)])
@pytest.mark.parametrize("dip", [21, 24, 27, 32])
def test_a_residual_that_was_low_for_a_moment_ends_the_fit_with_the_next_look(rule, dip):
    level = (25 / 255) ** 2

    def script(i):
        return 0.9 * level if dip - 2 <= i <= dip else 3 * level

    ends = {}
    for look_every in (1, 8):
        program = Scripted(script, look_every)
        last = run(program, rule | MaxSteps(100), noise=lambda: level)[-1]
        assert last.reason is StopReason.DISCREPANCY
        ends[look_every] = last.index
    assert ends[1] <= ends[8] < ends[1] + 8


def test_no_window_of_the_noise_floor_ends_before_its_floor_inside_a_stretch():
    rule = NoiseFloor(share=1.0, window=2, floor=12)
    program = Scripted(lambda i: 0.1 if i <= 11 else 3.0, look_every=8)
    assert run(program, rule | MaxSteps(32), noise=lambda: 1.0)[-1].reason is StopReason.STEPS


class Wandering(Scripted):
    """Outputs around one picture; their spread is high at first, low in the middle, high again."""

    def __init__(self, look_every=1):
        super().__init__(lambda i: 1.0, look_every)
        noise = np.random.default_rng(0).standard_normal((1200, SHAPE[0] * SHAPE[1], SHAPE[2]))
        index = np.arange(1200)
        spread = 0.005 + 0.0003 * np.abs(index - 500)
        self.outputs = 0.5 + spread[:, None, None] * noise

    def sample(self, pixels):
        return self.outputs[self.steps_done][pixels]


def test_a_variance_window_spans_the_same_steps_whatever_the_stretch():
    found = {}
    for look_every in (1, 8):
        steps = run(Wandering(look_every), VarianceWindow(window=160, patience=200) | MaxSteps(1199))
        assert steps[-1].reason is StopReason.VARIANCE
        found[look_every] = steps[-1].index, [step.index for step in steps if step.kept is not None][-1]
    # Two windows of 160 that are averaged over look back by 160 steps in the mean: the lowest is near 660.
    for end, kept in found.values():
        assert 600 < kept < 720
        assert 200 <= end - kept <= 208
    # Counted in outputs, as it once was, 8 times the steps would be needed to fill the windows alone.
    assert abs(found[1][1] - found[8][1]) < 60


def test_a_sampled_program_shows_whole_outputs_only_and_patience_still_counts_steps():
    class Sampled(Wandering):
        @property
        def complete(self):
            return completes(self.steps_done - 1)

    program = Sampled(look_every=8)
    steps = run(program, VarianceWindow(window=160, patience=200) | MaxSteps(1199))
    kept = [step.index for step in steps if step.kept is not None][-1]
    assert kept % CYCLE == 0 and 600 < kept < 720
    assert 200 <= steps[-1].index - kept <= 208


def test_a_trail_holds_what_covers_the_window_and_never_too_few():
    trail = Trail(100)
    for index in range(1, 40):
        trail.add(10, index)
    assert [entry for _, entry in trail.entries] == list(range(30, 40))
    trail = Trail(16)
    for index in range(1, 40):
        fallen = trail.add(10, index)
    assert (len(trail.entries), fallen) == (8, [31])
    trail.clear()
    assert not trail.full


def test_a_moving_variance_of_few_outputs_is_as_large_as_that_of_many():
    rng = np.random.default_rng(0)
    found = []
    for steps in (1, 8):
        moving = MovingVariance(window=96, values=2000)
        found.append([moving.add(0.5 + 0.05 * rng.standard_normal(2000), steps) for _ in range(100)][-1])
    # 2000 values, 12 outputs: the estimate's own spread is sqrt(2 / (11 * 2000)) = 1 %.
    assert found == pytest.approx([0.05**2] * 2, rel=0.04)


def test_an_observation_made_by_hand_has_its_own_residual_alone():
    assert Observation(1, 0.0, 0.5, SHAPE, lambda pixels: None).residuals == (0.5,)


def test_observing_less_than_every_step_is_refused():
    with pytest.raises(InputError, match="every is -1"):
        run(Scripted(lambda i: 1.0), MaxSteps(5), every=-1)


# Engines --------------------------------------------------------------------------------------------


def test_engines_that_are_looked_at_after_every_step_know_the_last_loss(engine, tiny_dip, picture):
    program = get_engine(engine).compile(tiny_dip, Denoise(), (16, 20, 3), Settings(threads=1))
    program.set_target(picture(dtype="float32"))
    program.step(3)
    assert program.look_every == 1
    assert program.losses(3) == [program.loss()]


def test_of_a_state_only_what_was_asked_for_is_copied(engine, tiny_dip, picture):
    program = get_engine(engine).compile(tiny_dip, Denoise(), (16, 20, 3), Settings(threads=1))
    program.set_target(picture(dtype="float32"))
    program.step()
    whole, weights = program.state(), program.state("param/")
    assert weights.keys() == {key for key in whole if key.startswith("param/")}
    assert 0 < len(weights) < len(whole)
    for key, values in weights.items():
        np.testing.assert_array_equal(values, whole[key])


def test_engines_on_a_processor_make_one_fit_at_a_time(engine, tiny_dip):
    assert get_engine(engine).most_together(tiny_dip, Denoise(), (16, 20, 3), Settings()) == 1
