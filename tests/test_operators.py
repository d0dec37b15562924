"""The kernels as torch operators: their contracts can be called, on the CPU they are the reference, compiled
code may hold them, and wrong arguments are named."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.operator_cases import CASES, Case, all_cases, results_of, torch  # isort: skip

from dipedge import kernels
from dipedge.errors import EngineError, InputError
from dipedge.kernels.adam import reference as adam_reference
from dipedge.kernels.muon import reference as muon_reference
from tests.tolerance import all_faults, cell_tolerance, tolerance

# PyTorch's own, while it traces an autograd.Function.
compiles = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)


def allowed(case: Case, dtype: torch.dtype) -> float:
    """bfloat16 is computed in float32 and rounded once a way: the result, or one gradient."""
    if dtype == torch.bfloat16:
        return cell_tolerance(case.length, 1)
    return tolerance(case.length, 16, np.float64 if dtype == torch.float64 else np.float32)


@DTYPES
@all_cases
def test_results_and_gradients_are_those_of_the_reference(case, dtype):
    wanted, scales = case.expected
    found = results_of(case.call, case.tensors(dtype), case)
    assert all_faults(found, wanted, allowed(case, dtype), scales) == {}


def test_a_result_that_is_slightly_off_fails_the_judgement():
    case = CASES["3x3"]
    wanted, scales = case.expected
    found = results_of(case.call, case.tensors(torch.float32), case)
    wrong = {name: values * 1.0001 for name, values in found.items()}
    said = all_faults(wrong, wanted, allowed(case, torch.float32), scales)
    assert {"r0", "dx", "dweight"} <= set(said)


def test_the_bias_ahead_of_a_norm_gets_no_gradient_at_all():
    given = CASES["3x3"].tensors(torch.float32)
    CASES["3x3"].call(**given).square().sum().backward()
    assert given["bias"].grad.eq(0).all() and given["gamma"].grad.ne(0).all()


@all_cases
def test_gradients_are_those_of_differences(case):
    given = case.tensors(torch.float64)
    leaves = {name: value for name, value in given.items() if value.requires_grad and name != "bias"}

    def call(*values):
        return case.call(**given | dict(zip(leaves, values, strict=True)))

    assert torch.autograd.gradcheck(call, tuple(leaves.values()), atol=1e-6)


@compiles
@all_cases
def test_compiled_in_one_graph_it_gives_what_it_gives_alone(case):
    torch._dynamo.reset()
    alone = results_of(case.call, case.tensors(torch.float32), case)
    compiled = torch.compile(case.call, fullgraph=True, backend="aot_eager")
    together = results_of(compiled, case.tensors(torch.float32), case)
    # Not to the bit: the compiler takes some functions of the reference apart, such as bilinear enlarging.
    assert all_faults(together, alone, allowed(case, torch.float32), case.expected[1]) == {}


def test_a_bare_gradient_says_that_only_kernels_have_one():
    message = r"^pool_backward: no kernel for torch.float32 on cpu"
    with pytest.raises(EngineError, match=message):
        torch.ops.dipedge.pool_backward(X, X[:, :, :2, :2], X[:, :, :2, :2])


def test_importing_and_showing_a_contract_loads_neither_pytorch_nor_triton():
    code = (
        "import sys, dipedge.kernels as k; print(k.fourier_mlp.CASES[0], k.adam, k.__all__);"
        "print({'torch', 'triton', 'numpy'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "set()" and "<kernel 'dipedge.kernels.adam'" in printed


def test_every_kernel_can_be_called_and_is_still_a_package():
    from dipedge.kernels.pool import reference

    for name in kernels.__all__:
        contract = getattr(kernels, name)
        assert callable(contract) and contract.CASES and contract.__path__
        assert sys.modules[f"dipedge.kernels.{name}"] is contract
    assert kernels.pool.reference is reference


def rates(seed: int, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


@compiles
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_adam_and_muon_do_the_references_step_and_change_nothing_in_place(dtype):
    torch._dynamo.reset()
    four = [rates(seed, dtype, 17, 18) for seed in range(4)]
    three = four[:3]
    before = [value.clone() for value in four]
    for call, reference in (
        (lambda *a: kernels.adam(*a, 3, learning_rate=0.02), adam_reference.adam_step),
        (lambda *a: kernels.muon(*a, iterations=3), muon_reference.muon_step),
    ):
        given = four if reference is adam_reference.adam_step else three
        step = (3,) if reference is adam_reference.adam_step else ()
        options = {"learning_rate": 0.02} if step else {"iterations": 3}
        wanted = reference(*(value.double() for value in given), *step, **options)
        for run in (call, torch.compile(call, fullgraph=True, backend="aot_eager")):
            found = {str(place): value.numpy() for place, value in enumerate(run(*given))}
            exact = {str(place): value.numpy() for place, value in enumerate(wanted)}
            kind = np.float64 if dtype == torch.float64 else np.float32
            # Newton-Schulz: each of the iterations multiplies what the products before it rounded.
            assert all_faults(found, exact, tolerance(3 * 4 * 18, 32, kind), {}) == {}
    assert all(torch.equal(now, then) for now, then in zip(four, before, strict=True))


X, W, V = torch.ones(1, 3, 4, 4), torch.ones(2, 3, 1, 1), torch.ones(2)
T = torch.zeros(1, 2, 4, 4)
WRONG = {
    "no tensor": (lambda: kernels.pool(3), r"^x=int: a torch tensor"),
    "whole numbers": (lambda: kernels.pool(X.int()), r"^x: dtype torch.int32"),
    "float16": (lambda: kernels.pool(X.half()), r"^x: dtype torch.float16"),
    "three axes": (lambda: kernels.pool(X[0]), r"^x: shape \(3, 4, 4\)"),
    "nothing": (lambda: kernels.pool(X[:, :, :0]), r"^x: shape \(1, 3, 0, 4\)"),
    "mode": (lambda: kernels.pool(X, "mean"), r"^mode='mean': must be one of 'largest', 'average'"),
    "channels": (
        lambda: kernels.conv_norm_act(X, W[:, :2], None, V, V),
        r"^weight: shape \(2, 2, 1, 1\) in place of \(2, 3, 1, 1\)",
    ),
    "even kernel": (
        lambda: kernels.conv_norm_act(X, torch.ones(2, 3, 2, 2), None, V, V), r"^weight: kernel of side 2"
    ),
    "gamma": (lambda: kernels.conv_norm_act(X, W, None, V[:1], V), r"^gamma: shape \(1,\) in place of"),
    "beta's dtype": (
        lambda: kernels.conv_norm_act(X, W, None, V, V.double()), r"^beta: dtype torch.float64 does not go"
    ),
    "stride": (lambda: kernels.conv_norm_act(X, W, None, V, V, stride=3), r"^stride=3: must be one of 1, 2"),
    "padding": (
        lambda: kernels.conv_norm_act(X, W, None, V, V, padding="same"), r"^padding='same': must be one of"
    ),
    "device": (
        lambda: kernels.conv_norm_act(X, W.to("meta"), None, V, V), r"^weight: on device meta, while x is"
    ),
    "frequencies": (
        lambda: kernels.fourier_mlp(V, W, V, 4, 4), r"^weight: shape \(2, 3, 1, 1\) in place of \(2, 8,"
    ),
    "height": (
        lambda: kernels.fourier_mlp(V, torch.ones(2, 8, 1, 1), V, 0, 4), r"^height=0: must be a whole number"
    ),
    "size": (
        lambda: kernels.upsample_merge(None, X, V, V, size=(9, 8)), r"^deep: shape .* of \(1, 3, 5, 4\)"
    ),
    "skip": (
        lambda: kernels.upsample_merge(X, X, V, V, size=(8, 8)), r"^skip: shape .* of \(1, 3, 8, 8\)"
    ),
    "factor": (lambda: kernels.lanczos_conv(X, W, None, 1, 2), r"^factor=1: must be a whole number, 2"),
    "averages by four": (lambda: kernels.lanczos_conv(X, W, None, 4, 0), r"^factor=4: averages"),
    "target": (
        lambda: kernels.residual_loss(X, W, V, X), r"^target: shape \(1, 3, 4, 4\) in place of \(1, 2, 4, 4\)"
    ),
    "no mask": (lambda: kernels.residual_loss(X, W, V, T, "mask"), r"^mask: kind='mask' needs one"),
    "a mask too many": (
        lambda: kernels.residual_loss(X, W, V, T, mask=T[0, 0]), r"^mask: kind='identity' takes none"
    ),
    "a learned mask": (
        lambda: kernels.residual_loss(X, W, V, T, "mask", mask=T[0, 0].clone().requires_grad_()),
        r"^mask: requires a gradient",
    ),
    "outputs": (
        lambda: kernels.residual_loss(X, torch.ones(17, 3, 1, 1), torch.ones(17), X), r"^weight: 17 outputs"
    ),
    "seed": (lambda: kernels.perturb(X, 0.1, -1, 0), r"^seed=-1: must be 0 to 2\*\*64 - 1"),
    "step": (lambda: kernels.adam(V, V, V, V, 0), r"^step=0: must be a whole number, 1 or more"),
    "beta1": (lambda: kernels.adam(V, V, V, V, 1, beta1=1.0), r"^beta1=1.0: must be at least 0"),
    "optimiser's dtype": (lambda: kernels.adam(*[V.bfloat16()] * 4, 1), r"^parameter: torch.bfloat16"),
    "matrix": (lambda: kernels.muon(V, V, V), r"^parameter: shape \(2,\) is neither"),
    "small matrix": (lambda: kernels.muon(W, W, W), r"^parameter: shape \(2, 3, 1, 1\); rows and columns"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_named_with_their_value(call, message):
    with pytest.raises(InputError, match=message):
        call()
