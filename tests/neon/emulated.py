"""``dipedge._native`` of a 64-bit Arm processor, on any other: its kernels and programs run under qemu.

Has the module's names as far as tests use them, and hands every call to ``check.cpp``, cross-compiled and
kept running under ``qemu-aarch64``. So tests, references and tolerances are those of every other
instruction set; only the code that is tested is another processor's.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "aarch64"  # stays, so that a second run compiles what has changed
TARGET = "aarch64-linux-gnu"
COMPILER = f"{TARGET}-g++"
EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
Value = int | float | str | Sequence[float]
Arrays = dict[str, np.ndarray]
version = "emulated"
READ = {  # what a value is written as
    "whole": int,
    "real": float,
    "word": str,
    "list": lambda text: [float(word) for word in text.split()[1:]],
}


def find_cmake() -> str | None:
    """The program of the Python package, or else the one on PATH."""
    try:
        import cmake
    except ImportError:
        return shutil.which("cmake")
    return shutil.which("cmake", path=cmake.CMAKE_BIN_DIR) or shutil.which("cmake")


def missing() -> str | None:
    """What is not installed here and would be needed, in words; None when all is there."""
    if shutil.which(COMPILER) is None:
        return f"{COMPILER} is not installed"
    if not any(map(shutil.which, EMULATORS)):
        return f"neither {' nor '.join(EMULATORS)} is installed"
    return None if find_cmake() else "cmake is not installed"


@cache
def built(folder: Path = BUILD, source: Path = ROOT) -> Path:
    """The check program for 64-bit Arm, compiled with the project's own CMakeLists.txt."""
    cmake, toolchain = find_cmake(), Path(__file__).with_name("aarch64.cmake")
    cache = folder / "CMakeCache.txt"
    moved = cache.exists() and f"CMAKE_HOME_DIRECTORY:INTERNAL={source}\n" not in cache.read_text()
    settings = ["--fresh"] if moved else []
    settings += [f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DDIPEDGE_CHECK=ON"]
    for command in (
        [cmake, "-S", source, "-B", folder, *settings],
        [cmake, "--build", folder, "--parallel", "2", "--target", "dipedge_check"],
    ):
        ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return folder / "dipedge_check"


class Emulator:
    """The check program at work. Messages are described in check.cpp."""

    def __init__(self, program: Path) -> None:
        emulator = next(path for name in EMULATORS if (path := shutil.which(name)))
        self._process = subprocess.Popen(
            [emulator, "-L", f"/usr/{TARGET}", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        atexit.register(self.close)

    def close(self) -> None:
        with suppress(BrokenPipeError):  # of a program that has died
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def ask(self, name: str, arrays: Arrays | None = None, **options: Value) -> tuple[dict, Arrays]:
        """One request and its answer: values and arrays by name.

        Raises:
            ValueError: the program has refused the request, with its words.
            ConnectionError: it is gone, with what it died of.
        """
        try:
            self._write(name, options, arrays or {})
            return self._read()
        except BrokenPipeError as error:
            raise ConnectionError(f"the emulated program ended with {self._process.wait()}") from error

    def _write(self, name: str, options: dict[str, Value], arrays: Arrays) -> None:
        write = self._process.stdin.write
        write(f"{name}\n".encode())
        for key, value in options.items():
            if isinstance(value, str):
                line = f"word {key} {value}"
            elif isinstance(value, bool | int | np.integer):
                line = f"whole {key} {int(value)}"
            elif isinstance(value, float | np.floating):
                line = f"real {key} {float(value)!r}"
            else:
                numbers = [float(number) for number in np.ravel(value)]
                line = " ".join((f"list {key} {len(numbers)}", *map(repr, numbers)))
            write(f"{line}\n".encode())
        for key, array in arrays.items():
            array = np.asarray(array, np.float32)
            write(" ".join(map(str, ("array", key, array.ndim, *array.shape))).encode() + b"\n")
            write(array.tobytes())
        write(b"end\n")
        self._process.stdin.flush()

    def _read(self) -> tuple[dict, Arrays]:
        values, arrays, stream = {}, {}, self._process.stdout
        name = stream.readline().decode().strip()
        while (line := stream.readline().decode().rstrip("\n")) != "end":
            if not line:
                raise ConnectionError(f"the emulated program ended with {self._process.wait()}")
            kind, key, rest = (*line.split(" ", 2), "")[:3]
            if kind == "array":
                shape = [int(word) for word in rest.split()[1:]]
                read = stream.read(4 * int(np.prod(shape)))
                arrays[key] = np.frombuffer(read, np.float32).reshape(shape).copy()
            else:
                values[key] = READ[kind](rest)
        if name == "failed":
            raise ValueError(values["why"])
        return values, arrays


@cache
def emulator() -> Emulator:
    """The one that all calls go to."""
    return Emulator(built())


def runnable_isas() -> str:
    return emulator().ask("isas")[0]["isas"]


def multiplies_bf16(isa: str) -> bool:
    return False  # no set of 64-bit Arm here does


def fma_gflops(isa: str, threads: int) -> float:
    return emulator().ask("gflops", isa=isa)[0]["gflops"]


def normal(seed: int, step: int, count: int, isa: str = "") -> np.ndarray:
    return emulator().ask("normal", seed=seed, step=step, count=count, isa=isa)[1]["array"]


def fourier_features(frequencies: Sequence[float], height: int, width: int) -> np.ndarray:
    spec = {"frequencies": list(frequencies), "height": height, "width": width}
    return emulator().ask("fourier_features", **spec)[1]["array"]


def lanczos_weights(scale: int, lobes: int, phase: float) -> list[float]:
    spec = {"scale": scale, "lobes": lobes, "phase": float(phase)}
    return emulator().ask("lanczos_weights", **spec)[0]["weights"]


def lanczos_conv_forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, scale: int, lobes: int, isa: str
) -> np.ndarray:
    shape = (-(-x.shape[0] // scale), -(-x.shape[1] // scale), len(weight))
    arrays = {"x": x, "weight": weight, "dy": np.zeros(shape, np.float32)}
    kernel = Kernel("lanczos_conv", arrays, {"scale": scale, "lobes": lobes}, isa)
    kernel.forward()
    return kernel.results()["y"] + bias


def lanczos_conv_backward(
    x: np.ndarray, weight: np.ndarray, dy: np.ndarray, scale: int, lobes: int, isa: str
) -> tuple[np.ndarray, ...]:
    arrays = {"x": x, "weight": weight, "dy": dy}
    kernel = Kernel("lanczos_conv", arrays, {"scale": scale, "lobes": lobes}, isa)
    kernel.forward()
    kernel.backward()
    found = kernel.results()
    return found["dx"], found["dweight"], dy.sum((0, 1), np.float64).astype(np.float32)


class Kernel:
    """As ``_native.Kernel``; everything is computed when the results are asked for."""

    def __init__(
        self, name: str, arrays: Arrays, options: dict | None = None, isa: str = "", threads: int = 1
    ) -> None:
        self._arrays, self._options = arrays, options or {}
        self._call = {"call.kernel": name, "call.isa": isa, "call.threads": threads}
        self._passes = {"call.forward": False, "call.backward": False}

    def forward(self) -> None:
        self._passes["call.forward"] = True

    def backward(self) -> None:
        self._passes["call.backward"] = True

    def results(self) -> dict:
        options = {**self._options, **self._call, **self._passes}
        numbers, arrays = emulator().ask("kernel", self._arrays, **options)
        return {**numbers, **arrays}


def flattened(spec: dict, prefix: str = "") -> dict[str, Value]:
    """A description within a description under both names, "network.slope"."""
    flat = {}
    for key, value in spec.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


class Program:
    """As ``_native.Program``, without ``sample``."""

    def __init__(self, spec: dict) -> None:
        facts, _ = emulator().ask("compile", **flattened(spec))
        self._number, self._names = facts["program"], facts["names"].split()
        self.memory_bytes, self.isa, self.bf16 = facts["memory_bytes"], facts["isa"], False
        self._state: dict[str, int | float] = {}
        self._ask("set_state")

    def __del__(self) -> None:
        if hasattr(self, "_number") and self._state is not None:
            emulator().ask("close", program=self._number)

    def _ask(self, name: str, array: np.ndarray | None = None, **options: Value) -> np.ndarray:
        arrays = {} if array is None else {"array": array}
        self._state, found = emulator().ask(name, arrays, program=self._number, **options)
        return found["array"]

    def __getattr__(self, name: str) -> object:
        """What is asked without words: output, averaged, get_input, input_gradient, evaluate."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *array: self._ask(name, *array)

    def names(self) -> list[str]:
        return self._names

    def set_views(self, views: list[float]) -> None:
        self._ask("set_views", views=views)

    def step(self, count: int) -> None:
        self._ask("step", count=count)

    def forward(self, perturb: bool) -> np.ndarray:
        return self._ask("forward", perturb=perturb)

    def backward(self, gradient: np.ndarray, loss: float) -> None:
        self._ask("backward", gradient, given_loss=float(loss))

    @property
    def begun(self) -> bool:
        return bool(self._state["begun"])

    def get(self, kind: str, name: str) -> np.ndarray:
        return self._ask("get", kind=kind, tensor=name)

    def set(self, kind: str, name: str, values: np.ndarray) -> None:
        self._ask("set", values, kind=kind, tensor=name)

    def loss(self) -> float:
        return self._state["loss"]

    def set_loss(self, loss: float) -> None:
        self._ask("set_state", loss=float(loss))

    @property
    def steps_done(self) -> int:
        return self._state["steps_done"]

    @steps_done.setter
    def steps_done(self, count: int) -> None:
        self._ask("set_state", steps_done=count)

    @property
    def seed(self) -> int:
        return self._state["seed"] % 2**64

    @seed.setter
    def seed(self, seed: int) -> None:
        self._ask("set_state", seed=seed)
