"""Golden files of whole nets: building the net a file describes, running it, comparing every tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dipedge.engines.base import Engine, Program, Settings
from dipedge.errors import InputError
from dipedge.optimisers import Adam
from dipedge.priors import GivenImage, Hourglass, Level, Prior
from dipedge.tasks import Denoise

STEPS = 3

Arrays = Mapping[str, np.ndarray]
# What is compared: (quantity, tensor) -> values.
Measured = dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Finding:
    """One comparison: the quantity it belongs to, its relative L2 error, and of what."""

    quantity: str
    error: float
    where: str = ""


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """|found - wanted| / |wanted| in float64; infinite where shapes differ or only one is zero."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if found.shape != wanted.shape:
        return float("inf")
    difference, size = np.linalg.norm(found - wanted), np.linalg.norm(wanted)
    if size == 0:
        return 0.0 if difference == 0 else float("inf")
    return float(difference / size)


def compare(found: Measured, wanted: Measured) -> Iterator[Finding]:
    """The relative error of every tensor in ``wanted``."""
    for (quantity, where), values in wanted.items():
        yield Finding(quantity, relative_error(found[quantity, where], values), where)


def picture(values: np.ndarray) -> np.ndarray:
    """[1, C, H, W] -> contiguous [H, W, C] float32."""
    if values.ndim != 4 or values.shape[0] != 1:
        raise InputError(f"a picture has shape {values.shape}; it must be (1, C, H, W)")
    return np.ascontiguousarray(np.moveaxis(values[0], 0, 2), np.float32)


def read_config(file: Arrays) -> dict:
    """The file's ``config``, JSON in bytes."""
    return json.loads(bytes(file["config"]))


def _per_level(config: dict, key: str, default: object, count: int) -> list:
    value = config.get(key, default)
    values = list(value) if isinstance(value, list | tuple) else [value] * count
    if len(values) != count:
        raise InputError(f"config {key} is {value}; it needs {count} entries")
    return values


def _same_on_all_levels(config: dict, key: str, default: str) -> str:
    value = config.get(key, default)
    values = set(value) if isinstance(value, list | tuple) else {value}
    if len(values) != 1:
        raise InputError(f"config {key} is {value}; only one value for all levels can be built")
    return values.pop()


def prior_from_config(config: dict) -> Prior:
    """The net a golden file describes, with the published defaults for absent keys; z is given."""
    count = len(config["num_channels_down"])
    if config.get("act_fun", "LeakyReLU") != "LeakyReLU":
        raise InputError(f"config act_fun is {config['act_fun']!r}; only 'LeakyReLU' can be built")
    columns = (
        _per_level(config, "num_channels_down", None, count),
        _per_level(config, "num_channels_up", None, count),
        _per_level(config, "num_channels_skip", None, count),
        _per_level(config, "filter_size_down", 3, count),
        _per_level(config, "filter_size_up", 3, count),
        _per_level(config, "filter_skip_size", 1, count),
    )
    network = Hourglass(
        levels=tuple(Level(*row) for row in zip(*columns, strict=True)),
        upsample=_same_on_all_levels(config, "upsample_mode", "nearest"),
        padding=config.get("pad", "zero"),
        downsample=_same_on_all_levels(config, "downsample_mode", "stride"),
        need1x1_up=config.get("need1x1_up", True),
        sigmoid=config.get("need_sigmoid", True),
        slope=config.get("leaky_slope", 0.2),
        bn_eps=config.get("bn_eps", 1e-5),
    )
    return Prior(GivenImage(config["input_channels"]), network, name="golden")


def without_effect(name: str, padding: str) -> bool:
    """Whether a parameter only adds a constant that the next BN takes away.

    Every convolution's bias but the head's is such a one. So is the shift of a merge's BN under
    reflection padding: the convolution behind it turns constant channels into constant channels. Their
    exact gradient is zero; what is stored is rounding, which Adam blows up to steps of the size of LR.
    """
    if name == "head.conv.bias":
        return False
    return name.endswith("conv.bias") or (name.endswith("merge.bn.bias") and padding == "reflection")


def compared_names(file: Arrays) -> list[str]:
    """The parameters whose gradients and later values mean something."""
    padding = prior_from_config(read_config(file)).network.padding
    names = (key.removeprefix("param/") for key in file if key.startswith("param/"))
    return [name for name in names if not without_effect(name, padding)]


def stored(file: Arrays) -> Measured:
    """What the file says should come out."""
    wanted: Measured = {
        ("output", ""): picture(file["output"]),
        ("losses", "loss"): file["loss"],
        ("losses", "adam_losses"): file["adam_losses"],
        ("gradients", "input"): picture(file["grad/input"]),
    }
    for name in compared_names(file):
        wanted["gradients", name] = file[f"grad/{name}"]
        wanted["parameters", name] = file[f"after/{name}"]
    return wanted


def held_at_zero(file: Arrays, prior: Prior, channels: int) -> dict[str, np.ndarray]:
    """The biases of ours that the file's net does not have, as a state to be loaded after every step.

    A net built with ``need_bias`` false has no convolution biases, ours always have: zeros are the same
    net as long as they stay zeros, the head's above all, which is the only one that counts.
    """
    shapes = prior.parameter_shapes(channels)
    absent = [name for name in shapes if f"param/{name}" not in file]
    wrong = [name for name in absent if not name.endswith("conv.bias")]
    if wrong or (absent and read_config(file).get("need_bias", True)):
        raise InputError(f"the file lacks param/{(wrong or absent)[0]}")
    return {f"param/{name}": np.zeros(shapes[name], np.float32) for name in absent}


def prepare(
    file: Arrays, engine: Engine, precision: str = "fp32", start: Arrays | None = None
) -> tuple[Program, dict[str, np.ndarray]]:
    """A program that starts as the file says, or from ``start``, and what it must hold at zero."""
    config = read_config(file)
    prior = prior_from_config(config)
    target, z = picture(file["target"]), picture(file["input"])
    rate = Adam(learning_rate=config.get("lr", 0.01))
    settings = Settings(rate, average=0.0, precision=precision, threads=1, input_gradient=True)
    program = engine.compile(prior, Denoise(), target.shape, settings)
    parameters = {key: np.asarray(file[key], np.float32) for key in file if key.startswith("param/")}
    held = held_at_zero(file, prior, target.shape[2])
    program.load_state({**parameters, **(start or {}), **held})
    program.set_input(z)
    program.set_target(target)
    return program, held


def measure(file: Arrays, engine: Engine, precision: str = "fp32", start: Arrays | None = None) -> Measured:
    """One forward and backward pass, then three Adam steps."""
    program, held = prepare(file, engine, precision, start)
    first = program.evaluate()
    found: Measured = {("output", ""): first.output, ("losses", "loss"): np.array(first.loss)}
    for name, values in first.gradients.items():
        found["gradients", name] = values
    losses = []
    for _ in range(STEPS):
        program.step()
        losses.append(program.loss())
        program.load_state(held)
    found["losses", "adam_losses"] = np.array(losses)
    for key, values in program.state().items():
        if key.startswith("param/"):
            found["parameters", key.removeprefix("param/")] = values
    program.close()
    return found
