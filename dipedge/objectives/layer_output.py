"""What one layer of somebody's network makes of a picture, with gradients to the picture alone.

The module belongs to the user, who may be training it. So for the moment of a forward pass it is put into
evaluation mode and its weights are declared constant, and afterwards every submodule's mode and every
weight's flag is what it was; the graph that autograd keeps does not lead to the weights. A forward hook on
the layer ends the pass by an exception: what lies behind the layer costs nothing, and need not fit the
    picture's size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dipedge.errors import InputError
from dipedge.tasks.features import module_name

# How PyTorch reports missing memory; that is no fault of the picture's size.
NO_MEMORY = re.compile(r"out of memory|can't allocate|not enough memory", re.IGNORECASE)


class _Reached(BaseException):
    """Carries the layer's output out of the forward pass; no ``except Exception`` in a module catches it."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output


@contextmanager
def as_constant(model: nn.Module) -> Iterator[None]:
    """The module in evaluation mode with weights that take no gradient; as it was, afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.eval()
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter in learned:
            parameter.requires_grad_()


class LayerOutput:
    """Phi: a module from its input to one of its layers, for pictures in [0, 1].

    Args:
        model: the module; neither copied nor moved.
        layer: the name, as ``tasks.features.module_name`` understands it.
        mean, std: of each channel the module takes; see ``tasks.InvertFeatures``.

    Raises:
        InputError: no such layer.
    """

    def __init__(self, model: nn.Module, layer: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.layer = layer
        self._model = model
        self._module = dict(model.named_modules())[module_name(model, layer)]
        self._mean, self._std = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))

    def __call__(self, picture: Tensor) -> Tensor:
        """The layer's output for a picture [1, C, h, w] in [0, 1], on the picture's device, in its dtype.

        Raises:
            InputError: a picture the module cannot take, or a layer that was not run or gives no tensor.
        """
        shown = self._shown(picture)
        output = self._output(shown)
        if not isinstance(output, Tensor):
            found = f"gives a {type(output).__name__}"
            raise InputError(f"layer {self.layer!r} {found}; only layers that give a tensor can be used")
        if not output.is_floating_point():
            raise InputError(f"layer {self.layer!r} gives {output.dtype} values, which have no gradient")
        return output.to(picture)

    def _shown(self, picture: Tensor) -> Tensor:
        """The picture as the module takes it: its channels, normalised, on its device and in its dtype."""
        channels = len(self._mean)
        if picture.shape[1] == 1 and channels == 3:
            picture = picture.expand(-1, 3, -1, -1)
        if picture.shape[1] != channels:
            found = f"the picture has {picture.shape[1]} channels"
            raise InputError(f"{found}, but mean and std are for a model that takes {channels}")
        mean, std = (values.to(picture)[:, None, None] for values in (self._mean, self._std))
        own = next((weight for weight in self._model.parameters() if weight.is_floating_point()), picture)
        return ((picture - mean) / std).to(own)

    def _output(self, shown: Tensor) -> object:
        def end(module: nn.Module, given: object, output: object) -> None:
            raise _Reached(output)

        size = f"{shown.shape[2]} x {shown.shape[3]}"
        try:
            hook = self._module.register_forward_hook(end)
        except RuntimeError as error:  # a scripted module, whose layers run outside Python
            raise InputError(f"layer {self.layer!r} cannot be looked into: {error}") from error
        try:
            with as_constant(self._model):
                self._model(shown)
        except _Reached as reached:
            return reached.output
        except RuntimeError as error:
            if NO_MEMORY.search(str(error)):
                raise
            why = str(error).splitlines()[0]
            raise InputError(
                f"a picture of {size} does not come through the model to layer {self.layer!r}: {why}"
            ) from error
        finally:
            hook.remove()
        raise InputError(f"layer {self.layer!r} is never run when the model is shown a picture of {size}")
