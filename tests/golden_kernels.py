"""Golden files of single kernels, through each engine's kernels.

Both engines offer the functions of ``dipedge._native`` under the same names: pictures [H, W, C] float32,
convolution weights [O, I, k, k].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dipedge.engines.initial import initial_frequencies
from dipedge.priors import Fourier
from tests.golden_networks import Arrays, Finding, picture, relative_error


class TorchKernels:
    """The references, ``kernels/*/reference.py``; PyTorch is loaded when one is called."""

    @staticmethod
    def _tensor(values: np.ndarray):
        import torch

        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, 2, 0)))[None].requires_grad_()

    @staticmethod
    def _array(tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.detach()[0].permute(1, 2, 0).numpy())

    def lanczos_weights(self, factor: int, lobes: int, phase: float) -> np.ndarray:
        from dipedge.kernels.lanczos_conv import reference

        return reference.weights(factor, lobes, phase).numpy()

    def lanczos_decimate(self, x: np.ndarray, factor: int, lobes: int) -> np.ndarray:
        from dipedge.kernels.lanczos_conv import reference

        return self._array(reference.decimate(self._tensor(x), factor, lobes))

    def lanczos_decimate_adjoint(
        self, g: np.ndarray, height: int, width: int, factor: int, lobes: int
    ) -> np.ndarray:
        from dipedge.kernels.lanczos_conv import reference

        x = self._tensor(np.zeros((height, width, g.shape[2]), np.float32))
        reference.decimate(x, factor, lobes).backward(self._tensor(g))
        return self._array(x.grad)

    def lanczos_conv_forward(self, x, weight, bias, factor: int, lobes: int) -> np.ndarray:
        import torch

        from dipedge.kernels.lanczos_conv import reference

        parameters = torch.from_numpy(weight), torch.from_numpy(bias)
        return self._array(reference.conv_decimate(self._tensor(x), *parameters, factor, lobes))

    def lanczos_conv_backward(self, x, weight, dy, factor: int, lobes: int) -> tuple[np.ndarray, ...]:
        import torch

        from dipedge.kernels.lanczos_conv import reference

        x, weight = self._tensor(x), torch.from_numpy(weight).requires_grad_()
        bias = torch.zeros(weight.shape[0], requires_grad=True)
        reference.conv_decimate(x, weight, bias, factor, lobes).backward(self._tensor(dy))
        return self._array(x.grad), weight.grad.numpy(), bias.grad.numpy()

    def fourier_features(self, frequencies: np.ndarray, height: int, width: int) -> np.ndarray:
        import torch

        from dipedge.kernels.fourier_mlp import reference

        # float32 throughout, which is the published arithmetic and so gives the published bits.
        return self._array(reference.features(torch.from_numpy(frequencies).float(), height, width))


def kernels_of(engine: str):
    """The object with an engine's kernels."""
    if engine == "torch":
        return TorchKernels()
    from dipedge import _native

    return _native


def lobes_and_factor(key: str) -> tuple[int, int]:
    """(2, 4) of a key that holds "/lanczos2/x4/"."""
    parts = key.split("/")
    kind = next(part for part in parts if part.startswith("lanczos"))
    factor = next(part for part in parts if part[0] == "x" and part[1:].isdigit())
    return int(kind.removeprefix("lanczos")), int(factor[1:])


def check_lanczos(file: Arrays, kernels) -> Iterator[Finding]:
    """The 2-d kernels as outer products of the 1-d ones, decimation, and its adjoint."""
    for key in file:
        lobes, factor = lobes_and_factor(key)
        if key.startswith("kernel/"):
            side = kernels.lanczos_weights(factor, lobes, float(key.rsplit("phase", 1)[1]))
            yield Finding("output", relative_error(np.outer(side, side), file[key]), key)
        elif key.endswith("/input"):
            group = key.removesuffix("/input")
            x, dy = picture(file[key]), picture(file[f"{group}/grad_output"])
            y = kernels.lanczos_decimate(x, factor, lobes)
            yield Finding("output", relative_error(y, picture(file[f"{group}/output"])), group)
            dx = kernels.lanczos_decimate_adjoint(dy, *x.shape[:2], factor, lobes)
            yield Finding("gradients", relative_error(dx, picture(file[f"{group}/grad_input"])), group)


def check_lanczos_conv(file: Arrays, kernels) -> Iterator[Finding]:
    """A reflection-padded convolution followed by decimation, forward and backward."""
    for group in sorted({key.rsplit("/", 1)[0] for key in file}):
        lobes, factor = lobes_and_factor(f"{group}/")
        x, dy = picture(file[f"{group}/input"]), picture(file[f"{group}/grad_output"])
        weight, bias = file[f"{group}/weight"], file[f"{group}/bias"]
        y = kernels.lanczos_conv_forward(x, weight, bias, factor, lobes)
        yield Finding("output", relative_error(y, picture(file[f"{group}/output"])), group)
        dx, dweight, dbias = kernels.lanczos_conv_backward(x, weight, dy, factor, lobes)
        for found, wanted, name in (
            (dx, picture(file[f"{group}/grad_input"]), "input"),
            (dweight, file[f"{group}/grad_weight"], "weight"),
            (dbias, file[f"{group}/grad_bias"], "bias"),
        ):
            yield Finding("gradients", relative_error(found, wanted), f"{group}/{name}")


def check_fourier(file: Arrays, kernels) -> Iterator[Finding]:
    """Frequencies, features of pictures, and features of frames."""
    exact = file["frequencies"]
    # The file's features were made with the published float32 powers, not with the exact frequencies.
    frequencies = initial_frequencies(Fourier(len(exact), float(exact[-1]))).astype(np.float64)
    yield Finding("output", relative_error(frequencies, exact), "frequencies")
    for key in file:
        if key.startswith("fourier/"):
            height, width = file[key].shape[2:]
            found = kernels.fourier_features(frequencies, height, width)
            yield Finding("output", relative_error(found, picture(file[key])), key)
        elif key.startswith("temporal/frames"):
            # Frame i of N stands at (i + 1)/N: columns 1..N of a picture N + 1 wide.
            in_time = file["temporal/frequencies"].astype(np.float64)
            columns = kernels.fourier_features(in_time, 1, len(file[key]) + 1)[0, 1:]
            yield Finding("output", relative_error(columns[:, : 2 * len(in_time)], file[key]), key)


CHECKS = {"lanczos.npz": check_lanczos, "lanczos_conv.npz": check_lanczos_conv, "fourier.npz": check_fourier}
