"""Whether engine "triton" can run, and what is said where it cannot: on invented machines, without a GPU."""

import subprocess
import sys
import types
import warnings
from importlib import import_module

import pytest

import dipedge as de
from dipedge import cli, engines
from dipedge.engines import cuda_check
from dipedge.engines.cuda_check import Driver, obstacle, read_driver

H200 = Driver(0, "", "12.8", "NVIDIA H200", (9, 0))
T4 = Driver(0, "", "12.4", "Tesla T4", (7, 5))
MISMATCH = Driver(803, "system has unsupported display driver / cuda driver combination", "12.4")


class Invented:
    """A machine whose facts are given."""

    def __init__(self, driver=H200, modules=("torch", "triton"), fault=None, interprets=False, unbuilt=None):
        self._driver, self._modules, self._fault, self._interprets = driver, modules, fault, interprets
        self._unbuilt, self.loaded_torch = unbuilt, False

    def interprets(self):
        return self._interprets

    def has(self, module):
        return module in self._modules

    def driver(self):
        return self._driver

    def build_fault(self):
        return self._unbuilt

    def torch_fault(self, driver):
        self.loaded_torch = True
        return self._fault


CPU_BUILD = "this PyTorch is built without it"
CASES = {
    "no driver": ({"driver": Driver()}, "a CUDA device: no NVIDIA driver is installed", False),
    "library without driver": (
        {"driver": Driver(34, "CUDA driver is a stub library")},
        "no NVIDIA driver is installed",
        False,
    ),
    "no device": ({"driver": Driver(100, "no device")}, "a CUDA device: the NVIDIA driver shows none", False),
    "none counted": ({"driver": Driver(0, "", "12.4")}, "the NVIDIA driver shows none", False),
    "mismatch": ({"driver": MISMATCH}, "does not start (error 803: system has unsupported display", True),
    "too old": ({"driver": T4}, "a CUDA device of sm_80 or newer: Tesla T4 is sm_75", True),
    "no triton": (
        {"modules": ("torch",)},
        "needs Triton, which is not installed; install it with: pip",
        True,
    ),
    "no torch": ({"modules": ("triton",)}, "needs PyTorch, which is not installed; install it with", True),
    "no compiler": ({"unbuilt": "a C compiler, which is not there"}, "needs a C compiler, which is", True),
    "torch without CUDA": ({"fault": CPU_BUILD}, f"needs PyTorch with CUDA: {CPU_BUILD}", True),
    "interpreter without triton": (
        {"driver": Driver(), "interprets": True, "modules": ("torch",)},
        "needs Triton, which is not installed",
        False,
    ),
}


@pytest.mark.parametrize(("facts", "words", "device_there"), CASES.values(), ids=CASES.keys())
def test_what_is_missing_is_said_in_one_sentence(facts, words, device_there):
    found = obstacle(Invented(**facts))
    assert found.reason.startswith("engine 'triton' needs ")
    assert words in found.reason and "\n" not in found.reason
    assert found.device_there == device_there


def test_nothing_is_in_the_way_where_all_is_there():
    assert obstacle(Invented()) is None
    assert obstacle(Invented(driver=Driver(0, "", "12.4", "A100", (8, 0)))) is None


def test_the_interpreter_stands_in_for_a_device_where_it_is_allowed_to():
    machine = Invented(driver=Driver(), interprets=True)
    assert obstacle(machine) is None
    assert "no NVIDIA driver" in obstacle(machine, interpreter=False).reason


@pytest.mark.parametrize(
    "case", ["no driver", "no device", "mismatch", "too old", "no triton", "no compiler"]
)
def test_pytorch_is_not_loaded_where_something_else_is_missing(case):
    machine = Invented(**CASES[case][0])
    obstacle(machine)
    assert not machine.loaded_torch


def test_a_compiler_is_looked_for_where_triton_looks(monkeypatch, tmp_path):
    machine = cuda_check.Machine()
    headers = tmp_path / "include"
    monkeypatch.setattr(cuda_check.sysconfig, "get_path", lambda name: str(headers))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert machine.build_fault().startswith("a C compiler, which is not installed")
    (tmp_path / "gcc").touch()
    assert "C compiler" in machine.build_fault()  # a file that cannot be run is none
    (tmp_path / "gcc").chmod(0o755)
    assert machine.build_fault() == f"Python's headers, which are not installed (no Python.h in {headers})"
    headers.mkdir()
    (headers / "Python.h").touch()
    assert machine.build_fault() is None
    (tmp_path / "gcc").unlink()
    monkeypatch.setenv("CC", "icx")
    assert machine.build_fault() is None


# The driver's library -------------------------------------------------------------------------------


class Library:
    """A driver's library in Python; ctypes' byref gives what is written to."""

    def __init__(self, error=0, devices=1):
        self.error, self.devices = error, devices

    def cuInit(self, flags):
        return self.error

    def cuDriverGetVersion(self, version):
        version._obj.value = 12040
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = self.devices
        return 0

    def cuGetErrorString(self, error, text):
        text._obj.value = b"words about it"
        return 0

    def cuDeviceGet(self, device, index):
        device._obj.value = 7 + index
        return 0

    def cuDeviceGetName(self, name, length, device):
        name.value = b"Device %d" % device.value
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0


def test_the_driver_tells_of_its_first_device():
    assert read_driver(Library()) == Driver(0, "", "12.4", "Device 7", (8, 9))


def test_a_driver_that_does_not_start_tells_why():
    assert read_driver(Library(error=803)) == Driver(803, "words about it", "12.4")
    assert read_driver(Library(devices=0)) == Driver(0, "", "12.4")


def test_a_machine_without_the_library_has_no_driver(monkeypatch):
    monkeypatch.setattr(cuda_check, "LIBRARY", "libno_such_driver.so.1")
    assert cuda_check._asked_driver.__wrapped__() == Driver()


# Engines by name ------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """``machine(**facts)``: from now on this machine is an invented one, and "auto" has said nothing yet."""

    def make(**facts):
        invented = Invented(**facts)
        monkeypatch.setattr(cuda_check, "Machine", lambda: invented)
        monkeypatch.setattr(engines, "_told", set())
        return invented

    return make


@pytest.fixture
def triton_engine(monkeypatch):
    """A module of the engine's name whose engine does nothing: what is chosen can be told without a GPU."""
    module = types.ModuleType("dipedge.engines.triton")

    class TritonEngine:
        name = "triton"
        reason = None

        def supports(self, prior, task):
            return self.reason

    module.TritonEngine = TritonEngine
    monkeypatch.setitem(sys.modules, "dipedge.engines.triton", module)
    return TritonEngine


@pytest.mark.parametrize("case", CASES, ids=CASES.keys())
def test_the_engine_asked_for_by_name_is_an_error_that_says_what_works_instead(machine, case):
    machine(**CASES[case][0])
    with pytest.raises(de.EngineError, match=r"; engine='native' runs on this processor$") as caught:
        de.get_engine("triton")
    assert CASES[case][1] in str(caught.value)


def test_an_engine_that_cannot_be_loaded_is_an_error_of_one_line(machine, monkeypatch):
    machine()
    monkeypatch.setitem(sys.modules, "dipedge.engines.triton", None)
    with pytest.raises(de.EngineError, match="engine 'triton' cannot be loaded"):
        de.get_engine("triton")


def test_auto_takes_the_gpu_where_it_can_run(machine, triton_engine):
    machine()
    assert de.get_engine("triton").name == "triton"
    assert de.get_engine("auto").name == "triton"


def test_auto_never_takes_the_interpreter(machine, triton_engine):
    pytest.importorskip("dipedge._native")
    machine(driver=Driver(), interprets=True)
    assert de.get_engine("triton").name == "triton"
    assert de.get_engine("auto").name == "native"


@pytest.mark.parametrize("case", [name for name, (_, _, there) in CASES.items() if there])
def test_auto_says_once_that_a_device_cannot_be_used(machine, case):
    pytest.importorskip("dipedge._native")
    machine(**CASES[case][0])
    with pytest.warns(de.EngineFallbackWarning, match="engine='auto' takes the native engine: ") as caught:
        assert de.get_engine("auto").name == "native"
    assert CASES[case][1] in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert de.get_engine("auto").name == "native"


@pytest.mark.parametrize("case", ["no driver", "no device", "library without driver"])
def test_auto_is_quiet_where_there_is_no_device(machine, case):
    pytest.importorskip("dipedge._native")
    machine(**CASES[case][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert de.get_engine("auto").name == "native"


def test_auto_says_so_when_the_engine_is_there_but_cannot_be_loaded(machine, monkeypatch):
    pytest.importorskip("dipedge._native")
    machine()
    monkeypatch.setitem(sys.modules, "dipedge.engines.triton", None)
    with pytest.warns(de.EngineFallbackWarning, match="cannot be loaded") as caught:
        assert de.get_engine().name == "native"
    assert str(caught[0].message).count("native") == 1


def test_auto_takes_the_native_engine_for_what_the_gpu_does_not_run(machine, triton_engine, tiny_pip):
    pytest.importorskip("dipedge._native")
    machine()
    triton_engine.reason = "engine 'triton' has no such upsampling"
    with pytest.warns(de.EngineFallbackWarning, match="no such upsampling"):
        session = de.Session(de.Denoise(), prior=tiny_pip)
    assert session.engine == "native"
    with pytest.raises(de.EngineError, match="no such upsampling"):
        de.Session(de.Denoise(), prior=tiny_pip, engine="triton")


# The command line -----------------------------------------------------------------------------------


def test_the_command_line_says_in_one_line_why_the_gpu_is_not_used(
    machine, capsys, tmp_path, picture, monkeypatch
):
    pytest.importorskip("dipedge._native")
    from PIL import Image

    machine(driver=T4)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture()).save("in.png")
    assert cli.main(["denoise", "in.png", "-o", "out.png", "--steps", "1", "--threads", "1"]) == 0
    err = capsys.readouterr().err
    assert err == (
        "dipedge: note: engine='auto' takes the native engine: "
        "engine 'triton' needs a CUDA device of sm_80 or newer: Tesla T4 is sm_75\n"
    )


def test_other_warnings_are_shown_with_their_place(capsys, monkeypatch):
    def warn(*_, **__):
        warnings.warn("something else", UserWarning, stacklevel=1)

    monkeypatch.setattr(cli, "app", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        monkeypatch.setattr(
            warnings, "showwarning", lambda message, category, *_: print(f"{category.__name__}: {message}")
        )
        assert cli.main([]) == 0
    assert capsys.readouterr().out == "UserWarning: something else\n"


def test_info_says_why_the_gpu_is_not_used(machine, capsys):
    pytest.importorskip("dipedge._native")
    machine(driver=MISMATCH)
    assert cli.main(["info"]) == 0
    captured = capsys.readouterr()
    assert "auto       takes native" in captured.out
    assert "triton     not available: engine 'triton' needs a CUDA device: the NVIDIA driver does not" in (
        captured.out
    )
    assert captured.err == ""


def test_bench_leaves_out_interpreted_kernels(machine, capsys, monkeypatch):
    pytest.importorskip("dipedge._native")
    bench = import_module("dipedge.cli.bench")  # the package has a command of that name
    monkeypatch.setattr(bench, "Machine", lambda: Invented(interprets=True))
    monkeypatch.setattr(bench, "ENGINE_NAMES", ("auto", "triton", "native"))
    assert cli.main(["bench", "--size", "16", "--seconds", "0.02", "--threads", "1"]) == 0
    assert "triton: its kernels are interpreted here" in capsys.readouterr().out


def test_on_a_machine_without_a_gpu_auto_loads_neither_torch_nor_triton():
    pytest.importorskip("dipedge._native")
    found = obstacle(interpreter=False)
    if found is None or found.device_there:
        pytest.skip("this machine has a GPU")
    code = """
import sys, dipedge
print(dipedge.get_engine().name, "torch" in sys.modules, "triton" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("native False False", "")
