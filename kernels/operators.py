"""What all torch operators of the kernels are made with: registration, choice of the version, checks.

On a GPU, float32 and bfloat16 go through the Triton kernels. These are registered with ``torch.library``
as ``torch.ops.dipedge.<name>``, gradients as ``<name>_backward``: compiled code sees one call with known
result shapes. A ``torch.autograd.Function`` around both joins them, which is the cheapest of PyTorch's ways:
an empty forward and backward take 27 us of one core, 53 with ``torch.library.register_autograd``, 66 with
``custom_op``. So the function is the differentiable one, not the bare operator, whose results require no
gradient.

All else (the CPU, float64) is the reference, called as it is: plain PyTorch, differentiable, and open to a
compiler. It was behind the dispatcher first, with ``torch.func.vjp`` for gradients; that fails as soon as any
dispatch mode (a recorder or counter of operations) is active. bfloat16 is computed in float32 there and
rounded once, as the kernels keep their sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from dipedge.errors import EngineError, InputError

LIBRARY = torch.library.Library("dipedge", "FRAGMENT")
DTYPES = (torch.float32, torch.bfloat16, torch.float64)
CELLS = (torch.float32, torch.bfloat16)  # what the kernels take


class _Route:
    """Whether CPU tensors go to the Triton kernels, in its interpreter; for tests."""

    interpreted = False


@contextmanager
def interpreted() -> Iterator[None]:
    """CPU tensors take the kernels' route meanwhile; TRITON_INTERPRET=1 must have been set before."""
    _Route.interpreted = True
    try:
        yield
    finally:
        _Route.interpreted = False


def runs_kernels(tensor: Tensor) -> bool:
    """Whether an operator on ``tensor`` runs Triton kernels; known without its values."""
    return (tensor.is_cuda or _Route.interpreted) and tensor.dtype in CELLS


def define(schema: str, kernels: str, fake: Callable[..., Any], reference: Callable[..., Any] | None) -> Any:
    """Registers an operator; returns what calls it.

    Args:
        schema: name, arguments and results, as ``torch.library`` writes them; the first argument is the
            tensor that decides which version runs.
        kernels: "module.function" of the version with Triton, imported when it is first called.
        fake: makes empty results of the right shapes, dtypes and strides.
        reference: what a bare call runs where no kernel does; None of a gradient, which has none there.
    """
    name = schema.partition("(")[0]
    module, _, function = kernels.rpartition(".")

    # Autograd passes a bare operator by (below), and must not record what goes on inside it.
    @torch.no_grad()
    def run(*arguments: Any) -> Any:
        if runs_kernels(arguments[0]):
            # Triton starts kernels on the current GPU, which need not be the tensors'.
            with torch.cuda.device_of(arguments[0]):
                return getattr(import_module(module), function)(*arguments)
        if reference is None:
            given = arguments[0]
            raise EngineError(
                f"{name}: no kernel for {given.dtype} on {given.device}; the reference needs none"
            )
        return reference(*arguments)

    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, run, "CPU")
    LIBRARY.impl(name, run, "CUDA")
    # Said outright: without a word PyTorch warns when somebody takes gradients through a bare operator.
    LIBRARY.impl(name, torch.library.fallthrough_kernel, "Autograd")
    torch.library.register_fake(f"dipedge::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.dipedge, name).default


def wide(tensor: Tensor) -> Tensor:
    """bfloat16 as float32; all else as it is."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _alike(inputs: Sequence[Tensor]) -> list[Tensor]:
    """All wide, of the widest dtype among them, and contiguous: PyTorch 2.13 sums a batch norm's gradients
    wrongly over some strided pictures."""
    dtype = reduce(torch.promote_types, (wide(given.new_empty(0)).dtype for given in inputs))
    return [given.to(dtype).contiguous() for given in inputs]


def by_reference(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function`` of the inputs, computed wide, as the first one's dtype."""
    return function(*_alike(inputs)).to(inputs[0].dtype).contiguous()


def each_picture(function: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
    """``function`` of every picture of a batch [B, C, H, W] alone: each has statistics of its own."""
    return torch.cat([function(picture, *rest) for picture in x.split(1)])


def check_picture(name: str, x: Any, channels: int | None = None) -> None:
    """``x`` must be [B, C, H, W] with at least one value, of a dtype the operators know."""
    if not isinstance(x, Tensor):
        raise InputError(f"{name}={type(x).__name__}: a torch tensor is needed")
    if x.dtype not in DTYPES:
        raise InputError(f"{name}: dtype {x.dtype} is none of float32, bfloat16, float64")
    if x.dim() != 4 or x.numel() == 0:
        raise InputError(f"{name}: shape {tuple(x.shape)} is not [B, C, H, W] with at least one value")
    if channels is not None and x.shape[1] != channels:
        raise InputError(f"{name}: {x.shape[1]} channels in place of {channels} (shape {tuple(x.shape)})")


def check_beside(
    name: str, given: Any, shape: Sequence[int], x: Tensor, of: str = "x", dtypes: Sequence[Any] | None = None
) -> None:
    """``given`` must have ``shape``, the device of ``x`` and one of ``dtypes``; without those the dtype of
    ``x``, or float32 beside bfloat16."""
    if not isinstance(given, Tensor):
        raise InputError(f"{name}={type(given).__name__}: a torch tensor is needed")
    if tuple(given.shape) != tuple(shape):
        raise InputError(f"{name}: shape {tuple(given.shape)} in place of {tuple(shape)}")
    if given.device != x.device:
        raise InputError(f"{name}: on device {given.device}, while {of} is on {x.device}")
    if given.dtype not in (dtypes or (x.dtype, wide(x.new_empty(0)).dtype)):
        raise InputError(f"{name}: dtype {given.dtype} does not go with {x.dtype} of {of}")


def check_weight(name: str, weight: Any, x: Tensor) -> None:
    """``weight`` must be [O, I, k, k] for the channels of ``x``, k odd."""
    if not isinstance(weight, Tensor) or weight.dim() != 4:
        kind = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise InputError(f"{name}: {kind} is no tensor [O, I, k, k]")
    out, side = weight.shape[0], weight.shape[3]
    check_beside(name, weight, (out, x.shape[1], side, side), x)
    if side % 2 == 0:
        raise InputError(f"{name}: kernel of side {side}; odd sides keep a picture's size")


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """``value`` must be one of ``allowed``."""
    if value not in allowed:
        raise InputError(f"{name}={value!r}: must be one of {', '.join(map(repr, allowed))}")


def check_whole(name: str, value: Any, least: int) -> None:
    """``value`` must be a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | torch.SymInt) or value < least:
        raise InputError(f"{name}={value!r}: must be a whole number, {least} or more")


def check_exact(name: str, given: Any) -> None:
    """``given`` must be a tensor of float32 or float64: what optimisers keep."""
    if not isinstance(given, Tensor) or given.dtype not in (torch.float32, torch.float64):
        kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
        raise InputError(f"{name}: {kind}, while a torch tensor of float32 or float64 is needed")
