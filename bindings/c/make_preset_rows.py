"""Writes preset_rows.h: the settings of ``dipedge.presets`` as a table for the C API.

There is one source of truth, ``dipedge/preset_table.py`` with ``dipedge/presets.py``; the C API must not have
a second one. So the rows are asked of Python, through the same ``program_spec`` that the native engine is
compiled from, and written down. tests/test_c_presets.py fails when the file is not what this program makes::

    python bindings/c/make_preset_rows.py      after every change of the presets
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dipedge.engines.base import Settings
from dipedge.engines.native_spec import program_spec
from dipedge.presets import FRAME_STEPS, QUALITIES, Preset, preset, regimes
from dipedge.priors import Meshgrid, Noise
from dipedge.stopping import AnyOf, MaxSteps, NoiseFloor, Rule
from dipedge.tasks import Denoise, Inpaint, RemoveJpeg, SuperResolve, Task
from dipedge.variance import VarianceWindow

OUTPUT = Path(__file__).with_name("preset_rows.h")
PRIORS = ("pip", "dip")
SOME_STEPS = 100  # any number: whether steps are counted at all decides between two rows

HEADER = """\
// Written by make_preset_rows.py from dipedge/presets.py; change it there.
// clang-format off
#pragma once

#include "bindings/c/presets.h"

namespace dipedge::c_api {
"""


class Names:
    """Arrays that several rows share, each written once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[str, str] = {}

    def of(self, kind: str, word: str, values: str) -> str:
        """The name of the array ``values``, a C++ initialiser."""
        line = f"[] = {{{values}}};"
        if line not in self._names:
            self._names[line] = f"{word}{len(self._names)}"
            self.lines.append(f"constexpr {kind} {self._names[line]}{line}")
        return self._names[line]


def number(value: float | bool) -> str:
    """A C++ literal that is read back as the same float64."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def numbers(values: object) -> str:
    return "{" + ", ".join(map(number, values)) + "}"


def stop_numbers(rule: Rule) -> str:
    """A StopRow: the limit, then the numbers of ``NoiseFloor`` and of ``VarianceWindow``."""
    rules = rule.rules if isinstance(rule, AnyOf) else (rule,)
    limit, noise, variance = 0, (0.0, 0, 0), (0, 0, 0, 0)
    for one in rules:
        if isinstance(one, MaxSteps):
            limit = one.steps
        elif isinstance(one, NoiseFloor):
            noise = (one.share, one.window, one.floor)
        else:
            assert isinstance(one, VarianceWindow), one
            variance = (one.window, one.patience, one.floor, one.pixels)
    return f"{{{limit}, {numbers(noise)}, {numbers(variance)}}}"


def cases() -> Iterator[tuple[Task, str, str]]:
    """Tasks with the name of the regime in a row, and what ``preset`` is asked for."""
    yield Denoise(), "", None
    yield RemoveJpeg(), "", None
    yield SuperResolve(4), "x4", None  # its row is that of 2 and 3, too
    yield SuperResolve(8), "x8", None
    inpaint = Inpaint(np.ones((16, 16)))
    for regime in regimes(inpaint):
        yield inpaint, regime, regime


def row(names: Names, key: tuple[object, ...], task: Task, chosen: Preset) -> str:
    """One line of the table."""
    settings = Settings(chosen.optimiser, average=chosen.average, subsample=chosen.subsample)
    spec = program_spec(chosen.prior, task, (16, 16, 3), settings)
    network, encoding = spec["network"], spec["encoding"]
    levels = names.of("LevelSpec", "levels", ", ".join(map(numbers, network["levels"])))
    frequencies = "nullptr"
    if encoding["frequencies"]:
        frequencies = names.of("double", "frequencies", numbers(encoding["frequencies"])[1:-1])
    given = chosen.prior.encoding
    noise = isinstance(given, Noise)
    words = [
        ", ".join(f'"{word}"' if isinstance(word, str) else number(word) for word in key),
        f"{levels}, {len(network['levels'])}",
        ", ".join(number(network[name]) for name in ("bilinear", "reflect", "need1x1_up", "sigmoid")),
        f"Downsample::{network['downsample']}, {network['slope']}, {network['bn_eps']}",
        f"{encoding['channels']}, {frequencies}, {len(encoding['frequencies'])}",
        f"{number(encoding['learned'])}",
        f"{number(given.scale) if noise else '0'}, {number(noise and given.centred)}",
        f"{given.repeats if isinstance(given, Meshgrid) else 0}",
        f"{number(encoding['perturbation'])}, {number(encoding['perturb_frequencies'])}",
        f"{number(spec['weight_noise'])}",
        f"{numbers(spec['adam'])}, {numbers(spec['muon'])}, {numbers(spec['fall'])}",
        f"{number(spec['average'])}, {number(chosen.backtrack)}, {number(network['subsample'])}",
        stop_numbers(chosen.stop),
    ]
    return "    {" + ", ".join(words) + "},"


def text() -> str:
    """The whole file."""
    names, rows = Names(), []
    for task, regime, asked in cases():
        for prior in PRIORS:
            if asked is not None and not _has_row(task, prior, asked):
                continue
            for quality in QUALITIES:
                usual = preset(task, prior, quality, None, asked)
                counted = preset(task, prior, quality, SOME_STEPS, asked)
                key = (task.name, regime, prior, quality)
                rows.append(row(names, (*key, False), task, usual))
                if counted != usual:  # it goes unread where the steps are counted anyway
                    rows.append(row(names, (*key, True), task, counted))
    table = "\n".join(rows)
    return (
        f"{HEADER}\n"
        f"constexpr int frame_steps = {FRAME_STEPS};\n" + "\n".join(names.lines) + "\n\n"
        "// Columns as in PresetRow. In a task's first regime a name may be left out.\n"
        f"constexpr PresetRow preset_rows[] = {{\n{table}\n}};\n\n"
        "}  // namespace dipedge::c_api\n"
    )


def _has_row(task: Task, prior: str, regime: str) -> bool:
    from dipedge.preset_table import TABLE

    return (task.name, regime, prior) in TABLE


if __name__ == "__main__":
    OUTPUT.write_text(text())
