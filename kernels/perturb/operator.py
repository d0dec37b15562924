"""``dipedge.kernels.perturb`` as a differentiable torch operator: z plus normal noise from a counter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dipedge.errors import InputError
from dipedge.kernels.operators import DTYPES, define, wide
from dipedge.kernels.perturb import reference

KERNELS = "dipedge.kernels.perturb.triton_operator"


def _forward(z: Tensor, sigma: float, seed: int, step: int) -> Tensor:
    noise = torch.from_numpy(reference.normal(seed % 2**64, step, z.numel())).to(z.device)
    values = wide(z)
    return (values + sigma * noise.reshape(z.shape).to(values.dtype)).to(z.dtype).contiguous()


def _fake_forward(z: Tensor, sigma: float, seed: int, step: int) -> Tensor:
    return z.new_empty(z.shape)


forward = define(
    "perturb(Tensor z, float sigma, SymInt seed, SymInt step) -> Tensor",
    f"{KERNELS}.forward", _fake_forward, _forward,
)  # fmt: skip


class _Perturb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, *settings: Any) -> Tensor:
        return forward(z, *settings)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return gradient, None, None, None


def perturb(z: Tensor, sigma: float, seed: int, step: int) -> Tensor:
    """z + sigma N(0, 1), the noise numbered along z's elements: the same numbers on every device.

    Args:
        z: of any shape, float32, bfloat16 or float64.
        sigma: deviation of the noise.
        seed: 0 to 2**64 - 1.
        step: 0 to 2**63 - 1.
    """
    if not isinstance(z, Tensor) or z.dtype not in DTYPES or z.numel() == 0:
        raise InputError(
            "z: a torch tensor of float32, bfloat16 or float64 with at least one value is needed"
        )
    for name, value, bits in (("seed", seed, 64), ("step", step, 63)):
        if not 0 <= value < 2**bits:
            raise InputError(f"{name}={value}: must be 0 to 2**{bits} - 1")
    # The dispatcher's whole numbers are signed: the same 64 bits.
    return _Perturb.apply(z, sigma, seed - 2**64 if seed >= 2**63 else seed, step)
