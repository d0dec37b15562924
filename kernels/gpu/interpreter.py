"""bfloat16 in Triton's interpreter as a GPU has it.

The interpreter keeps bfloat16 as its bits in uint16. It cuts float32 off where a GPU rounds to nearest, and
multiplies two tiles of bits as whole numbers. Both are put right here, in the interpreter and not in the
kernels: a rounding that always goes down would move sums, and hide a kernel's own bias. ``launch`` installs
it ahead of the first kernel, so that every fit in the interpreter has it, a test's or a user's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def widened(handle: TensorHandle) -> np.ndarray:
    """The values of a tile; bfloat16 as float32, which holds all of them."""
    if handle.dtype.scalar != tl.bfloat16:
        return handle.data
    return (handle.data.astype(np.uint32) << 16).view(np.float32)


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 to the bits of the nearest bfloat16, of two equally near ones the even."""
    bits = torch.from_numpy(np.array(values, np.float32, order="C")).to(torch.bfloat16)
    return bits.view(torch.int16).numpy().view(np.uint16).reshape(np.shape(values))


def _look_once() -> None:
    """Every call of a device function looks through all of triton.language for what to replace: a third of
    the interpreter's time, though all of it is replaced from the start of a kernel to its end.

    Kernels know the language as ``tl``, its own device functions (``tl.sum``) as its module ``core``: both
    are replaced when a kernel starts.
    """
    replace = interpreter._patch_lang

    def replaced(function: Any) -> Any:
        if not tl.core.is_builtin(tl.load):
            return interpreter._LangPatchScope()
        scope = replace(function)
        scope._changes += replace(tl.standard.zeros.fn)._changes
        return scope

    if hasattr(interpreter, "_LangPatchScope"):
        interpreter._patch_lang = replaced


def install() -> None:
    """Replaces the interpreter's conversion and product; a second call changes nothing."""
    if hasattr(InterpreterBuilder, "plain_cast"):
        return
    _look_once()
    plain = InterpreterBuilder.plain_cast = InterpreterBuilder.cast_impl

    def cast(self: Any, source: TensorHandle, kind: Any) -> TensorHandle:
        if source.dtype.scalar == tl.float32 and kind.scalar == tl.bfloat16:
            return TensorHandle(rounded(source.data), tl.bfloat16)
        return plain(self, source, kind)

    def dot(self: Any, a: TensorHandle, b: TensorHandle, d: TensorHandle, *_: Any) -> TensorHandle:
        product = np.matmul(widened(a), widened(b), dtype=d.data.dtype)
        return TensorHandle(product + d.data, d.dtype.scalar)

    InterpreterBuilder.cast_impl = cast
    InterpreterBuilder.create_dot = dot
