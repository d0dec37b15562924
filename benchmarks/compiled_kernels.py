"""What the compiler makes of every kernel of a step, without a GPU: ``python -m
benchmarks.compiled_kernels``.

Runs the launches of one optimiser step on CPU tensors of the real sizes with a driver that is not there: each
kernel is specialised exactly as it would be on the GPU and compiled to machine code, and nothing is started.
Prints a Markdown table per architecture: registers and stack of a thread (a stack means spills), shared
memory of a program, and whether the products run on tensor cores (``wgmma`` of sm_90, ``mma`` before).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from dipedge.engines.base import Settings
from dipedge.presets import preset
from dipedge.tasks import Denoise, SuperResolve

FITS = {
    "PIP": (Denoise(), "pip", "paper"),
    "PIP sampled, Muon": (Denoise(), "pip", "fast"),
    "DIP": (Denoise(), "dip", "paper"),
    "DIP x4": (SuperResolve(4), "dip", "paper"),
}


@dataclass(frozen=True)
class Compiled:
    """One kernel as it would be launched."""

    name: str
    grid: tuple[int, ...]
    warps: int
    registers: int
    stack: int
    shared: int
    products: str


SHARED_MEMORY = {80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10}  # bytes a program may take


class AbsentDriver:
    """Says that a device of some compute capability is there, and knows nothing else."""

    def __init__(self, capability: int) -> None:
        self.capability = capability
        self.utils = self

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": SHARED_MEMORY[self.capability]}

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability  # compiled kernels are kept per device

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        pass

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers and stack bytes of a thread."""
    tool = triton.knobs.nvidia.cuobjdump.path
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", said.stdout)
    return int(found[1]), int(found[2])


@contextmanager
def compiled_only(capability: int) -> Iterator[list[Compiled]]:
    """Launches inside compile for ``capability`` (80, 90) and start nothing; they are collected."""
    if triton.knobs.runtime.interpret:
        raise RuntimeError("the interpreter compiles nothing; run with TRITON_INTERPRET=0")
    found: dict[Any, Compiled] = {}
    collected: list[Compiled] = []
    run = JITFunction.run

    def compile_it(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        if kernel.hash not in found:
            ptx, (registers, stack) = kernel.asm["ptx"], resources(kernel.asm["cubin"])
            products = "wgmma" if "wgmma.mma_async" in ptx else "mma" if "mma.sync" in ptx else ""
            found[kernel.hash] = Compiled(
                self.__name__, tuple(grid), kernel.metadata.num_warps, registers, stack,
                kernel.metadata.shared, products,
            )  # fmt: skip
            collected.append(found[kernel.hash])
        return kernel

    JITFunction.run = compile_it
    before = driver._active  # there is no other way to ask without looking for a real one
    driver.set_active(AbsentDriver(capability))
    try:
        yield collected
    finally:
        JITFunction.run = run
        driver._active = before


def compile_step(
    name: str, side: int, precision: str, capability: int, levels: int | None = None
) -> list[Compiled]:
    """Every kernel of one step of FITS[name] at side x side, of its first ``levels`` levels."""
    from dipedge.engines.triton import PRECISIONS
    from dipedge.engines.triton_fits import TritonFits

    task, prior, quality = FITS[name]
    chosen = preset(task, prior, quality)
    network = chosen.prior.network
    fitted = replace(chosen.prior, network=replace(network, levels=network.levels[:levels]))
    settings = Settings(chosen.optimiser, chosen.average, subsample=chosen.subsample, precision=precision)
    with compiled_only(capability) as found:
        shape = (side, side, 3)
        cell = PRECISIONS[precision]
        fits = TritonFits(fitted, task, shape, [settings], cell, torch.device("cpu"))
        fits.begin()
        fits.step(2)
    return found


def table(found: list[Compiled]) -> list[str]:
    """Markdown, one line per kernel as specialised."""
    lines = [
        "| kernel | grid | warps | registers | stack | shared | products |",
        "|---|---|---|---|---|---|---|",
    ]
    for k in sorted(found, key=lambda k: (k.name, k.grid)):
        grid = " x ".join(map(str, k.grid))
        lines.append(
            f"| `{k.name}` | {grid} | {k.warps} | {k.registers} | {k.stack} | {k.shared} | {k.products} |"
        )
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Prints the tables; 1 if a kernel spills more than --stack bytes a thread."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled_kernels", description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--fit", choices=list(FITS), action="append")
    parser.add_argument(
        "--capability", type=int, choices=SHARED_MEMORY, action="append", help="80 and 90 when left out"
    )
    parser.add_argument("--levels", type=int, help="of the network, from the largest; all when left out")
    parser.add_argument("--stack", type=int, default=1 << 20, help="bytes a thread may spill")
    options = parser.parse_args(arguments)
    worst = 0
    for capability in options.capability or [80, 90]:
        for name in options.fit or list(FITS):
            found = compile_step(name, options.side, options.precision, capability, options.levels)
            worst = max(worst, *(k.stack for k in found))
            print(f"\n## sm_{capability}, {name} {options.side}x{options.side}, {options.precision}\n")
            print("\n".join(table(found)), flush=True)
    return 1 if worst > options.stack else 0


if __name__ == "__main__":
    if os.environ.get("TRITON_INTERPRET") == "1":
        sys.exit("the interpreter compiles nothing; run with TRITON_INTERPRET=0")
    assert Path(triton.knobs.nvidia.cuobjdump.path).is_file()
    sys.exit(main())
