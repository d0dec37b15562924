"""z on the torch engine: kept as it is, or made in every step of moving frequencies; and its noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dipedge.engines.base import Settings
from dipedge.engines.checks import checked_views
from dipedge.engines.initial import fourier_features, initial_frequencies, initial_input, view_positions
from dipedge.engines.torch_border import picture
from dipedge.errors import InputError
from dipedge.kernels.fourier_mlp.reference import features_at
from dipedge.priors import Fourier, GivenImage, Noise, Prior
from dipedge.views import View

# Keeps the perturbation's generator off the stream the weights came from.
PERTURBATION_STREAM = 0x5EED


class TorchInput:
    """What the network is fed.

    Args:
        prior: whose encoding.
        shape: of the estimate, [H, W, C].
        settings: the seed of noise.
        dtype: of z.
        device: where z lies.

    Attributes:
        z: [1, channels, H, W] before perturbation; None where it is not kept, or not known yet.
        stored: whether z belongs into a state.
        views: their numbers, [1, 7] float64; None where there are no coordinates.
        moving: whether z is made anew in every step.
    """

    def __init__(
        self, prior: Prior, shape: tuple[int, int, int], settings: Settings, dtype: torch.dtype,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._prior, self._size, self._dtype, self._device = prior, shape[:2], dtype, device
        # Fourier angles reach 256 rad: float64 wherever there is one (not on Apple's GPUs).
        self._angle_dtype = torch.float32 if device.type == "mps" else torch.float64
        self.generator = torch.Generator(device)
        self.generator.manual_seed((settings.seed ^ PERTURBATION_STREAM) & (2**64 - 1))
        self.z: torch.Tensor | None = None
        self.views: np.ndarray | None = None
        encoding = prior.encoding
        self.stored = isinstance(encoding, Noise | GivenImage)
        self.moving = isinstance(encoding, Fourier) and (
            encoding.learned or (prior.perturb == "frequencies" and prior.perturbation > 0)
        )
        if isinstance(encoding, Fourier):
            self._frequencies = torch.tensor(initial_frequencies(encoding), dtype=dtype, device=device)
            self.set_views([View()])
        elif (z := initial_input(encoding, shape, settings.seed)) is not None:
            self.z = picture(z, dtype, device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of z, [H, W, channels]."""
        return (*self._size, self._prior.encoding.channels)

    def set(self, z: np.ndarray) -> None:
        """Replaces z; raises as ``TorchProgram.set_input``."""
        z = np.asarray(z)
        if self.moving:
            raise InputError("z cannot be set: it is computed from the frequencies in every step")
        if z.shape != self.shape:
            raise InputError(f"z has shape {z.shape}; this fit needs {self.shape}")
        self.z, self.stored = picture(z, self._dtype, self._device), True

    def set_views(self, views: Sequence[View]) -> None:
        """Moves the coordinates; raises as ``TorchProgram.set_views``."""
        encoding = self._prior.encoding
        self.views = checked_views(encoding, views)
        if not self.moving:
            features = fourier_features(initial_frequencies(encoding), *self._size, views[0])
            self.z = picture(features, self._dtype, self._device)
            return
        self._positions = tuple(
            torch.tensor(side, dtype=self._angle_dtype, device=self._device)
            for side in view_positions(views[0], *self._size)
        )

    def _perturbed(self, values: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(values).normal_(generator=self.generator)
        return values + noise * self._prior.perturbation

    def make(self, frequencies: torch.Tensor | None, perturb: bool) -> torch.Tensor:
        """This step's z [1, channels, H, W].

        Args:
            frequencies: [n], the learned ones, to which gradients flow; None where none are learned.
            perturb: whether with this step's noise.
        """
        perturb = perturb and self._prior.perturbation > 0
        if self.moving:
            used = self._frequencies if frequencies is None else frequencies
            if perturb and self._prior.perturb == "frequencies":
                used = self._perturbed(used)
            z = features_at(used.to(self._angle_dtype), *self._positions).to(self._dtype)
        elif self.z is None:
            raise InputError("no z was set; a given image must be handed over with set_input first")
        else:
            z = self.z
        return self._perturbed(z) if perturb and self._prior.perturb == "input" else z
