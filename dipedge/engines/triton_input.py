"""z as launches: Fourier features that are never made where only pointwise layers read them, or a picture.

Features are a column part plus a row part, so a 1x1 layer of them is a sum of two small tables
(``FourierFirst``). Everything else is a picture: noise, coordinates, a given image, or features read by
something wider; it is copied once per step, padded and with this step's noise on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dipedge.engines.initial import initial_frequencies
from dipedge.engines.triton_decimation import Decimated, Pooled
from dipedge.engines.triton_layers import Convolution, Normed, Packed, Part, Plan, Pointwise, Taps, packed
from dipedge.kernels.conv_norm_act.triton_conv_padding import fold
from dipedge.kernels.fourier_mlp.triton import first_layer, parts_rows
from dipedge.kernels.fourier_mlp.triton_backward import (
    Cut,
    features_backward,
    first_layer_backward,
    weight_partials,
)
from dipedge.kernels.fourier_mlp.triton_tables import (
    Side,
    features,
    frequency_gradient,
    tables,
)
from dipedge.kernels.gpu.layer import Gradient, Layer
from dipedge.kernels.perturb.triton import perturb
from dipedge.priors import Fourier, Level, Prior
from dipedge.views import View

LOBES = {"avg": 0, "lanczos2": 2, "lanczos3": 3}
Sides = tuple[Side, Side]  # of columns and of rows
Positions = tuple[torch.Tensor, torch.Tensor]  # rows and columns, int32 [B, n]


class FourierFirst:
    """A pointwise layer of Fourier features, from the features of columns and of rows."""

    def __init__(
        self, plan: Plan, name: str, sides: Sides, stride: int, channels: int, adds: bool = False
    ) -> None:
        self._plan, self._sides, self._stride, self._adds = plan, sides, stride, adds
        height, width = (-(-side.count // stride) for side in (sides[1], sides[0]))
        self.normed = Normed(plan, name, (height, width, channels))
        weight = f"{name}.conv.weight"
        self._weight = plan.parameters.value(weight)
        slot, buffers = plan.parameters.slots[weight], plan.buffers
        self._parts = buffers.floats(parts_rows(width, height), channels)
        self._sums = buffers.weight_sums(slot.offset, weight_partials(width, height), slot.shape)
        buffers.scratch(Cut(height, width, channels).floats)

    def reserve(self) -> None:
        """Nothing: there is no picture to give a gradient to."""

    def forward(self) -> None:
        own = self.normed
        first_layer(
            *self._sides, self._stride, self._weight, self._parts, own.layer, own.gamma, own.beta,
            self._plan.network.bn_eps, self._plan.scratch,
        )  # fmt: skip

    def backward(self, incoming: Gradient, by_input: bool) -> None:
        """``by_input`` is not asked for: what learned frequencies need goes into the sides' gradients."""
        first_layer_backward(
            incoming, self.normed.layer, *self._sides, self._stride, self._weight, self._parts,
            self._sums.tensor, self._plan.scratch, add=self._adds,
        )  # fmt: skip


class Input:
    """The network's input.

    Args:
        plan: of the network.
        prior: whose encoding.
        size: H, W.
        seeds: int64 [B]; step: int64 [1]; of the noise.
        positions: those a sampled fit's largest level sees; None for all.
        wants_gradient: whether the gradient by z is asked for.
    """

    def __init__(
        self, plan: Plan, prior: Prior, size: tuple[int, int], seeds: torch.Tensor, step: torch.Tensor,
        positions: Positions | None, wants_gradient: bool,
    ) -> None:  # fmt: skip
        self._plan, self._prior, self._seeds, self._step = plan, prior, seeds, step
        self._encoding, self.channels = prior.encoding, prior.encoding.channels
        self.shape = size
        fourier = isinstance(self._encoding, Fourier)
        self._learned = fourier and self._encoding.learned
        first, way = plan.network.levels[0], plan.network.downsample
        noisy = prior.perturbation > 0 and prior.perturb == "input"
        apart = fourier and not noisy and not wants_gradient
        # Which readers take columns and rows apart, so that no picture is made for them.
        self._skip_apart = apart and first.kernel_skip == 1 and first.skip > 0
        self._down_apart = apart and first.kernel_down == 1 and way == "stride"
        made = not self._down_apart or (first.skip > 0 and not self._skip_apart)
        self.wants_gradient = made and (wants_gradient or self._learned)
        self.z: torch.Tensor | None = None
        self._packs: dict[int, Packed] = {}
        if fourier:
            self._plan_features(positions)
        self._picture: Layer | None = None
        if made:
            self._plan_picture(fourier)

    def _plan_features(self, positions: Positions | None) -> None:
        buffers, n = self._plan.buffers, self._encoding.count

        def side(at: torch.Tensor, size: int) -> Side:
            gradient = buffers.floats(at.shape[1], 2 * n) if self._learned else None
            return Side(at, size, buffers.floats(at.shape[1], 2 * n), gradient)

        everywhere = [
            torch.arange(size, dtype=torch.float64, device=buffers.device).repeat(buffers.fits, 1)
            for size in self.shape
        ]
        rows, columns = (side(at, size) for at, size in zip(everywhere, self.shape, strict=True))
        self._whole: Sides = (columns, rows)
        # How far a camera has moved each fit's rows and columns; in device memory, where graphs find it.
        self._shifts = tuple(torch.zeros_like(at[:, :1]) for at in everywhere)
        self._seen: Sides | None = None
        self._drawn_positions = positions
        if positions is not None:
            moved = [at.to(torch.float64) for at in positions]
            rows, columns = (side(at, size) for at, size in zip(moved, self.shape, strict=True))
            self._seen = (columns, rows)
        if self._learned:
            self._frequencies = self._plan.parameters.value("encoding.frequencies")
            self._dfrequencies = self._plan.parameters.gradient("encoding.frequencies")
        else:
            known = torch.from_numpy(np.asarray(initial_frequencies(self._encoding), np.float64))
            self._frequencies = known.repeat(buffers.fits, 1).to(buffers.device)
        # Rounded to float32, a perturbed frequency would move angles of 256 radians.
        self._drawn = torch.zeros((buffers.fits, n), dtype=torch.float64, device=buffers.device)
        self._of_seen = buffers.floats(n)
        self._used = self._frequencies

    def _plan_picture(self, fourier: bool) -> None:
        buffers, (height, width) = self._plan.buffers, self.shape
        if fourier:
            self._picture = Layer(buffers.picture(height, width, self.channels), self.channels)
        else:
            self.z = buffers.floats(height, width, self.channels)
            self._picture = Layer(self.z, self.channels)
        if fourier and self._learned:
            buffers.scratch(Cut(height, width, self.channels).floats)
        if self.wants_gradient:
            self.gradient = buffers.picture(height, width, self.channels)

    # What reads it ----------------------------------------------------------------------------------

    def skip(self, plan: Plan, name: str, level: Level) -> Convolution:
        """The largest level's skip, before ``down``."""
        if self._skip_apart:
            return FourierFirst(plan, name, self._seen or self._whole, 1, level.skip)
        # A pointwise skip reads from within the copy that the way down needs anyway.
        kernel = level.kernel_skip
        copy = self._copy(kernel if kernel > 1 else level.kernel_down)
        if kernel == 1:
            return Pointwise(plan, name, copy.inside(), level.skip)
        return Taps(plan, name, copy, level.skip, kernel)

    def down(self, plan: Plan, name: str, level: Level) -> Convolution:
        """The largest level's way down."""
        if self._down_apart:
            return FourierFirst(plan, name, self._whole, 2, level.down, adds=self._adds)
        way, copy = plan.network.downsample, self._copy(level.kernel_down)
        if way == "max":
            return Pooled(plan, name, copy, level.down, level.kernel_down)
        if way != "stride":
            return Decimated(plan, name, copy, level.down, level.kernel_down, LOBES[way])
        if level.kernel_down == 1:
            return Pointwise(plan, name, copy.inside(), level.down, 2)
        return Taps(plan, name, copy, level.down, level.kernel_down, 2)

    @property
    def _adds(self) -> bool:
        """Whether the skip has written the gradients of the same tables before."""
        return self._skip_apart and self._seen is None

    def _copy(self, kernel: int) -> Packed:
        return packed(self._plan, self._packs, (*self.shape, self.channels), (kernel - 1) // 2)

    # One step ---------------------------------------------------------------------------------------

    @property
    def _moves(self) -> bool:
        prior = self._prior
        return self._learned or (prior.perturb == "frequencies" and prior.perturbation > 0)

    def set_view(self, fit: int, view: View) -> None:
        """Moves the coordinates of one fit's pixels, from the next step on; ``view`` is a shift."""
        for shift, moved, size, whole in zip(
            self._shifts, (view.matrix[5], view.matrix[2]), self.shape, reversed(self._whole), strict=True
        ):
            shift[fit] = moved if size > 1 else 0.0  # a side of one pixel stands at 0 wherever it lies
            whole.positions[fit] = torch.arange(size, dtype=torch.float64, device=shift.device) + shift[fit]
        self.prepare_once()

    def prepare_once(self) -> None:
        """What no step changes."""
        if isinstance(self._encoding, Fourier) and not self._moves:
            tables(self._frequencies, *self._whole)
            if self._picture:
                features(*self._whole, self._picture.values)

    def prepare(self, noisy: bool) -> None:
        """This step's frequencies, tables and copies; without noise to look at the weights alone."""
        prior = self._prior
        noisy = noisy and prior.perturbation > 0
        if isinstance(self._encoding, Fourier) and self._moves:
            self._used = self._frequencies
            if noisy and prior.perturb == "frequencies":
                self._drawn.copy_(self._frequencies)
                perturb(self._drawn, self._drawn, prior.perturbation, self._seeds, self._step)
                self._used = self._drawn
            tables(self._used, *self._whole)
            if self._picture:
                features(*self._whole, self._picture.values)
        noise = (prior.perturbation, self._seeds, self._step)
        for copy in self._packs.values():
            copy.fill(self._picture, noise if noisy and prior.perturb == "input" else None)

    def prepare_seen(self) -> None:
        """The features at the positions that a sampled step sees."""
        if self._seen is not None:
            for side, drawn, shift in zip(
                reversed(self._seen), self._drawn_positions, self._shifts, strict=True
            ):
                torch.add(drawn, shift, out=side.positions)
            tables(self._used, *self._seen)

    def backward(self, plan: Plan, readers: Sequence[Convolution]) -> None:
        """The weight gradients of ``readers``, the way down first; that by z or by the frequencies."""
        parts: list[Part] = []
        for reader in sorted(
            readers, key=lambda reader: reader is readers[0]
        ):  # the skip before the way down
            part = reader.backward(reader.normed.gradient, by_input=self.wants_gradient)
            if part is not None:
                parts.append(part)
        if self.wants_gradient:
            self._add_up(parts)
            if self._learned:
                written = self._adds or self._down_apart
                features_backward(self.gradient, *self._whole, plan.scratch, add=written)
        if self._learned:
            frequency_gradient(*self._whole, self._dfrequencies)
            if self._seen is not None:
                frequency_gradient(*self._seen, self._of_seen)
                self._dfrequencies.add_(self._of_seen)

    def _add_up(self, parts: Sequence[Part]) -> None:
        """The parts of one or two readers; rarely wanted, so plainly one after the other."""
        plan = self._plan
        total = torch.zeros_like(self.gradient)
        for part in parts:
            values, extra = (part.values, None) if part.margin else (None, part.values)
            fold(
                values, part.margin, plan.reflect, None, extra, part.stride, self.gradient, None, None,
                plan.scratch,
            )  # fmt: skip
            total += self.gradient
        self.gradient.copy_(total)
