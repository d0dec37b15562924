"""Which fits are measured on a GPU, and who steps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compiled_torch import CompiledProgram
from benchmarks.quality import noisy_crop
from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.engines.torch import TorchEngine
from dipedge.presets import Preset, preset
from dipedge.tasks import Denoise, SuperResolve, Task

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PUBLISHED, EAGER, COMPILED, GRAPH = "eager as published", "eager", "compiled", "compiled in a CUDA graph"
OURS, OURS32, SAMPLED = "ours bf16", "ours fp32", "ours bf16, a quarter of the pixels"
LIBRARY = "ours bf16, convolutions by the library"
ROLES = {PUBLISHED: "eager", GRAPH: "compiled"}  # whom the others are compared with
# Without CUDA graphs of its own: the graph row captures forward, backward, Adam and average in one.
MODE = "max-autotune-no-cudagraphs"
# Outputs are compared in the first step, before any update, and once more after this many. Adam's first
# updates are of the size of the rate whatever the gradient, so rounding decides many of them: float32 itself
# is 0.1 from float64 by then. The table shows the former, the file has both.
COMPARED = 3


@dataclass(frozen=True)
class Fit:
    """A task, a prior and a side of the estimate."""

    name: str
    task: Task
    prior: str
    side: int

    @property
    def what(self) -> str:
        return f"{self.name} {self.side}x{self.side}"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.side, self.side, 3)

    def preset(self, quality: str = "paper") -> Preset:
        return preset(self.task, self.prior, quality)


def fits(side: int) -> tuple[Fit, ...]:
    """The three of the issue at one size."""
    return (
        Fit("PIP", Denoise(), "pip", side),
        Fit("DIP", Denoise(), "dip", side),
        Fit("SR x4", SuperResolve(4), "dip", side),
    )


def rows() -> Iterator[tuple[Fit, str]]:
    """What to measure, the most important first: time may run out anywhere.

    Compiling takes a minute or more a fit, and so is done at 512 alone.
    """
    plain = (PUBLISHED, EAGER, OURS, OURS32)
    pip, denoised, enlarged = fits(512)
    for fit in fits(512):
        yield from ((fit, engine) for engine in plain)
    yield pip, SAMPLED
    yield denoised, LIBRARY
    for fit in (pip, denoised):
        yield from ((fit, engine) for engine in (COMPILED, GRAPH))
    for side in (256, 1024):
        yield from ((fit, engine) for fit in fits(side) for engine in plain)
    yield from ((enlarged, engine) for engine in (COMPILED, GRAPH))


@cache
def pictures(fit: Fit) -> tuple[np.ndarray, np.ndarray | None]:
    """The target, and the clean picture where the repository has one of this size."""
    if isinstance(fit.task, Denoise) and fit.side in (256, 512):
        clean, noisy = noisy_crop(EXAMPLES / f"astronaut_{fit.side}.png", fit.side)
        return noisy, clean
    low = fit.side // fit.task.data_term.scale
    return np.random.default_rng(0).random((low, low, 3), np.float32), None


def _published_psnr(picture: np.ndarray, clean: np.ndarray) -> float:
    """As scikit-image computes it, which the published code calls: cheaper than ``metrics.psnr``."""
    return 10 * np.log10(1 / np.mean((picture - clean) ** 2, dtype=np.float64))


class PublishedProgram:
    """The torch engine's step with what the published loops do in each: metrics of pictures on the CPU.

    Denoising computes three PSNRs (output against the noisy and the clean picture, average against the clean
    one), moving a picture to the CPU for each; super-resolution two, of the output and of its low-resolution
    copy (which is not moved here). Copies of weights, printing and plotting are left out: in doubt this row
    is faster than what was published.
    """

    def __init__(self, program: Any, fit: Fit) -> None:
        self._program, self._scale = program, fit.task.data_term.scale
        self._noisy = np.ascontiguousarray(np.moveaxis(pictures(fit)[0], 2, 0))
        self._clean = np.random.default_rng(1).random((3, fit.side, fit.side), np.float32)

    def step(self, count: int) -> None:
        for _ in range(count):
            self._program.step(1)
            # The tensors themselves: ``estimate`` would turn their axes, which the published code spares.
            output, average = self._program._output, self._program._average
            if self._scale > 1:
                found = output.cpu().numpy()[0]
                _published_psnr(found[:, :: self._scale, :: self._scale], self._noisy)
                _published_psnr(found, self._clean)
                continue
            _published_psnr(output.cpu().numpy()[0], self._noisy)
            _published_psnr(output.cpu().numpy()[0], self._clean)
            _published_psnr(average.cpu().numpy()[0], self._clean)

    def close(self) -> None:
        self._program.close()


def library_engine() -> Any:
    """Engine "triton" with cuDNN's products in place of its own where kernels are wider than a pixel."""
    from dipedge.engines.triton import TritonEngine

    return TritonEngine(convolutions="library")


def begun(fit: Fit, engine: str, perturbed: bool = True, device: str = "cuda") -> Any:
    """A program with its target, before its first step; of the compiled rows it is one and the same."""
    chosen = fit.preset("fast" if engine == SAMPLED else "paper")
    prior = chosen.prior if perturbed else replace(chosen.prior, perturbation=0.0)
    settings = Settings(chosen.optimiser, chosen.average, subsample=chosen.subsample)
    if engine in (COMPILED, GRAPH):
        program: Any = CompiledProgram(prior, fit.shape, settings, fit.task, device, MODE)
    elif engine in (PUBLISHED, EAGER, "float64"):
        settings = replace(settings, precision="fp64" if engine == "float64" else "fp32")
        program = TorchEngine(device).compile(prior, fit.task, fit.shape, settings)
    else:
        settings = replace(settings, precision="fp32" if engine == OURS32 else "bf16")
        triton = library_engine() if engine == LIBRARY else get_engine("triton")
        program = triton.compile(prior, fit.task, fit.shape, settings)
    program.set_target(pictures(fit)[0])
    return PublishedProgram(program, fit) if engine == PUBLISHED else program


def reference(fit: Fit, seed: int = 0, device: str = "cuda") -> CompiledProgram:
    """The float32 fit: eager operators, nothing rounded below float32, its steps replayed from a graph.

    Replaying changes no arithmetic; it leaves out the gaps between launches, which would cost minutes here.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    chosen = fit.preset()
    settings = Settings(chosen.optimiser, chosen.average, seed=seed)
    program = CompiledProgram(chosen.prior, fit.shape, settings, fit.task, device, mode=None, autocast=False)
    program.set_target(pictures(fit)[0])
    return program


@cache
def wanted(fit: Fit) -> list[np.ndarray]:
    """The outputs in float64, with z not perturbed: noise differs from engine to engine."""
    program = begun(fit, "float64", perturbed=False)
    found = outputs(program)
    program.close()
    return found


def outputs(program: Any) -> list[np.ndarray]:
    """The output of the first step and of step COMPARED."""
    found = []
    for steps in (1, COMPARED - 1):
        program.step(steps)
        found.append(program.estimate(averaged=False))
    return found


def relative(found: np.ndarray, right: np.ndarray) -> float:
    """Relative L2 error."""
    return float(np.linalg.norm(found.astype(np.float64) - right) / np.linalg.norm(right))


def errors(fit: Fit, engine: str, compiled: CompiledProgram | None = None) -> dict[str, float]:
    """Of the outputs, as the row stores them; a ``compiled`` program begins anew for it, and afterwards."""
    if compiled is None:
        program = begun(fit, EAGER if engine == PUBLISHED else engine, perturbed=False)
        found = outputs(program)
        program.close()
    else:
        kept = compiled.perturbation.clone()
        compiled.perturbation.zero_()
        compiled.reset()
        found = outputs(compiled)
        compiled.perturbation.copy_(kept)
        compiled.reset()
    first, later = (relative(mine, right) for mine, right in zip(found, wanted(fit), strict=True))
    return {"error": first, f"error_after_{COMPARED}": later}
