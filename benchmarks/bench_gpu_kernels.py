"""Single kernels on a GPU beside PyTorch's operators, the limits of the device and the error.

    pytest benchmarks/bench_gpu_kernels.py -m gpu --benchmark-only

A launch takes the host longer than these kernels take the device, so every contestant is timed as it runs in
a fit: captured in a CUDA graph, many passes to a replay. The passes go round several copies of the tensors,
which together are far larger than the cache: in a fit, too, other layers have been there in between.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("triton", reason="Triton is not installed")

from benchmarks import gpu_device as gpu  # noqa: E402
from benchmarks.gpu_fits import relative  # noqa: E402

pytestmark = gpu.on_gpu
COPIES, PASSES = 3, 24  # of the tensors; of a replay
ROUNDS = 20
ROLES = {"torch": "eager", "torch compiled": "compiled"}
# Compiling takes longest and comes last: time may run out.
CONTESTANTS = ("triton", "torch", "library in ours", "torch compiled")
NAMES = (
    "pointwise 128 to 128, forward",
    "pointwise 128 to 128, both ways",
    "3x3 128 to 128, forward",
    "enlarge and blend, 128 and skip 4",
    "head and loss, both ways",
    "3x3 and lanczos2, forward",
)


def captured(runs: list) -> torch.cuda.CUDAGraph:
    """PASSES passes, round the copies."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for run in runs * 3:
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for index in range(PASSES):
            runs[index % len(runs)]()
    return graph


@pytest.mark.filterwarnings("ignore")  # torch.compile warns of itself
@pytest.mark.parametrize(("name", "contestant"), [(name, who) for who in CONTESTANTS for name in NAMES])
def test_time_of_a_kernel(benchmark, name, contestant):
    from benchmarks.gpu_kernels import ENTRIES

    prepare, side = ENTRIES[name]
    what = f"{name}, {side}x{side}"
    gpu.need(what, contestant, 8 if contestant == "torch compiled" else 4)
    with gpu.row(what, contestant):
        first = prepare(side, "cuda")
        if contestant not in first.contestants:
            pytest.skip("this kernel has no such route")
        copies = [first, *(prepare(side, "cuda") for _ in range(COPIES - 1))]
        with gpu.ending_after(max(1.0, gpu.budget.left())):
            graph = captured([copy.contestants[contestant].run for copy in copies])
        graph.replay()
        off = relative(
            first.contestants[contestant].result().cpu().numpy(), first.wanted.double().cpu().numpy()
        )

        def replay() -> None:
            graph.replay()
            torch.cuda.synchronize()

        benchmark.pedantic(replay, rounds=ROUNDS, warmup_rounds=2)
        limits = gpu.measured_limits()
        ms = 1e3 * benchmark.stats.stats.median / PASSES
        gpu.report.row(
            what, contestant, ms=ms, bytes=first.bytes, flops=first.flops, error=off,
            role=ROLES.get(contestant),
        )  # fmt: skip
        assert limits["bytes"] > 0
