"""push with a deadline: it returns within the time allowed and one step, and knows what a step costs."""

import os
import time

import numpy as np
import pytest

import dipedge as de
from dipedge.streaming.pace import Pace, Paced


class Slow:
    """A program that takes invented time; everything else is the program it stands before."""

    def __init__(self, program, clock, step, first=None):
        self._program, self._clock, self._step, self._first = program, clock, step, first
        self._new = True

    def __getattr__(self, name):
        return getattr(self._program, name)

    def set_target(self, target, mask=None):
        self._new = True
        self._program.set_target(target, mask)

    def step(self, count=1):
        self._program.step(count)
        self._clock.now += self._first if self._new and self._first else self._step
        self._new = False


class Invented:
    """A clock that stands still but for what tests make of it; sessions take it for the real one."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("dipedge.stopwatch.time.perf_counter", lambda: self.now)


@pytest.fixture
def timed(monkeypatch, tiny_pip):
    """``timed(step, first, compiling, reading)``: a session whose clock moves by what things shall cost."""

    def make(step=0.010, first=None, compiling=0.0, reading=0.0, **options):
        clock = Invented(monkeypatch)
        session = de.Session(de.Denoise(), prior=tiny_pip, engine="native", threads=1, **options)
        compile_it = session._engine.compile

        def compiled(*arguments):
            clock.now += compiling
            return Slow(compile_it(*arguments), clock, step, first)

        monkeypatch.setattr(session._engine, "compile", compiled)
        from dipedge import given

        read = given.read_picture

        def slowly(*arguments):
            clock.now += reading
            return read(*arguments)

        for module in ("dipedge.given", "dipedge.streaming.pushing"):
            monkeypatch.setattr(f"{module}.read_picture", slowly)
        return session, clock

    return make


def lasted(clock, act):
    began = clock.now
    result = act()
    return result, clock.now - began


def test_the_first_push_ends_within_its_deadline_and_one_step(timed, noisy):
    session, clock = timed(step=0.010, compiling=0.005, reading=0.002)
    result, seconds = lasted(clock, lambda: session.push(noisy()[0], stop=de.Deadline(33)))
    assert result.reason is de.StopReason.DEADLINE
    assert result.steps == 2  # 7 ms until it can begin; a third step would end at 37
    assert seconds <= 0.033


def test_a_first_push_that_takes_too_long_to_prepare_makes_one_step(timed, noisy):
    session, clock = timed(step=0.010, compiling=0.050)
    result, seconds = lasted(clock, lambda: session.push(noisy()[0], stop=de.Deadline(33)))
    assert result.steps == 1
    assert seconds == pytest.approx(0.060)
    assert result.image.shape == (16, 20, 3)


def test_later_frames_know_what_a_step_costs(timed, noisy):
    """20 ms a step: of the first frame the second step is a try, which ends late; the others make one."""
    session, clock = timed(step=0.020)
    frame, steps, seconds = noisy()[0], [], []
    for _ in range(5):
        result, took = lasted(clock, lambda: session.push(frame, stop=de.Deadline(33)))
        steps.append(result.steps)
        seconds.append(took)
    assert steps == [2, 1, 1, 1, 1]
    assert seconds[0] <= 0.033 + 0.020
    assert max(seconds[1:]) == pytest.approx(0.020)


def test_a_first_step_that_sees_more_than_others_does_not_count_for_them(timed, noisy):
    session, clock = timed(step=0.008, first=0.020)
    frame = noisy()[0]
    for _ in range(4):
        result, seconds = lasted(clock, lambda: session.push(frame, stop=de.Deadline(33)))
        assert (result.steps, round(seconds, 6)) == (2, 0.028)


def test_a_frame_that_was_slow_by_chance_does_not_cost_the_next_ones_their_steps(timed, noisy):
    session, _ = timed(step=0.008)
    frame = noisy()[0]
    program = None
    for slow in (False, True, False, False):
        if program is not None:
            program._step = 0.500 if slow else 0.008
        result = session.push(frame, stop=de.Deadline(33))
        program = session._program
        assert result.steps == (1 if slow else 4)


def test_what_comes_after_the_last_step_is_taken_off_the_time_allowed(timed, noisy, monkeypatch):
    session, clock = timed(step=0.010)
    frame = noisy()[0]
    from dipedge.course import Course

    finish = Course.result

    def slowly(*arguments):
        clock.now += 0.005
        return finish(*arguments)

    monkeypatch.setattr(Course, "result", slowly)
    first, _ = lasted(clock, lambda: session.push(frame, stop=de.Deadline(33)))
    second, seconds = lasted(clock, lambda: session.push(frame, stop=de.Deadline(33)))
    assert (first.steps, second.steps) == (3, 2)
    assert seconds == pytest.approx(0.025)


def test_a_new_program_has_a_pace_of_its_own(timed, noisy):
    session, _ = timed(step=0.020)
    session.push(noisy()[0], stop=de.Deadline(33))
    assert session._pusher._pace.step == pytest.approx(0.020)
    session.fit(noisy(24, 24)[0])
    assert session._pusher._pace.step is None


def test_a_deadline_composes_with_other_rules(timed, noisy):
    session, _ = timed(step=0.010)
    frame = noisy()[0]
    assert session.push(frame, stop=de.Deadline(95) | de.MaxSteps(4)).steps == 4
    assert session.push(frame, stop=de.Deadline(95) & de.MaxSteps(4)).steps == 9


def test_a_rule_that_marks_the_best_step_keeps_its_mark():
    rule = Paced(de.VarianceWindow() | de.MaxSteps(7), Pace(), lambda: 0.0)
    watcher = rule.start()
    assert (rule.limit, rule.ends, watcher.marks, watcher.keep) == (7, True, True, False)
    watcher.rewind()


def busy():
    """Whether others want the processors too, so that no wall clock says what our own work takes."""
    return os.getloadavg()[0] > 0.8 * len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param(
            time.perf_counter, marks=pytest.mark.skipif(busy(), reason="others use the machine"), id="wall"
        ),
        pytest.param(time.process_time, id="processor"),  # what others do does not count
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_with_a_real_clock_a_frame_takes_its_deadline_and_one_step_at_most(
    monkeypatch, noisy, tiny_pip, clock, warm
):
    monkeypatch.setattr("dipedge.stopwatch.time.perf_counter", clock)
    frame = noisy(64, 64)[0]

    def kept():
        with de.Session(de.Denoise(), prior=tiny_pip, engine="native", threads=1) as session:
            if warm:
                session.push(frame, steps=3)
            began = clock()
            result = session.push(frame, stop=de.Deadline(33))
            took = clock() - began
            began = clock()
            session._program.step(1)
            assert result.reason is de.StopReason.DEADLINE
            return result.steps > 1 and took <= 0.033 + clock() - began

    assert any(kept() for _ in range(5))  # a collection of garbage may come in between


# The answer of few steps ------------------------------------------------------------------------------


def error(result, clean):
    return float(np.mean((result.image - clean) ** 2))


def test_the_answer_of_few_steps_is_not_the_average_from_the_first_output_on(engine, tiny_pip, noisy):
    frame, clean = noisy(32, 32)
    for steps in (3, 10, 30):
        options = {"prior": tiny_pip, "engine": engine, "threads": 1, "stop": de.MaxSteps(steps)}
        with de.Session(de.Denoise(), **options) as session:
            old = session.fit(frame)
        with de.Session(de.Denoise(), **options) as session:
            young = session.push(frame, steps=steps)
        np.testing.assert_array_equal(young.history, old.history)  # the fits themselves are the same
        assert error(young, clean) < 0.9 * error(old, clean)


def test_the_young_average_hands_over_to_the_engines(engine, tiny_pip, noisy):
    frame, _ = noisy()
    with de.Session(de.Denoise(), prior=tiny_pip, engine=engine, threads=1, average=0.9) as session:
        session.push(frame, steps=60)
        assert not session._pusher._young.grown_up
        session.push(frame, steps=30)
        assert session._pusher._young.grown_up
        program = session._program
        before = program.estimate()
        result = session.push(frame, steps=1)
        wanted = 0.9 * before + 0.1 * program.estimate(averaged=False)
        assert result.steps == 1
        np.testing.assert_allclose(program.estimate(), wanted, atol=1e-6)


def test_a_first_push_to_the_sessions_own_rule_is_the_fit_itself(engine, tiny_prior, noisy):
    options = {"prior": tiny_prior, "engine": engine, "threads": 1, "steps": 20}
    with de.Session(de.Denoise(), **options) as session:
        pushed = session.push(noisy()[0])
        fitted = session.fit(noisy()[0])
    np.testing.assert_array_equal(pushed.image, fitted.image)
