"""What the tests of the merge's two routes share: layers, tables, the reference, and the end of both.

What other kernels do between the merge's (a product at low resolution, a convolution) is done in PyTorch, and
rounded to cells where they round.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from tests.triton_kernels import DEVICE, empty, empty_picture, layer, torch, vectors  # isort: skip (it skips)

from dipedge.engines.sampling import seen
from dipedge.kernels.conv_norm_act import reference as conv_reference
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.upsample_merge import triton as kernels
from dipedge.kernels.upsample_merge.reference import upsample_crop
from tests.native_kernels import draw_gamma, draw_layer, with_norm
from tests.tolerance import cell_tolerance, tolerance

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
def drawn(case: Case) -> list[Arrays]:
    """Per fit the two layers with their norms, and the merge's norm."""
    found = []
    for fit in range(FITS):
        seed = 100 * fit
        values = {"deep": draw_layer(seed + 1, *case.low, case.deep, mean=0.3)}
        with_norm(values, "deep", seed + 2)
        if case.skip:
            size = [len(axis) for axis in places(case, fit)]
            values["skip"] = draw_layer(seed + 4, *size, case.skip, mean=-0.2)
            with_norm(values, "skip", seed + 5)
        channels = case.deep + case.skip
        values |= {"gamma": draw_gamma(seed + 7, channels), "beta": draw_layer(seed + 8, channels, mean=0)}
        found.append(values)
    return found


def strided(*shape: int) -> torch.Tensor:
    """float32 [B, C] as launches get them: a view into longer rows."""
    return empty(shape[0], shape[1] + 3)[:, 2:-1]


def parameters(of_fits: list[Arrays], name: str) -> torch.Tensor:
    """A parameter of all fits, float32 with a stride of its own."""
    given = vectors([values[name] for values in of_fits])
    found = strided(*given.shape) if given.ndim == 2 else given
    return found.copy_(given)


def layers(case: Case, precision: str) -> tuple[Layer, Layer | None]:
    """Deep and skip."""

    def made(name: str) -> Layer:
        parts = [[values[f"{name}{part}"] for values in drawn(case)] for part in ("", "_gamma", "_beta")]
        return layer(*parts, precision)

    return made("deep"), made("skip") if case.skip else None


def activation(source: Layer) -> torch.Tensor:
    """act of a layer, float32 [B, H, W, C]."""
    n = source.values[..., : source.channels].float() * source.norm[:, 2, None, None]
    return torch.nn.functional.leaky_relu(n + source.norm[:, 3, None, None], source.slope)


def merge_norm(case: Case, deep: Layer, skip: Layer | None, tables: list[kernels.Axis], used) -> torch.Tensor:
    """The merge's norm, by its kernel."""
    norm = empty(FITS, 4, case.deep + case.skip)
    of_merge = (parameters(drawn(case), name) for name in ("gamma", "beta"))
    kernels.merge_statistics(skip, deep, *tables, *of_merge, EPS, norm, used)
    return norm


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


def allowed(case: Case, precision: str) -> float:
    """The sums of all pixels, of 4 x 4 neighbours and of the channels; in bfloat16 the values on the way that
    are cells: z, y, g by y, dz, u, dskip, g, and the skip times its scale."""
    length = case.height * case.width + 16 + case.deep + case.skip + case.out
    return cell_tolerance(length, cells=8) if precision == "bf16" else tolerance(length, roundings=32)
