"""Makes a kernel's folder callable: ``dipedge.kernels.fourier_mlp(...)`` is the kernel as a torch operator.

The folder stays what it was, a package with a contract in it; importing it loads neither PyTorch nor Triton.
Only a call loads its ``operator.py``.

A module cannot be called. A subclass of ``ModuleType`` with ``__call__`` could, but torch.compile does not
trace calls of modules ("call_function PythonModuleVariable"), and operators must stand in compiled code. So
what ``sys.modules`` holds is an ordinary object that shares the module's namespace: every name that is set
in one is there in the other, submodules too. Python allows this (an import returns what ``sys.modules``
holds). Two things such a package cannot do: ``importlib.reload``, and ``from <package> import <name>`` inside
a function that is compiled (at the top of a file it can; the compiler wants a true module).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class CallableContract:
    """A contract's namespace that can be called.

    Args:
        module: whose namespace is shared.
        face: what a call runs. A function that imports the operator by an ``import`` statement: compiled code
            can be traced through that, but not through ``importlib.import_module``.
    """

    def __init__(self, module: Any, face: Callable[..., Any]) -> None:
        self.__dict__ = module.__dict__
        self._operator = face

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._operator(*arguments, **options)

    def __repr__(self) -> str:
        return f"<kernel {self.__name__!r} from {self.__file__!r}>"


def called_as(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates the function that a call of the module ``name`` (its ``__name__``) runs."""

    def decorate(face: Callable[..., Any]) -> Callable[..., Any]:
        sys.modules[name] = CallableContract(sys.modules[name], face)
        return face

    return decorate
