"""One step of Muon for the wide matrices of the default PIP net: twenty of 128 x 128."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.contest import Arrays, Contestant, Work, computed, error, in_fp32, native, race, record, torch

SIDE, COPIES = 128, 20


@cache
def arrays() -> Arrays:
    draws = np.random.default_rng(0)
    names = ("parameter", "gradient", "mean")
    return {name: draws.standard_normal((SIDE, SIDE, 1, 1), np.float32) for name in names}


class TorchMuon:
    """The reference in float32, once per matrix, as the torch engine uses it."""

    def __init__(self) -> None:
        self._tensors = [[torch.tensor(values) for values in arrays().values()] for _ in range(COPIES)]

    def forward(self) -> None:
        from dipedge.kernels.muon.reference import muon_step

        for tensors in self._tensors:
            tensors[0], tensors[2] = muon_step(*tensors, learning_rate=0.03, momentum=0.97)

    def backward(self) -> None:
        """An update has none."""

    def results(self) -> Arrays:
        return {"parameter": self._tensors[0][0].numpy()}


def made(engine: str) -> Contestant:
    return TorchMuon() if engine == "torch" else native("muon", arrays(), {"copies": COPIES})


@cache
def wanted() -> Arrays | None:
    if torch is None:
        return None
    from dipedge.kernels.muon.reference import muon_step

    tensors = [torch.tensor(values, dtype=torch.float64) for values in arrays().values()]
    return {"parameter": muon_step(*tensors, learning_rate=0.03, momentum=0.97)[0].numpy()}


@in_fp32
def test_time_of_the_update(benchmark, engine):
    race(benchmark, made(engine[0]), "forward", rounds=20)
    off = error(computed(made(engine[0])), wanted(), ("parameter",))
    work = Work(COPIES * 5 * 6 * SIDE**3, COPIES * 20 * SIDE**2, 0)
    record(benchmark, f"muon, {COPIES} matrices {SIDE}x{SIDE}", "forward", engine, work, off)
