"""dipedge info: what this installation can run, and why not where it cannot."""

from __future__ import annotations

import os
import platform
import warnings

from dipedge import __version__
from dipedge.engines import ENGINE_NAMES, get_engine
from dipedge.engines.base import Engine
from dipedge.errors import DipedgeError, EngineFallbackWarning


def describe() -> list[str]:
    """Lines of text: version, machine, then one per engine."""
    system = f"{platform.system()} {platform.machine()}"
    lines = [
        f"dipedge    {__version__}, Python {platform.python_version()} on {system}",
        f"processor  {_processor()}, {usable_processors()} usable",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EngineFallbackWarning)  # the line of "triton" says the same
        for name in ENGINE_NAMES:
            try:
                engine = get_engine(name)
                lines.append(f"{name:<10} {_ready(engine, name)}")
            except DipedgeError as error:
                lines.append(f"{name:<10} not available: {error}")
    return lines


def _ready(engine: Engine, name: str) -> str:
    if name == "auto":
        return f"takes {engine.name}"
    found = ", ".join(f"{key} {value}" for key, value in engine.device().items() if value)
    return f"ready: {found}"


def usable_processors() -> int:
    """Processors this process may run on, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """The processor's name, from where Linux has it; elsewhere what Python knows."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
