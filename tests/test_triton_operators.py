"""The operators' way to the Triton kernels and back: values, gradients, and what ``opcheck`` asks.

In the interpreter CPU tensors are sent to the kernels by a switch for tests; a GPU needs no switch.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from tests.triton_kernels import DEVICE, torch  # isort: skip (it skips the module where there is no Triton)

from torch.utils._python_dispatch import TorchDispatchMode

from dipedge import kernels
from dipedge.kernels import operators
from dipedge.kernels.adam import reference as adam_reference
from dipedge.kernels.muon import reference as muon_reference
from tests.operator_cases import CASES, all_cases, results_of
from tests.test_operators import compiles, rates
from tests.tolerance import all_faults, cell_tolerance, tolerance

pytestmark = pytest.mark.triton_interpret
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


@pytest.fixture(autouse=True)
def through_the_kernels():
    """CPU tensors go to the kernels, and memory that nobody has written holds NaN."""
    on_cpu = DEVICE == "cpu"
    torch.use_deterministic_algorithms(on_cpu)
    with operators.interpreted() if on_cpu else contextlib.nullcontext():
        yield
    torch.use_deterministic_algorithms(False)


@DTYPES
@all_cases
def test_results_and_gradients_are_those_of_the_reference(case, dtype):
    wanted, scales = case.expected
    found = results_of(case.call, case.tensors(dtype, DEVICE), case)
    enough = cell_tolerance(case.length) if dtype == torch.bfloat16 else tolerance(case.length, 16)
    assert all_faults(found, wanted, enough, scales) == {}


def test_pictures_in_channels_last_order_are_used_where_they_lie():
    case = CASES["pointwise in eights"]
    given = case.tensors(torch.float32, DEVICE)
    with torch.no_grad():
        turned = given["x"].to(memory_format=torch.channels_last).requires_grad_()
    results = results_of(case.call, given, case), results_of(case.call, given | {"x": turned}, case)
    assert np.array_equal(results[0]["r0"], results[1]["r0"])
    assert np.array_equal(results[0]["dx"], results[1]["dx"])
    assert case.call(**given).is_contiguous(memory_format=torch.channels_last)
    from dipedge.kernels.gpu.pictures import cells_of

    assert cells_of(turned).data_ptr() == turned.data_ptr()


def leaves(arguments, device=DEVICE):
    """The arguments as tensors of their own, without a history; the strides stay."""
    return tuple(
        given.detach().clone().to(device) if isinstance(given, torch.Tensor) else given for given in arguments
    )


class Recorded(TorchDispatchMode):
    """Keeps every call of an operator of ours."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function.namespace == "dipedge":
            self.calls.append((function, arguments))
        return function(*arguments, **(options or {}))


CHECKED = ("pointwise", "3x3 by two", "fourier by two", "bilinear merge")
CHECKED += ("lanczos2 by two", "decimation", "masked loss", "lanczos loss", "maxima", "noise")


@compiles
@pytest.mark.parametrize("name", CHECKED)
def test_pytorch_finds_no_fault_with_the_operator_and_its_gradient(name, monkeypatch):
    # On one thread, or the gradient's calls on a GPU would go unseen.
    with Recorded() as seen, torch.autograd.set_multithreading_enabled(False):
        results_of(CASES[name].call, CASES[name].tensors(torch.float32, DEVICE), CASES[name])
    names = {function.name() for function, _ in seen.calls}
    assert name == "noise" or any(found.endswith("_backward") for found in names)
    torch.use_deterministic_algorithms(False)
    for function, arguments in {function.name(): (function, args) for function, args in seen.calls}.values():
        torch.library.opcheck(function, leaves(arguments))
        if not function.name().endswith("_backward"):
            # A bare operator answers on the CPU too, by the reference.
            monkeypatch.setattr(operators._Route, "interpreted", False)
            torch.library.opcheck(function, leaves(arguments, "cpu"))
            monkeypatch.undo()


FOUR = [rates(seed, torch.float32, 17, 18).to(DEVICE) for seed in range(4)]
STEPS = {"adam": lambda: kernels.adam(*FOUR, 3), "muon": lambda: kernels.muon(*FOUR[:3])}


@compiles
@pytest.mark.parametrize("call", STEPS.values(), ids=STEPS)
def test_pytorch_finds_no_fault_with_an_optimisers_step(call):
    with Recorded() as seen:
        call()
    torch.use_deterministic_algorithms(False)
    ((function, arguments),) = seen.calls
    torch.library.opcheck(function, arguments)


def named(tensors):
    return {str(place): value.cpu().numpy() for place, value in enumerate(tensors)}


def test_adam_does_the_references_step():
    wanted = named(adam_reference.adam_step(*(value.double() for value in FOUR), 3, learning_rate=0.02))
    found = named(kernels.adam(*FOUR, 3, learning_rate=0.02))
    assert all_faults(found, wanted, tolerance(1, 16), {}) == {}
    wrong = {name: values * 1.001 for name, values in found.items()}
    assert set(all_faults(wrong, wanted, tolerance(1, 16), {})) == {"0", "1", "2"}


def test_muon_does_the_references_step():
    # [out, in, 3, 3]: the kernel's columns are ordered otherwise than PyTorch's, which must not matter.
    three = [value[:, :18].reshape(17, 2, 3, 3) for value in FOUR[:3]]
    wanted = muon_reference.muon_step(*(value.double() for value in three), learning_rate=0.02)
    moved, mean = kernels.muon(*three, learning_rate=0.02)
    # tests/test_triton_muon.py says where 4e-3 of a step's length comes from; the interpreter is closer.
    found, exact = named([moved.double() - three[0]]), named([wanted[0] - three[0].double()])
    assert all_faults(found, exact, 4e-3, {}) == {}
    assert all_faults(named([mean]), named([wanted[1]]), tolerance(1), {}) == {}


@compiles
@pytest.mark.parametrize("name", ["3x3", "fourier", "bilinear merge", "lanczos loss"])
def test_compiled_in_one_graph_the_kernels_give_what_they_give_alone(name):
    torch._dynamo.reset()
    case = CASES[name]
    alone = results_of(case.call, case.tensors(torch.float32, DEVICE), case)
    compiled = torch.compile(case.call, fullgraph=True, backend="aot_eager")
    together = results_of(compiled, case.tensors(torch.float32, DEVICE), case)
    assert [key for key in alone if not np.array_equal(alone[key], together[key])] == []
