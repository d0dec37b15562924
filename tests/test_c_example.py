"""examples/c/ppm_stream.c, compiled and run; and the installed C library, as other projects find it."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from functools import partial

import numpy as np
import pytest

pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge import Denoise, Session, __version__
from tests import c_library
from tests.c_library import ROOT, checked_run
from tests.neon.emulated import find_cmake
from tests.test_c_api import stream

EXAMPLE = ROOT / "examples" / "c" / "ppm_stream.c"
HEADER = ROOT / "bindings" / "c"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
CONSUMER = """
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C)
find_package(dipedge {version} REQUIRED)
add_executable(shared ppm_stream.c)
target_link_libraries(shared PRIVATE dipedge::dipedge)
add_executable(static ppm_stream.c)
target_link_libraries(static PRIVATE dipedge::static)
"""


def compiler(name: str = "cc") -> str:
    """The C compiler of this machine; a test that needs it is skipped where there is none."""
    return shutil.which(name) or pytest.skip(f"no compiler is called {name}")


def ppm(frames: list[np.ndarray]) -> bytes:
    """Frames [H, W, 3] of uint8 or uint16 as binary PPM, one behind the other."""
    parts = []
    for frame in frames:
        height, width, _ = frame.shape
        parts += [f"P6\n{width} {height}\n{np.iinfo(frame.dtype).max}\n".encode()]
        parts += [frame.astype(frame.dtype.newbyteorder(">")).tobytes()]
    return b"".join(parts)


def in_python(frames: list[np.ndarray], steps: int, **settings) -> bytes:
    with Session(Denoise(), engine="native", threads=1, motion=None, memory=False, **settings) as session:
        return ppm([session.push(frame, steps=steps).image for frame in frames])


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The example, linked with the library in the build folder."""
    folder = c_library.built()
    made = tmp_path_factory.mktemp("example") / "ppm_stream"
    library = ["-L", folder, f"-Wl,-rpath,{folder}", "-ldipedge"]
    checked_run(compiler(), "-std=c99", *WARNINGS, "-I", HEADER, EXAMPLE, *library, "-o", made)
    return made


@pytest.fixture
def restored(program):
    """``restored(stream, *arguments)``: exit code, standard output, and the line on standard error."""

    def run(given: bytes, *arguments: str) -> tuple[int, bytes, str]:
        ran = subprocess.run([program, "--threads", "1", *arguments], input=given, capture_output=True)
        return ran.returncode, ran.stdout, ran.stderr.decode()

    return run


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_stream_of_ppm_comes_back_with_the_bits_of_python(restored, dtype):
    frames = stream(3, dtype)
    assert restored(ppm(frames), "--steps", "4", "--seed", "3") == (0, in_python(frames, 4, seed=3), "")


def test_its_arguments_reach_the_session(restored):
    frames = stream(2)
    expected = in_python(frames, 2, prior="dip", average=0.5)
    code, found, said = restored(
        ppm(frames), "--steps", "2", "--prior", "dip", "--average", "0.5", "--sigma", "25", "--verbose"
    )
    assert (code, found) == (0, expected)
    assert re.fullmatch(
        r"(frame \d: 2 steps in \d+\.\d+ s: all steps that were asked for are done\n){2}", said
    )
    code, found, said = restored(ppm(frames), "--deadline-ms", "0.001", "--verbose")
    assert (code, len(found)) == (0, len(expected)) and said.count(": 1 steps in") == 2
    assert said.count("the time allowed has passed") == 2


def test_comments_in_a_header_are_skipped(restored):
    [frame] = stream(1)
    given = b"P6 # made by a camera\n#\n22\t18 # size\r\n255\n" + frame.tobytes()
    assert restored(given, "--steps", "1") == (0, in_python([frame], 1), "")


BAD_STREAMS = {
    "empty": (lambda one: b"", 0, "there is no frame on standard input"),
    "text": (lambda one: b"hello", 0, "frame 1 is no binary PPM (P6)"),
    "grey": (lambda one: one + b"P5\n22 18\n255\n", 1, "frame 2 is no binary PPM (P6)"),
    "cut header": (lambda one: one + b"P6\n22 1", 1, "frame 2 ends within its header"),
    "cut magic": (lambda one: one + b"P", 1, "frame 2 is no binary PPM (P6)"),
    "no number": (lambda one: b"P6\n22 x\n255\n", 0, "frame 1 has a damaged header"),
    "negative": (lambda one: b"P6\n-22 18\n255\n", 0, "frame 1 has a damaged header"),
    "huge number": (lambda one: b"P6\n99999999999999999999 18\n255\n", 0, "frame 1 has a damaged header"),
    "huge": (lambda one: b"P6\n70000 18\n255\n", 0, "frame 1 is 70000 x 18; sides may have 65535 pixels"),
    "maximum": (lambda one: b"P6\n22 18\n100\n", 0, "frame 1 has a maximum of 100; it must be 255 or 65535"),
    "cut pixels": (lambda one: one + one[:-7], 1, "frame 2 is truncated: 1181 of 1188 bytes"),
    "other size": (
        lambda one: one + b"P6\n20 18\n255\n", 1,
        "frame 2 is 20 x 18 (up to 255), those before are 22 x 18 (up to 255)",
    ),
    "other depth": (
        lambda one: one + b"P6\n22 18\n65535\n", 1,
        "frame 2 is 22 x 18 (up to 65535), those before are 22 x 18 (up to 255)",
    ),
    "small": (
        lambda one: b"P6\n9 8\n255\n" + bytes(216), 0, "frame is 8 x 9; both sides must be 16 pixels or more"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_damaged_stream_ends_with_one_line_and_what_was_finished(restored, name):
    damaged, finished, words = BAD_STREAMS[name]
    [frame] = stream(1)
    code, found, said = restored(damaged(ppm([frame])), "--steps", "1")
    assert (code, said) == (2, f"ppm_stream: {words}\n")
    assert found == (in_python([frame], 1) if finished else b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps"], "--steps is missing; it must be a number from 1 to 1e+09"),
        (["--steps", "0"], "--steps is 0; it must be a number from 1 to 1e+09"),
        (["--steps", "3x"], "--steps is 3x; it must"),
        (["--deadline-ms", "nan"], "--deadline-ms is nan; it must"),
        (["--sigma", "256"], "--sigma is 256; it must be a number from 0.001 to 255"),
        (["--prior", "unet"], "--prior is unet; it must be pip or dip"),
        (["--help"], "unknown argument --help\nusage: ppm_stream"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(restored, arguments, words):
    code, found, said = restored(b"", *arguments)
    assert (code, found) == (2, b"") and said.startswith(f"ppm_stream: {words}")


def test_a_full_disk_is_said(program):
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [program, "--steps", "1"], input=ppm(stream(1)), stdout=full, stderr=subprocess.PIPE
        )
    assert ran.returncode == 1 and b"cannot write: No space left" in ran.stderr


def test_ctrl_c_writes_the_frame_in_hand_and_stops(program):
    [frame] = stream(1)
    given = ppm([frame] * 2)
    with subprocess.Popen([program, "--steps", "1000000000", "--verbose"], **dict.fromkeys(
        ("stdin", "stdout", "stderr"), subprocess.PIPE
    )) as running:  # fmt: skip
        running.stdin.write(given)
        running.stdin.flush()
        time.sleep(1)  # until it is at work on the first; an earlier signal would end it at once
        running.send_signal(signal.SIGINT)
        found, said = running.communicate(timeout=60)
    assert running.returncode == 0 and b"it was interrupted; this is the best result so far" in said
    assert len(found) == len(ppm([frame]))


def test_the_header_is_c99_and_cpp_and_ctypes_has_its_structures(tmp_path):
    """Both compilers see the structures as ctypes does; a pedantic one has nothing to say of the header."""
    source = (
        '#include "dipedge.h"\n#include <stdio.h>\nint main(void) {\n'
        'printf("%d %d %d %d %s", (int)sizeof(dipedge_options), (int)offsetof(dipedge_options, isa),\n'
        "(int)sizeof(dipedge_result), (int)offsetof(dipedge_result, loss), DIPEDGE_VERSION);\nreturn 0; }\n"
    )
    expected = (
        f"{ctypes.sizeof(c_library.Options)} {c_library.Options.isa.offset} "
        f"{ctypes.sizeof(c_library.Result)} {c_library.Result.loss.offset} {__version__}"
    )
    for name, standards in (("cc", ("c99", "c11")), ("c++", ("c++98", "c++17"))):
        for standard in standards:
            file = tmp_path / f"sizes.{'c' if name == 'cc' else 'cpp'}"
            file.write_text(source)
            strict = () if standard == "c++98" else ("-Wpedantic",)  # which calls stdint's long long new
            flags = (f"-std={standard}", "-Wall", "-Wextra", "-Werror", *strict)
            checked_run(compiler(name), *flags, "-I", HEADER, file, "-o", tmp_path / "sizes")
            assert checked_run(tmp_path / "sizes", text=True).stdout == expected


def test_the_shared_library_shows_the_c_api_alone():
    reader = shutil.which("nm") or pytest.skip("no program is called nm")
    shown = checked_run(reader, "-D", "--defined-only", c_library.built() / "libdipedge.so", text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in shown.splitlines()}
    declared = set(re.findall(r"\b(dipedge_\w+)\(", (HEADER / "dipedge.h").read_text()))
    assert names == declared and len(names) > 10


def test_the_example_of_the_documentation_restores_frames(tmp_path):
    text = (ROOT / "docs" / "c_api.md").read_text()
    [function] = re.findall(r"```c\n(.*?)```", text, flags=re.S)
    (tmp_path / "frames.c").write_text(function)
    folder, made = c_library.built(), tmp_path / "frames.so"
    flags = ("-std=c99", *WARNINGS, "-fPIC", "-shared", "-I", HEADER, tmp_path / "frames.c")
    checked_run(compiler(), *flags, "-L", folder, f"-Wl,-rpath,{folder}", "-ldipedge", "-o", made)
    restore = ctypes.CDLL(str(made)).restore
    frames = np.stack(stream(2))
    given = frames.copy()
    assert restore(ctypes.c_void_p(given.ctypes.data), *given.shape[:3]) == 0
    with Session(Denoise(), engine="native", motion=None, memory=False, average=0.9) as session:
        expected = [session.push(frame, steps=30).image for frame in frames]
    np.testing.assert_array_equal(given, expected)
    assert restore(ctypes.c_void_p(given.ctypes.data), 1, 8, 8) == 1  # a frame that is too small


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the C API installed, moved to where it was not configured for."""
    c_library.built()
    folder = tmp_path_factory.mktemp("installed")
    checked_run(
        find_cmake(), "--install", c_library.BUILD, "--component", "c_api", "--prefix", folder / "first"
    )
    return (folder / "first").rename(folder / "moved here")


def test_what_is_installed_is_the_library_and_what_finds_it(installed):
    names = {path.name for path in installed.rglob("*") if path.is_file()}
    assert names >= {"dipedge.h", "libdipedge.so", "libdipedge.a", "dipedge.pc", "dipedgeConfig.cmake"}
    assert not any("engine" in name or "native" in name for name in names)


def assert_restores(program, environment: dict[str, str]) -> None:
    """The program gives Python's bits, and needs neither Python nor a library beside its own."""
    frames = stream(2)
    ran = checked_run(program, "--steps", "2", "--threads", "1", input=ppm(frames), env=environment)
    assert ran.stdout == in_python(frames, 2)


def test_a_cmake_project_finds_the_installed_library(installed, tmp_path):
    compiler()
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER.format(version=__version__))
    shutil.copy(EXAMPLE, tmp_path)
    run = partial(checked_run, find_cmake())
    run("-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed}")
    run("--build", tmp_path / "build")
    for kind in ("shared", "static"):
        assert_restores(tmp_path / "build" / kind, dict(os.environ))


@pytest.mark.parametrize("kind", ["shared", "static"])
def test_pkg_config_finds_the_installed_library(installed, tmp_path, kind):
    found = shutil.which("pkg-config") or pytest.skip("no program is called pkg-config")
    [folder] = [path.parent for path in installed.rglob("dipedge.pc")]
    environment = os.environ | {"PKG_CONFIG_PATH": str(folder)}
    wanted = ["--static"] if kind == "static" else []
    ran = checked_run(found, *wanted, "--cflags", "--libs", "dipedge", text=True, env=environment)
    flags = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|\S)+", ran.stdout)]
    if kind == "static":
        [archive] = installed.rglob("libdipedge.a")
        flags = [str(archive) if flag == "-ldipedge" else flag for flag in flags]
    checked_run(compiler(), "-std=c99", EXAMPLE, *flags, "-o", tmp_path / "restore")
    [library] = installed.rglob("libdipedge.so")
    assert_restores(tmp_path / "restore", os.environ | {"LD_LIBRARY_PATH": str(library.parent)})
    checked = checked_run(found, "--modversion", "dipedge", text=True, env=environment)
    assert checked.stdout.strip() == __version__
