"""Engine "triton": the fit on a CUDA device, in fused kernels, several steps to a graph.

Everything is preallocated, the way back is written by hand, and no step waits for the host. float32 or
bfloat16 activations; statistics, sums, parameters and optimiser are float32 in both. One seed gives the same
bits again on the same kind of GPU. This file checks what is asked for; the launches are in the modules
``triton_*`` beside it, the kernels in ``kernels/*/triton*.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dipedge.engines.base import Settings
from dipedge.engines.checks import (
    check_hourglass,
    check_optimiser,
    check_subsampled,
    why_not_hourglass,
)
from dipedge.errors import EngineError, InputError
from dipedge.priors import Prior, SpaceTime
from dipedge.tasks import Task

try:
    import torch
    import triton
except ModuleNotFoundError as error:
    raise EngineError(
        f"engine 'triton' needs {error.name} (pip install dipedge[gpu]); engine='native' runs without"
    ) from error

from dipedge.engines.triton_errors import MIB, device_errors, too_large
from dipedge.engines.triton_fits import TritonFits
from dipedge.engines.triton_program import TritonProgram

PRECISIONS = {"auto": torch.bfloat16, "bf16": torch.bfloat16, "fp32": torch.float32}
PIXELS_TOGETHER, MOST_TOGETHER = 2**21, 64
SPARE = 256 * MIB  # what kernels, graphs and PyTorch itself take beside the fit


def interpreted() -> bool:
    """Whether kernels run on the CPU, in Triton's interpreter (TRITON_INTERPRET=1)."""
    return bool(triton.knobs.runtime.interpret)


class TritonBatch:
    """Several fits of one shape that step together; see ``base.Batch``.

    Attributes:
        members: one program per fit; all but stepping them singly works as usual.
    """

    def __init__(self, fits: TritonFits) -> None:
        self._fits = fits
        self.members = tuple(TritonProgram(fits, fit) for fit in range(len(fits.seeds)))

    def step(self, count: int = 1) -> None:
        """``count`` steps of all fits."""
        for member in self.members:
            member.check_ready()
        self._fits.step(count)

    def close(self) -> None:
        """Gives the memory of all fits back."""
        for member in self.members:
            member.let_go()


class TritonEngine:
    """The CUDA engine; one instance may compile any number of programs.

    Args:
        device: such as "cuda" or "cuda:1"; None is the current CUDA device, or the CPU under the interpreter.
        convolutions: "triton" or "library" (cuDNN, from the same padded pictures): whose products the
            convolutions wider than one pixel take. Which is faster is what benchmarks/device.sh measures.

    Raises:
        InputError: another word for ``convolutions``.
    """

    name = "triton"

    def __init__(self, device: str | None = None, convolutions: str = "triton") -> None:
        if convolutions not in ("triton", "library"):
            raise InputError(f"convolutions is {convolutions!r}; it must be 'triton' or 'library'")
        usual = "cpu" if interpreted() else "cuda"
        self._device = torch.device(device or usual)
        self._library = convolutions == "library"

    def supports(self, prior: Prior, task: Task) -> str | None:
        """None, or why not: no hourglass, no data term of ours, noise on weights, or features of time."""
        if task.data_term.kind == "outer":
            return f"engine 'triton' does not run task {task.name!r}; engine='torch' does"
        if prior.weight_noise > 0:
            return "engine 'triton' adds no noise to weights; engine='native' and engine='torch' do"
        if isinstance(prior.encoding, SpaceTime):
            return "engine 'triton' has no features of time; engine='native' and engine='torch' have"
        return why_not_hourglass(self.name, prior)

    def compile(
        self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings
    ) -> TritonProgram:
        """A program for estimates of ``shape`` [H, W, C], sides from 1 up; see ``base.Engine``.

        ``settings.threads`` is for processors and not looked at.

        Raises:
            EngineError: a network that is no hourglass; ``settings.subsample`` with a prior or task it is not
                for; ``settings.frames`` above 1, ``settings.warped`` or features of time; a precision other
                than "auto" (= "bf16"), "bf16" or "fp32".
            InputError: a shape with a side under 1.
            OutOfMemoryError: with the bytes needed and what would need less.
        """
        return TritonProgram(self._fits(prior, task, shape, [settings]), 0)

    def most_together(self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings) -> int:
        """As many as have 2 megapixels together, if they fit into half of the memory that is free.

        One picture of 512 x 512 fills the GPU at its largest level only; what a step takes at the smaller
        ones is mostly the launches' latency, which several fits share.
        """
        check_subsampled(prior, task, settings)
        most = max(1, min(MOST_TOGETHER, PIXELS_TOGETHER // (shape[0] * shape[1])))
        if self._device.type == "cuda":
            needed = self._needed(prior, task, shape, settings)
            most = max(1, min(most, self._free() // 2 // needed))
        return most

    def compile_together(
        self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Sequence[Settings]
    ) -> TritonBatch:
        """Several fits in lockstep, whose settings differ in their seeds alone; raises as ``compile``."""
        if not settings or any(replace(s, seed=0) != replace(settings[0], seed=0) for s in settings):
            raise InputError("fits that step together need the same settings but for their seeds")
        return TritonBatch(self._fits(prior, task, shape, settings))

    def _fits(
        self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Sequence[Settings]
    ) -> TritonFits:
        own = settings[0]
        if own.frames != 1 or own.warped or isinstance(prior.encoding, SpaceTime):
            raise EngineError(
                "engine 'triton' fits one frame at a time and follows shifts alone; stacked frames, warped "
                "views and features of time are for engine='native' and engine='torch'"
            )
        if own.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise EngineError(f"engine 'triton' has no precision {own.precision!r}; it takes {known}")
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"shape is {shape}; it must be (H, W, C) with sides of 1 or more")
        check_hourglass(self.name, prior)
        check_subsampled(prior, task, own)
        check_optimiser(self.name, own.optimiser)
        asked = (prior, task, shape, settings, PRECISIONS[own.precision])
        needed = TritonFits(*asked, torch.device("meta"), self._library).bytes
        self._check_memory(needed)
        with device_errors(needed):
            fits = TritonFits(*asked, self._device, self._library)
            fits.begin()
        return fits

    @staticmethod
    def _needed(prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings) -> int:
        """Bytes of device memory that one such fit takes."""
        cell = PRECISIONS.get(settings.precision, torch.float32)
        return TritonFits(prior, task, shape, [settings], cell, torch.device("meta")).bytes

    def _free(self) -> int:
        free, _ = torch.cuda.mem_get_info(self._device)
        # What PyTorch holds and does not use is there for us too.
        free += torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return max(0, free - SPARE)

    def _check_memory(self, needed: int) -> None:
        if self._device.type == "cuda" and needed > (free := self._free()):
            raise too_large(needed, free)

    def device(self) -> dict[str, str]:
        """The GPU's name, its compute capability as "isa", and Triton's version."""
        if self._device.type != "cuda":
            return {"device": "Triton's interpreter", "version": triton.__version__}
        major, minor = torch.cuda.get_device_capability(self._device)
        name = torch.cuda.get_device_name(self._device)
        return {"device": name, "isa": f"sm_{major}{minor}", "version": triton.__version__}
