"""The C API for tests: built beside the native module, loaded with ctypes.

``build/dev`` is where an editable installation was compiled; its objects are all there, so that the C library
takes seconds. Symbols of ours do not leave either library, so both may be loaded into one process.
"""

from __future__ import annotations

import ctypes
import fcntl
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.neon.emulated import find_cmake

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "dev"
TARGETS = ("dipedge_c", "dipedge_c_static")
TASKS = ("denoise", "jpeg", "superresolve", "inpaint")
PRIORS = ("pip", "dip")
QUALITIES = ("balanced", "fast", "paper")
PRECISIONS = ("auto", "fp32", "bf16")
TYPES = (np.uint8, np.uint16, np.float32)
REASONS = ("", "steps", "deadline", "variance", "discrepancy", "interrupted")
OK, INTERNAL_ERROR, INPUT_ERROR, ENGINE_ERROR, OUT_OF_MEMORY, DIVERGED = range(6)


class Options(ctypes.Structure):
    """dipedge_options, member by member; a test compares its size with the C compiler's."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        *((name, ctypes.c_int32) for name in ("height", "width", "channels")),
        *((name, ctypes.c_int32) for name in ("task", "prior", "quality", "precision")),
        *((name, ctypes.c_int32) for name in ("scale", "threads", "keep_known")),
        ("steps", ctypes.c_int64),
        ("seed", ctypes.c_uint64),
        *((name, ctypes.c_double) for name in ("sigma", "learning_rate", "average")),
        ("preset", ctypes.c_char_p),
        ("isa", ctypes.c_char_p),
    )


class Result(ctypes.Structure):
    """dipedge_result."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("reason", ctypes.c_int32),
        ("steps", ctypes.c_int64),
        ("chosen_step", ctypes.c_int64),
        ("seconds", ctypes.c_double),
        ("loss", ctypes.c_double),
    )


def checked_run(*command: object, **options: object) -> subprocess.CompletedProcess:
    """Runs a program that must succeed; its output is bytes or text as ``options`` say."""
    ran = subprocess.run([str(word) for word in command], capture_output=True, **options)
    assert ran.returncode == 0, (ran.stdout[-3000:], ran.stderr[-3000:])
    return ran


@cache
def built() -> Path:
    """The folder with libdipedge.so and libdipedge.a, brought up to date."""
    cache, ours = BUILD / "CMakeCache.txt", f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n"
    if not cache.is_file() or ours not in cache.read_text():
        pytest.skip("no build/dev, which an installation without build isolation makes (make test)")
    if find_cmake() is None:
        pytest.skip("cmake is not installed")
    with open(BUILD / "c_api.lock", "w") as lock:  # several test processes may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        checked_run(find_cmake(), "--build", BUILD, "--parallel", "2", "--target", *TARGETS, text=True)
    return BUILD / "bindings" / "c"


@cache
def library() -> ctypes.CDLL:
    """libdipedge.so with the types of its functions."""
    loaded = ctypes.CDLL(str(built() / "libdipedge.so"))
    for name in ("version", "error_text", "reason_text", "isa"):
        getattr(loaded, f"dipedge_{name}").restype = ctypes.c_char_p
    loaded.dipedge_memory_bytes.restype = ctypes.c_size_t
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name in ("destroy", "error_text", "isa", "uses_bf16", "memory_bytes", "interrupt", "restart"):
        getattr(loaded, f"dipedge_{name}").argtypes = (pointer,)
    for name in ("push", "read"):
        getattr(loaded, f"dipedge_{name}").argtypes = (pointer, pointer, ctypes.c_int, size)
    moved = (pointer, pointer, ctypes.c_int, size, ctypes.c_double, ctypes.c_double)
    loaded.dipedge_push_moved.argtypes = moved
    loaded.dipedge_set_mask.argtypes = (pointer, pointer, size)
    loaded.dipedge_set_stop.argtypes = (pointer, ctypes.c_int64, ctypes.c_double)
    loaded.dipedge_answer_size.argtypes = (pointer, *(pointer,) * 3)
    loaded.dipedge_last_result.argtypes = (pointer, ctypes.POINTER(Result))
    loaded.dipedge_create.argtypes = (ctypes.POINTER(Options), ctypes.POINTER(pointer))
    loaded.dipedge_options_init.argtypes = (ctypes.POINTER(Options), size)
    loaded.dipedge_options_init.restype = None
    loaded.dipedge_destroy.restype = loaded.dipedge_interrupt.restype = None
    return loaded


class CError(Exception):
    """A status other than OK, with its sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def options(height: int, width: int, channels: int = 3, **given: object) -> Options:
    """Filled options; words of enumerations stand for their numbers."""
    filled = Options()
    library().dipedge_options_init(filled, ctypes.sizeof(Options))
    filled.height, filled.width, filled.channels = height, width, channels
    words = {"task": TASKS, "prior": PRIORS, "quality": QUALITIES, "precision": PRECISIONS}
    for name, value in given.items():
        if isinstance(value, str):
            value = words[name].index(value) if name in words else value.encode()
        setattr(filled, name, value)
    return filled


class CSession:
    """A dipedge_session; errors become ``CError``."""

    def __init__(self, height: int, width: int, channels: int = 3, **given: object) -> None:
        self.lib, self.handle = library(), ctypes.c_void_p()
        filled = options(height, width, channels, **given)
        status = self.lib.dipedge_create(filled, ctypes.byref(self.handle))
        assert (status == OK) == bool(self.handle)
        if status != OK:
            raise CError(status, self.lib.dipedge_error_text(None).decode())

    def __enter__(self) -> CSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.lib.dipedge_destroy(self.handle)

    def check(self, status: int) -> None:
        if status != OK:
            raise CError(status, self.lib.dipedge_error_text(self.handle).decode())

    def set_mask(self, mask: np.ndarray) -> None:
        mask = np.ascontiguousarray(mask, np.uint8)
        self.check(self.lib.dipedge_set_mask(self.handle, mask.ctypes.data, 0))

    def set_stop(self, steps: int = 0, ms: float = 0.0) -> None:
        self.check(self.lib.dipedge_set_stop(self.handle, steps, ms))

    def push(self, frame: np.ndarray) -> None:
        frame = np.ascontiguousarray(frame)
        code = TYPES.index(frame.dtype.type)
        self.check(self.lib.dipedge_push(self.handle, frame.ctypes.data, code, 0))

    def push_moved(self, frame: np.ndarray, dx: float, dy: float) -> None:
        frame = np.ascontiguousarray(frame)
        code = TYPES.index(frame.dtype.type)
        self.check(self.lib.dipedge_push_moved(self.handle, frame.ctypes.data, code, 0, dx, dy))

    def read(self, dtype: type) -> np.ndarray:
        """The answer [H, W, C], in an array that was filled with another value before."""
        sides = [ctypes.c_int32() for _ in range(3)]
        self.check(self.lib.dipedge_answer_size(self.handle, *map(ctypes.byref, sides)))
        answer = np.full([side.value for side in sides], 77, dtype)
        self.check(self.lib.dipedge_read(self.handle, answer.ctypes.data, TYPES.index(dtype), 0))
        return answer

    def restored(self, frame: np.ndarray) -> np.ndarray:
        """The answer for a frame, in its own type."""
        self.push(frame)
        return self.read(frame.dtype.type)

    @property
    def result(self) -> Result:
        found = Result(size=ctypes.sizeof(Result))
        self.check(self.lib.dipedge_last_result(self.handle, found))
        return found

    @property
    def isa(self) -> str:
        return self.lib.dipedge_isa(self.handle).decode()

    @property
    def uses_bf16(self) -> bool:
        return bool(self.lib.dipedge_uses_bf16(self.handle))
