"""Engines by name. Nothing is loaded before an engine is asked for."""

from __future__ import annotations

from dipedge.engines.base import Engine
from dipedge.errors import InputError

ENGINE_NAMES = ("auto", "native", "torch")


def get_engine(name: str = "auto") -> Engine:
    """The engine called ``name``; a named engine that cannot run is an error, never another one.

    Args:
        name: "native" (C++), "torch" (PyTorch, the reference) or "auto", today the native engine.

    Raises:
        InputError: a name that is not in ``ENGINE_NAMES``.
        EngineError: the engine's library is not installed or cannot run here.
    """
    if name not in ENGINE_NAMES:
        raise InputError(f"engine is {name!r}; it must be one of {', '.join(ENGINE_NAMES)}")
    if name == "torch":
        from dipedge.engines.torch import TorchEngine

        return TorchEngine()
    from dipedge.engines.native import NativeEngine

    return NativeEngine()
