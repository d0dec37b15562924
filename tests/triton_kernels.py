"""How the tests of Triton kernels make their tensors: on a GPU where there is one, else in the interpreter.

Pictures come in as numpy [H, W, C], one per fit; launches take [B, H, W, S] of cells. What lies in surplus
channels is NaN here, and so is every result before a launch: a kernel that reads the one or leaves the other
unwritten cannot pass.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the references need PyTorch")
pytest.importorskip("triton", reason="Triton is not installed")

from dipedge.kernels.gpu.launch import COUNTERS, Scratch, channel_stride  # noqa: E402
from dipedge.kernels.gpu.layer import Layer  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("neither a CUDA device nor TRITON_INTERPRET=1", allow_module_level=True)
CELLS = {"fp32": torch.float32, "bf16": torch.bfloat16}
in_both = pytest.mark.parametrize("precision", list(CELLS))


def scratch(fits: int, floats: int = 1 << 20) -> Scratch:
    """Scratch memory as a program has it; the partial sums are poisoned."""
    partials = torch.full((floats,), float("nan"), device=DEVICE)
    return Scratch(partials, torch.zeros(fits * COUNTERS, dtype=torch.int32, device=DEVICE))


def assert_counters_are_zero(used: Scratch) -> None:
    """Every launch leaves the counters as the next one needs them."""
    assert not used.counters.any()


def vectors(values: Sequence[np.ndarray]) -> torch.Tensor:
    """One array per fit, all of one shape: float32 [B, ...]."""
    return torch.tensor(np.stack(values).astype(np.float32), device=DEVICE)


def pictures(values: Sequence[np.ndarray], precision: str = "fp32") -> torch.Tensor:
    """One picture [H, W, C] per fit: cells [B, H, W, S], the surplus NaN."""
    stacked = np.stack(values).astype(np.float32)
    channels = stacked.shape[3]
    found = torch.full(
        (*stacked.shape[:3], channel_stride(channels)), float("nan"), dtype=CELLS[precision], device=DEVICE
    )
    found[..., :channels] = torch.tensor(stacked, device=DEVICE).to(CELLS[precision])
    return found


def empty_picture(fits: int, height: int, width: int, channels: int, precision: str) -> torch.Tensor:
    """Cells [B, H, W, S] of NaN, to be written."""
    shape = (fits, height, width, channel_stride(channels))
    return torch.full(shape, float("nan"), dtype=CELLS[precision], device=DEVICE)


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """NaN, to be written."""
    return torch.full(shape, float("nan"), dtype=dtype, device=DEVICE)


def arrays(tensor: torch.Tensor, channels: int | None = None) -> list[np.ndarray]:
    """One float32 array per fit; of pictures only the channels there are."""
    values = tensor if channels is None else tensor[..., :channels]
    return list(values.to(torch.float32).cpu().numpy())


def norms(
    values: Sequence[np.ndarray], gamma: Sequence[np.ndarray], beta: Sequence[np.ndarray], eps: float = 1e-5
) -> torch.Tensor:
    """``Layer.norm`` of pictures [H, W, C], from float64: [B, 4, C]."""
    found = []
    for y, g, b in zip(values, gamma, beta, strict=True):
        y = np.asarray(y, np.float64)
        mean, rstd = y.mean((0, 1)), 1 / np.sqrt(y.var((0, 1)) + eps)
        found.append(np.stack((mean, rstd, g * rstd, b - mean * g * rstd)))
    return vectors(found)


def layer(
    values: Sequence[np.ndarray],
    gamma: Sequence[np.ndarray],
    beta: Sequence[np.ndarray],
    precision: str,
    slope: float = 0.2,
) -> Layer:
    """A layer whose y is ``values``, one picture [H, W, C] per fit."""
    channels = values[0].shape[2]
    return Layer(pictures(values, precision), channels, norms(values, gamma, beta), slope)
