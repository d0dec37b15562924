"""Head, data term and running average as launches: from the last layer to the gradient that goes back."""

from __future__ import annotations

import torch

from dipedge.engines.checks import target_shape
from dipedge.engines.triton_layers import Normed, Plan
from dipedge.kernels.conv_norm_act.triton_backward import Head
from dipedge.kernels.lanczos_conv.triton import lines_shape
from dipedge.kernels.lanczos_conv.triton_tables import Filter, filter_of
from dipedge.kernels.residual_loss.triton import head_forward, running_average
from dipedge.kernels.residual_loss.triton_lanczos import decimate_loss
from dipedge.kernels.residual_loss.triton_loss import head_backward, head_loss, weight_partials
from dipedge.tasks import Task

REMEMBERED = 1024  # losses of the last steps

Positions = tuple[torch.Tensor, torch.Tensor]


class DataTerm:
    """Target, output and loss of all fits.

    Args:
        plan: of the network.
        task: whose data term.
        shape: of the estimate, [H, W, C].
        top: the last layer.
        step: int64 [1], steps done.
        positions: those a sampled step sees; None for all.
    """

    def __init__(
        self, plan: Plan, task: Task, shape: tuple[int, int, int], top: Normed, step: torch.Tensor,
        positions: Positions | None,
    ) -> None:  # fmt: skip
        self._plan, self._term, self._top, self._step = plan, task.data_term, top, step
        self._positions, buffers, parameters = positions, plan.buffers, plan.parameters
        self.target = buffers.floats(*target_shape(task, shape))
        self.mask = buffers.floats(*shape[:2]) if self._term.kind == "mask" else None
        self.output, self.average = buffers.floats(*shape), buffers.floats(*shape)
        self.keep = torch.zeros(1, device=buffers.device)
        self.losses = buffers.floats(REMEMBERED)
        channels, out = top.layer.channels, shape[2]
        self._weight = parameters.value("head.conv.weight")
        self._bias = parameters.value("head.conv.bias")
        slots, parts = parameters.slots, weight_partials(top.layer)
        weights = slots["head.conv.weight"].offset
        self._sums = buffers.weight_sums(weights, parts, (out, 1, 1, channels))
        self._bias_sums = buffers.weight_sums(slots["head.conv.bias"].offset, parts, (out, 1, 1, 1))
        dlogit = buffers.floats(*top.layer.shape[1:], out)
        self.head = Head(dlogit, self._weight, top.gradient.means)
        self._filter: Filter | None = None
        if self._term.kind == "lanczos":
            scale, lobes = self._term.scale, self._term.lobes
            self._filter = filter_of(*shape[:2], scale, lobes, buffers.device)
            self._lines = buffers.floats(*lines_shape(buffers.fits, shape[1], shape[2])[1:])
            self._residual = buffers.floats(*self.target.shape[1:])

    def _backward_arguments(self) -> tuple[object, ...]:
        top, plan = self._top, self._plan
        bias_sums = self._bias_sums.tensor.flatten(2)
        return (
            self.head.dlogit, self.head.means, top.dgamma, top.dbeta, self._sums.tensor, bias_sums,
            plan.scratch,
        )  # fmt: skip

    def forward_and_backward(self) -> None:
        """The output of this step's pixels, its loss, and the gradient by the logits and by the head.

        Of an unsampled step the average too: average keep + output (1 - keep).
        """
        sampled = self._positions is not None
        average, keep = (None, None) if sampled else (self.average, self.keep)
        sigmoid = self._plan.network.sigmoid
        layer, weight, bias = self._top.layer, self._weight, self._bias
        if self._filter is None:
            head_loss(
                layer, weight, bias, self.target, self.output, self.losses, self._step,
                *self._backward_arguments(), mask=self.mask, positions=self._positions, average=average,
                keep=keep, sigmoid=sigmoid,
            )  # fmt: skip
            return
        head_forward(layer, weight, bias, self.output, None, average, keep, sigmoid)
        decimate_loss(
            self.output, self.target, self._filter, self._lines, self._residual, self.head.dlogit,
            self.losses, self._step, self._plan.scratch, sigmoid,
        )  # fmt: skip
        dlogit, *rest = self._backward_arguments()
        head_backward(layer, weight, dlogit, *rest)

    def forward(self) -> None:
        """Only the output, of pixels that this step's data term does not see."""
        sigmoid = self._plan.network.sigmoid
        head_forward(self._top.layer, self._weight, self._bias, self.output, self._positions, sigmoid=sigmoid)

    def take_into_average(self) -> None:
        """average keep + output (1 - keep), of the whole output of a sampled fit."""
        running_average(self.output, self.average, self.keep)
