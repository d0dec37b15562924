"""The kernels of a step on a GPU beside PyTorch's own: one entry each, with what it computes and must do.

An entry prepares its contestants: ours ("triton", and other routes by their names) and PyTorch's operators in
channels-last bfloat16, as they are ("torch") and compiled. All compute the same thing from the same cells.
Each has ``run``, which is timed, and ``result``, which is compared with ``wanted`` of float64. To add a
kernel, write a function of (side, device) and put it into ENTRIES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from dipedge.kernels.conv_norm_act.triton import pointwise
from dipedge.kernels.conv_norm_act.triton_backward import pointwise_backward, weight_partials
from dipedge.kernels.conv_norm_act.triton_conv import convolve
from dipedge.kernels.conv_norm_act.triton_conv_padding import pack
from dipedge.kernels.conv_norm_act.triton_library import convolve_library
from dipedge.kernels.gpu.launch import COUNTERS, MAX_PROGRAMS, Scratch, channel_stride
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.lanczos_conv import reference as lanczos_reference
from dipedge.kernels.lanczos_conv.triton_conv import conv_decimate, filter_lines
from dipedge.kernels.lanczos_conv.triton_tables import decimation
from dipedge.kernels.residual_loss import triton_loss
from dipedge.kernels.upsample_merge import triton as merge

C, SKIP, EPS, SLOPE, CELL = 128, 4, 1e-5, 0.2, 2
BF16 = torch.bfloat16


@dataclass(frozen=True)
class Contestant:
    """What is timed, and what came of it: float32 or float64, [pixels or weights, channels]."""

    run: Callable[[], Any]
    result: Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Prepared:
    """Contestants by name; ``wanted`` in float64; least bytes and flops of one pass.

    ``allowed`` is the relative error that bfloat16 explains: two or three roundings to 8 bits. Backward some
    values near 0 are rounded to the other side of LeakyReLU's corner: 0.3 %, each off by 0.8, make 4 %.
    """

    contestants: dict[str, Contestant]
    wanted: torch.Tensor
    bytes: float
    flops: float
    allowed: float = 1e-2


class Draws:
    """Random tensors on ``device``, always the same for one seed."""

    def __init__(self, device: str) -> None:
        self.device, self._draws = device, torch.Generator(device).manual_seed(0)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(shape, generator=self._draws, device=self.device).to(dtype)

    def gamma(self, channels: int) -> torch.Tensor:
        return 0.5 + torch.rand((1, channels), generator=self._draws, device=self.device)

    def picture(self, height: int, width: int, channels: int) -> torch.Tensor:
        """Cells [1, H, W, S]; the surplus is 0."""
        found = self.empty(height, width, channels).zero_()
        found[..., :channels] = self.normal(1, height, width, channels)
        return found

    def empty(self, height: int, width: int, channels: int) -> torch.Tensor:
        return torch.empty((1, height, width, channel_stride(channels)), dtype=BF16, device=self.device)

    def floats(self, *shape: int) -> torch.Tensor:
        return torch.empty(shape, device=self.device)

    def layer(self, height: int, width: int, channels: int) -> Layer:
        """A layer with its norm, as another launch would have left it."""
        values = self.picture(height, width, channels)
        gamma, beta = self.gamma(channels), self.normal(1, channels)
        return Layer(values, channels, norm_of(values[..., :channels], gamma, beta), SLOPE)

    def output(self, height: int, width: int, channels: int) -> Layer:
        """To be written."""
        return Layer(self.empty(height, width, channels), channels, self.floats(1, 4, channels), SLOPE)

    def weight(self, out: int, kernel: int, into: int) -> torch.Tensor:
        return (self.normal(1, out, kernel, kernel, into) / (kernel * into**0.5)).to(BF16)

    def scratch(self) -> Scratch:
        counters = torch.zeros(COUNTERS, dtype=torch.int32, device=self.device)
        return Scratch(self.floats(MAX_PROGRAMS * 3 * 2 * C), counters)


def norm_of(values: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """``Layer.norm`` [1, 4, C] of cells [1, H, W, C]."""
    flat = values.double().flatten(0, 2)
    mean, rstd = flat.mean(0), (flat.var(0, unbiased=False) + EPS).rsqrt()
    scale = gamma[0] * rstd
    return torch.stack((mean, rstd, scale, beta[0] - mean * scale)).float()[None]


def activated(layer: Layer) -> torch.Tensor:
    """act(scale y + shift), float32 [1, H, W, C]."""
    _, _, scale, shift = layer.norm[0]
    return F.leaky_relu(layer.values[..., : layer.channels].float() * scale + shift, layer.slope)


def planes(cells: torch.Tensor) -> torch.Tensor:
    """[1, H, W, C] as [1, C, H, W]: channels-last, nothing moves."""
    return cells.permute(0, 3, 1, 2)


def in_torch(
    compute: Callable[..., torch.Tensor], arguments: tuple[torch.Tensor, ...]
) -> tuple[dict[str, Contestant], torch.Tensor]:
    """PyTorch's two contestants, and the result in float64. ``compute`` gives [.., C, H, W] or weights."""

    def contestant(function: Callable[..., torch.Tensor]) -> Contestant:
        kept: dict[str, torch.Tensor] = {}

        def run() -> None:
            kept["result"] = function(*arguments)

        return Contestant(run, lambda: kept["result"].detach().float())

    wanted = compute(*(a.double() if a.is_floating_point() else a for a in arguments)).detach()
    found = {"torch": contestant(compute)}
    if arguments[0].is_cuda:
        found["torch compiled"] = contestant(torch.compile(compute))
    return found, wanted


def conv_norm_act(a, weight, gamma, beta, margin: int = 0):
    padded = F.pad(a, (margin,) * 4, mode="reflect") if margin else a
    y = F.conv2d(padded, weight)
    return F.leaky_relu(F.batch_norm(y, None, None, gamma, beta, training=True, eps=EPS), SLOPE)


def _convolution_arguments(source: Layer, weight, gamma, beta) -> tuple[torch.Tensor, ...]:
    a = planes(activated(source).to(BF16))
    return a, weight[0].permute(0, 3, 1, 2), gamma[0], beta[0]


def pointwise_forward(side: int, device: str) -> Prepared:
    """Normalise, activate, 1x1 convolution, statistics."""
    draws = Draws(device)
    source, output, weight = draws.layer(side, side, C), draws.output(side, side, C), draws.weight(C, 1, C)
    gamma, beta, scratch = draws.gamma(C), draws.normal(1, C), draws.scratch()

    def run() -> None:
        pointwise(source, weight, output, scratch, gamma=gamma, beta=beta, eps=EPS)

    found, wanted = in_torch(conv_norm_act, _convolution_arguments(source, weight, gamma, beta))
    found = {"triton": Contestant(run, lambda: planes(activated(output))), **found}
    pixels = side * side
    return Prepared(found, wanted, 2 * pixels * C * CELL, 2 * pixels * C * C)


def pointwise_both(side: int, device: str) -> Prepared:
    """The same and its way back; compared by the weight gradient."""
    draws = Draws(device)
    source, output, weight = draws.layer(side, side, C), draws.output(side, side, C), draws.weight(C, 1, C)
    gamma, beta, scratch = draws.gamma(C), draws.normal(1, C), draws.scratch()
    d = draws.picture(side, side, C)
    g = Gradient(torch.empty_like(d), draws.floats(1, 2, C))
    to = Gradient(torch.empty_like(d), draws.floats(1, 2, C))
    partials = draws.floats(1, weight_partials(side, side, C, C, CELL), C, 1, 1, C)
    dgamma, dbeta = draws.floats(1, C), draws.floats(1, C)

    def forward() -> None:
        pointwise(source, weight, output, scratch, gamma=gamma, beta=beta, eps=EPS)

    def run() -> None:
        forward()
        pointwise_backward(g, output, source, weight, partials, scratch, to=to, dgamma=dgamma, dbeta=dbeta)

    forward()  # the gradient as the layer behind would leave it: by the normalised value, with its means
    mean, rstd, scale, shift = output.norm[0]
    y = output.values.float()
    g.values.copy_(torch.where(y * scale + shift > 0, d.float(), SLOPE * d.float()))
    given = g.values.float()
    g.means.copy_(torch.stack((given.mean((0, 1, 2)), (given * (y - mean) * rstd).mean((0, 1, 2))))[None])

    def both(a, w, gamma, beta, upstream):
        leaves = [t.detach().requires_grad_() for t in (a, w, gamma, beta)]
        return torch.autograd.grad(conv_norm_act(*leaves), leaves, upstream)[1]

    arguments = (*_convolution_arguments(source, weight, gamma, beta), planes(d))
    found, wanted = in_torch(both, arguments)
    found.pop("torch compiled", None)
    if device == "cuda":
        found["torch compiled"] = _compiled_both(arguments)
    by_weight = Contestant(run, lambda: planes(partials.sum(1)[0]))
    pixels = side * side
    return Prepared({"triton": by_weight, **found}, wanted, 6 * pixels * C * CELL, 6 * pixels * C * C, 5e-2)


def _compiled_both(arguments: tuple[torch.Tensor, ...]) -> Contestant:
    """Forward compiled with its backward; the gradients are taken outside, as in a training step."""
    forward, kept = torch.compile(conv_norm_act), {}
    *leaves, upstream = arguments
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]

    def run() -> None:
        kept["result"] = torch.autograd.grad(forward(*leaves), leaves, upstream)[1]

    return Contestant(run, lambda: kept["result"].float())


def convolution_forward(side: int, device: str) -> Prepared:
    """3x3 with reflection: activation into a padded buffer, then by Triton or by the library."""
    draws = Draws(device)
    source, weight = draws.layer(side, side, C), draws.weight(C, 3, C)
    gamma, beta, scratch = draws.gamma(C), draws.normal(1, C), draws.scratch()
    padded = draws.empty(side + 2, side + 2, C)

    def contestant(by: Callable[..., None]) -> Contestant:
        output = draws.output(side, side, C)

        def run() -> None:
            pack(source, padded, 1, True)
            by(padded, 3, 1, weight, output, gamma, beta, EPS, scratch)

        return Contestant(run, lambda: planes(activated(output)))

    arguments = _convolution_arguments(source, weight, gamma, beta)
    found, wanted = in_torch(lambda *given: conv_norm_act(*given, margin=1), arguments)
    routes = {"triton": contestant(convolve), "library in ours": contestant(convolve_library)}
    pixels = side * side
    return Prepared({**routes, **found}, wanted, 2 * pixels * C * CELL, 2 * pixels * C * C * 9)


def blend_forward(side: int, device: str) -> Prepared:
    """Enlarging behind the up convolution's deep half, its skip half, statistics."""
    draws, low = Draws(device), side // 2
    z, skip, weight = draws.picture(low, low, C), draws.layer(side, side, SKIP), draws.weight(C, 1, C + SKIP)
    gamma, beta, scratch = draws.gamma(C), draws.normal(1, C), draws.scratch()
    output, norm = draws.output(side, side, C), draws.normal(1, 4, C + SKIP)
    mine = activated(skip)
    norm[0, 0, C:] = mine.mean((0, 1, 2))
    positions = torch.arange(side, dtype=torch.int32, device=device)[None]
    axis = merge.Axis.empty(1, side, low, False, device)
    merge.fill_axis(positions, axis, False)

    def run() -> None:
        merge.blend(z, skip, norm, weight[..., C:], axis, axis, output, gamma, beta, EPS, scratch)

    def blended(z, a, weight, gamma, beta):
        y = F.interpolate(z, scale_factor=2, mode="bilinear") + F.conv2d(a, weight)
        return F.leaky_relu(F.batch_norm(y, None, None, gamma, beta, training=True, eps=EPS), SLOPE)

    centred = (mine - norm[0, 0, C:]) * norm[0, 2, C:]
    arguments = (
        planes(z), planes(centred.to(BF16)), planes(weight[0, ..., C:]), gamma[0], beta[0],
    )  # fmt: skip
    found, wanted = in_torch(blended, arguments)
    found = {"triton": Contestant(run, lambda: planes(activated(output))), **found}
    pixels = side * side
    moved = (pixels // 4 * C + pixels * (SKIP + C)) * CELL
    return Prepared(found, wanted, moved, 2 * pixels * C * SKIP)


def head_forward_and_backward(side: int, device: str) -> Prepared:
    """Head, sigmoid, loss, average, and the gradient by the logits; compared by the output."""
    draws = Draws(device)
    layer, weight, bias = draws.layer(side, side, C), draws.normal(1, 3, 1, 1, C) / C**0.5, draws.normal(1, 3)
    target, output, dlogit = (torch.rand((1, side, side, 3), device=device) for _ in range(3))
    average, keep = torch.zeros_like(output), torch.tensor([0.99], device=device)
    losses, step = draws.floats(1, 8), torch.zeros(1, dtype=torch.int64, device=device)
    parts = triton_loss.weight_partials(layer)
    partials, bias_partials = draws.floats(1, parts, 3, 1, 1, C), draws.floats(1, parts, 3)
    means, dgamma, dbeta, scratch = (
        draws.floats(1, 2, C),
        draws.floats(1, C),
        draws.floats(1, C),
        draws.scratch(),
    )

    def run() -> None:
        triton_loss.head_loss(
            layer, weight, bias, target, output, losses, step, dlogit, means, dgamma, dbeta, partials,
            bias_partials, scratch, average=average, keep=keep,
        )  # fmt: skip

    def both(a, weight, bias, target, average):
        leaves = [t.detach().requires_grad_() for t in (a, weight, bias)]
        x = torch.sigmoid(F.conv2d(*leaves))
        torch.autograd.grad(F.mse_loss(x.to(target.dtype), target), leaves)
        average.lerp_(x.detach().to(average.dtype), 0.01)
        return x

    a = planes(activated(layer).to(BF16))
    arguments = (a, planes(weight[0]).to(BF16), bias[0].to(BF16), planes(target), planes(average.clone()))
    found, wanted = in_torch(both, arguments)
    found.pop("torch compiled", None)  # a gradient inside is not compiled
    pixels = side * side
    moved = pixels * C * CELL + pixels * 3 * 4 * 5
    found = {"triton": Contestant(run, lambda: planes(output.clone())), **found}
    return Prepared(found, wanted, moved, 3 * 2 * pixels * C * 3)


def lanczos_forward(side: int, device: str) -> Prepared:
    """3x3 convolution decimated by 2 with lanczos2: ours filters the input's rows first."""
    draws = Draws(device)
    source, weight = draws.picture(side + 2, side + 2, C), draws.weight(C, 3, C)
    gamma, beta, scratch = draws.gamma(C), draws.normal(1, C), draws.scratch()
    tables = decimation(side, side, 3, 2, 2, device)
    lines, output = draws.empty(tables.lines, side + 2, C), draws.output(side // 2, side // 2, C)

    def run() -> None:
        filter_lines(source, lines, tables)
        conv_decimate(lines, weight, gamma, beta, output, tables, scratch, EPS)

    def decimated(padded, weight, gamma, beta, kernel):
        y = F.conv2d(padded, weight)
        y = F.conv2d(F.pad(y, (3, 3, 3, 3), mode="replicate"), kernel, stride=2, groups=C)
        return F.leaky_relu(F.batch_norm(y, None, None, gamma, beta, training=True, eps=EPS), SLOPE)

    side_kernel = lanczos_reference.weights(2, 2, 0.5).to(device)
    kernel = torch.outer(side_kernel, side_kernel).float().expand(C, 1, 8, 8).contiguous()
    arguments = (planes(source), weight[0].permute(0, 3, 1, 2), gamma[0], beta[0], kernel.to(BF16))
    found, _ = in_torch(decimated, arguments)  # whose float64 result has a kernel rounded to cells
    exact = (*(t.double() for t in arguments[:4]), kernel.double())
    found = {"triton": Contestant(run, lambda: planes(activated(output))), **found}
    pixels = side * side
    moved = (pixels + pixels // 4) * C * CELL
    return Prepared(found, decimated(*exact), moved, 2 * pixels * C * C * 9)


ENTRIES: dict[str, tuple[Callable[[int, str], Prepared], int]] = {
    "pointwise 128 to 128, forward": (pointwise_forward, 512),
    "pointwise 128 to 128, both ways": (pointwise_both, 512),
    "enlarge and blend, 128 and skip 4": (blend_forward, 512),
    "head and loss, both ways": (head_forward_and_backward, 512),
    "3x3 128 to 128, forward": (convolution_forward, 256),
    "3x3 and lanczos2, forward": (lanczos_forward, 256),
}
