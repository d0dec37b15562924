"""Arrays and tensors on their way into a program of engine "torch", and out of it."""

from __future__ import annotations

import numpy as np
import torch


def picture(values: np.ndarray | torch.Tensor, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """[H, W, C] -> a copy [1, C, H, W]."""
    if isinstance(values, torch.Tensor):
        height, width, channels = values.shape
        made = torch.empty(1, channels, height, width, dtype=dtype, device=device)
        made[0] = values.permute(2, 0, 1)
        return made
    return torch.tensor(np.moveaxis(np.asarray(values), 2, 0), dtype=dtype, device=device).contiguous()[None]


class TorchBorder:
    """What ``TorchProgram`` takes pictures in with, and hands them out.

    A class that derives from it has ``_device`` and ``_dtype``, and once a step was made ``_average`` (or
    None) and ``_last_output()``, both [1, C, H, W].
    """

    _device: torch.device
    _dtype: torch.dtype

    @property
    def tensor_device(self) -> str:
        """Where ``set_target`` takes, and ``estimate_tensor`` gives, tensors without a trip to the host."""
        return str(self._device)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=self._dtype, device=self._device)

    def _picture(self, values: np.ndarray | torch.Tensor) -> torch.Tensor:
        """[H, W, C] -> a copy [1, C, H, W]."""
        return picture(values, self._dtype, self._device)

    @staticmethod
    def _array(picture: torch.Tensor) -> np.ndarray:
        """[1, C, H, W] -> a C-contiguous copy [H, W, C]."""
        return np.array(picture.detach()[0].permute(1, 2, 0).cpu().numpy(), order="C")

    def _shown(self, averaged: bool) -> torch.Tensor:
        output = self._last_output()
        return self._average if averaged and self._average is not None else output

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """The running average, or the last raw output, [H, W, C]."""
        return self._array(self._shown(averaged))

    def estimate_tensor(self, averaged: bool = True) -> torch.Tensor:
        """As ``estimate``; a float32 copy that stays on the device."""
        return self._shown(averaged).detach()[0].permute(1, 2, 0).to(torch.float32, copy=True)
