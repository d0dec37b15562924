"""Picture files: Pillow reads and writes them, and nothing half-written is ever left behind.

Pillow decodes lazily and each of its decoders fails in its own way; here every such failure becomes one
line that names the file. 16-bit colour is beyond Pillow (it reads such a PNG as 8-bit RGB and cannot write
one): reading says so in ``image.info["note"]``, and uint16 colour arrays remain possible in memory.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dipedge.errors import FileError

# A header can claim any size; decoding is refused before memory is asked for. 8192 x 8192 is more than most
# cameras make (and hours of fitting) and below the size at which Pillow itself begins to warn.
MAX_PIXELS = 2**26
# Formats that have a signature (TGA takes any bytes for a picture) and whose decoders are part of Pillow
# (EPS and WMF start foreign programs). JPEG includes MPO, the cameras' several-in-one.
READABLE = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
# What each extension is written as, the modes that format holds, and how it is written.
WRITABLE: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    ".png": ("PNG", ("L", "LA", "RGB", "RGBA", "I;16"), {}),
    ".jpg": ("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0}),
    ".tif": ("TIFF", ("L", "LA", "RGB", "RGBA", "I;16", "F"), {}),
    ".tiff": ("TIFF", ("L", "LA", "RGB", "RGBA", "I;16", "F"), {}),
    ".webp": ("WEBP", ("RGB", "RGBA", "L"), {"lossless": True}),
    ".bmp": ("BMP", ("L", "RGB"), {}),
}
MODE_WORDS = {
    "LA": "transparency",
    "RGBA": "transparency",
    "I;16": "16 bits a channel",
    "F": "floating-point values",
}


def open_image(path: str | os.PathLike) -> Any:
    """Reads a picture file and decodes it.

    Args:
        path: of a PNG, JPEG, TIFF, WebP, BMP, GIF, PPM, JPEG 2000 or AVIF file of at most
            MAX_PIXELS pixels; of several frames the first is taken.

    Returns:
        A PIL image in the file's own mode, EXIF and colour profile in ``info``; ``info["note"]`` is there
        when something of the file could not be kept.

    Raises:
        FileError: a missing, empty, truncated, too large or non-image file; the line names it.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    check_is_file(path)
    Image.init()  # registers the formats; a Pillow built without one simply lacks it
    formats = [name for name in READABLE if name in Image.OPEN]
    try:
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")  # oddities in metadata; the size has its own check
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=formats)
            _check_size(path, *image.size)
            frames = getattr(image, "n_frames", 1)
            image.load()
            image.getexif()  # kept in the image from here on; some formats would look into the file later
    except FileError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FileError(f"{path}: claims far more than the {MAX_PIXELS:,} pixels that are read") from error
    except UnidentifiedImageError as error:
        raise FileError(f"{path}: not a picture in a format that can be read") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they like: SyntaxError, struct.error, EOFError...
        why = " ".join(str(error).split()) or type(error).__name__
        raise FileError(f"{path}: a damaged picture ({why})") from error
    _note(image, path, frames)
    return image


def check_is_file(path: Path, kind: str = "picture") -> None:
    """Raises FileError unless there is a readable file with something in it; ``kind``: what it should be."""
    try:
        if os.path.isdir(path):
            raise FileError(f"{path}: a folder, not a {kind}")
        if path.stat().st_size == 0:
            raise FileError(f"{path}: the file is empty")
        with open(path, "rb"):
            pass
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except FileError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise FileError(
            f"{path}: claims {width} x {height} = {width * height:,} pixels; at most {MAX_PIXELS:,} are read"
        )


def _note(image: Any, path: Path, frames: int) -> None:
    """Leaves a sentence in ``info`` about what Pillow did not hand over."""
    image.info.pop("note", None)
    with open(path, "rb") as file:
        head = file.read(26)
    # IHDR stands first in every PNG: bit depth in byte 24, colour type in byte 25 (2 and 6 are colour).
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[24] == 16 and head[25] in (2, 4, 6):
        image.info["note"] = "16 bits a channel are read as 8 (only gray files keep 16)"
    elif frames > 1 and image.format != "MPO":  # an MPO's further frames are thumbnails or a second view
        image.info["note"] = f"only the first of {frames} frames is taken"


def check_writable(path: str | os.PathLike, mode: str | None = None) -> Path:
    """Finds out before a long fit whether its answer can be written.

    Args:
        path: where to; its extension decides the format (png, jpg, tif, webp, bmp).
        mode: of the PIL image to come, where it is known: not every format holds every mode.

    Raises:
        FileError: unknown extension, a mode the format does not hold, no such folder, a folder in the
            file's place, or no right to write there.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE:
        known = ", ".join(sorted(WRITABLE))
        raise FileError(
            f"{path}: cannot be written as {path.suffix or 'a file without extension'!r}; use {known}"
        )
    name, modes, _ = WRITABLE[path.suffix.lower()]
    if mode is not None and mode not in modes:
        raise FileError(f"{path}: {name} does not hold {MODE_WORDS.get(mode, mode)}; use .png or .tif")
    check_place(path)
    return path


def check_place(path: Path) -> None:
    """Raises FileError unless a file can be made at ``path`` (tried beside it, and taken away again)."""
    if os.path.exists(path) and not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "not a regular file"
        raise FileError(f"{path}: {what}; it cannot be written over")
    if not os.path.isdir(path.parent):
        raise FileError(f"{path}: there is no folder {path.parent}")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise FileError(f"{path}: write-protected")
    trial = _beside(path)
    try:
        with suppress(FileNotFoundError):
            os.stat(path)  # a name too long for the disk shows here; the trial's is shorter
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
    trial.unlink()


def save_image(image: Any, path: str | os.PathLike) -> None:
    """Writes a PIL image, with its colour profile and EXIF, beside ``path`` and then renames it there.

    Raises:
        FileError: as ``check_writable``, or the disk refused.
    """
    path = check_writable(path, image.mode)
    name, _, options = WRITABLE[path.suffix.lower()]
    kept = {key: image.info[key] for key in ("icc_profile", "exif", "dpi") if image.info.get(key)}
    with written_beside(path) as file:
        image.save(file, format=name, **kept, **options)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.part")


@contextmanager
def written_beside(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A binary file that appears at ``path`` only when it is complete, with the user's usual rights.

    Raises:
        FileError: the disk refused; nothing is left, and what was at ``path`` is untouched.
    """
    path = Path(path)
    part = _beside(path)
    try:
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            part.unlink()
