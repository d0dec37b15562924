"""Builds the native engine with CMake and maps the top-level rooms into the package.

What is static stands in pyproject.toml; here is only what has to be computed: which folder becomes which
package, and the call of CMake. ``kernels/`` and ``export/`` stand at the top of the repository (one folder
is one kernel, with everything about it) but are installed as ``dipedge.kernels`` and ``dipedge.export``: a
top-level package ``kernels`` exists elsewhere, and installing a second one would break it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
ROOMS = {"dipedge": "dipedge", "dipedge.kernels": "kernels", "dipedge.export": "export"}


def package_folders() -> dict[str, str]:
    """Every installed package and the folder it lives in, both as setuptools wants them."""
    folders = {}
    for package, room in ROOMS.items():
        for init in sorted((ROOT / room).rglob("__init__.py")):
            inner = init.parent.relative_to(ROOT / room).parts
            folders[".".join((package, *inner))] = "/".join((room, *inner))
    return folders


def find_tool(name: str) -> str | None:
    """The program ``name`` of the build requirement of that name, or else the one on PATH.

    Without build isolation the virtual environment's scripts are often not on PATH (pip was called by its
    full path), while the Python package always knows where its program is.
    """
    try:
        module = __import__(name)
        folder = getattr(module, "CMAKE_BIN_DIR", None) or getattr(module, "BIN_DIR", None)
    except ImportError:
        folder = None
    return shutil.which(name, path=folder) if folder else shutil.which(name)


def is_isolated(pybind11_folder: str) -> bool:
    """Whether pip made a temporary environment for this build: pybind11 is then not in ours."""
    return Path(sys.prefix).resolve() not in Path(pybind11_folder).resolve().parents


def is_stale(build: Path, ninja: str | None) -> bool:
    """Whether a CMake cache remembers another source tree, or a ninja that was in a deleted environment."""
    cache = build / "CMakeCache.txt"
    if not cache.exists():
        return False
    entries = dict(re.findall(r"^(\w+):\w+=(.*)$", cache.read_text(), flags=re.M))
    same_tree = entries.get("CMAKE_HOME_DIRECTORY") == str(ROOT)
    return not same_tree or (ninja is not None and entries.get("CMAKE_MAKE_PROGRAM") != ninja)


class CMakeBuild(build_ext):
    """Configures and builds with CMake, then puts the module where setuptools expects it."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        cmake, ninja = find_tool("cmake"), find_tool("ninja")
        if cmake is None:
            raise SystemExit("cmake is not there; install it, or build with build isolation")
        pybind11_folder = pybind11.get_cmake_dir()
        # A folder that lives on makes a developer's rebuild take seconds, but only as long as the tools it
        # remembers live on too; an isolated build's tools are gone when it ends.
        build = Path(self.build_temp) / "cmake" if is_isolated(pybind11_folder) else ROOT / "build" / "dev"
        output = Path(self.get_ext_fullpath(ext.name)).resolve()
        configure = [cmake, "-S", str(ROOT), "-B", str(build)]
        configure += ["--fresh"] if is_stale(build, ninja) else []
        configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
        configure += [
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11_folder}",
            "-DDIPEDGE_PYTHON=ON",
        ]
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(os.cpu_count() or 1)
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build), "--parallel", jobs], check=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(build / output.name, output)


class CleanBuildPy(build_py):
    """Starts the wheel from an empty folder: what an earlier build left there would be packed again."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "dipedge", ignore_errors=True)
        super().run()


folders = package_folders()
setup(
    packages=list(folders),
    package_dir=folders,
    ext_modules=[Extension("dipedge._native", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "build_py": CleanBuildPy},
)
