"""Stopping rules, shown observations made by hand."""

import numpy as np
import pytest

from dipedge.errors import InputError
from dipedge.result import StopReason
from dipedge.stopping import Deadline, Discrepancy, MaxSteps, Observation
from dipedge.variance import MovingVariance, VarianceWindow

SHAPE = (4, 5, 3)


def seen(index, seconds=0.0, residual=1.0, output=None, shape=SHAPE):
    flat = np.zeros((shape[0] * shape[1], shape[2])) if output is None else output.reshape(-1, shape[2])
    return Observation(index, seconds, residual, shape, lambda pixels: flat[pixels])


def first_stop(rule, observations):
    watcher = rule.start()
    for observation in observations:
        reason = watcher.update(observation)
        if reason is not None:
            return observation.index, reason
    return None


def wandering(spreads, seed=0):
    """Outputs around one picture, with a spread of their own at every step."""
    rng = np.random.default_rng(seed)
    return [0.5 + spread * rng.standard_normal(SHAPE) for spread in spreads]


def test_every_reason_carries_a_sentence_for_users():
    for reason in StopReason:
        assert len(reason.sentence.split()) >= 5
        assert str(reason) == reason.value


def test_max_steps_ends_exactly_there():
    assert first_stop(MaxSteps(7), (seen(i) for i in range(1, 20))) == (7, StopReason.STEPS)


def test_deadline_ends_before_a_step_that_would_come_too_late():
    # Steps take 10 ms after a first one of 12: the third ends at 32 ms, and a fourth would at 42.
    times = [seen(i, 0.012 + 0.010 * (i - 1)) for i in range(1, 10)]
    assert first_stop(Deadline(ms=35), times) == (3, StopReason.DEADLINE)


def test_deadline_allows_one_step_however_short_it_is():
    assert first_stop(Deadline(ms=0.001), [seen(1, 5.0)]) == (1, StopReason.DEADLINE)


def test_discrepancy_ends_when_the_residual_is_the_noise():
    level = (25 / 255) ** 2
    fits = [seen(i, residual=level * factor) for i, factor in enumerate((3, 1.2, 1.01, 0.99), 1)]
    assert first_stop(Discrepancy(sigma=25), fits) == (4, StopReason.DISCREPANCY)
    assert first_stop(Discrepancy(sigma=25, tolerance=0.05), fits) == (3, StopReason.DISCREPANCY)


def test_moving_variance_equals_numpy_over_the_window():
    rng = np.random.default_rng(0)
    outputs = rng.random((40, 60)).astype(np.float32)
    moving = MovingVariance(window=9, values=60)
    for last, output in enumerate(outputs, 1):
        found = moving.add(output)
        if last < 9:
            assert found is None
        else:
            expected = outputs[last - 9 : last].astype(np.float64).var(axis=0, ddof=1).mean()
            assert found == pytest.approx(expected, rel=1e-4)


def test_moving_variance_gathers_no_error_over_a_long_fit():
    rng = np.random.default_rng(0)
    moving = MovingVariance(window=10, values=50)
    for _ in range(20_000):
        moving.add(rng.random(50))
    tail = [0.5 + 1e-4 * rng.standard_normal(50) for _ in range(10)]
    found = [moving.add(output) for output in tail][-1]
    fresh = MovingVariance(window=10, values=50)
    assert found == [fresh.add(output) for output in tail][-1]


def watched(rule, outputs, rewind_after=None):
    """The step that was marked last, the step that ended it (or None), of a rule shown ``outputs``."""
    watcher, kept = rule.start(), None
    for index, output in enumerate(outputs, 1):
        reason = watcher.update(seen(index, output=output))
        kept = index if watcher.keep else kept
        if reason is not None:
            assert reason is StopReason.VARIANCE
            return kept, index
        if index == rewind_after:
            watcher.rewind()
    return kept, None


def test_variance_window_ends_after_its_patience_and_marks_the_minimum():
    # Quiet from step 21 to 60: a window of 10, and 10 windows, lie wholly inside it from step 39 on.
    spreads = [0.1] * 20 + [0.01] * 40 + [0.1] * 60
    kept, end = watched(VarianceWindow(window=10, patience=30), wandering(spreads))
    assert 39 <= kept <= 60
    assert end == kept + 30


def test_variance_window_passes_over_a_minimum_before_its_floor():
    spreads = [0.001] * 30 + [0.1] * 30 + [0.01] * 40 + [0.1] * 60
    kept, end = watched(VarianceWindow(window=10, patience=45, floor=45), wandering(spreads))
    assert 79 <= kept <= 100
    assert end == kept + 45


def test_variance_window_sees_no_minimum_in_a_single_quiet_window():
    # What is published would take the lull at steps 11 to 15; averaged over windows it is none.
    spreads = [0.1] * 10 + [0.03] * 5 + [0.1] * 5 + [0.05] * 60 + [0.1] * 60
    kept, _ = watched(VarianceWindow(window=5, patience=40), wandering(spreads))
    assert 29 <= kept <= 80


def test_variance_window_is_not_ended_while_the_variance_falls():
    spreads = np.linspace(0.1, 0.01, 200)
    kept, end = watched(VarianceWindow(window=10, patience=50), wandering(spreads))
    assert (kept, end) == (200, None)


@pytest.mark.parametrize("rewinds", [True, False])
def test_variance_window_forgets_outputs_of_weights_that_were_given_up(rewinds):
    # 30 quiet outputs, 5 wild ones, 30 quieter ones. With the wild ones in the windows of 10, nothing is
    # low for more than 20 steps and patience runs out at 15; once they are forgotten it never does.
    quiet, wild = wandering([0.01] * 30 + [0.008] * 30), wandering([0.3] * 5, seed=1)
    rule = VarianceWindow(window=10, patience=15)
    _, end = watched(rule, quiet[:30] + wild + quiet[30:], rewind_after=35 if rewinds else None)
    assert (end is None) == rewinds


def test_variance_window_counts_patience_in_steps_when_it_sees_few_of_them():
    outputs = wandering([0.01] * 12 + [0.2] * 40)
    rule = VarianceWindow(window=5, patience=50)
    stop = first_stop(rule, (seen(10 * i, output=o) for i, o in enumerate(outputs, 1)))
    assert stop[1] is StopReason.VARIANCE
    assert 100 <= stop[0] <= 180


def test_variance_window_looks_at_a_subset_of_a_large_picture():
    asked = []

    def sample(pixels):
        asked.append(pixels)
        return np.zeros((pixels.size, 3))

    watcher = VarianceWindow(pixels=1000).start()
    for index in (1, 2):
        watcher.update(Observation(index, 0.0, 1.0, (300, 400, 3), sample))
    assert len(np.unique(asked[0])) == 1000
    assert asked[0].max() < 300 * 400
    np.testing.assert_array_equal(asked[0], asked[1])


def test_either_of_two_rules_ends_with_the_first():
    rule = MaxSteps(9) | Deadline(ms=1000) | Discrepancy(25)
    assert first_stop(rule, (seen(i, 0.1 * i) for i in range(1, 20))) == (9, StopReason.STEPS)
    assert first_stop(rule, (seen(i, 0.4 * i) for i in range(1, 20))) == (2, StopReason.DEADLINE)


def test_both_of_two_rules_end_with_the_last_and_the_first_stays_fulfilled():
    rule = Discrepancy(25) & MaxSteps(5)
    residuals = [1, 0, 1, 1, 1, 1]  # fulfilled once, at step 2
    found = first_stop(rule, (seen(i, residual=r) for i, r in enumerate(residuals, 1)))
    assert found == (5, StopReason.STEPS)
    assert first_stop(rule, (seen(i) for i in range(1, 50))) is None


def test_groups_hand_on_the_mark_of_the_first_rule_that_makes_one():
    outputs = wandering([0.1] * 20 + [0.01] * 20 + [0.1] * 60)
    alone = VarianceWindow(window=5, patience=30)
    watchers = [rule.start() for rule in (alone, MaxSteps(500) | (alone & MaxSteps(400)))]
    marks = []
    for index, output in enumerate(outputs, 1):
        for watcher in watchers:
            watcher.update(seen(index, output=output))
        marks.append([watcher.keep for watcher in watchers])
        if index == 70:
            break
    assert any(first for first, _ in marks)
    assert all(first == second for first, second in marks)


def test_a_rule_fulfilled_inside_a_group_marks_no_further_step():
    outputs = wandering([0.1] * 20 + [0.01] * 20 + [0.1] * 40 + [0.0001] * 40)
    watcher = (VarianceWindow(window=5, patience=30) & MaxSteps(500)).start()
    kept = None
    for index, output in enumerate(outputs, 1):
        watcher.update(seen(index, output=output))
        kept = index if watcher.keep else kept
    assert 29 <= kept <= 40


def test_limits_are_known_beforehand():
    assert (MaxSteps(5) | MaxSteps(3)).limit == 3
    assert (MaxSteps(5) & MaxSteps(3)).limit == 5
    assert (MaxSteps(5) & Deadline(10)).limit is None
    assert (MaxSteps(5) | Discrepancy(9)).limit == 5
    assert Deadline(10).limit is None


def test_whether_a_rule_is_sure_to_end_is_known_beforehand():
    assert Deadline(10).ends and MaxSteps(5).ends
    assert not Discrepancy(9).ends and not VarianceWindow().ends
    assert (Discrepancy(9) | Deadline(10)).ends
    assert not (Discrepancy(9) & MaxSteps(10)).ends


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MaxSteps(0), "steps is 0"),
        (lambda: MaxSteps(1.5), "steps is 1.5"),
        (lambda: MaxSteps(True), "steps is True"),
        (lambda: Deadline(0), "ms is 0"),
        (lambda: Deadline(float("nan")), "ms is nan"),
        (lambda: Discrepancy(0), "sigma is 0"),
        (lambda: Discrepancy(25, -1), "tolerance is -1"),
        (lambda: VarianceWindow(window=1), "window is 1"),
        (lambda: VarianceWindow(patience=0), "patience is 0"),
        (lambda: VarianceWindow(floor=-1), "floor is -1"),
        (lambda: VarianceWindow(pixels=2.5), "pixels is 2.5"),
        (lambda: MaxSteps(3) | 5, "has a int"),
        (lambda: MaxSteps(3) & "soon", "has a str"),
    ],
)
def test_rules_that_make_no_sense_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
