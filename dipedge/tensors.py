"""Frames on a GPU: torch tensors, and whatever speaks DLPack from there; they stay where they are.

An engine that computes with PyTorch says on which device it does (``Program.tensor_device``). A frame that
lies on a GPU is handed to it as a float32 tensor there, its estimate comes back as one, and the answer is
made of that on the device: only the smallest and the largest value of a float picture come to the host.
For every other use (the native engine, tiles, tasks with a target of their own, a reference) the frame is
copied to the host, once, by ``arrays.read``.

PyTorch is imported only where it is loaded already, or where a frame on a GPU came through DLPack.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dipedge import arrays
from dipedge.errors import InputError

if TYPE_CHECKING:
    import torch

ON_HOST = (1, 3, 11, 13)  # DLPack device types numpy can read: CPU, pinned memory (two kinds), managed memory
DTYPES = ("uint8", "uint16", "float16", "bfloat16", "float32", "float64")


class TensorPicture:
    """As ``arrays.Picture``, of a tensor that stays on its device for as long as nobody asks for an array.

    Args:
        image: the tensor as it came: H x W, H x W x C, or C x H x W as ``arrays.read`` understands it.
        name: what messages call the picture.
        wrap: takes a tensor laid out as ``image`` to the incoming kind; None where that is a torch tensor.

    Raises:
        InputError: as ``arrays.read``, with the same sentences.
    """

    def __init__(
        self, image: torch.Tensor, name: str, wrap: Callable[[torch.Tensor], Any] | None = None
    ) -> None:
        image = image.detach()
        self._image, self._name, self._wrap = image, name, wrap
        self._leading = image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] not in (1, 3, 4)
        pixels = image.permute(1, 2, 0) if self._leading else image
        arrays.check_layout(tuple(pixels.shape), name)
        self._check_values(pixels)
        self.flat = pixels.ndim == 2
        pixels = pixels[..., None] if self.flat else pixels
        has_alpha = pixels.shape[2] == 4
        self.tensor = pixels[..., :3] if has_alpha else pixels
        self._alpha = pixels[..., 3:] if has_alpha else None

    def _check_values(self, pixels: torch.Tensor) -> None:
        dtype = str(pixels.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            allowed = "uint8, uint16, or float16, bfloat16, float32 or float64 in [0, 1]"
            raise InputError(f"{self._name} has dtype {dtype}; it must be {allowed}")
        if pixels.dtype.is_floating_point:
            low, high = (float(value) for value in pixels.aminmax())  # waits for the device
            arrays.check_range(low, high, self._name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[H, W, C], without alpha."""
        return tuple(self.tensor.shape)

    @cached_property
    def host(self) -> arrays.Picture:
        """The same picture in host memory; copied there at the first call."""
        return arrays.read(self._image, self._name)

    @property
    def values(self) -> np.ndarray:
        """As ``arrays.Picture.values``; a copy on the host."""
        return self.host.values

    @property
    def alpha(self) -> np.ndarray | None:
        """As ``arrays.Picture.alpha``; a copy on the host."""
        return self.host.alpha

    @property
    def dtype(self) -> np.dtype:
        """Of the incoming picture; float32 for bfloat16, which numpy has not."""
        return self.host.dtype

    @property
    def pixels(self) -> np.ndarray:
        """As ``arrays.Picture.pixels``; a copy on the host."""
        return self.host.pixels

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of ``pixels``."""
        return self.host.window(rows, columns)

    def rounded(self, *arguments: Any, **options: Any) -> np.ndarray:
        """As ``arrays.Picture.rounded``."""
        return self.host.rounded(*arguments, **options)

    def one_pixel(self) -> Any:
        """One black pixel in the kind, dtype and layout of the answer."""
        return self._wrapped(self.host.one_pixel())

    def on(self, device: str) -> torch.Tensor:
        """All of it as float32 [H, W, C] in [0, 1] on ``device``, without a trip to the host."""
        import torch

        values = self.tensor.to(device=device, dtype=torch.float32)
        top = _top(self.tensor)
        return values.clamp(0, 1) if top is None else values / top

    def give_back(self, estimate: Any, kept: np.ndarray | None = None) -> Any:
        """As ``arrays.Picture.give_back``; an ``estimate`` that is a tensor never comes to the host.

        An enlarged picture's alpha is enlarged on the host, as everybody's is.
        """
        enlarged = tuple(estimate.shape[:2]) != self.shape[:2]
        if isinstance(estimate, np.ndarray) or (self._alpha is not None and enlarged):
            host = estimate if isinstance(estimate, np.ndarray) else estimate.cpu().numpy()
            return self._wrapped(self.host.give_back(host, kept))
        values = self._rounded(estimate)
        if kept is not None:
            import torch

            known = torch.from_numpy(np.array(kept)).to(values.device)
            values = torch.where(known[..., None], self.tensor.to(values.device), values)
        return self._answer(values)

    def _rounded(self, estimate: torch.Tensor) -> torch.Tensor:
        """Clipped, scaled and rounded as ``arrays`` does it, in the incoming dtype and on its device."""
        values, top = estimate.to(self.tensor.device).clamp(0, 1), _top(self.tensor)
        return (values if top is None else (values * top).round()).to(self.tensor.dtype)

    def _answer(self, values: torch.Tensor) -> Any:
        """With alpha, in the incoming layout and kind."""
        import torch

        if self._alpha is not None:
            values = torch.cat([values, self._alpha], dim=2)
        elif self.flat:
            values = values[..., 0]
        return self._wrapped((values.permute(2, 0, 1) if self._leading else values).contiguous())

    def _wrapped(self, values: torch.Tensor) -> Any:
        return values if self._wrap is None else self._wrap(values)


def _top(tensor: torch.Tensor) -> float | None:
    """What white is in the integer dtype of ``tensor``; None for floats."""
    return {"torch.uint8": 255.0, "torch.uint16": 65535.0}.get(str(tensor.dtype))


def read(image: Any, name: str = "image") -> arrays.Picture | TensorPicture:
    """A picture as ``arrays.read`` reads it; one that lies on a GPU stays there until its array is needed.

    Args:
        image: as for ``arrays.read``, and objects with ``__dlpack__`` in the memory of a GPU.
        name: what messages call the picture.

    Raises:
        InputError: as ``arrays.read``; or a GPU's picture that is no torch tensor, where PyTorch is not there
            to take it and its library cannot copy it to the host through DLPack.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(image, torch.Tensor):
        return TensorPicture(image, name) if stays(image) else arrays.read(image, name)
    if not hasattr(image, "__dlpack_device__") or isinstance(image, np.ndarray):
        return arrays.read(image, name)
    if int(image.__dlpack_device__()[0]) in ON_HOST:
        return arrays.read(image, name)
    return _foreign(image, name)


def stays(image: torch.Tensor) -> bool:
    """Whether a tensor lies where numpy cannot look."""
    return image.device.type == "cuda"


def _foreign(image: Any, name: str) -> arrays.Picture | TensorPicture:
    """Another library's picture on a GPU: as a tensor of the same memory, or else copied to the host."""
    try:
        import torch

        tensor = torch.from_dlpack(image)
    except (ImportError, AssertionError, BufferError, RuntimeError, TypeError, ValueError) as error:
        try:
            return arrays.read(image, name)
        except InputError as refused:
            kind = image.__dlpack_device__()[0]
            raise InputError(
                f"{name} lies on a GPU (DLPack device type {int(kind)}) and cannot be had: {error}; "
                "install PyTorch with CUDA (pip install dipedge[torch]) or copy it to host memory first"
            ) from refused
    namespace = image.__array_namespace__() if hasattr(image, "__array_namespace__") else None
    return TensorPicture(tensor, name, None if namespace is None else namespace.from_dlpack)


def on_host(values: Any) -> np.ndarray:
    """An array of an array or tensor, wherever that lies."""
    return values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()
