"""Tiny random weights under the names of the real ones, for tests: the structure at a few channels."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

ALEXNET_KERNELS = {0: 11, 3: 5, 6: 3, 8: 3, 10: 3}
VGG_CONVOLUTIONS = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}
LINEAR = {"alexnet": (1, 4, 6), "vgg16": (0, 3, 6), "vgg19": (0, 3, 6)}
AVERAGED = {"alexnet": 6, "vgg16": 7, "vgg19": 7}


def state_dict(model="alexnet", channels=4, classifier=True, seed=0):
    """torchvision's names for ``model``, every layer ``channels`` wide, 5 classes; float32 tensors."""
    random = np.random.default_rng(seed)
    kernels = ALEXNET_KERNELS if model == "alexnet" else dict.fromkeys(VGG_CONVOLUTIONS[model], 3)
    shapes, inputs = {}, 3
    for index, kernel in kernels.items():
        shapes[f"features.{index}"] = (channels, inputs, kernel, kernel)
        inputs = channels
    if classifier:
        inputs = channels * AVERAGED[model] ** 2
        for index, outputs in zip(LINEAR[model], (channels, channels, 5), strict=True):
            shapes[f"classifier.{index}"] = (outputs, inputs)
            inputs = outputs
    state = {}
    for name, shape in shapes.items():
        spread = (2 / np.prod(shape[1:])) ** 0.5  # keeps the activations' size from layer to layer
        state[f"{name}.weight"] = torch.tensor(random.normal(0, spread, shape), dtype=torch.float32)
        state[f"{name}.bias"] = torch.tensor(random.normal(0, 0.1, shape[:1]), dtype=torch.float32)
    return state


def turned(kernel):
    """[out, in, height, width] as arrays of other frameworks have it: [height, width, in, out]."""
    return kernel.permute(2, 3, 1, 0).contiguous().numpy()
