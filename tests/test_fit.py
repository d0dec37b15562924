"""The loop, driven with programs whose losses are written down beforehand."""

import numpy as np
import pytest

from dipedge.errors import InputError
from dipedge.fit import FitDivergedError, fit_steps
from dipedge.result import StopReason
from dipedge.stopping import Deadline, Discrepancy, MaxSteps
from dipedge.variance import VarianceWindow


class Scripted:
    """A program that follows a script: the loss of step i is ``losses(i)``, its output all ``i / 1000``."""

    shape = (4, 4, 3)
    complete = True

    def __init__(self, script, look_every=1):
        self.script, self.look_every = script, look_every
        self.steps_done = 0
        self.calls = []
        self.loaded = []

    def step(self, count=1):
        self.calls.append(count)
        self.steps_done += count

    def loss(self):
        return self.script(self.steps_done)

    def losses(self, count):
        kept = min(count, self.look_every)
        return [self.script(self.steps_done - before) for before in reversed(range(kept))]

    def estimate(self, averaged=True):
        return np.full(self.shape, self.steps_done / 1000, np.float32)

    def sample(self, pixels):
        return np.full((pixels.size, 3), self.steps_done / 1000)

    def state(self, prefix=""):
        state = {"param/w": np.array([self.steps_done]), "adam/m/w": np.zeros(1), "average": np.zeros(1)}
        return {key: values for key, values in state.items() if key.startswith(prefix)}

    def load_state(self, state):
        self.loaded.append(state)


def run(program, stop, **options):
    options.setdefault("clock", lambda: 0.0)
    return list(fit_steps(program, stop, **options))


def test_steps_are_counted_from_one_and_the_last_carries_the_reason():
    steps = run(Scripted(lambda i: 1 / i), MaxSteps(4))
    assert [step.index for step in steps] == [1, 2, 3, 4]
    assert [step.reason for step in steps] == [None, None, None, StopReason.STEPS]
    assert [step.loss for step in steps] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert {step.limit for step in steps} == {4}


def test_a_limit_is_met_exactly_when_only_every_few_steps_are_observed():
    program = Scripted(lambda i: 1.0)
    steps = run(program, MaxSteps(10), every=4)
    assert [step.index for step in steps] == [4, 8, 10]
    assert program.calls == [4, 4, 2]


def test_time_comes_from_the_clock_that_is_given():
    times = iter(range(1, 100))
    steps = run(Scripted(lambda i: 1.0), Deadline(ms=5000), clock=lambda: float(next(times)))
    assert [step.seconds for step in steps] == [1, 2, 3, 4]
    assert steps[-1].reason is StopReason.DEADLINE


def test_the_estimate_of_a_marked_step_is_kept():
    steps = run(Scripted(lambda i: 1.0), VarianceWindow(window=2, patience=5, floor=10) | MaxSteps(40))
    kept = [step for step in steps if step.kept is not None]
    assert kept[0].index == 10
    np.testing.assert_allclose(kept[0].kept, 0.010)


def test_a_jump_of_the_loss_brings_back_the_saved_weights_and_nothing_else():
    program = Scripted(lambda i: 0.4 if i == 150 else 0.1)
    steps = run(program, MaxSteps(200), backtrack=True)
    assert [step.index for step in steps if step.restored] == [150]
    assert [list(state) for state in program.loaded] == [["param/w"]]
    assert program.loaded[0]["param/w"] == 100


def test_a_jump_of_under_5_db_is_part_of_the_fit():
    program = Scripted(lambda i: 0.31 if i == 150 else 0.1)  # 4.9 dB
    assert not any(step.restored for step in run(program, MaxSteps(200), backtrack=True))


def test_without_backtracking_nothing_is_saved_or_restored():
    program = Scripted(lambda i: 1.0 if i > 120 else 0.01)
    assert not any(step.restored for step in run(program, MaxSteps(200)))
    assert program.loaded == []


def test_backtracking_saves_again_every_hundred_steps():
    program = Scripted(lambda i: 0.4 if i in (150, 350) else 0.1)
    run(program, MaxSteps(400), backtrack=True)
    assert [int(state["param/w"][0]) for state in program.loaded] == [100, 300]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_fit_with_an_error(loss):
    with pytest.raises(FitDivergedError, match="after step 3; a smaller learning_rate"):
        run(Scripted(lambda i: loss if i == 3 else 1.0), MaxSteps(10))


def test_the_residual_of_an_inpainting_counts_known_pixels_only():
    level = (25 / 255) ** 2
    half = Scripted(lambda i: level / 2 * (1.5 if i < 5 else 1.0))
    steps = run(half, Discrepancy(25, tolerance=1e-9) | MaxSteps(9), known=0.5)
    assert (steps[-1].index, steps[-1].reason) == (5, StopReason.DISCREPANCY)


def test_a_rule_that_may_never_end_is_refused():
    with pytest.raises(InputError, match="may never end"):
        run(Scripted(lambda i: 1.0), Discrepancy(25))


def test_observing_every_zero_steps_is_refused():
    with pytest.raises(InputError, match="every is 0"):
        run(Scripted(lambda i: 1.0), MaxSteps(5), every=0)
