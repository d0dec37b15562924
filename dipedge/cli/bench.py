"""dipedge bench: every engine that can run here, on the same picture, with the same weights."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dipedge.arguments import number, whole
from dipedge.engines import ENGINE_NAMES, get_engine
from dipedge.engines.base import Engine, Program, Settings, State
from dipedge.engines.cuda_check import Machine
from dipedge.errors import EngineError, InputError
from dipedge.fit import fit_steps
from dipedge.presets import preset
from dipedge.stopping import Deadline, MaxSteps
from dipedge.tasks import Denoise

REFERENCE = "torch"
WARM_UP = 2  # steps before the clock runs: the first ones touch memory for the first time


@dataclass(frozen=True)
class Line:
    """One engine's result."""

    engine: str
    runs_on: str
    step_seconds: float
    output: np.ndarray


def compare(size: int, prior: str, seconds: float, threads: int | None) -> None:
    """Prints a table: steps a second, ratio to the reference engine, difference of one output from its.

    Args:
        size: side of the picture, 16 to 8192.
        prior: as ``preset`` takes it.
        seconds: for about how long each engine is measured, above 0.
        threads: for each engine; None for all processors.

    Raises:
        InputError: a value outside its range.
    """
    size = whole("size", size, 16, 8192)
    threads = None if threads is None else whole("threads", threads, 1, 4096)
    if not 0 < number("seconds", seconds) <= 3600:
        raise InputError(f"seconds is {seconds}; it must be above 0 and at most 3600")
    task, chosen = Denoise(), preset(Denoise(), prior, "paper")
    settings = Settings(chosen.optimiser, chosen.average, seed=0, threads=threads)
    target = np.random.default_rng(0).random((size, size, 3), np.float32)
    lines: list[Line] = []
    start: State | None = None
    for name in sorted(set(ENGINE_NAMES) - {"auto"}, key=lambda name: name != REFERENCE):
        if name == "triton" and Machine().interprets():
            print(
                "triton: its kernels are interpreted here (TRITON_INTERPRET=1); there is nothing to measure"
            )
            continue
        try:
            engine = get_engine(name)
        except EngineError as error:
            print(f"{name}: {error}")
            continue
        program = engine.compile(chosen.prior, task, target.shape, settings)
        program.set_target(target)
        start = start if start is not None else _weights(program)
        lines.append(_measured(engine, program, start, seconds))
        program.close()
    _print(f"{prior} {size} x {size}", lines)


def _weights(program: Program) -> State:
    """The first engine's weights and input, which all others then start from."""
    state = program.state()
    return {key: state[key] for key in state if key.startswith("param/") or key == "input"}


def _measured(engine: Engine, program: Program, start: State, seconds: float) -> Line:
    program.load_state(start)
    output = program.evaluate().output
    program.step(WARM_UP)
    began = time.perf_counter()
    stop = Deadline(1000 * seconds) | MaxSteps(10**6)
    last = list(fit_steps(program, stop, clock=lambda: time.perf_counter() - began))[-1]
    device = engine.device()
    runs_on = device.get("isa") or device.get("device", "")
    return Line(engine.name, runs_on, last.seconds / last.index, output)


def _print(title: str, lines: list[Line]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "engine", "ms/step", "steps/s", f"x {REFERENCE}", "output differs by", "runs on", title=title
    )
    reference = next((line for line in lines if line.engine == REFERENCE), None)
    for line in lines:
        ratio = error = "-"
        if reference is not None:
            ratio = f"{reference.step_seconds / line.step_seconds:.2f}"
            difference = np.linalg.norm(line.output - reference.output) / np.linalg.norm(reference.output)
            error = f"{difference:.1e}"
        milliseconds = f"{1000 * line.step_seconds:.1f}"
        table.add_row(line.engine, milliseconds, f"{1 / line.step_seconds:.2f}", ratio, error, line.runs_on)
    Console().print(table)
