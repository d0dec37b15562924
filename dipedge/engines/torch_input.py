"""z on the torch engine: kept as it is, or made in every step of moving frequencies; and its noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dipedge.engines.base import Settings
from dipedge.engines.checks import checked_views
from dipedge.engines.initial import (
    initial_frequencies,
    initial_input,
    time_features,
    view_features,
    view_positions,
)
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
        shape: of the estimate, [F*H, W, C].
        settings: the seed of noise, and how many frames.
        dtype: of z.
        device: where z lies.

    Attributes:
        z: [F, channels, H, W] before perturbation; None where it is not kept, or not known yet.
        stored: whether z belongs into a state.
        views: their numbers, [F, 7] float64; None where there are no coordinates.
        moving: whether z is made anew in every step.
    """

    def __init__(
        self, prior: Prior, shape: tuple[int, int, int], settings: Settings, dtype: torch.dtype,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._prior, self._settings, self._dtype, self._device = prior, settings, dtype, device
        self._size = (shape[0] // settings.frames, shape[1])  # of a frame
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
            self.set_views([View()] * settings.frames)
        elif (z := initial_input(encoding, shape, settings.seed)) is not None:
            self.z = picture(z, settings.frames, dtype, device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of z, [F*H, W, channels]."""
        height, width = self._size
        return self._settings.frames * height, width, self._prior.encoding.channels

    def set(self, z: np.ndarray) -> None:
        """Replaces z; raises as ``TorchProgram.set_input``."""
        z = np.asarray(z)
        if self.moving:
            raise InputError("z cannot be set: it is computed from the frequencies in every step")
        if z.shape != self.shape:
            raise InputError(f"z has shape {z.shape}; this fit needs {self.shape}")
        self.z, self.stored = picture(z, self._settings.frames, self._dtype, self._device), True

    def set_views(self, views: Sequence[View]) -> None:
        """Moves the coordinates; raises as ``TorchProgram.set_views``."""
        encoding = self._prior.encoding
        self.views = checked_views(encoding, self._settings, views)
        if not self.moving:
            features = [view_features(encoding, view, *self._size) for view in views]
            self.z = picture(np.concatenate(features), len(features), self._dtype, self._device)
            return
        self._positions = [
            tuple(
                torch.tensor(side, dtype=self._angle_dtype, device=self._device)
                for side in view_positions(view, *self._size)
            )
            for view in views
        ]
        of_time = np.stack([time_features(encoding, view.time) for view in views])
        times = torch.tensor(of_time, dtype=self._dtype, device=self._device)
        self._times = times[:, :, None, None].expand(-1, -1, *self._size)

    def _perturbed(self, values: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(values).normal_(generator=self.generator)
        return values + noise * self._prior.perturbation

    def make(self, frequencies: torch.Tensor | None, perturb: bool) -> torch.Tensor:
        """This step's z [F, channels, H, W].

        Args:
            frequencies: [n], the learned ones, to which gradients flow; None where none are learned.
            perturb: whether with this step's noise.
        """
        perturb = perturb and self._prior.perturbation > 0
        if self.moving:
            used = self._frequencies if frequencies is None else frequencies
            if perturb and self._prior.perturb == "frequencies":
                used = self._perturbed(used)
            angular = used.to(self._angle_dtype)
            z = torch.cat([features_at(angular, *frame) for frame in self._positions]).to(self._dtype)
            z = torch.cat((z, self._times), dim=1) if self._times.numel() else z
        elif self.z is None:
            raise InputError("no z was set; a given image must be handed over with set_input first")
        else:
            z = self.z
        return self._perturbed(z) if perturb and self._prior.perturb == "input" else z
