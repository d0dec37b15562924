"""Who competes in a row, and what the row records.

A contestant has ``forward``, ``backward`` and ``results`` (arrays by name); ``dipedge._native.Kernel`` is
one as it stands. The torch engine's operators are its references, so one function serves three times: as
the torch row (float32), and in float64 as what all errors are measured against.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pytest

from benchmarks import limits
from dipedge import _native

try:
    import torch
except ImportError:
    torch = None

Arrays = dict[str, np.ndarray]
no_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed: no row to compare with")
no_bf16 = pytest.mark.skipif(not limits.multiplies_bf16(), reason="this processor multiplies no bf16")
FP32 = (
    pytest.param(("torch", "fp32"), id="torch-fp32", marks=no_torch),
    pytest.param(("native", "fp32"), id="native-fp32"),
)
BF16 = (*FP32, pytest.param(("native", "bf16"), id="native-bf16", marks=no_bf16))
in_fp32 = pytest.mark.parametrize("engine", FP32)
in_both = pytest.mark.parametrize("engine", BF16)
both_ways = pytest.mark.parametrize("direction", ["forward", "backward"])


class Contestant(Protocol):
    """What a row times; ``backward`` follows a ``forward``."""

    def forward(self) -> None: ...
    def backward(self) -> None: ...
    def results(self) -> Arrays: ...


class TorchContestant:
    """``compute`` over tensors by the names of ``arrays``, and its gradients ("dx" for an array "x").

    Args:
        compute: returns the output [1, C, H, W], or a loss.
        arrays: numpy, pictures [H, W, C]; gradients are wanted for all of them.
        gradient: by the output, [H, W, C]; None of a loss.
        output: the output's name among the results.
        dtype: torch.float32 in a row, torch.float64 as the reference.
    """

    def __init__(
        self,
        compute: Callable[..., Any],
        arrays: Arrays,
        gradient: np.ndarray | None,
        output: str,
        dtype: Any,
    ) -> None:
        torch.set_num_threads(limits.THREADS)
        self._compute, self._name = compute, output
        self._leaves = {name: self._tensor(values, dtype).requires_grad_() for name, values in arrays.items()}
        self._gradient = None if gradient is None else self._tensor(gradient, dtype)
        self._output: Any = None
        self._gradients: tuple[Any, ...] = ()

    @staticmethod
    def _tensor(values: np.ndarray, dtype: Any) -> Any:
        values = np.asarray(values)
        if values.ndim == 3:
            values = np.ascontiguousarray(np.moveaxis(values, 2, 0))[None]
        return torch.tensor(values, dtype=dtype)

    @staticmethod
    def _array(tensor: Any, picture: bool) -> np.ndarray:
        values = tensor.detach().numpy()
        return np.moveaxis(values[0], 0, 2) if picture else values

    def forward(self) -> None:
        self._output = self._compute(**self._leaves)

    def backward(self) -> None:
        self._gradients = torch.autograd.grad(self._output, self._leaves.values(), self._gradient)

    def results(self) -> Arrays:
        found = {self._name: self._array(self._output, self._output.dim() == 4)}
        for (name, leaf), gradient in zip(self._leaves.items(), self._gradients, strict=False):
            found[f"d{name}"] = self._array(gradient, leaf.dim() == 4 and leaf.shape[0] == 1)
        return found


def draw_layer(draws: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal values that bfloat16 holds exactly, so that a row's error is its own and not its input's."""
    bits = draws.standard_normal(shape, np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def native(name: str, arrays: Arrays, options: dict[str, Any], precision: str = "fp32") -> Contestant:
    """The native kernel with the best instruction set."""
    return _native.Kernel(
        name, arrays, {**options, "bf16": precision == "bf16"}, limits.isa(), limits.THREADS
    )


def computed(contestant: Contestant) -> Arrays:
    """All results of one pass each way."""
    contestant.forward()
    contestant.backward()
    return contestant.results()


def error(found: Arrays, wanted: Arrays | None, names: Iterable[str]) -> float | None:
    """The largest relative L2 error among ``names``; None without a reference."""
    if wanted is None:
        return None
    return max(
        float(np.linalg.norm((found[name] - wanted[name]).ravel()) / np.linalg.norm(wanted[name].ravel()))
        for name in names
    )


@dataclass(frozen=True)
class Work:
    """What a row does at least: flops, bytes to and from memory, pixels."""

    flops: float
    bytes: float
    pixels: int


def record(
    benchmark: Any,
    what: str,
    way: str,
    engine: tuple[str, str],
    work: Work,
    off: float | None,
    passes: int = 1,
) -> None:
    """Puts everything a row of the table needs beside the times, after these were taken.

    The fastest round counts, as for the limits: the others were disturbed. ``passes`` is what a round does
    of them; the table shows the time of one.
    """
    name, precision = engine
    seconds = benchmark.stats.stats.min / passes
    isa = {"torch": "", "torch compiled": "", "native avx2": "avx2"}.get(name, limits.isa())
    benchmark.extra_info.update(
        what=what, way=way, engine=name, precision=precision, threads=limits.THREADS,
        isa=isa, cpu=limits.cpu(), error=off,
        load=os.getloadavg()[0], seconds=seconds,
        mpixels=work.pixels / seconds / 1e6,
        gflops=work.flops / seconds / 1e9, gbytes=work.bytes / seconds / 1e9,
        limit_gflops=limits.gflops(precision), limit_gbytes=limits.gbytes(),
    )  # fmt: skip


def race(benchmark: Any, contestant: Contestant, direction: str, rounds: int) -> None:
    """Times "forward", "backward" (with a fresh forward pass before every round), or "both" together."""

    def both() -> None:
        contestant.forward()
        contestant.backward()

    if direction == "backward":
        benchmark.pedantic(contestant.backward, setup=contestant.forward, rounds=rounds, warmup_rounds=1)
    else:
        timed = both if direction == "both" else contestant.forward
        benchmark.pedantic(timed, rounds=rounds, warmup_rounds=1)
