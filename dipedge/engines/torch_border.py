"""Arrays and tensors on their way into a program of engine "torch", and out of it."""

from __future__ import annotations

import numpy as np
import torch

from dipedge.engines.base import Settings


def picture(
    values: np.ndarray | torch.Tensor, frames: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """[F*H, W, C] -> a copy [F, C, H, W]: frames are a batch here, so nothing looks across their edges."""
    if isinstance(values, torch.Tensor):
        height, width, channels = values.shape
        made = torch.empty(frames, channels, height // frames, width, dtype=dtype, device=device)
        made.copy_(values.unflatten(0, (frames, -1)).permute(0, 3, 1, 2))
        return made
    values = np.asarray(values)
    values = np.moveaxis(values.reshape(frames, len(values) // frames, *values.shape[1:]), 3, 1)
    return torch.tensor(values, dtype=dtype, device=device).contiguous()


def unstacked(frames: torch.Tensor) -> torch.Tensor:
    """[F, C, H, W] -> [F*H, W, C], with its gradient cut off."""
    return frames.detach().permute(0, 2, 3, 1).flatten(0, 1)


class TorchBorder:
    """What ``TorchProgram`` takes pictures in with, and hands them out.

    A class that derives from it has ``_device`` and ``_dtype``, and once a step was made ``_average`` (or
    None) and ``_last_output()``, both [F, C, H, W].
    """

    _device: torch.device
    _dtype: torch.dtype
    _settings: Settings

    @property
    def tensor_device(self) -> str:
        """Where ``set_target`` takes, and ``estimate_tensor`` gives, tensors without a trip to the host."""
        return str(self._device)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=self._dtype, device=self._device)

    def _picture(self, values: np.ndarray | torch.Tensor) -> torch.Tensor:
        """[F*H, W, C] -> a copy [F, C, H, W]."""
        return picture(values, self._settings.frames, self._dtype, self._device)

    @staticmethod
    def _array(picture: torch.Tensor) -> np.ndarray:
        """[F, C, H, W] -> a C-contiguous copy [F*H, W, C]."""
        return np.array(unstacked(picture).cpu().numpy(), order="C")

    def _shown(self, averaged: bool) -> torch.Tensor:
        output = self._last_output()
        return self._average if averaged and self._average is not None else output

    def estimate(self, averaged: bool = True) -> np.ndarray:
        """The running average, or the last raw output, [H, W, C]."""
        return self._array(self._shown(averaged))

    def estimate_tensor(self, averaged: bool = True) -> torch.Tensor:
        """As ``estimate``; a float32 copy that stays on the device."""
        return unstacked(self._shown(averaged)).to(torch.float32, copy=True)
