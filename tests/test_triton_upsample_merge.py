"""The Triton kernels of the merge, both routes from the two layers to the up convolution and back.

What other kernels do between them (a product at low resolution, a convolution) is done here in PyTorch, and
rounded to cells where they round.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from dipedge.engines.sampling import seen
from dipedge.kernels.conv_norm_act import reference as conv_reference
from dipedge.kernels.gpu import launch
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.upsample_merge import triton as kernels
from dipedge.kernels.upsample_merge.reference import upsample_crop
from tests.native_kernels import (
    before_centring,
    draw_gamma,
    draw_layer,
    picture,
    reference,
    with_norm,
)
from tests.tolerance import all_faults, cell_tolerance, tolerance
from tests.triton_kernels import (  # first: it skips where there is no Triton
    CELLS,
    DEVICE,
    arrays,
    assert_counters_are_zero,
    empty,
    empty_picture,
    in_both,
    layer,
    pictures,
    scratch,
    torch,
    vectors,
)

pytestmark = pytest.mark.triton_interpret
FITS = 2
EPS = 1e-5


@dataclass(frozen=True)
class Case:
    """A level: its whole size, and the channels of deep branch, skip and up convolution."""

    deep: int
    skip: int
    out: int
    height: int
    width: int
    mode: str = "bilinear"
    sampled: bool = False

    @property
    def low(self) -> tuple[int, int]:
        return -(-self.height // 2), -(-self.width // 2)


CASES = (
    Case(5, 3, 6, 7, 9),
    Case(17, 1, 20, 6, 8, mode="nearest"),
    Case(3, 0, 2, 9, 70),  # three strips; no skip
    Case(2, 20, 3, 4, 35),  # more skip channels than one product takes
    Case(1, 1, 1, 1, 1),
    Case(2, 4, 3, 1, 2),
    Case(1, 2, 1, 1, 1, sampled=True),
    Case(6, 4, 5, 9, 13, sampled=True),
    Case(3, 0, 2, 5, 131, sampled=True),
    Case(2, 1, 3, 8, 7, mode="nearest", sampled=True),
)
WRONG = Case(4, 2, 3, 7, 10)
Arrays = dict[str, np.ndarray]


def places(case: Case, fit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the result, others in every fit where they are sampled."""
    if not case.sampled:
        return np.arange(case.height), np.arange(case.width)
    found = seen(case.height, case.width, seed=3 + fit, step=4 * fit)
    return found.rows, found.columns


def axes(case: Case) -> list[kernels.Axis]:
    """The filled tables of rows and columns."""
    found = []
    for side, low in enumerate(case.low):
        positions = torch.tensor(np.stack([places(case, fit)[side] for fit in range(FITS)]))
        positions = positions.to(torch.int32).to(DEVICE)
        axis = kernels.Axis.empty(FITS, positions.shape[1], low, case.sampled, DEVICE)
        for table in (axis.weight, axis.back, axis.gram):
            table.fill_(float("nan"))
        axis.first.fill_(-99)
        kernels.fill_axis(positions, axis, case.mode == "nearest")
        found.append(axis)
    return found


def merge(
    case: Case, fit: int, deep, deep_gamma, deep_beta, gamma, beta, skip=None, skip_gamma=None, skip_beta=None
):
    """The normalised merged picture, deep channels first."""
    deep = conv_reference.norm_act(deep, deep_gamma, deep_beta, EPS, 0.2)
    rows, columns = map(torch.from_numpy, places(case, fit))
    merged = upsample_crop(deep, case.height, case.width, case.mode)[:, :, rows][:, :, :, columns]
    if skip is not None:
        skip = conv_reference.norm_act(skip, skip_gamma, skip_beta, EPS, 0.2)
        merged = torch.cat((merged, skip), dim=1)
    return conv_reference.batch_norm(merged, gamma, beta, EPS)


@cache
def prepared(case: Case) -> list[tuple[Arrays, Arrays, dict[str, float]]]:
    """Per fit: arrays, wanted results and scales of the pointwise route, to the gradient of the up norm."""
    found = []
    for fit in range(FITS):
        seed = 100 * fit
        given = {"deep": draw_layer(seed + 1, *case.low, case.deep, mean=0.3)}
        with_norm(given, "deep", seed + 2)
        height, width = (len(axis) for axis in places(case, fit))
        if case.skip:
            given["skip"] = draw_layer(seed + 4, height, width, case.skip, mean=-0.2)
            with_norm(given, "skip", seed + 5)
        channels = case.deep + case.skip
        given |= {"gamma": draw_gamma(seed + 7, channels), "beta": draw_layer(seed + 8, channels, mean=0)}
        given["weight"] = draw_layer(seed + 9, case.out, channels, mean=0)
        given |= {
            "up_gamma": draw_gamma(seed + 10, case.out),
            "up_beta": draw_layer(seed + 11, case.out, mean=0),
        }
        gradient = draw_layer(seed + 12, height, width, case.out, mean=0)
        kept = {}

        def up(weight, up_gamma, up_beta, fit=fit, kept=kept, **layers):
            kept["y"] = torch.nn.functional.conv2d(merge(case, fit, **layers), weight[:, :, None, None])
            return conv_reference.batch_norm(kept["y"], up_gamma, up_beta, EPS)

        n, wanted, scales = reference(up, given, gradient)
        scales["n"] = before_centring(picture(kept["y"]), given["up_gamma"])
        found.append(({**given, "g": gradient}, {"n": n, **wanted}, scales))
    return found


def strided(*shape: int) -> torch.Tensor:
    """float32 [B, C] as launches get them: a view into longer rows."""
    return empty(shape[0], shape[1] + 3)[:, 2:-1]


def parameters(case: Case, name: str) -> torch.Tensor:
    """A parameter of all fits, float32 with a stride of its own."""
    given = vectors([fit[0][name] for fit in prepared(case)])
    found = strided(*given.shape) if given.ndim == 2 else given
    return found.copy_(given)


def layers(case: Case, precision: str) -> tuple[Layer, Layer | None]:
    """Deep and skip."""

    def made(name: str) -> Layer:
        parts = [[fit[0][f"{name}{part}"] for fit in prepared(case)] for part in ("", "_gamma", "_beta")]
        return layer(*parts, precision)

    return made("deep"), made("skip") if case.skip else None


def activation(source: Layer) -> torch.Tensor:
    """act of a layer, float32 [B, H, W, C]."""
    n = source.values[..., : source.channels].float() * source.norm[:, 2, None, None]
    return torch.nn.functional.leaky_relu(n + source.norm[:, 3, None, None], source.slope)


def as_cells(values: torch.Tensor, precision: str) -> torch.Tensor:
    """Values [B, H, W, C] as cells with a poisoned surplus."""
    return pictures(arrays(values), precision)


def new_gradient(source: Layer, precision: str) -> Gradient:
    """The gradient of a layer, to be written."""
    values = empty_picture(FITS, *source.shape[1:], source.channels, precision)
    return Gradient(values, empty(FITS, 2, source.channels))


def by_y(source: Layer, gradient: Gradient) -> list[np.ndarray]:
    """From a stored gradient to that by the layer's y, as its reader makes it."""
    mean, rstd, scale, _ = (source.norm[:, k, None, None].double() for k in range(4))
    y, g = (t[..., : source.channels].double() for t in (source.values, gradient.values))
    means = gradient.means[:, :, None, None].double()
    return list((scale * (g - means[:, 0] - (y - mean) * rstd * means[:, 1])).cpu().numpy())


def of_up(case: Case, output: Layer, precision: str) -> Gradient:
    """The gradient that comes in, with its means."""
    values = pictures([fit[0]["g"] for fit in prepared(case)], precision)
    g, y = values[..., : case.out].double(), output.values[..., : case.out].double()
    h = (y - output.norm[:, 0, None, None]) * output.norm[:, 1, None, None]
    return Gradient(values, torch.stack((g.mean((1, 2)), (g * h).mean((1, 2))), 1).float())


def forward(case: Case, precision: str, tables: list[kernels.Axis], used: launch.Scratch):
    """The pointwise route forward: layers, norm, weight and output."""
    deep, skip = layers(case, precision)
    norm = empty(FITS, 4, case.deep + case.skip)
    kernels.merge_statistics(
        skip, deep, *tables, parameters(case, "gamma"), parameters(case, "beta"), EPS, norm, used
    )
    weight = parameters(case, "weight").to(CELLS[precision])[:, :, None, None]
    of_deep = norm[:, :, None, None, : case.deep]
    centred = (activation(deep) - of_deep[:, 0]) * of_deep[:, 2]
    z = torch.einsum("bhwc,boc->bhwo", centred, weight[:, :, 0, 0, : case.deep].float())
    size = [table.count for table in tables]
    output = Layer(empty_picture(FITS, *size, case.out, precision), case.out, empty(FITS, 4, case.out))
    of_skip = weight[..., case.deep :] if case.skip else None
    up_norm = parameters(case, "up_gamma"), parameters(case, "up_beta")
    kernels.blend(as_cells(z, precision), skip, norm, of_skip, *tables, output, *up_norm, EPS, used)
    return deep, skip, norm, weight, output


def pointwise(case: Case, precision: str = "fp32") -> list[Arrays]:
    """Everything the pointwise route computes, per fit, by the names of ``prepared``."""
    used, tables = scratch(FITS), axes(case)
    deep, skip, norm, weight, output = forward(case, precision, tables, used)
    found = {"n": output.values[..., : case.out].double() * output.norm[:, 2, None, None]}
    found["n"] += output.norm[:, 3, None, None]

    slots = kernels.blend_partials(*case.low, tables[0].step) + 1
    partials = empty(FITS, slots, case.out, 1, 1, case.deep + case.skip)
    dz = empty_picture(FITS, *case.low, case.out, precision)
    dskip, skip_means = (torch.empty_like(skip.values), empty(FITS, 2, case.skip)) if skip else (None, None)
    dgamma, dbeta = strided(FITS, case.deep + case.skip), strided(FITS, case.deep + case.skip)
    of_skip = (
        (weight[..., case.deep :], partials[..., case.deep :], dgamma[:, case.deep :], dbeta[:, case.deep :])
        if skip
        else (None,) * 4
    )
    kernels.blend_backward(
        of_up(case, output, precision), output, skip, norm, of_skip[0], *tables, dz, dskip, of_skip[1],
        skip_means, *of_skip[2:], used,
    )  # fmt: skip
    # What the product at low resolution does: the deep weights' gradient, u and its sums.
    dz, deep_weight = dz[..., : case.out].float(), weight[:, :, 0, 0, : case.deep].float()
    h = (activation(deep) - norm[:, 0, None, None, : case.deep]) * norm[:, 1, None, None, : case.deep]
    by_weight = torch.einsum("bhwo,bhwc->boc", dz, h) * parameters(case, "gamma")[:, None, : case.deep]
    u = as_cells(torch.einsum("bhwo,boc->bhwc", dz, deep_weight), precision)
    sums = torch.stack(
        [(u[..., : case.deep].float() * part).sum((1, 2)) for part in (torch.ones_like(h), h)], 1
    )
    dbeta[:, : case.deep], dgamma[:, : case.deep] = sums[:, 0], sums[:, 1]
    found["dweight"] = torch.cat((by_weight, partials.sum(1)[:, :, 0, 0, case.deep :]), 2)
    means = (sums / (tables[0].count * tables[1].count)).contiguous()
    finish(case, precision, deep, skip, norm, (u, means), (dskip, 0, skip_means), tables, found, used)
    assert_counters_are_zero(used)
    found |= {"dgamma": dgamma, "dbeta": dbeta}
    return [{name: np.asarray(value[fit]) for name, value in found.items()} for fit in range(FITS)]


def finish(case, precision, deep, skip, norm, of_deep, of_skip, tables, found, used) -> None:
    """The end of both routes: the gradients of the two layers."""
    u, means = of_deep
    for name, source in (("deep", deep), ("skip", skip)):
        if source is None:
            continue
        gradient = new_gradient(source, precision)
        vectors_of = strided(FITS, source.channels), strided(FITS, source.channels)
        if name == "deep":
            kernels.merge_backward_deep(u, deep, norm, means, *tables, gradient, *vectors_of, used)
        else:
            kernels.merge_backward_skip(*of_skip[:2], skip, norm, of_skip[2], gradient, *vectors_of, used)
        found |= {f"d{name}": by_y(source, gradient)}
        found |= {f"d{name}_gamma": vectors_of[0], f"d{name}_beta": vectors_of[1]}


def wanted(case: Case, fit: int) -> tuple[Arrays, dict[str, float]]:
    """What of ``prepared`` these kernels make, and the scales."""
    _, results, scales = prepared(case)[fit]
    return {name: value for name, value in results.items() if not name.startswith("dup_")}, scales


def allowed(case: Case, precision: str) -> float:
    """The sums of all pixels, of 4 x 4 neighbours and of the channels; in bfloat16 the values on the way that
    are cells: z, y, g by y, dz, u, dskip, g, and the skip times its scale."""
    length = case.height * case.width + 16 + case.deep + case.skip + case.out
    return cell_tolerance(length, cells=8) if precision == "bf16" else tolerance(length, roundings=32)


def judged(case: Case, precision: str, found: list[Arrays]) -> list[dict]:
    """The faults of all fits."""
    return [all_faults(found[fit], *_in_order(case, precision, fit)) for fit in range(FITS)]


def _in_order(case: Case, precision: str, fit: int):
    results, scales = wanted(case, fit)
    return results, allowed(case, precision), scales


@in_both
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_pointwise_route_and_its_gradients_are_those_of_the_reference(case, precision):
    assert judged(case, precision, pointwise(case, precision)) == [{}, {}]
