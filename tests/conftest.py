"""What tests share: the engines that are here, tiny priors and pictures, and where shared data may be."""

import importlib.util
import os
import signal
from pathlib import Path

# Tiny pictures are slower with more threads than with one; set before torch is loaded by any test.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

try:
    import torch

    # Without a GPU Triton's kernels run in its interpreter; read when the first of them is imported.
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
except ImportError:
    pass

from dipedge import cli
from dipedge.priors import Fourier, Hourglass, Level, Noise, Prior
from dipedge.session import Session
from dipedge.tasks import Denoise

# A shell starts its background jobs with SIGINT ignored, and this suite may be one.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_there(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(not _is_there(module), reason=f"{module} is not installed"))
    for name, module in (("torch", "torch"), ("native", "dipedge._native"))
]


@pytest.fixture(params=ENGINES)
def engine(request):
    """The name of each engine that this installation has."""
    return request.param


@pytest.fixture
def tiny_dip():
    """A 3x3 hourglass that fits a 16 x 16 picture in milliseconds."""
    levels = (Level(8, 8, 2), Level(8, 8, 2))
    return Prior(Noise(4), Hourglass(levels), perturbation=1 / 30, name="tiny dip")


@pytest.fixture
def tiny_pip():
    """A 1x1 hourglass with Fourier features, as small."""
    level = Level(16, 16, 4, kernel_down=1, kernel_up=1)
    return Prior(Fourier(count=4, highest=16.0), Hourglass((level, level)), name="tiny pip")


@pytest.fixture(params=["dip", "pip"])
def tiny_prior(request, tiny_dip, tiny_pip):
    return tiny_dip if request.param == "dip" else tiny_pip


def smooth_picture(height, width, channels=3):
    """A picture without noise, float32 [H, W, C] in [0.1, 0.9]: slow waves, each channel its own."""
    row, column = np.mgrid[:height, :width] / max(height, width)
    planes = [0.5 + 0.4 * np.sin(5 * row + (3 + k) * column + k) for k in range(channels)]
    return np.stack(planes, axis=2).astype(np.float32)


@pytest.fixture
def picture():
    """``picture(height, width, channels=3, dtype="uint8")``: a smooth picture."""

    def make(height=16, width=20, channels=3, dtype="uint8"):
        values = smooth_picture(height, width, channels or 1)
        values = values if channels else values[..., 0]
        if np.dtype(dtype).kind == "u":
            return np.rint(values * np.iinfo(dtype).max).astype(dtype)
        return values.astype(dtype)

    return make


@pytest.fixture
def noisy(picture):
    """``noisy(height, width, sigma=25)``: (noisy, clean), float32, noise clipped to [0, 1]."""

    def make(height=16, width=20, channels=3, sigma=25, seed=0):
        clean = picture(height, width, channels, "float32")
        noise = np.random.default_rng(seed).normal(0, sigma / 255, clean.shape)
        return np.clip(clean + noise, 0, 1).astype(np.float32), clean

    return make


@pytest.fixture
def session(engine, tiny_prior):
    """An open session of four steps a fit."""
    with Session(Denoise(), prior=tiny_prior, engine=engine, steps=4, threads=1) as opened:
        yield opened


@pytest.fixture
def lockstep(monkeypatch):
    """``lockstep(**options)``: from now on sessions have this ``Lockstep`` engine, whatever they ask for."""

    def make(**options):
        from tests.lockstep import Lockstep

        engine = Lockstep(**options)
        monkeypatch.setattr("dipedge.session.engine_for", lambda name, prior, task: engine)
        return engine

    return make


@pytest.fixture
def opened(tiny_prior):
    """``opened(**options)``: a session of five steps a fit on the native engine, unless told otherwise."""

    def make(**options):
        options = {"steps": 5, "threads": 1, "engine": "native", "prior": tiny_prior} | options
        return Session(options.pop("task", Denoise()), **options)

    return make


@pytest.fixture(scope="session")
def shared():
    """The folder of measured data beside the repository; tests that need it are skipped without it."""
    folder = Path(os.environ.get("DIPEDGE_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set DIPEDGE_SHARED")
    return folder


@pytest.fixture
def folder(tmp_path, picture, monkeypatch):
    """An empty working folder with ``in.png`` (20 x 16) in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture()).save("in.png")
    return tmp_path


@pytest.fixture
def run(folder, engine, capsys):
    """``run("denoise", ...)``: runs a quick fit; (exit code, standard output, standard error)."""

    def command(*arguments):
        code = cli.main([*map(str, arguments), "--engine", engine, "--steps", "2", "--threads", "1"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command
