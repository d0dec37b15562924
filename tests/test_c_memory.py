"""The C API under tools that see every byte (valgrind, sanitizers), and a build of it from scratch."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

pytest.importorskip("dipedge._native", reason="the native engine is not built")

from tests import c_library
from tests.c_library import ROOT, checked_run
from tests.neon.emulated import find_cmake
from tests.test_c_api import stream
from tests.test_c_example import EXAMPLE, HEADER, compiler, in_python, ppm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_valgrind_finds_no_fault_and_no_leak(tmp_path, monkeypatch):
    """On one thread: those of a pool wait by spinning, and valgrind runs one at a time."""
    watcher = shutil.which("valgrind") or pytest.skip("no program is called valgrind")
    monkeypatch.setenv("DIPEDGE_ISA", "generic")
    archive = c_library.built() / "libdipedge.a"
    flags = ("-std=c99", "-g", "-I", HEADER, EXAMPLE, archive, "-lstdc++", "-lm", "-pthread")
    checked_run(compiler(), *flags, "-o", tmp_path / "restore")
    frames = stream(2, height=16, width=16)
    checks = ("-q", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all")
    ran = checked_run(
        watcher, *checks, tmp_path / "restore", "--steps", "1", "--threads", "1", input=ppm(frames)
    )
    assert ran.stdout == in_python(frames, 1)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """The example with the C API compiled for address and undefined behaviour, and the engine as it is."""
    folder = tmp_path_factory.mktemp("sanitized")
    c_library.built()
    flags = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    places = ("-I", ROOT, "-I", ROOT / "kernels", "-I", HEADER)
    sources = (*sorted(HEADER.glob("*.cpp")), ROOT / "bindings" / "program_calls.cpp")
    checked_run(compiler(), "-std=c99", *flags, *places, "-c", EXAMPLE, "-o", folder / "main.o")
    engine = c_library.BUILD / "libdipedge_engine.a"
    made = folder / "restore"
    objects = (*sources, folder / "main.o", engine, "-pthread")
    checked_run(compiler("c++"), "-std=c++17", *flags, *places, *objects, "-o", made)
    return made


@pytest.mark.parametrize("arguments", [[], ["--prior", "dip"]], ids=["pip", "dip"])
def test_the_sanitizers_find_nothing_in_a_stream(sanitized, arguments):
    frames = stream(3, "uint16")
    ran = checked_run(sanitized, "--steps", "3", "--threads", "2", *arguments, input=ppm(frames))
    assert ran.stderr == b""
    assert ran.stdout == in_python(frames, 3, prior=arguments[-1] if arguments else None)


def test_the_sanitizers_find_nothing_in_a_whole_first_frame(sanitized):
    """Until NoiseFloor ends it, and beyond."""
    frames = stream(2, height=16, width=16)
    ran = checked_run(sanitized, "--threads", "2", input=ppm(frames))
    assert ran.stderr == b"" and len(ran.stdout) == len(ppm(frames))
    assert np.frombuffer(ran.stdout[-768:], np.uint8).std() > 10


def test_the_build_that_is_documented_makes_and_installs_the_c_api(tmp_path):
    """In build/c_api, which stays, so that a second run compiles what has changed."""
    folder = ROOT / "build" / "c_api"
    checked_run(find_cmake(), "-S", ROOT, "-B", folder, "-DDIPEDGE_C_API=ON")
    checked_run(find_cmake(), "--build", folder, "--parallel", "2")
    checked_run(find_cmake(), "--install", folder, "--prefix", tmp_path)
    [library] = tmp_path.rglob("libdipedge.so")
    assert (tmp_path / "include" / "dipedge.h").is_file()
    frames = stream(2)
    environment = os.environ | {"LD_LIBRARY_PATH": str(library.parent)}
    [program] = folder.rglob("ppm_stream")
    ran = checked_run(program, "--steps", "2", "--threads", "1", input=ppm(frames), env=environment)
    assert ran.stdout == in_python(frames, 2)
