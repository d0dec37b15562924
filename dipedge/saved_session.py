"""What of a session goes into a scene file, and how a session comes out of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dipedge.descriptions import from_plain, to_plain
from dipedge.engines.base import State
from dipedge.errors import FileError, InputError
from dipedge.optimisers import Optimiser
from dipedge.priors import HazePriors, Prior
from dipedge.result import Step
from dipedge.scene_file import load_scene, save_scene
from dipedge.stopping import Rule
from dipedge.streaming.pushing import STREAM_KEYS
from dipedge.tasks import Task
from dipedge.tiles import Tiles

if TYPE_CHECKING:
    from dipedge.session import Session

MASK_KEY = "task/mask"


def save(session: Session, path: str | os.PathLike) -> None:
    """See ``Session.save``."""
    if not session.task.storable:
        raise InputError(f"a fit of task {session.task.name!r} cannot be saved: its task holds a model")
    state = session.state()
    if session._mask is not None:
        state[MASK_KEY] = session._mask.astype(np.uint8)
    state |= session._pusher.state()
    settings = session._settings
    description = {
        "task": to_plain(session.task),
        "prior": to_plain(session.prior),
        "optimiser": to_plain(settings.optimiser),
        "stop": to_plain(session._stop),
        "shape": list(session._program.shape),
        "average": settings.average,
        "seed": settings.seed,
        "precision": settings.precision,
        "subsample": settings.subsample,
        "motion": session._motion,
        "memory": session._remembers,
        "quality": session._quality,
        "tiles": to_plain(session._tiles),
        "engine": session.engine,
    }
    save_scene(path, state, description)


def load(
    cls: type[Session],
    path: str | os.PathLike,
    engine: str | None,
    threads: int | None,
    progress: Callable[[Step], object] | None,
) -> Session:
    """See ``Session.load``."""
    state, description = load_scene(path)
    mask = state.pop(MASK_KEY, None)
    stream = {key: state.pop(key) for key in STREAM_KEYS if key in state}
    arguments = _arguments(path, state, mask, description)
    shape, optimiser = arguments.pop("shape"), arguments.pop("optimiser")
    subsample = arguments.pop("subsample")
    written_by = arguments.pop("engine")
    session = cls(**arguments, engine=engine or written_by, threads=threads, progress=progress)
    session._settings = replace(session._settings, optimiser=optimiser, subsample=subsample)
    if session.engine != written_by:
        # Engines draw random numbers each in their own way; several fits in one have "rng/PART".
        state = {key: values for key, values in state.items() if key.split("/")[0] != "rng"}
    session._program = session._engine.compile(session.prior, session.task, shape, session._settings)
    session._mask = None if mask is None else mask != 0
    session._following.begin(session._program)
    try:
        session._program.load_state(state)
        session._pusher.load_state(stream, state.get("views"))
    except InputError as error:
        session.close()
        raise FileError(f"{path}: a damaged scene ({error})") from error
    return session


def _arguments(
    path: str | os.PathLike, state: State, mask: np.ndarray | None, description: dict[str, Any]
) -> dict[str, Any]:
    """A session's arguments, the shape and the optimiser, if the description fits the arrays beside it."""
    try:
        names = ("average", "seed", "precision", "quality", "engine")
        found = {name: description[name] for name in names}
        found["task"] = from_plain(description["task"], Task, mask=mask, flash=state.get("input"))
        found["prior"] = from_plain(description["prior"], (Prior, HazePriors))
        found["optimiser"] = from_plain(description["optimiser"], Optimiser)
        found["stop"] = from_plain(description["stop"], Rule)
        # Files of versions that knew none: every step saw every pixel, no picture was cut, no camera
        # moved, no scene was remembered.
        found["subsample"] = bool(description.get("subsample", False))
        found["motion"], found["memory"] = description.get("motion"), bool(description.get("memory", False))
        found["tiles"] = from_plain(description.get("tiles", "auto"), (Tiles, str, type(None)))
        found["shape"] = tuple(description["shape"])
        _check_fits(found["prior"], found["task"], found["shape"], state, mask)
    except (InputError, KeyError, TypeError, IndexError) as error:
        raise FileError(f"{path}: a damaged scene ({error})") from error
    return found


def _check_fits(
    prior: Prior | HazePriors, task: Task, shape: tuple[int, ...], state: State, mask: np.ndarray | None
) -> None:
    """Arrays first, then memory: nothing is allocated for sizes that the file only claims."""
    channels = [task.estimate_shape((1, 1, count))[2] for count in (1, 3)]
    if len(shape) != 3 or shape[2] not in channels or min(shape) < 1:
        raise InputError(f"shape is {shape}")
    expected = {f"param/{name}": sides for name, sides in prior.parameter_shapes(shape[2], shape[:2]).items()}
    expected |= {"output": shape}
    if task.input_image is not None:
        expected |= {"input": (*shape[:2], 3)}
    if task.data_term.kind == "mask":
        if mask is None or not mask.any():
            raise InputError("no mask with known pixels")
        expected |= {MASK_KEY: shape[:2]}
    held = state if mask is None else state | {MASK_KEY: mask}
    for key, sides in expected.items():
        if key not in held or held[key].shape != sides:
            raise InputError(f"{key} is not an array of {' x '.join(map(str, sides))}")
