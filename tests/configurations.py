"""One of everything that descriptions can say, as programs of any engine, and how they are judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
import torch.nn.functional as F

from dipedge.engines import get_engine
from dipedge.engines.base import Engine, Evaluation, Program, Settings
from dipedge.networks import DOWNSAMPLINGS, PADDINGS, UPSAMPLINGS
from dipedge.priors import Fourier, GivenImage, Hourglass, Level, Meshgrid, Noise, Prior, SpaceTime
from dipedge.tasks import Denoise, Inpaint, SuperResolve, Task
from dipedge.views import View
from tests.tolerance import size

THREE = (Level(8, 8, 4), Level(16, 16, 4), Level(16, 16, 0))
POINTWISE = (Level(16, 16, 4, 1, 1),) * 3
ROUNDING = 3e-7  # five times the largest relative error of one float32 operation
Configuration = tuple[Prior, Task, tuple[int, int, int]]


def of(encoding, levels=THREE, task=None, shape=(21, 18, 3), **network) -> Configuration:
    return Prior(encoding, Hourglass(levels, **network)), task or Denoise(), shape


def decimations() -> Iterator[tuple[str, Configuration]]:
    """What goes down otherwise than by stride: over tiles, kernels of any size, Fourier features."""
    levels = (Level(17, 8, 4, 5, 3), Level(8, 33, 3, 3, 1), Level(16, 8, 4, 1))
    for down in ("avg", "max", "lanczos2", "lanczos3"):
        yield f"{down}, mixed kernels, over tiles", of(Noise(3), levels, shape=(9, 391, 1), downsample=down)
        for name, learned in (("fixed", False), ("learned", True)):
            encoding = Fourier(4, learned=learned)
            yield f"{down} of {name} frequencies", of(encoding, POINTWISE, shape=(23, 38, 3), downsample=down)


def configurations() -> Iterator[tuple[str, Configuration]]:
    """One of everything the descriptions can say, at sizes that are odd, wide, or end in one pixel."""

    for down in DOWNSAMPLINGS:
        for up in UPSAMPLINGS:
            for padding in PADDINGS:
                ways = {"downsample": down, "upsample": up, "padding": padding}
                yield f"{down}, {up}, {padding}", of(Noise(5), **ways)
    # 7 x 7 over a few pixels sees nearly the same everywhere: its norm would magnify rounding.
    for k, depth in ((1, 5), (3, 5), (5, 4), (7, 3)):
        same = (Level(8, 8, 4, k, k, k),) * depth
        yield f"kernel {k} everywhere, {depth} levels", of(Noise(5), same, shape=(16, 17, 3))
        levels = (Level(20, 24, 4, k, k, 3), Level(24, 20, 17, k, k, 5))
        yield f"kernel {k}, mixed channels, no 1x1", of(Noise(5), levels, shape=(9, 97, 4), need1x1_up=False)
    yield "wide over two tiles", of(Noise(3), THREE[:2], shape=(5, 200, 1))
    yield "no skips", of(Noise(3), (Level(16, 8, 0),) * 3, shape=(24, 15, 3))
    yield "skips wider than levels", of(Noise(3), (Level(4, 5, 33), Level(6, 3, 17)), shape=(12, 19, 3))
    yield "channels of one", of(Noise(1), (Level(1, 1, 1),) * 2, shape=(11, 12, 1))
    yield "slope 0", of(Noise(3), slope=0.0)
    yield "eps 0.1", of(Noise(3), bn_eps=0.1)
    yield "six outputs, no sigmoid", of(GivenImage(3), shape=(24, 24, 6), sigmoid=False)
    yield "mask and meshgrid", of(Meshgrid(), task=Inpaint(None), shape=(17, 23, 3), upsample="nearest")
    for scale in (2, 3, 4, 8):
        shape = (5 * scale, 3 * scale, 3)
        yield f"decimation by {scale}", of(Noise(3), task=SuperResolve(scale), shape=shape)
    for learned in (False, True):
        name = "learned" if learned else "fixed"
        yield f"{name} frequencies", of(Fourier(learned=learned), POINTWISE, shape=(23, 18, 3))
        yield f"{name} frequencies without skips", of(Fourier(learned=learned), (Level(16, 16, 0, 1, 1),) * 3)
        wide = (Level(8, 8, 4, 1, 1), Level(8, 8, 4))
        yield f"{name} frequencies over two tiles", of(Fourier(4, learned=learned), wide, shape=(4, 197, 3))
        yield f"{name} frequencies into 3x3", of(Fourier(4, 16.0, learned=learned))
        skip = (Level(8, 8, 4, 1, 1, 3), Level(8, 8, 4))
        yield f"{name} frequencies into a 3x3 skip", of(Fourier(4, 16.0, learned=learned), skip)
        for up in UPSAMPLINGS:
            encoding = Fourier(learned=learned)
            yield f"subsampled, {name}, {up}", of(encoding, POINTWISE, shape=(23, 18, 3), upsample=up)
    yield "subsampled, lanczos2", of(Fourier(4), POINTWISE, shape=(23, 18, 3), downsample="lanczos2")
    yield "subsampled, one level", of(Fourier(4), POINTWISE[:1], shape=(8, 9, 1))
    below = (Level(8, 8, 0, 1, 1), Level(8, 8, 4))
    yield "subsampled, 3x3 below, no skip", of(Fourier(4), below, shape=(20, 30, 3))
    task, bare = Inpaint(None), {"need1x1_up": False, "sigmoid": False}
    yield "subsampled, mask, two tiles", of(Fourier(4), POINTWISE[:2], task, (5, 401, 3), **bare)


def scenes() -> Iterator[tuple[str, Configuration]]:
    """What frames can be stacked in, at the size of a frame: features of space and time, pointwise layers."""
    in_time = SpaceTime(4, times=3)
    yield "space and time", of(in_time, POINTWISE, shape=(13, 18, 3))
    yield "learned space", of(SpaceTime(4, 16.0, True, times=2), POINTWISE, shape=(11, 22, 3))
    for down in ("avg", "max", "lanczos2", "lanczos3"):
        yield f"{down} in time", of(SpaceTime(4, 16.0, True), POINTWISE, shape=(15, 22, 3), downsample=down)
    yield "mask, nearest", of(Fourier(4), POINTWISE, Inpaint(None), (9, 14, 3), upsample="nearest")
    yield "decimation by 2 of odd frames", of(Fourier(4), POINTWISE[:2], SuperResolve(2), (13, 15, 3))
    yield "decimation by 3 of odd frames", of(in_time, POINTWISE[:2], SuperResolve(3), (13, 10, 1))
    noisy, task, shape = of(SpaceTime(4, 16.0, True, times=3), POINTWISE, shape=(13, 18, 3))
    yield "noise on z", (replace(noisy, perturbation=0.03), task, shape)
    yield "frames of a row", of(in_time, POINTWISE[:2], shape=(1, 20, 3))
    yield "frames over tiles", of(SpaceTime(3, times=2), POINTWISE[:2], shape=(5, 230, 3))
    yield "without skips", of(in_time, (Level(16, 16, 0, 1, 1),) * 2, shape=(10, 12, 3))
    for up in UPSAMPLINGS:
        yield f"subsampled in time, {up}", of(in_time, POINTWISE, shape=(9, 11, 3), upsample=up)
    learned = SpaceTime(4, 16.0, True, times=2)
    yield "subsampled, learned, mask", of(learned, POINTWISE, Inpaint(None), (10, 7, 3))


CONFIGURATIONS = {**dict(configurations()), **dict(decimations())}
SCENES = dict(scenes())


def prepared(
    engine: str | Engine,
    precision: str,
    name: str,
    seed: int,
    make_z: bool = False,
    views: tuple[View, ...] = (),
) -> Program:
    """A program with random norms (with all gammas 1 and betas 0 much would cancel), target, mask and z.

    ``make_z`` asks for the gradient by z even of Fourier features, which are not made otherwise where only
    1x1 layers read them. ``views`` are where its frames lie, if not where they always do: of several, so many
    are stacked.
    """
    prior, task, (height, width, channels) = (CONFIGURATIONS | SCENES)[name]
    frames = max(len(views), 1)
    shape = (frames * height, width, channels)
    threads = 2 if engine == "native" else 1
    settings = Settings(
        seed=seed,
        precision=precision,
        threads=threads,
        subsample=name.startswith("subsampled"),
        input_gradient=make_z or not isinstance(prior.encoding, Fourier),
        frames=frames,
        warped=not all(view.is_shift for view in views),
    )
    chosen = get_engine(engine) if isinstance(engine, str) else engine
    program = chosen.compile(prior, task, shape, settings)
    draws = np.random.default_rng(seed)
    program.load_state(
        {
            f"param/{key}": draws.normal(key.endswith("weight"), 0.3, of_key).astype(np.float32)
            for key, of_key in prior.parameter_shapes(shape[2]).items()
            if ".bn." in key
        }
    )
    scale = task.data_term.scale
    target = draws.random((frames * -(-height // scale), -(-width // scale), channels), np.float32)
    mask = draws.random(shape[:2]) > 0.5
    if isinstance(prior.encoding, GivenImage):
        program.set_input(draws.random((*shape[:2], prior.encoding.channels), np.float32))
    if views:
        program.set_views(views)
    program.set_target(target, mask if task.data_term.kind == "mask" else None)
    return program


@contextmanager
def nearest_to_corner() -> Iterator[list[float]]:
    """Collects how near to LeakyReLU's corner the values of any layer come."""
    distances: list[float] = []
    leaky_relu = F.leaky_relu

    def watched(x, *rest):
        distances.append(float(x.detach().abs().min()))
        return leaky_relu(x, *rest)

    with patch.object(F, "leaky_relu", watched):
        yield distances


@cache
def reference(name: str, views: tuple[View, ...] = ()) -> tuple[int, Evaluation]:
    """A seed with which no value is so near to the corner that rounding decides its slope, and the answer."""
    for seed in range(50):
        program = prepared("torch", "fp64", name, seed, views=views)
        with nearest_to_corner() as distances:
            answer = program.evaluate()
        program.close()
        if min(distances) > 2e-6:
            return seed, answer
    pytest.fail(f"{name}: every seed has a value at the corner")


def without_effect(name: str) -> bool:
    """Shifts ahead of a norm (of the merge's too, a convolution in between): their exact gradient is 0."""
    return (name.endswith("conv.bias") and not name.startswith("head")) or name.endswith("merge.bn.bias")


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return size(found - wanted) / size(wanted)


def assert_evaluation(found: Evaluation, wanted: Evaluation) -> None:
    """Output, loss and every gradient in float32 are those of float64."""
    assert relative(found.output, wanted.output) < 1e-5
    assert found.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert set(found.gradients) == set(wanted.gradients)
    whole = np.sqrt(sum(np.linalg.norm(values) ** 2 for values in wanted.gradients.values()))
    for key, values in wanted.gradients.items():
        # A level of one or two pixels is normalised to a constant: what is left of its gradient cancels,
        # and is judged beside what it was made from.
        allowed = 1e-4 * (whole if without_effect(key) else np.linalg.norm(values)) + ROUNDING * whole
        assert np.linalg.norm(found.gradients[key] - values) < allowed, key


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64).ravel(), other.ravel()
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def assert_bfloat16_evaluation(found: Evaluation, wanted: Evaluation, maxima: bool) -> None:
    """Output and loss near float64's, the gradients in its direction, where the network has slope 1.

    Which of four pixels is the largest changes with rounding too, and no slope helps there (``maxima``).
    """
    assert relative(found.output, wanted.output) < 0.02
    assert found.loss == pytest.approx(wanted.loss, rel=0.01)
    keys = [key for key in wanted.gradients if not without_effect(key)]
    found_all, wanted_all = (
        np.concatenate([answer.gradients[key].ravel() for key in keys]) for answer in (found, wanted)
    )
    assert cosine(found_all, wanted_all) > (0.98 if maxima else 0.99)
    large = [key for key in keys if size(wanted.gradients[key]) > 0.1 * size(wanted_all)]
    assert large and min(cosine(found.gradients[key], wanted.gradients[key]) for key in large) > 0.9
