"""Pictures in memory: numpy, PIL, torch or DLPack in; the same kind, dtype and layout out.

Inside dipedge a picture is float32 [H, W, C] with C = 1 (gray) or 3 (colour) and white = 1; alpha is not
fitted but carried over untouched. This file is the border: everything a user may hand over is checked
and converted here, once, and ``Picture.give_back`` undoes the conversion for the answer.

Nobody needs PIL or torch for numpy pictures, so neither is imported unless the picture is one of theirs.
Pictures are held as they came and converted when they are asked for, whole or a window of them: 24 megapixels
of bytes are 72 MB, as float32 four times as much. Conversions go band by band for the same reason.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dipedge.errors import InputError
from dipedge.resizing import resized
from dipedge.unit_values import from_unit, to_unit

SMALLEST_SIDE = 16
# Resizing with a negative lobe or averaging in float16 oversteps [0, 1] by about this much; a picture
# that goes further is in other units (0..255, normalised) or carries noise that was not clipped.
OVERSTEP = 1e-3
FLOATS = ("float16", "float32", "float64")
INTEGERS = ("uint8", "uint16")
# PIL modes that go in and out as they are; every other mode becomes one of these.
PIL_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I", "F")
PIL_CONVERSIONS = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
FOREIGN_COLOURS = ("CMYK", "LAB", "HSV", "YCbCr")  # an ICC profile of theirs does not describe RGB


@dataclass(frozen=True)
class Picture:
    """A picture as the fit sees it, and the way back.

    Args:
        values: [H, W, C] in the dtype they came in, C = 1 or 3; may be the caller's own array.
        alpha: [H, W] in the dtype it came in, or None.
        wrap: takes an array [H, W], [H, W, C] or [H, W, C + alpha] in the incoming dtype to the
            incoming kind.
        dtype: of the incoming picture.
        flat: whether the picture came as H x W, without an axis of channels.
        clipped: whether ``values`` are floats that lie in [0, 1] already, so that nothing is to be clipped.
    """

    values: np.ndarray
    alpha: np.ndarray | None
    wrap: Callable[[np.ndarray], Any]
    dtype: np.dtype
    flat: bool
    clipped: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """[H, W, C], without alpha."""
        return self.values.shape

    @property
    def pixels(self) -> np.ndarray:
        """All of it as float32 [H, W, C], C-contiguous, in [0, 1].

        A picture that is so already is not copied: this is the caller's own array then, which cannot be
        written through it. Any other is converted anew by every call.
        """
        if self.clipped and self.values.dtype == np.float32 and self.values.flags.c_contiguous:
            own = self.values.view()
            own.flags.writeable = False
            return own
        return to_unit(self.values)

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of ``pixels``; only that part is converted."""
        return to_unit(self.values[rows, columns])

    def one_pixel(self) -> Any:
        """One black pixel in the kind, dtype and layout of the answer: what kind it will be, for nothing."""
        alpha = None if self.alpha is None else self.alpha[:1, :1]
        return replace(self, alpha=alpha).give_back(np.zeros((1, 1, self.shape[2]), np.float32))

    def rounded(
        self,
        estimate: np.ndarray,
        kept: np.ndarray | None = None,
        place: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> np.ndarray:
        """The answer's values as ``give_back`` hands them out, but always [H', W', C] and without alpha.

        Args:
            estimate: of the picture, or of a part of it.
            kept: bool [H', W'], where the picture's own values stay; None for nowhere.
            place: rows and columns of that part.
        """
        values = from_unit(estimate, self.dtype)
        if kept is not None:
            values[kept] = self.values[place][kept]
        return values

    def give_back(self, estimate: np.ndarray, kept: np.ndarray | None = None) -> Any:
        """The answer ``estimate`` [H', W', C] in the kind, dtype and layout of the incoming picture.

        Values are clipped to [0, 1]; integers are rounded. Alpha is attached as it came, enlarged with
        Lanczos where the answer is larger than the picture. ``kept``: as in ``rounded``.
        """
        if self.alpha is not None:
            height, width, colours = estimate.shape
            values = np.empty((height, width, colours + 1), self.dtype)
            from_unit(estimate, self.dtype, values[..., :-1])
            values[..., -1] = _enlarged_alpha(self.alpha, height, width)
            if kept is not None:
                values[..., :-1][kept] = self.values[kept]
            return self.wrap(values)
        values = self.rounded(estimate, kept)
        if self.flat:
            values = values[..., 0]
        return self.wrap(np.ascontiguousarray(values))


def read(image: Any, name: str = "image") -> Picture:
    """Checks a picture and takes it in.

    Args:
        image: H x W, H x W x 1, H x W x 3 or H x W x 4 (the fourth is alpha), sides of 16 or more;
            uint8, uint16, or float16/32/64 in [0, 1]. A numpy array, a PIL image (shown the way its EXIF
            orientation says), a torch tensor on any device, or anything with ``__dlpack__`` in host
            memory. A torch tensor may also be C x H x W: it is read so when its first axis has 1, 3 or 4
            entries and its last has not (no side of a picture is that short, so both cannot be meant).
        name: what messages call the picture.

    Raises:
        InputError: anything else, with the value and what is allowed.
    """
    if isinstance(image, np.ndarray):
        return _from_numpy(np.asarray(image), name, lambda array: array)
    if _is_instance(image, "PIL.Image", "Image"):
        return _from_pil(image, name)
    if _is_instance(image, "torch", "Tensor"):
        return _from_torch(image, name)
    if hasattr(image, "__dlpack__"):
        return _from_dlpack(image, name)
    raise InputError(
        f"{name} is a {type(image).__name__}; it must be a numpy array, a PIL image, a torch tensor, "
        "an object with __dlpack__, or a path"
    )


def read_mask(mask: Any, shape: tuple[int, ...], name: str = "mask") -> np.ndarray:
    """Checks a mask and takes it in as bool [H, W], True = known.

    Args:
        mask: H x W (or with channels: known where any of them is nonzero, alpha left aside); True or
            nonzero = known. A JPEG is cut at half instead, for compression leaves no clean zeros.
        shape: of the picture; its first two entries are H and W.
        name: what messages call the mask.

    Raises:
        InputError: another size, NaN, or no known pixel at all.
    """
    threshold = 0
    if _is_instance(mask, "PIL.Image", "Image"):
        threshold = 127 if mask.format == "JPEG" else 0
        mask = _upright(mask, name)
        mask = np.asarray(mask if mask.mode in (*PIL_MODES, "1") else mask.convert("RGB"))
    elif _is_instance(mask, "torch", "Tensor"):
        mask = mask.detach().cpu().numpy()
    elif hasattr(mask, "__dlpack__") and not isinstance(mask, np.ndarray):
        mask = np.from_dlpack(mask)
    array = np.asarray(mask)
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} has dtype {array.dtype}; it must hold booleans or numbers, nonzero = known")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinite values; nonzero = known, 0 = hole")
    known = array > threshold if threshold else array != 0
    if known.ndim == 3 and known.shape[2] in (1, 2, 3, 4):
        colours = {2: 1, 4: 3}.get(known.shape[2], known.shape[2])
        known = known[..., :colours].any(axis=2)
    elif known.ndim == 3 and known.shape[0] in (1, 3):  # torch's C x H x W
        known = known.any(axis=0)
    if known.shape != tuple(shape[:2]):
        size = " x ".join(map(str, array.shape)) or "a single value"
        raise InputError(f"{name} is {size}; it must be as large as the picture, {shape[0]} x {shape[1]}")
    if not known.any():
        raise InputError(f"{name} marks every pixel as a hole; at least one must be known (nonzero)")
    return np.ascontiguousarray(known)


def _is_instance(value: object, module: str, kind: str) -> bool:
    """isinstance without importing: a value of a library's type exists only once that is loaded."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, kind, ()))


def _from_numpy(
    array: np.ndarray, name: str, wrap: Callable[[np.ndarray], Any], layouts: tuple[int, ...] = (1, 3, 4)
) -> Picture:
    check_layout(array.shape, name, layouts)
    clipped = _check_values(array, name)
    flat = array.ndim == 2
    channels = array[..., None] if flat else array
    alpha = None
    if channels.shape[2] in (2, 4):
        channels, alpha = channels[..., :-1], channels[..., -1]
    return Picture(channels, alpha, wrap, array.dtype, flat, clipped)


def check_layout(sides: tuple[int, ...], name: str, layouts: tuple[int, ...] = (1, 3, 4)) -> None:
    """Raises InputError where an array with these sides is no picture of ``layouts`` channels."""
    shape = " x ".join(map(str, sides)) or "a single value"
    if len(sides) not in (2, 3) or (len(sides) == 3 and sides[2] not in layouts):
        hint = "; move the channels to the end" if len(sides) == 3 and sides[0] in (1, 3, 4) else ""
        raise InputError(f"{name} is {shape}; it must be H x W, or H x W x 1, 3 or 4{hint}")
    if min(sides[:2]) < SMALLEST_SIDE:
        raise InputError(f"{name} is {shape}; both sides must be {SMALLEST_SIDE} pixels or more")


def _check_values(array: np.ndarray, name: str) -> bool:
    """Whether they are floats that lie in [0, 1] to the last bit."""
    if array.dtype.name not in FLOATS + INTEGERS:
        hint = " (a mask belongs into Inpaint)" if array.dtype == bool else ""
        allowed = "uint8, uint16, or float16, float32 or float64 in [0, 1]"
        raise InputError(f"{name} has dtype {array.dtype}{hint}; it must be {allowed}")
    if array.dtype.kind == "u":
        return False
    return check_range(float(array.min()), float(array.max()), name)  # one pass each, and no temporary


def check_range(low: float, high: float, name: str) -> bool:
    """Whether floats from ``low`` to ``high`` lie in [0, 1] to the last bit; NaN and infinity show in both.

    Raises:
        InputError: they are no picture's.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{name} holds NaN or infinite values; floats must be in [0, 1]")
    if low < -OVERSTEP or high > 1 + OVERSTEP:
        raise InputError(
            f"{name} has values from {low:.4g} to {high:.4g}; floats must be in [0, 1], clip or scale"
        )
    return low >= 0 and high <= 1


def enlarged(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Float32 [H, W, C] at another size, with Lanczos, clipped to [0, 1]: what a user has without dipedge."""
    if pixels.shape[:2] == (height, width):
        return pixels
    result = resized(pixels, height, width, "lanczos")
    return np.clip(result, 0, 1, out=result)


def _enlarged_alpha(alpha: np.ndarray, height: int, width: int) -> np.ndarray:
    if alpha.shape == (height, width):
        return alpha
    return from_unit(enlarged(to_unit(alpha[..., None]), height, width), alpha.dtype)[..., 0]


def _upright(image: Any, name: str) -> Any:
    """The PIL image as it is meant to be seen: EXIF orientation applied, and its tag removed."""
    from PIL import ImageOps

    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError) as error:  # decoding is lazy, so a broken file shows here
        raise InputError(f"{name} cannot be decoded: {error}") from error


def _from_pil(image: Any, name: str) -> Picture:
    from PIL import Image

    upright = _upright(image, name)
    info = {key: upright.info[key] for key in ("icc_profile", "exif", "dpi") if key in upright.info}
    if upright.mode in FOREIGN_COLOURS:
        info.pop("icc_profile", None)
    plain = _plain_mode(upright)
    array = np.asarray(plain)

    def wrap(array: np.ndarray) -> Any:
        answer = Image.fromarray(array)
        answer.info.update(info)
        return answer

    if plain.mode == "I":  # 32-bit integers: how Pillow opens some 16-bit files
        if array.min() < 0 or array.max() > 65535:
            raise InputError(
                f"{name} has mode I and values {array.min()} to {array.max()}; 0 to 65535 is allowed"
            )
        array = array.astype(np.uint16)
    if plain.mode.startswith("I;16"):
        array = array.astype(np.uint16)  # the machine's byte order, whatever the file's was
    return _from_numpy(array, name, wrap, layouts=(2, 3, 4))  # 2 is PIL's gray with alpha


def _plain_mode(image: Any) -> Any:
    """The PIL image in one of PIL_MODES, with a transparent colour turned into alpha."""
    if "transparency" in image.info and image.mode in ("L", "RGB", "P", "1"):
        return image.convert("LA" if image.mode in ("L", "1") else "RGBA")
    if image.mode in PIL_MODES:
        return image
    return image.convert(PIL_CONVERSIONS.get(image.mode, "RGB"))


def _from_torch(image: Any, name: str) -> Picture:
    import torch

    host = image.detach().cpu()
    if image.dtype == torch.bfloat16:  # numpy has no such type; float32 holds all its values
        host = host.float()
    try:
        array = host.numpy()
    except (TypeError, RuntimeError) as error:
        raise InputError(f"{name} is a torch tensor that numpy cannot hold: {error}") from error
    leading = array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4)

    def wrap(values: np.ndarray) -> Any:
        tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)) if leading else values)
        return tensor.to(device=image.device, dtype=image.dtype)

    return _from_numpy(array.transpose(1, 2, 0) if leading else array, name, wrap)


def _from_dlpack(image: Any, name: str) -> Picture:
    """Through the array API where the library has one (jax, cupy on the host); otherwise numpy comes out."""
    try:
        array = _dlpack_array(image)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{name} cannot be read through DLPack: {error}; copy it to host memory first"
        ) from error
    namespace = image.__array_namespace__() if hasattr(image, "__array_namespace__") else None
    return _from_numpy(array, name, namespace.asarray if namespace is not None else lambda values: values)


def _dlpack_array(image: Any) -> np.ndarray:
    """The memory of ``image`` as an array; where that is out of reach, a copy its library makes."""
    try:
        return np.from_dlpack(image)
    except (BufferError, RuntimeError):
        try:
            return np.from_dlpack(
                image, device="cpu", copy=True
            )  # DLPack 1.0: numpy 2.1 asks, cupy 13 answers
        except TypeError:  # either of them is older
            pass
        raise
