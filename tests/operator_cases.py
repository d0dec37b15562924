"""The operators that tests of both routes share: how each is called, and what the references make of it.

A case is called twice with the same named tensors: as an operator, and as its reference, picture by picture
in float64. bfloat16 holds all values exactly, and none of them comes near LeakyReLU's corner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="operators need PyTorch")

from dipedge import kernels  # noqa: E402
from dipedge.kernels.conv_norm_act import reference as conv_reference  # noqa: E402
from dipedge.kernels.fourier_mlp import reference as fourier_reference  # noqa: E402
from dipedge.kernels.lanczos_conv import reference as lanczos_reference  # noqa: E402
from dipedge.kernels.perturb import reference as perturb_reference  # noqa: E402
from dipedge.kernels.pool import reference as pool_reference  # noqa: E402
from dipedge.kernels.residual_loss import reference as loss_reference  # noqa: E402
from dipedge.kernels.upsample_merge import reference as merge_reference  # noqa: E402
from tests.native_kernels import (  # noqa: E402
    Arrays,
    Parts,
    away_from_corner,
    draw_gamma,
    draw_layer,
    fixed_statistics,
)
from tests.tolerance import size  # noqa: E402

Tensors = dict[str, Any]
EPS = 1e-5


@dataclass(frozen=True)
class Case:
    """One operator with one set of options.

    Args:
        call: the operator, of named tensors.
        wanted: the same from the reference.
        shapes: of the tensors.
        cells: which of them are bfloat16 in a bfloat16 call.
        length: how many terms the sums on the way to one result have together.
        fixed: tensors without a gradient, by name.
        ahead: of the tensors, what LeakyReLU gets: no value of it may come near 0.
    """

    call: Callable[..., Any]
    wanted: Callable[..., Any]
    shapes: dict[str, tuple[int, ...]]
    cells: tuple[str, ...]
    length: int
    fixed: Tensors = field(default_factory=dict)
    ahead: Callable[..., Any] | None = None

    @cached_property
    def values(self) -> Tensors:
        """float64 values of all tensors."""
        drawn = {
            name: draw_layer(11 + seed, *shape, mean=0.3)
            for seed, (name, shape) in enumerate(self.shapes.items())
        }
        if "gamma" in drawn:
            drawn["gamma"] = draw_gamma(7, len(drawn["gamma"]))
        found = {name: torch.tensor(value).double() for name, value in drawn.items()}
        if self.ahead is not None:
            # All pictures below one another: one shift must suit them all.
            rows = torch.cat(list(self.ahead(**found)), dim=1).permute(1, 2, 0).numpy()
            found["beta"] = torch.tensor(away_from_corner(rows, drawn["beta"])).double()
        return found

    def tensors(self, dtype: torch.dtype, device: str = "cpu") -> Tensors:
        """Leaves with a gradient, and what has none; float64 for float64, else as ``cells`` says."""
        found = dict(self.fixed)
        for name, value in self.values.items():
            cell = dtype if name in self.cells or dtype == torch.float64 else torch.float32
            found[name] = value.detach().clone().to(device, cell).requires_grad_()
        for name, value in self.fixed.items():
            found[name] = value.to(device, torch.float32 if dtype == torch.bfloat16 else dtype)
        return found

    def gradients(self, results: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """float64 gradients by the results, the same for every route."""
        return [
            torch.tensor(draw_layer(5 + seed, *result.shape, mean=0.1)).double()
            for seed, result in enumerate(results)
        ]

    @cached_property
    def expected(self) -> tuple[Arrays, dict[str, float]]:
        """Results and gradients of the reference in float64, and the scales to judge them by."""
        found = results_of(self.wanted, self.tensors(torch.float64), self)
        parts: Parts = []
        with fixed_statistics(parts):
            given = self.tensors(torch.float64)
            before = results_of(self.wanted, given, self)
        scales = {name: size(value) for name, value in before.items() if name.startswith("d")}
        terms: dict[str, Any] = {}
        for vector, shifts, factors in parts:
            name = next(name for name, leaf in given.items() if leaf is vector)
            terms[name] = terms.get(name, 0) + ((shifts.grad * factors) ** 2).sum((1, 2))
        return found, scales | {f"d{name}": size(value.sqrt().numpy()) for name, value in terms.items()}


def results_of(function: Callable[..., Any], given: Tensors, case: Case) -> Arrays:
    """What ``function`` makes of the tensors and their gradients, by name: r0, r1, dx, ..., in float64."""
    made = function(**given)
    results = made if isinstance(made, tuple) else (made,)
    by_results = zip(results, case.gradients(results), strict=True)
    torch.autograd.backward(*zip(*((r, g.to(r)) for r, g in by_results), strict=True))
    named = {f"r{place}": result for place, result in enumerate(results)}
    named |= {f"d{name}": leaf.grad for name, leaf in given.items() if leaf.requires_grad}
    return {name: value.detach().double().cpu().numpy() for name, value in named.items()}


def pictures(function: Callable[..., Any], *batches: Any) -> Any:
    """``function`` of each picture alone, put together."""
    return torch.cat([function(*parts) for parts in zip(*(batch.split(1) for batch in batches), strict=True)])


def conv(kernel: int, stride: int, padding: str, into: int, out: int, batch: int = 2) -> Case:
    options = {"stride": stride, "padding": padding, "eps": EPS, "slope": 0.2}

    def wanted(x, weight, bias, gamma, beta):
        # The bias is left out, so that its gradient comes out as what it is: nothing at all.
        whole = pictures(
            lambda one: conv_reference.conv_norm_act(one, weight, None, gamma, beta, **options), x
        )
        return whole + 0 * bias.sum()

    def ahead(x, weight, bias, gamma, beta):
        raw = conv_reference.convolve(x, weight, None, stride, padding)
        return pictures(lambda one: conv_reference.batch_norm(one, gamma, beta, EPS), raw)

    vectors = {name: (out,) for name in ("bias", "gamma", "beta")}
    shapes = {"x": (batch, into, 5, 4), "weight": (out, into, kernel, kernel), **vectors}

    def call(x, weight, bias, gamma, beta):
        return kernels.conv_norm_act(x, weight, bias, gamma, beta, **options)

    return Case(call, wanted, shapes, ("x",), kernel**2 * into + 40, ahead=ahead)


def fourier(stride: int, count: int, out: int) -> Case:
    return Case(
        lambda frequencies, weight, bias: kernels.fourier_mlp(frequencies, weight, bias, 5, 6, stride),
        lambda frequencies, weight, bias: fourier_reference.first_layer(
            frequencies, weight, bias, 5, 6, stride
        ),
        {"frequencies": (count,), "weight": (out, 4 * count, 1, 1), "bias": (out,)},
        ("weight",),
        30 + 4 * count,
    )


def merged(mode: str, skip: int, deep: int, height: int, width: int) -> Case:
    options = {"size": (height, width), "mode": mode, "eps": EPS}

    def wanted(deep, gamma, beta, skip=None):
        def one(below, beside=None):
            return merge_reference.upsample_merge(beside, below, gamma, beta, **options)

        return pictures(one, deep) if skip is None else pictures(one, deep, skip)

    shapes = {"deep": (2, deep, -(-height // 2), -(-width // 2)), "gamma": (skip + deep,)}
    shapes |= {"beta": (skip + deep,)} | ({"skip": (2, skip, height, width)} if skip else {})

    def call(deep, gamma, beta, skip=None):
        return kernels.upsample_merge(skip, deep, gamma, beta, **options)

    return Case(call, wanted, shapes, ("deep", "skip"), 4 * height * width)


def lanczos(factor: int, lobes: int, padding: str, into: int, out: int) -> Case:
    return Case(
        lambda x, weight, bias: kernels.lanczos_conv(x, weight, bias, factor, lobes, padding),
        lambda x, weight, bias: lanczos_reference.conv_decimate(x, weight, bias, factor, lobes, padding),
        {"x": (2, into, 5, 4), "weight": (out, into, 3, 3), "bias": (out,)},
        ("x",),
        9 * into + 35,
    )


def loss(kind: str, into: int, out: int, sigmoid: bool = True, scale: int = 1) -> Case:
    height, width = 5, 4
    mask = torch.tensor(np.random.default_rng(5).random((height, width)) > 0.4).double()
    fixed = {"mask": mask} if kind == "mask" else {}

    def wanted(activations, weight, bias, target, mask=None):
        x = loss_reference.head(activations, weight, bias, sigmoid)
        pairs = zip(x.split(1), target.split(1), strict=True)
        return torch.stack([loss_reference.data_term(a, b, kind, mask, scale) for a, b in pairs]), x

    def call(activations, weight, bias, target, mask=None):
        return kernels.residual_loss(
            activations, weight, bias, target, kind, mask=mask, scale=scale, sigmoid=sigmoid
        )

    shapes = {"activations": (2, into, height, width), "weight": (out, into, 1, 1), "bias": (out,)}
    shapes["target"] = (2, out, -(-height // scale), -(-width // scale))
    return Case(call, wanted, shapes, ("activations",), into + 2 * height * width * out, fixed)


def pool(mode: str) -> Case:
    chosen = pool_reference.largest if mode == "largest" else pool_reference.avg
    return Case(lambda x: kernels.pool(x, mode), chosen, {"x": (2, 3, 5, 4)}, ("x",), 4)


def perturbed(seed: int, step: int) -> Case:
    def wanted(z):
        noise = perturb_reference.normal(seed, step, z.numel()).reshape(tuple(z.shape))
        return z + 0.1 * torch.from_numpy(noise).to(z)

    return Case(lambda z: kernels.perturb(z, 0.1, seed, step), wanted, {"z": (2, 3, 5)}, ("z",), 1)


CASES = {
    "pointwise": conv(1, 1, "reflection", 5, 3),
    "pointwise in eights": conv(1, 1, "zero", 8, 8),
    "pointwise by two": conv(1, 2, "reflection", 3, 4),
    "3x3": conv(3, 1, "reflection", 3, 4),
    "3x3 by two": conv(3, 2, "zero", 2, 3),
    "fourier": fourier(1, 2, 3),
    "fourier by two": fourier(2, 3, 8),
    "bilinear merge": merged("bilinear", 2, 3, 3, 4),
    "nearest merge": merged("nearest", 1, 2, 4, 3),
    "merge without skip": merged("bilinear", 0, 8, 5, 5),
    "lanczos2 by two": lanczos(2, 2, "reflection", 3, 4),
    "lanczos3 by three": lanczos(3, 3, "zero", 2, 2),
    "averaged convolution": lanczos(2, 0, "reflection", 2, 3),
    "decimation": Case(
        lambda x: kernels.lanczos_conv.decimate(x, 3, 2), lambda x: lanczos_reference.decimate(x, 3, 2),
        {"x": (2, 3, 7, 5)}, ("x",), 90,
    ),
    "identity loss": loss("identity", 6, 3),
    "masked loss": loss("mask", 8, 1),
    "lanczos loss": loss("lanczos", 3, 3, scale=2),
    "loss without sigmoid": loss("identity", 2, 2, sigmoid=False),
    "maxima": pool("largest"),
    "averages": pool("average"),
    "noise": perturbed(2**63 + 5, 7),
}  # fmt: skip
all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
