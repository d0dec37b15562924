"""The perturbation of DIP's input at 256x256: 32 channels of new normal noise in every step.

The torch engine draws other numbers of the same law, so its row has no error.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.contest import Arrays, Contestant, Work, computed, error, in_fp32, native, race, record, torch
from dipedge.kernels.perturb.reference import perturb

SHAPE, SIGMA = (256, 256, 32), 1 / 30


@cache
def z() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 0.1, SHAPE).astype(np.float32)


class TorchNoise:
    """As ``TorchInput._perturbed``."""

    def __init__(self) -> None:
        self._z = torch.tensor(z())
        self._generator = torch.Generator()

    def forward(self) -> None:
        noise = torch.empty_like(self._z).normal_(generator=self._generator)
        self._made = self._z + noise * SIGMA

    def backward(self) -> None:
        """Noise has none."""

    def results(self) -> Arrays:
        return {"z": self._made.numpy()}


def made(engine: str) -> Contestant:
    if engine == "torch":
        return TorchNoise()
    return native("perturb", {"z": z()}, {"sigma": SIGMA, "seed": 3, "step": 5})


@in_fp32
def test_time_of_the_noise(benchmark, engine):
    contestant = made(engine[0])
    race(benchmark, contestant, "forward", rounds=10)
    wanted = {"z": perturb(z().astype(np.float64), SIGMA, 3, 5)} if engine[0] == "native" else None
    off = error(computed(contestant), wanted, ("z",))
    work = Work(100 / 4 * z().size, 8 * z().size, SHAPE[0] * SHAPE[1])
    record(benchmark, "perturb, 256x256x32", "forward", engine, work, off)
