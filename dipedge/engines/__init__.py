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
            it can run, else native. If there seems to be a GPU that cannot be used, a warning says so, once.

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

    Raises:
        EngineError: as there, or the engine cannot run this pair; "auto" then takes the native engine.
    """
    engine = get_engine(name)
    reason = engine.supports(prior, task)
    if reason is not None and name == "auto" and engine.name != "native":
        _tell(reason)
        engine = get_engine("native")
        reason = engine.supports(prior, task)
    if reason is not None:
        raise EngineError(reason)
    return engine


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


def _tell(reason: str) -> None:
    """Says why "auto" does not take the GPU that seems to be there; not again in this process."""
    if reason not in _told:
        _told.add(reason)
        reason = reason.removesuffix(f"; {INSTEAD}")
        warnings.warn(f"engine='auto' takes the native engine: {reason}", EngineFallbackWarning, stacklevel=2)
