"""The kernels and the engine of 64-bit Arm, cross-compiled and run under an emulator.

Tests of kernels and engine are run as they are, with another processor's code behind ``dipedge._native``
(tests/neon/plugin.py): the same cases, references in float64 and tolerances. On a 64-bit Arm processor
those tests run anyway, and these are skipped.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

_native = pytest.importorskip("dipedge._native", reason="the native engine is not built")
pytest.importorskip("torch", reason="the references need PyTorch")

from dipedge.engines import get_engine, native, native_processor  # noqa: E402
from dipedge.engines.base import Settings  # noqa: E402
from dipedge.optimisers import Adam, Muon  # noqa: E402
from dipedge.priors import Fourier, Hourglass, Level, Noise, Prior  # noqa: E402
from dipedge.tasks import Denoise  # noqa: E402
from tests.conftest import smooth_picture  # noqa: E402
from tests.neon import emulated  # noqa: E402
from tests.test_native_engine import without_effect  # noqa: E402
from tests.tolerance import size  # noqa: E402

MISSING = "this processor is one" if platform.machine() in ("aarch64", "arm64") else emulated.missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"no emulated 64-bit Arm processor: {MISSING}")

ROOT = emulated.ROOT
KERNELS = sorted(path.parent.name for path in ROOT.glob("kernels/*/reference.py"))
PRIORS = {
    "dip": Prior(Noise(5), Hourglass((Level(16, 20, 4), Level(20, 17, 5))), perturbation=0.03),
    "pip": Prior(Fourier(learned=True), Hourglass((Level(16, 16, 4, 1, 1),) * 3)),
}
OPTIMISERS = {"adam": Adam(learning_rate=0.003), "muon": Muon()}


def passed_under_emulation(tmp_path: Path, *arguments: str) -> Counter:
    """Runs tests in another pytest, where ``dipedge._native`` is the emulated one.

    Returns how many passed of every test file. Whoever calls fails when one of them does.
    """
    emulated.built()
    report = tmp_path / "report.xml"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.neon.plugin", "-p", "no:cacheprovider", "-q",
         f"--junitxml={report}", *arguments],
        cwd=ROOT, env={**os.environ, "DIPEDGE_ISA": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return Counter(case.get("classname").split(".")[-1] for case in cases if not len(case))


def test_arm_runs_generic_and_neon_kernels():
    assert emulated.runnable_isas() == "generic neon"
    assert emulated.fma_gflops("neon", 1) > 0
    with pytest.raises(ValueError, match="'avx2' cannot run here"):
        emulated.normal(0, 0, 4, "avx2")


def test_every_kernel_passes_its_own_tests_under_neon(tmp_path):
    files = [f"tests/test_kernel_{name}.py" for name in KERNELS]
    passed = passed_under_emulation(tmp_path, *files)
    assert set(passed) == {f"test_kernel_{name}" for name in KERNELS}
    assert min(passed.values()) >= 10, passed  # cases times versions: fewer means that something is left out


def test_the_whole_family_of_networks_passes_its_tests_under_neon(tmp_path):
    passed = passed_under_emulation(tmp_path, "tests/test_native_engine.py")
    assert passed["test_native_engine"] > 50, passed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whole_fits_pass_their_tests_under_neon(tmp_path):
    """All but those of memory, which is the emulator's, and one of hundreds of steps."""
    files = [f"tests/test_{name}.py" for name in ("native_program", "native_outer", "weight_noise")]
    passed = passed_under_emulation(tmp_path, *files, "-k", "not memory and not takes_up")
    assert passed["test_native_program"] > 25, passed
    assert passed["test_native_outer"] > 25 and passed["test_weight_noise"] > 15, passed


def fitted(engine_module, monkeypatch, prior: Prior, optimiser: Adam | Muon, isa: str, threads: int) -> dict:
    """The state after several steps at 32 x 24, and the output of an evaluation before them."""
    for module in (native, native_processor):
        monkeypatch.setattr(module, "_native", engine_module)
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    settings = Settings(optimiser, seed=3, precision="fp32", threads=threads)
    program = get_engine("native").compile(prior, Denoise(), (32, 24, 3), settings)
    assert program._program.isa == isa
    noise = np.random.default_rng(0).normal(0, 0.1, (32, 24, 3))
    program.set_target(np.clip(smooth_picture(32, 24) + noise, 0, 1).astype(np.float32))
    first = program.evaluate().output
    program.step(6)
    state = {**program.state(), "first": first}
    program.close()
    return state


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", PRIORS)
def test_a_fit_under_neon_is_the_one_of_this_processor(name, optimiser, monkeypatch):
    """Up to rounding, which the steps enlarge: AVX2 is as far from generic code on one processor."""
    fit = (monkeypatch, PRIORS[name], OPTIMISERS[optimiser])
    here = fitted(_native, *fit, "generic", 1)
    neon = fitted(emulated, *fit, "neon", 1)
    assert set(neon) == set(here) and neon["step"] == here["step"] == 6
    assert size(neon["first"] - here["first"]) < 2e-6 * size(here["first"])
    assert neon["loss"] == pytest.approx(here["loss"], rel=1e-5)
    for key, values in here.items():
        if key in ("output", "average") or (
            key.startswith("param/") and not without_effect(key.removeprefix("param/"))
        ):
            allowed = 1e-3 if key.startswith("param/") else 1e-5
            assert size(neon[key] - values) < allowed * size(values), key
    assert size(here["output"] - here["first"]) > 0.1 * size(here["first"])  # there were steps to differ in
    # Another processor does round differently: equal bits would mean that the same code has run twice.
    assert not np.array_equal(neon["output"], here["output"])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", PRIORS)
def test_a_fit_under_neon_has_the_same_bits_with_any_number_of_threads(name, optimiser, monkeypatch):
    fit = (emulated, monkeypatch, PRIORS[name], OPTIMISERS[optimiser], "neon")
    alone = fitted(*fit, 1)
    for threads in (2, 3):
        together = fitted(*fit, threads)
        assert [key for key in alone if not np.array_equal(alone[key], together[key])] == [], threads


def innermost_loops(code: str) -> list[list[str]]:
    """The instructions of every loop with no other inside, from a disassembly."""
    lines = re.findall(r"^ *([0-9a-f]+):\t(.+)$", code, re.M)
    place = {address: index for index, (address, _) in enumerate(lines)}
    ends = [
        (place[jump.group(1)], index)
        for index, (_, text) in enumerate(lines)
        if (jump := re.match(r"(?:b\.|cbn?z|tbn?z).*?\b([0-9a-f]+) <", text)) and place[jump.group(1)] < index
    ]
    inner = [(a, b) for a, b in ends if not any(a <= c and d <= b and (c, d) != (a, b) for c, d in ends)]
    return [[text for _, text in lines[begin : end + 1]] for begin, end in inner]


# Objects that are all multiply-adds in registers, how many a turn, and in how many loops at least.
IN_REGISTERS = {"conv_norm_act/cpu": (20, 2), "simd/limits_cpu": (24, 1)}


@pytest.mark.parametrize("name", IN_REGISTERS)
def test_the_loops_that_decide_the_speed_keep_their_sums_in_registers(name):
    """No word goes to or from the stack: a tile that is too large for the registers shows in no result."""
    built = emulated.built().parent / "CMakeFiles" / "dipedge_neon.dir" / "kernels" / f"{name}.cpp.o"
    code = subprocess.run(
        [f"{emulated.TARGET}-objdump", "--disassemble", "--no-show-raw-insn", str(built)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    a_turn, count = IN_REGISTERS[name]
    loops = [loop for loop in innermost_loops(code) if sum("fmla" in line for line in loop) >= a_turn]
    assert len(loops) >= count
    assert [line for loop in loops for line in loop if "[sp" in line] == []
    assert max(len(loop) for loop in loops) < 2 * a_turn  # little else than these and their loads
