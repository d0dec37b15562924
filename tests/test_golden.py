"""``python -m tests.golden``: on the published values where they are at hand, and on files made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dipedge.engines import get_engine  # noqa: E402
from dipedge.errors import EngineError  # noqa: E402
from tests import golden  # noqa: E402
from tests.golden_networks import measure, prior_from_config, without_effect  # noqa: E402

BASE = {
    "input_channels": 3, "out_channels": 3, "height": 24, "width": 20, "lr": 0.01,
    "num_channels_down": [8, 6], "num_channels_up": [6, 8], "num_channels_skip": [2, 3],
    "upsample_mode": "bilinear", "pad": "reflection",
}  # fmt: skip
CONFIGS = {
    "default": {},
    "lanczos": {"downsample_mode": "lanczos2", "upsample_mode": "nearest"},
    "lanczos3_zero": {"downsample_mode": "lanczos3", "pad": "zero"},
    "max_odd": {"downsample_mode": "max", "height": 23, "width": 17},
    "avg": {"downsample_mode": "avg", "num_channels_skip": [0, 4]},
    "kernels": {"filter_size_down": [7, 3], "filter_size_up": [1, 5], "filter_skip_size": [3, 1]},
    "no_bias": {"need_bias": False},
    "no_sigmoid": {"need_sigmoid": False, "need1x1_up": False, "leaky_slope": 0.1, "bn_eps": 1e-3},
}


@pytest.fixture(autouse=True)
def same_thread_count_afterwards():
    """Golden runs use one thread, and PyTorch's thread count is the process's."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def available(engine: str) -> str:
    """The engine's name, or a visible skip where it is not built."""
    try:
        get_engine(engine)
    except EngineError as error:
        pytest.skip(str(error))
    return engine


def write_golden(folder: Path, **changes: object) -> Path:
    """A golden file whose values come from the torch engine in float64."""
    config = BASE | changes
    draw = np.random.default_rng(0)
    size = config["height"], config["width"]
    file = {
        "config": np.frombuffer(json.dumps(config).encode(), np.uint8),
        "input": draw.random((1, config["input_channels"], *size), np.float32),
        "target": draw.random((1, 3, *size), np.float32),
    }
    for name, shape in prior_from_config(config).parameter_shapes(3).items():
        if name.endswith("conv.bias") and not config.get("need_bias", True):
            continue
        spread = 0.5 / np.sqrt(np.prod(shape[1:])) if len(shape) == 4 else 0.2
        centre = 1.0 if name.endswith("bn.weight") else 0.0
        file[f"param/{name}"] = (centre + spread * draw.standard_normal(shape)).astype(np.float32)
    found = measure(file, get_engine("torch"), "fp64")
    for (quantity, name), values in found.items():
        if quantity == "output" or name == "input":
            key, values = ("grad/input" if name else "output"), np.moveaxis(values, 2, 0)[None]
        elif quantity == "losses":
            key = name
        elif f"param/{name}" not in file:
            continue
        else:
            key = f"{'grad' if quantity == 'gradients' else 'after'}/{name}"
        file[key] = np.asarray(values, np.float32)
    path = folder / "dip_skip_made_here.npz"
    np.savez(path, **file)
    return path


def spoil(path: Path, key: str, factor: float) -> None:
    """Scales one stored array."""
    with np.load(path) as archive:
        file = dict(archive)
    file[key] = file[key] * np.float32(factor)
    np.savez(path, **file)


@pytest.mark.parametrize("engine", golden.ENGINES)
def test_the_published_values_are_met(shared, capsys, engine):
    words = [str(shared / "golden"), "--engine", available(engine), "--judge-rounding"]
    assert golden.main(words) == 0, capsys.readouterr().out


@pytest.mark.parametrize("engine", golden.ENGINES)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_made_in_float64_passes(tmp_path, capsys, name, engine):
    write_golden(tmp_path, **CONFIGS[name])
    code = golden.main([str(tmp_path), "--engine", available(engine), "--judge-rounding"])
    line = capsys.readouterr().out
    assert code == 0, line
    assert line.startswith("dip_skip_made_here.npz") and line.rstrip().endswith("ok")
    assert all(quantity in line for quantity in ("output", "gradients", "losses", "parameters"))


@pytest.mark.parametrize(
    ("key", "factor", "words"),
    [
        ("output", 1 + 1e-5, "output"),
        ("grad/level0.up.conv.weight", 1 + 1e-3, "gradients"),
        ("grad/input", 1 + 1e-3, "gradients"),
        ("adam_losses", 1 + 1e-2, "losses"),
        ("after/head.conv.bias", 1.5, "parameters"),
        ("param/head.conv.weight", 1 + 1e-4, "output"),
    ],
)
def test_a_wrong_value_fails_and_is_named(tmp_path, capsys, key, factor, words):
    path = write_golden(tmp_path)
    spoil(path, key, factor)
    assert golden.main([str(tmp_path), "--engine", "torch", "--judge-rounding"]) == 1
    line = capsys.readouterr().out
    assert line.rstrip().endswith("FAILED")
    section = line[line.index(words) :].split("  ")[0]
    assert "ABOVE" in section


def test_another_learning_rate_is_not_taken_for_rounding(tmp_path, capsys):
    path = write_golden(tmp_path)
    with np.load(path) as archive:
        file = dict(archive)
    file["config"] = np.frombuffer(json.dumps(BASE | {"lr": 0.0105}).encode(), np.uint8)
    np.savez(path, **file)
    assert golden.main([str(tmp_path), "--engine", "torch", "--judge-rounding"]) == 1
    assert "step by step" in capsys.readouterr().out


def test_a_wrong_adam_is_caught_one_step_at_a_time(tmp_path):
    class WrongEngine:
        """The torch engine with another beta2 than it was asked for."""

        name = "wrong"

        def compile(self, prior, task, shape, settings):
            made = get_engine("torch").compile(prior, task, shape, settings)
            made._optimiser._adam.param_groups[0]["betas"] = (0.9, 0.99)
            return made

    path = write_golden(tmp_path)
    with np.load(path) as archive:
        file = dict(archive)
    assert golden.step_by_step(file, get_engine("torch")).error < 1e-3
    assert golden.step_by_step(file, WrongEngine()).error > 1e-3


def test_an_unmatched_parameter_is_a_failure_with_its_name(tmp_path, capsys):
    path = write_golden(tmp_path)
    with np.load(path) as archive:
        file = dict(archive)
    del file["param/level0.merge.bn.weight"]
    np.savez(path, **file)
    assert golden.main([str(tmp_path), "--engine", "torch", "--judge-rounding"]) == 1
    assert "lacks param/level0.merge.bn.weight" in capsys.readouterr().out


def test_a_folder_without_golden_files_ends_with_2(tmp_path, capsys):
    assert golden.main([str(tmp_path)]) == 2
    assert "no golden file" in capsys.readouterr().err


def test_without_being_asked_nothing_above_its_limit_passes(monkeypatch):
    monkeypatch.setattr(golden, "explained", lambda *_: (True, "float32 spread 1.0e-02"))
    worst, file = [golden.Finding("parameters", 2e-3, "level0.up.conv.weight")], {"config": np.zeros(1)}
    text, good = golden.describe(worst, "torch", file)
    assert not good and "ABOVE 1e-03" in text and "spread" in text
    assert golden.describe(worst, "torch", file, judge_rounding=True)[1]


def test_a_nan_is_the_worst_error_and_fails():
    findings = [golden.Finding("output", 1e-9, "a"), golden.Finding("output", float("nan"), "b")]
    text, good = golden.describe(findings, "torch", {})
    assert not good and "b" in text and "ABOVE" in text


def test_only_biases_without_effect_are_left_out():
    left_out = [
        name for name in prior_from_config(BASE).parameter_shapes(3) if without_effect(name, "reflection")
    ]
    assert "head.conv.bias" not in left_out and all(name.endswith("bias") for name in left_out)
    assert {name for name in left_out if "bn" in name} == {"level0.merge.bn.bias", "level1.merge.bn.bias"}
    assert not without_effect("level0.merge.bn.bias", "zero")
