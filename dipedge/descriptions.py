"""Descriptions (tasks, priors, optimisers, stopping rules) as plain JSON values, and back.

All descriptions are frozen dataclasses, so one rule serves them all: ``{"kind": class name, field: value}``.
Reading builds only classes from the list below and passes their own validation; a file cannot name others.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from dipedge.errors import InputError
from dipedge.networks import Hourglass, Hourglass3d, Level, Network, Pixels, ResNet, UNet
from dipedge.optimisers import Adam, Muon
from dipedge.priors import (
    Encoding,
    Fourier,
    GivenImage,
    HazePriors,
    Meshgrid,
    NoInput,
    Noise,
    Prior,
    SpaceTime,
)
from dipedge.stopping import AllOf, AnyOf, Deadline, Discrepancy, MaxSteps, NoiseFloor, Rule
from dipedge.tasks import Dehaze, Denoise, Enhance, FlashNoFlash, Inpaint, RemoveJpeg, SuperResolve
from dipedge.tiles import Tiles
from dipedge.variance import VarianceWindow

_TASKS = (Denoise, RemoveJpeg, SuperResolve, Inpaint, Enhance, FlashNoFlash, Dehaze)
_NETWORKS = (Hourglass, Hourglass3d, Level, UNet, ResNet, Pixels)
_PRIORS = (Prior, HazePriors, *_NETWORKS, Noise, Meshgrid, GivenImage, Fourier, SpaceTime, NoInput)
_RULES = (MaxSteps, Deadline, Discrepancy, NoiseFloor, VarianceWindow, AnyOf, AllOf)
KINDS = {kind.__name__: kind for kind in (*_TASKS, *_PRIORS, *_RULES, Adam, Muon, Tiles)}
# What a field may hold, by its annotation; words (Literal) are checked by the descriptions themselves.
SINGLE = {
    "int": int,
    "int | None": (int, type(None)),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "bool": bool,
    "str": str,
    "Encoding": Encoding,
    "Hourglass": Hourglass,
    "Network": Network,
    "Prior": Prior,
    "Prior | None": (Prior, type(None)),
    "Adam": Adam,
}
SEVERAL = {
    "tuple[Level, ...]": Level,
    "tuple[Rule, ...]": Rule,
    "tuple[int, ...]": int,
    "tuple[bool, ...]": bool,
}
ARRAYS = ("mask", "flash")  # fields that hold pictures: stored beside the text
DEEPEST = 20  # a nesting no description of ours has; a hostile file's could exhaust the stack


def to_plain(value: Any) -> Any:
    """A description as JSON values. A task loses its pictures: arrays are stored beside the text."""
    if is_dataclass(value):
        names = [field.name for field in fields(value) if field.init and field.name not in ARRAYS]
        return {"kind": type(value).__name__} | {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [to_plain(entry) for entry in value]
    return value


def from_plain(value: Any, kind: type | tuple[type, ...], **extra: Any) -> Any:
    """Rebuilds a description that ``to_plain`` wrote.

    Args:
        value: what the JSON text held.
        kind: the class, or classes, that it must be.
        extra: pictures that were stored elsewhere (an ``Inpaint``'s mask); any other kind leaves them out.

    Raises:
        InputError: anything that no description of ours could have written.
    """
    described = KINDS.get(value.get("kind")) if isinstance(value, dict) else None
    if described is not None:
        names = {field.name for field in fields(described)}
        value = value | {name: array for name, array in extra.items() if name in names}
    built = _built(value, 0)
    if not isinstance(built, kind):
        raise InputError(f"a description holds {type(built).__name__} where it should not")
    return built


def _built(value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise InputError("a description is nested too deeply")
    if isinstance(value, list):
        return tuple(_built(entry, depth + 1) for entry in value)
    if not isinstance(value, dict):
        return value
    kind = KINDS.get(value.get("kind"))
    if kind is None:
        raise InputError(f"a description names {value.get('kind')!r}, which dipedge does not know")
    given = {name: _built(entry, depth + 1) for name, entry in value.items() if name != "kind"}
    _check_fields(kind, given)
    try:
        return kind(**given)
    except InputError:
        raise
    except (TypeError, ValueError) as error:  # a field is missing, or one too many
        raise InputError(f"a description of {kind.__name__} is damaged ({error})") from error


def _check_fields(kind: type, given: dict[str, Any]) -> None:
    """Raises InputError for a value of another type than its field's: dataclasses do not look."""
    for field in fields(kind):
        if field.name not in given:
            continue
        value = given[field.name]
        if field.type in SEVERAL:
            right = isinstance(value, tuple) and all(
                isinstance(entry, SEVERAL[field.type]) for entry in value
            )
        else:
            right = isinstance(value, SINGLE.get(field.type, object))
            right = right and not (isinstance(value, bool) and field.type in ("int", "int | None", "float"))
        if not right:
            raise InputError(f"a description of {kind.__name__} holds {value!r:.60} as its {field.name}")
