"""Engines by name. Nothing is loaded before an engine is asked for."""

from __future__ import annotations

import warnings

from dipedge.engines.base import Engine
from dipedge.errors import EngineError, EngineFallbackWarning, InputError
from dipedge.priors import Prior
from dipedge.tasks import Task

ENGINE_NAMES = ("auto", "native", "triton", "torch")
INSTEAD = "engine='native' runs on this processor"

_told: set[str] = set()  # what was said of a device that "auto" cannot use: each once in a process


def get_engine(name: str = "auto") -> Engine:
    """The engine called ``name``; a named engine that cannot run is an error, never another one.

    Args:
        name: "native" (C++), "triton" (a CUDA GPU), "torch" (PyTorch, the reference), or "auto": triton where
            it can run, else native (and for what that does not run, torch: ``engine_for``). If there seems
            to be a GPU that cannot be used, a warning says so, once.

    Raises:
        InputError: a name that is not in ``ENGINE_NAMES``.
        EngineError: the engine's library is not installed or cannot run here.
    """
    if name not in ENGINE_NAMES:
        raise InputError(f"engine is {name!r}; it must be one of {', '.join(ENGINE_NAMES)}")
    if name == "auto":
        return _automatic()
    if name == "torch":
        from dipedge.engines.torch import TorchEngine

        return TorchEngine()
    if name == "triton":
        return _triton()
    from dipedge.engines.native import NativeEngine

    return NativeEngine()


def engine_for(name: str, prior: Prior, task: Task) -> Engine:
    """As ``get_engine``, for one prior and task.

    "auto" goes on where its engine refuses the pair: from triton to native, and from there to torch, which
    runs everything, if it is installed. A GPU that is not used is said once; that native gives way to torch
    is not: nothing else could run the pair, and the result names its engine.

    Raises:
        EngineError: as there, or the engine cannot run this pair.
    """
    engine = get_engine(name)
    reason = engine.supports(prior, task)
    if reason is None:
        return engine
    if name != "auto":
        raise EngineError(reason)
    return _next_best(engine, reason, prior, task)


def _next_best(refused: Engine, reason: str, prior: Prior, task: Task) -> Engine:
    """What "auto" takes where its first choice refused; EngineError with the last reason if nothing can."""
    first = reason
    for name in ("torch",) if refused.name == "native" else ("native", "torch"):
        try:
            engine = get_engine(name)
        except EngineError:  # not installed: the reason at hand says what would run the pair
            continue
        reason = engine.supports(prior, task)
        if reason is None:
            if refused.name != "native":
                _tell(first, name)
            return engine
    raise EngineError(reason)


def _triton(interpreter: bool = True) -> Engine:
    """Engine "triton"; ``interpreter``: whether it may run without a GPU, in Triton's interpreter."""
    from dipedge.engines.cuda_check import obstacle

    found = obstacle(interpreter=interpreter)
    if found is not None:
        raise EngineError(f"{found.reason}; {INSTEAD}")
    try:
        from dipedge.engines.triton import TritonEngine
    except ImportError as error:
        raise EngineError(f"engine 'triton' cannot be loaded ({error}); {INSTEAD}") from error
    return TritonEngine()


def _automatic() -> Engine:
    """The best engine that can run; never Triton's interpreter, which is for tests."""
    from dipedge.engines.cuda_check import obstacle

    found = obstacle(interpreter=False)
    if found is None:
        try:
            return _triton(interpreter=False)
        except EngineError as error:
            _tell(str(error))
    elif found.device_there:
        _tell(found.reason)
    return get_engine("native")


def _tell(reason: str, taken: str = "native") -> None:
    """Says why "auto" does not take the GPU that seems to be there; not again in this process."""
    if reason not in _told:
        _told.add(reason)
        reason = reason.removesuffix(f"; {INSTEAD}")
        message = f"engine='auto' takes the {taken} engine: {reason}"
        warnings.warn(message, EngineFallbackWarning, stacklevel=2)
