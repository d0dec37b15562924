"""An engine that steps several fits together, made of one that cannot: what a GPU's engine promises."""

from __future__ import annotations

import numpy as np

from dipedge.engines import get_engine
from dipedge.errors import EngineError
from dipedge.result import StopReason
from dipedge.stopping import Rule


class Lockstep:
    """Engine ``inner`` with batches; its programs are looked at every ``look_every`` steps.

    Attributes:
        batches: how many members each batch had that was compiled; 1 for a program alone.
        open: programs that have not been closed.
    """

    def __init__(self, inner="native", most=8, look_every=1):
        self.inner, self.most, self.look_every = get_engine(inner), most, look_every
        self.name = self.inner.name
        self.supports, self.device = self.inner.supports, self.inner.device
        self.batches, self.open = [], 0

    def most_together(self, prior, task, shape, settings):
        return self.most

    def compile(self, prior, task, shape, settings):
        self.batches.append(1)
        return Member(self, self.inner.compile(prior, task, shape, settings), alone=True)

    def compile_together(self, prior, task, shape, settings):
        assert len(settings) > 1
        self.batches.append(len(settings))
        return Batch([Member(self, self.inner.compile(prior, task, shape, one)) for one in settings])


class Member:
    """A program that remembers the losses of ``look_every`` steps."""

    def __init__(self, engine, program, alone=False):
        self._engine, self._program, self._alone = engine, program, alone
        self.look_every = engine.look_every
        self._losses = []
        engine.open += 1

    def __getattr__(self, name):
        return getattr(self._program, name)

    def run(self, count):
        for _ in range(count):
            self._program.step()
            self._losses = [*self._losses, self._program.loss()][-self.look_every :]

    def step(self, count=1):
        if not self._alone:
            raise EngineError("this program steps with its batch")
        self.run(count)

    def losses(self, count):
        return self._losses[-count:]

    def close(self):
        if self._alone:
            self.give_back()

    def give_back(self):
        self._program.close()
        self._engine.open -= 1


class Batch:
    """Members that step together."""

    def __init__(self, members):
        self.members = tuple(members)
        self.counts = []

    def step(self, count=1):
        self.counts.append(count)
        for member in self.members:
            member.run(count)

    def close(self):
        for member in self.members:
            member.give_back()


class ByNoise(Rule):
    """Ends a fit after as many steps as its picture's noise says: a number of its own for each."""

    ends = True

    def start(self):
        return Watch()


class Watch:
    marks, keep, most = False, False, None

    def __init__(self):
        self.wanted = None

    def update(self, seen):
        self.wanted = self.wanted or 4 + int(seen.noise() * 1e9) % 9
        return StopReason.DISCREPANCY if seen.index >= self.wanted else None

    def rewind(self):
        pass


class Interrupter:
    """A progress callback that is Ctrl-C at its nth call."""

    def __init__(self, call):
        self.left = call

    def __call__(self, step):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def assert_same_fit(found, expected):
    """Two results of which no bit differs."""
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.history, expected.history)
    for name in ("steps", "chosen_step", "loss", "reason", "engine"):
        assert getattr(found, name) == getattr(expected, name), name
    assert (found.state is None) == (expected.state is None)
    for key, value in (expected.state or {}).items():
        np.testing.assert_array_equal(found.state[key], value, err_msg=key)


def pictures_of(noisy, *sizes):
    """Noisy pictures, each with noise of its own."""
    return [noisy(*size, seed=seed)[0] for seed, size in enumerate(sizes)]
