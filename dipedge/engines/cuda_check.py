"""Whether engine "triton" can run here, and the sentence that says why not.

The driver is asked first, through its own library: a machine without a GPU, the usual one, then never loads
PyTorch, which takes seconds. What is asked stands apart (``Machine``) from what follows (``obstacle``), so
that every sentence is tested without a GPU.
"""

from __future__ import annotations

import ctypes
import os
import sysconfig
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

OLDEST = (8, 0)  # compute capability: bfloat16 in the tensor cores
LIBRARY = "libcuda.so.1"
# Answers of the driver's cuInit that mean: there is nothing to run on. 34 is a library without a driver
# behind it, as CUDA's own images have it, 100 a driver without a device. Any other is a device in trouble.
NO_DRIVER, NO_DEVICE = 34, 100
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # attributes of a device


@dataclass(frozen=True)
class Obstacle:
    """Why engine "triton" cannot run.

    Args:
        reason: the sentence, without what to do instead.
        device_there: whether there seems to be a device all the same, which a user would expect to be used.
    """

    reason: str
    device_there: bool


@dataclass(frozen=True)
class Driver:
    """What the CUDA driver says of itself and its first device, which is the one that fits run on.

    Args:
        error: cuInit's answer, 0 when all is well; None where there is no driver library.
        text: the error in words.
        version: of CUDA that it knows, such as "12.4".
        device: name of the first device; empty where there is none.
        capability: of that device, (major, minor).
    """

    error: int | None = None
    text: str = ""
    version: str = ""
    device: str = ""
    capability: tuple[int, int] = (0, 0)


class Machine:
    """This machine's answers; tests give others."""

    def interprets(self) -> bool:
        """Whether Triton runs its kernels in Python: slow, exact, and without a GPU."""
        return os.environ.get("TRITON_INTERPRET") == "1"

    def has(self, module: str) -> bool:
        """Whether a module is installed; it is not loaded."""
        return find_spec(module) is not None

    def driver(self) -> Driver:
        """The CUDA driver, which is started by asking."""
        return _asked_driver()

    def build_fault(self) -> str | None:
        """What is missing of what Triton builds its launchers with, in C, when the first kernel is run."""
        folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
        programs = [os.path.join(folder, name) for folder in folders for name in ("gcc", "clang")]
        if "CC" not in os.environ and not any(os.access(program, os.X_OK) for program in programs):
            return "a C compiler, which is not installed (gcc, clang, or another that CC names)"
        headers = sysconfig.get_path("include")
        if not os.path.exists(os.path.join(headers, "Python.h")):
            return f"Python's headers, which are not installed (no Python.h in {headers})"
        return None

    def torch_fault(self, driver: Driver) -> str | None:
        """Why PyTorch, which is loaded to be asked, cannot use the device; None if it can."""
        import torch

        if torch.version.cuda is None:
            return "this PyTorch is built without it"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of an old driver; the sentence says so
            if torch.cuda.is_available():
                return None
        return f"this PyTorch is built for CUDA {torch.version.cuda}, the driver knows CUDA {driver.version}"


def obstacle(machine: Machine | None = None, interpreter: bool = True) -> Obstacle | None:
    """What keeps engine "triton" from running; None if nothing does.

    Args:
        machine: whose answers count; None for this one.
        interpreter: whether Triton's interpreter, where it is switched on, may stand in for a device.
    """
    machine = machine or Machine()
    if interpreter and machine.interprets():
        return _missing(machine, device_there=False)
    driver = machine.driver()
    if (found := _without_device(driver)) is not None:
        return found
    if driver.capability < OLDEST:
        needed, old = (f"sm_{major}{minor}" for major, minor in (OLDEST, driver.capability))
        return Obstacle(
            f"engine 'triton' needs a CUDA device of {needed} or newer: {driver.device} is {old}", True
        )
    if (found := _missing(machine, device_there=True)) is not None:
        return found
    fault = machine.build_fault()
    if fault is not None:
        return Obstacle(f"engine 'triton' needs {fault}", True)
    fault = machine.torch_fault(driver)
    return None if fault is None else Obstacle(f"engine 'triton' needs PyTorch with CUDA: {fault}", True)


def _without_device(driver: Driver) -> Obstacle | None:
    """The driver's part: that there is one, that it starts, and that it has a device."""
    if driver.error is None or driver.error == NO_DRIVER:
        return Obstacle("engine 'triton' needs a CUDA device: no NVIDIA driver is installed", False)
    if driver.error not in (0, NO_DEVICE):
        trouble = f"the NVIDIA driver does not start (error {driver.error}: {driver.text})"
        return Obstacle(f"engine 'triton' needs a CUDA device: {trouble}", True)
    if driver.error == NO_DEVICE or not driver.device:
        return Obstacle("engine 'triton' needs a CUDA device: the NVIDIA driver shows none", False)
    return None


def _missing(machine: Machine, device_there: bool) -> Obstacle | None:
    for module, name in (("torch", "PyTorch"), ("triton", "Triton")):
        if not machine.has(module):
            how = "install it with: pip install dipedge[gpu]"
            return Obstacle(f"engine 'triton' needs {name}, which is not installed; {how}", device_there)
    return None


@cache
def _asked_driver() -> Driver:
    """Asks the driver's library; once, for what it says does not change while a process runs."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return Driver()
    return read_driver(library)


def read_driver(library: ctypes.CDLL) -> Driver:
    """What a driver's library answers."""
    error = library.cuInit(0)
    version, count, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    known = f"{version.value // 1000}.{version.value % 1000 // 10}"
    if error == 0:
        error = library.cuDeviceGetCount(ctypes.byref(count))
    if error != 0:
        text = ctypes.c_char_p()
        library.cuGetErrorString(error, ctypes.byref(text))
        return Driver(error, (text.value or b"unknown").decode(), known)
    if count.value == 0:
        return Driver(0, version=known)
    name, capability = ctypes.create_string_buffer(256), []
    library.cuDeviceGet(ctypes.byref(device), 0)
    library.cuDeviceGetName(name, len(name), device)
    for attribute in (CAPABILITY_MAJOR, CAPABILITY_MINOR):
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return Driver(0, "", known, name.value.decode(), tuple(capability))
