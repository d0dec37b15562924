"""One step of Adam over all parameters of the default DIP net, in one flat array."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.contest import Arrays, Contestant, Work, computed, error, in_fp32, native, race, record, torch
from dipedge.priors import dip

COUNT = dip().parameter_count()


@cache
def arrays() -> Arrays:
    draws = np.random.default_rng(0)
    made = {name: draws.standard_normal(COUNT, np.float32) for name in ("parameter", "gradient")}
    return {**made, "mean": np.zeros(COUNT, np.float32), "square": np.zeros(COUNT, np.float32)}


class TorchAdam:
    """``torch.optim.Adam`` as the torch engine uses it; its best case, one tensor instead of many."""

    def __init__(self) -> None:
        self._parameter = torch.tensor(arrays()["parameter"]).requires_grad_()
        self._parameter.grad = torch.tensor(arrays()["gradient"])
        self._optimiser = torch.optim.Adam([self._parameter], lr=0.01)

    def forward(self) -> None:
        self._optimiser.step()

    def backward(self) -> None:
        """An update has none."""

    def results(self) -> Arrays:
        return {"parameter": self._parameter.detach().numpy()}


def made(engine: str) -> Contestant:
    return TorchAdam() if engine == "torch" else native("adam", arrays(), {})


@cache
def wanted() -> Arrays | None:
    if torch is None:
        return None
    from dipedge.kernels.adam.reference import adam_step

    tensors = (
        torch.tensor(arrays()[name], dtype=torch.float64)
        for name in ("parameter", "gradient", "mean", "square")
    )
    return {"parameter": adam_step(*tensors, 1)[0].numpy()}


@in_fp32
def test_time_of_the_update(benchmark, engine):
    race(benchmark, made(engine[0]), "forward", rounds=20)
    off = error(computed(made(engine[0])), wanted(), ("parameter",))
    work = Work(12 * COUNT, 28 * COUNT, 0)
    record(benchmark, f"adam, {COUNT} parameters", "forward", engine, work, off)
