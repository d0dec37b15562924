"""Checks that every engine makes of what it is handed, so that all refuse with the same sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dipedge.engines.base import Settings, State
from dipedge.errors import EngineError, InputError
from dipedge.optimisers import Madgrad, Optimiser
from dipedge.priors import Encoding, Fourier, HazePriors, Hourglass, Prior
from dipedge.tasks import MatchText, Task
from dipedge.views import View


def why_not_hourglass(engine: str, prior: Prior | HazePriors) -> str | None:
    """None, or why an engine that runs hourglasses alone cannot run this prior, and which can."""
    parts = [part for part, _ in prior.parts(3).values()] if isinstance(prior, HazePriors) else [prior]
    others = [part.network for part in parts if not isinstance(part.network, Hourglass)]
    if not others:
        return None
    network = type(others[0]).__name__
    return (
        f"engine {engine!r} runs hourglasses, not a network of kind {network}; "
        "engine='torch' runs it (pip install dipedge[torch])"
    )


def check_hourglass(engine: str, prior: Prior) -> None:
    """Raises EngineError with ``why_not_hourglass``."""
    reason = why_not_hourglass(engine, prior)
    if reason is not None:
        raise EngineError(reason)


def target_shape(task: Task, shape: tuple[int, int, int], frames: int = 1) -> tuple[int, int, int]:
    """Shape [h, w, C] of the target of an estimate of ``shape`` [H, W, C], both stacked of so many frames."""
    scale = task.data_term.scale
    return frames * -(-shape[0] // frames // scale), -(-shape[1] // scale), shape[2]


def checked_target(
    task: Task,
    shape: tuple[int, int, int],
    target: np.ndarray,
    mask: np.ndarray | None,
    has_mask: bool,
    frames: int = 1,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A new target, and the mask [H, W] of booleans if one came with it.

    Args:
        task: the program's.
        shape: of the estimate, [H, W, C].
        target: the new target; of engines that compute with PyTorch it may be a tensor.
        mask: nonzero = known; may be left out once one has been set.
        has_mask: whether one has been set.
        frames: that estimate, target and mask are stacked of.

    Raises:
        InputError: another shape than the program's, a missing mask, or one the task does not use.
    """
    target = target if hasattr(target, "shape") else np.asarray(target)  # a tensor stays one
    needed = target_shape(task, shape, frames)
    if task.data_term.kind == "outer":  # what the fit is compared with is the task's own business
        fits = target.ndim == 3 and tuple(task.estimate_shape(target.shape)) == tuple(shape)
        needed = target.shape if fits else needed
    if tuple(target.shape) != needed:
        raise InputError(f"target has shape {tuple(target.shape)}; this fit needs {needed}")
    if mask is None:
        if task.data_term.kind == "mask" and not has_mask:
            raise InputError(f"no mask was given; task {task.name!r} needs one")
        return target, None
    mask = np.asarray(mask)
    if task.data_term.kind != "mask":
        raise InputError(f"a mask was given; task {task.name!r} takes none")
    if mask.shape != shape[:2]:
        raise InputError(f"mask has shape {mask.shape}; this fit needs {shape[:2]}")
    return target, mask != 0


def checked_input(encoding: Encoding, shape: tuple[int, int, int], z: np.ndarray) -> np.ndarray:
    """A new z [H, W, channels], for an engine that computes Fourier features by itself.

    Raises:
        InputError: another shape, or Fourier features, which are computed.
    """
    z, needed = np.asarray(z), (*shape[:2], encoding.channels)
    if isinstance(encoding, Fourier):
        raise InputError("z cannot be set: it is computed from the coordinates; use GivenImage for that")
    if z.shape != needed:
        raise InputError(f"the input has shape {z.shape}; this fit needs {needed}")
    return z


def checked_views(encoding: Encoding, settings: Settings, views: Sequence[View]) -> np.ndarray:
    """The views' numbers, [F, 7] float64.

    Raises:
        InputError: another count, an input without coordinates, or a view that is more than a shift where
            the fit was not prepared for it.
    """
    if not isinstance(encoding, Fourier):
        raise InputError(
            f"views move the coordinates of Fourier features; the input {type(encoding).__name__} has none"
        )
    views = list(views)
    if len(views) != settings.frames or not all(isinstance(view, View) for view in views):
        raise InputError(
            f"views is {views!r:.80}; this fit needs one View for each of its frames, of which it has "
            f"{settings.frames}"
        )
    for view in views:
        if not view.is_shift and not settings.warped:
            raise InputError(
                f"the view {view.matrix} is more than a shift; only a fit compiled with warped follows it"
            )
    return np.stack([view.numbers() for view in views])


def views_of(numbers: np.ndarray) -> list[View]:
    """The views that a state holds as [F, 7]."""
    return [View.of_numbers(row) for row in numbers]


def check_state(state: State, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises InputError for an entry that is not in ``shapes``, or is of another shape."""
    for key, value in state.items():
        if key not in shapes:
            raise InputError(f"the state has an unknown entry {key!r}")
        if np.shape(value) != shapes[key]:
            raise InputError(f"{key!r} has shape {np.shape(value)}; this fit needs {shapes[key]}")


def why_not_subsampled(prior: Prior, task: Task) -> str | None:
    """None, or why no step can see a quarter of the pixels: something at the largest level is not pointwise.

    A layer that looks at a pixel's neighbours needs them computed too; a perturbed z would have to be drawn
    for pixels that nobody looks at.
    """
    if task.data_term.kind == "lanczos":
        return f"task {task.name!r} compares a decimated output"
    if task.data_term.kind == "outer":
        return f"task {task.name!r} has a loss of the whole output"
    return prior.why_not_pointwise()


def check_frames(prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings) -> None:
    """Raises EngineError where ``settings.frames`` or ``settings.warped`` cannot be had."""
    several = isinstance(prior, HazePriors)
    if settings.warped and (several or not isinstance(prior.encoding, Fourier)):
        raise EngineError("warped cannot be used with this fit: its input is not made of Fourier features")
    if settings.frames == 1:
        return
    if settings.frames < 1 or shape[0] % settings.frames:
        raise EngineError(
            f"frames is {settings.frames}; an estimate of {shape[0]} rows is not so many frames"
        )
    reason = "it is made of several parts" if several else prior.why_not_stacked()
    if task.data_term.kind == "outer" and reason is None:
        reason = f"task {task.name!r} has a loss of the whole output"
    if reason is not None:
        raise EngineError(f"frames cannot be stacked in this fit: {reason}")


def check_subsampled(prior: Prior, task: Task, settings: Settings) -> None:
    """Raises EngineError where ``settings.subsample`` is asked for and cannot be had."""
    if not settings.subsample:
        return
    reason = why_not_subsampled(prior, task)
    if reason is None and settings.input_gradient:
        reason = "the gradient by the input was asked for"
    if reason is None and settings.warped:
        reason = "its views may be more than shifts, whose features have no columns and rows"
    if reason is not None:
        raise EngineError(f"subsample cannot be used with this fit: {reason}")


def why_no_madgrad(engine: str) -> str:
    """The sentence of an engine that has Adam and Muon alone."""
    return f"engine {engine!r} has no MADGRAD; engine='torch' does"


def check_optimiser(engine: str, optimiser: Optimiser) -> None:
    """Raises EngineError for an optimiser that only the torch engine has."""
    if isinstance(optimiser, Madgrad):
        raise EngineError(why_no_madgrad(engine))


def why_not_fitted_to_text(engine: str, task: Task) -> str | None:
    """None, or why an engine without MADGRAD does not run a task whose published settings need it.

    Said before a program is compiled, so that ``engine="auto"`` goes on to the engine that can.
    """
    return why_no_madgrad(engine) if isinstance(task, MatchText) else None
