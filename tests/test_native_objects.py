"""What the compiler made of the kernels: no instruction set leaks into another.

A wrong processor dies of an illegal instruction, and only there; so the objects themselves are looked at.
They are built here with the project's own CMakeLists.txt, whatever is installed.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VECTORS = {"generic": "xmm", "avx2": "ymm", "avx512": "zmm"}  # the widest registers each may use
pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="x86-64 only: what runs on 64-bit Arm runs on all of them, and tests/test_neon.py looks into that",
)


def tool(name: str) -> str:
    """A program that the tests need; skips with its name where it is missing."""
    try:
        import cmake

        folder = cmake.CMAKE_BIN_DIR
    except ImportError:
        folder = None
    found = shutil.which(name) or (shutil.which(name, path=folder) if folder else None)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """A build folder with every kernel compiled for every instruction set."""
    cmake = tool("cmake")
    folder = tmp_path_factory.mktemp("objects")
    targets = [f"dipedge_{isa}" for isa in VECTORS]
    for command in (
        [cmake, "-S", str(ROOT), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"],
        [cmake, "--build", str(folder), "--parallel", "2", "--target", *targets],
    ):
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return folder


def objects(build: Path, isa: str) -> list[Path]:
    """The object files of one instruction set, one per kernel."""
    found = sorted((build / "CMakeFiles" / f"dipedge_{isa}.dir").rglob("*.o"))
    assert len(found) == len(list((ROOT / "kernels").glob("*/*cpu.cpp")))
    return found


def registers(path: Path) -> set[str]:
    """Which kinds of vector registers an object's code names."""
    code = subprocess.run(
        [tool("objdump"), "--disassemble", "--no-show-raw-insn", str(path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return set(re.findall(r"%([xyz]mm)\d", code))


def test_generic_objects_use_no_wide_registers(build):
    assert {path.parent.name: registers(path) - {"xmm"} for path in objects(build, "generic")} == {
        path.parent.name: set() for path in objects(build, "generic")
    }


def test_avx2_objects_use_no_avx512_registers(build):
    assert [path.parent.name for path in objects(build, "avx2") if "zmm" in registers(path)] == []


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_wide_objects_do_use_their_registers(build, isa):
    """The check of the checks above, and a guard against a build whose flags got lost."""
    adam = next(path for path in objects(build, isa) if path.parent.name == "adam")
    assert VECTORS[isa] in registers(adam)


@pytest.mark.parametrize("isa", list(VECTORS))
def test_an_object_defines_symbols_in_its_own_namespace_only(build, isa):
    """A symbol outside it (an inline function of a library) may be linked in for every processor."""
    strangers = []
    for path in objects(build, isa):
        listed = subprocess.run(
            [tool("nm"), "--demangle", "--defined-only", "--extern-only", str(path)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        names = [line.split(maxsplit=2)[2] for line in listed.splitlines()]
        assert names, f"{path} defines nothing"
        strangers += [name for name in names if f"dipedge::{isa}::" not in name]
    assert strangers == []


def test_only_kernels_are_compiled_with_instruction_set_flags(build):
    """The engine runs on every processor before one is chosen, and must not hold what it cannot run."""
    commands = json.loads((build / "compile_commands.json").read_text())
    assert any("-mavx512f" in entry["command"] for entry in commands)
    for entry in commands:
        flags = [word for word in entry["command"].split() if word.startswith("-m")]
        if not any(f"DIPEDGE_ISA_{isa}" in entry["command"] for isa in ("AVX", "AMX")):
            assert flags == [], entry["file"]
        assert "-march=native" not in flags
        assert "-ffast-math" not in entry["command"]
