"""Checks of the arguments that sessions take: each says what it got and what is allowed."""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import Any

from dipedge.errors import InputError
from dipedge.optimisers import Muon, Optimiser
from dipedge.priors import GivenImage, Prior
from dipedge.stopping import MaxSteps, Rule
from dipedge.tasks import Task
from dipedge.tiles import Tiles


def check_task(task: Any) -> None:
    """Raises InputError unless ``task`` is a description of one."""
    if not isinstance(task, Task):
        known = "a description such as Denoise(), SuperResolve(scale=4) or Inpaint(mask)"
        raise InputError(f"task is {task!r}; it must be {known}")


def check_input(task: Task, prior: Prior) -> None:
    """Raises InputError where prior and task disagree on whether the network's input is a given picture."""
    is_given = isinstance(prior.encoding, GivenImage)
    if is_given and task.input_image is None:
        raise InputError(f"prior has a given image as its input; task {task.name!r} has none to give")
    if task.input_image is not None and not (is_given and prior.encoding.channels == 3):
        raise InputError(f"task {task.name!r} gives a picture; prior must take GivenImage(3) as its input")


def whole(name: str, value: Any, low: int, high: int) -> int:
    """``value`` as an int from ``low`` to ``high`` (numpy's integers too, truth values not)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it must be a whole number from {low} to {high}")
    return int(value)


def whole_or_none(name: str, value: Any, low: int, high: int) -> int | None:
    """``whole``, or None for None."""
    return None if value is None else whole(name, value, low, high)


def number(name: str, value: Any) -> float:
    """``value`` as a float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"{name} is {value!r}; it must be a number")
    return float(value)


def word(name: str, value: Any, known: tuple[str, ...]) -> str:
    """``value``, if it is one of the words ``known``."""
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name} is {value!r}; it must be one of {', '.join(known)}")
    return value


def optimiser(chosen: Optimiser, learning_rate: Any, steps: int | None) -> Optimiser:
    """The preset's optimiser at another rate, and with a fall of the rate that ends after ``steps``."""
    if learning_rate is not None:
        chosen = replace(chosen, learning_rate=number("learning_rate", learning_rate))
    return chosen.over(steps) if steps is not None and isinstance(chosen, Muon) else chosen


def average(value: Any) -> float:
    """A weight of the past, in [0, 1)."""
    weight = number("average", value)
    if not 0 <= weight < 1:
        raise InputError(f"average is {value!r}; it must be in [0, 1), 0 for the raw output")
    return weight


def rule(stop: Any, steps: Any, default: Rule, bound: int) -> Rule:
    """The stopping rule that ``stop`` and ``steps`` ask for, sure to end.

    Args:
        stop: a rule, or None.
        steps: an exact number of steps, or None; not both.
        default: taken when both are None.
        bound: limit of steps for a rule that might never be fulfilled.
    """
    if stop is not None and steps is not None:
        raise InputError(f"steps is {steps!r} and stop is {stop!r}; give one of them")
    if steps is not None:
        return MaxSteps(whole("steps", steps, 1, 10**9))
    if stop is None:
        return default
    if not isinstance(stop, Rule):
        raise InputError(f"stop is {stop!r}; it must be a stopping rule such as Deadline(ms=33)")
    return stop if stop.ends else stop | MaxSteps(bound)


def tiles(value: Any) -> Tiles | str | None:
    """How pictures are cut: "auto", None (also for False), or a description."""
    if value is None or value is False:
        return None
    if not isinstance(value, Tiles) and not (isinstance(value, str) and value == "auto"):
        raise InputError(f'tiles is {value!r}; it must be "auto", None or Tiles(side, overlap)')
    return value
