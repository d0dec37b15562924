"""Engine "torch": eager PyTorch with autograd, the published method and the reference of all engines.

Simple before fast, but nothing slower than the published code: the same operators in the same order,
NCHW, ``torch.optim.Adam``. It runs every prior and task, in float32 or float64, on any torch device.
Sums are split over the threads PyTorch has, so the same bits need the same thread count here.
"""

from __future__ import annotations

from dipedge.engines.base import Settings
from dipedge.engines.checks import check_frames, check_subsampled
from dipedge.engines.dehazing import DehazeProgram, dehazing
from dipedge.errors import EngineError, InputError
from dipedge.priors import HazePriors, Prior
from dipedge.tasks import Task

try:
    import torch
except ModuleNotFoundError as error:
    raise EngineError("engine 'torch' needs PyTorch; install it with: pip install dipedge[torch]") from error

from dipedge.engines.torch_memory import memory_errors
from dipedge.engines.torch_program import PRECISIONS, TorchProgram


class TorchEngine:
    """The reference engine.

    Args:
        device: any torch device, such as "cpu", "cuda" or "cuda:1".

    Raises:
        EngineError: a device this PyTorch cannot use.
    """

    name = "torch"

    def __init__(self, device: str = "cpu") -> None:
        try:
            self._device = torch.device(device)
            torch.empty(1, device=self._device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise EngineError(f"engine 'torch' cannot use device {device!r}: {reason}") from error

    def supports(self, prior: Prior, task: Task) -> str | None:
        """Always None: the reference runs every prior with every task."""
        return None

    def compile(
        self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings
    ) -> TorchProgram | DehazeProgram:
        """A program for estimates of ``shape`` [H, W, C], sides from 1 up; see ``base.Engine``.

        ``settings.threads`` sets PyTorch's thread count for the whole process; None leaves it.

        Raises:
            EngineError: ``settings.subsample``, ``frames`` or ``warped`` with a prior or task that is not
                for them; a precision other than "auto" (= "fp32"), "fp32" or "fp64".
            InputError: a shape with a side under 1, or a thread count outside 1..1024.
            OutOfMemoryError: with the bytes of the allocation that failed.
        """
        check_frames(prior, task, shape, settings)
        if isinstance(prior, HazePriors):
            return dehazing(self, prior, task, shape, settings)
        check_subsampled(prior, task, settings)
        if settings.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise EngineError(f"engine 'torch' has no precision {settings.precision!r}; it takes {known}")
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"shape is {shape}; it must be (H, W, C) with sides of 1 or more")
        if settings.threads is not None:
            if not 1 <= settings.threads <= 1024:
                raise InputError(f"threads is {settings.threads}; it must be 1 to 1024")
            torch.set_num_threads(settings.threads)
        with memory_errors():
            return TorchProgram(prior, task, shape, settings, self._device)

    def most_together(self, prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings) -> int:
        """1: the reference stays simple, and fits one after another."""
        return 1

    def device(self) -> dict[str, str]:
        """The device's name, PyTorch's instruction set (on the CPU) and its version."""
        if self._device.type == "cuda":
            return {"device": torch.cuda.get_device_name(self._device), "version": torch.__version__}
        isa = torch.backends.cpu.get_cpu_capability() if self._device.type == "cpu" else ""
        return {"device": str(self._device), "isa": isa.lower(), "version": torch.__version__}
