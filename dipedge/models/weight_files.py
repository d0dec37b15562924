"""Files of weights: .pth, .safetensors and .npz, read without running any code in them.

A scene file of ours is stricter (``scene_file``: our names, our types, no gaps); these come from elsewhere,
so their types are more and their names are free. What a file claims is checked against its size before
memory is asked for.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dipedge.errors import FileError

# safetensors' words; numpy has no bfloat16: those are the upper halves of float32.
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
LONGEST_HEADER = 16 * 2**20
MOST_BYTES = 2**32  # of all arrays of a compressed npz; VGG-19 has 575 MB


def read_weights(path: str | os.PathLike) -> dict[str, Any]:
    """The tensors or arrays of a file, by name.

    Args:
        path: ending in .pth, .pt, .safetensors or .npz.

    Raises:
        FileError: another ending, a missing or damaged file, or one that holds something else.
    """
    readers = {".pth": _pth, ".pt": _pth, ".safetensors": _safetensors, ".npz": _npz}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise FileError(f"{path}: a file of weights ends in {', '.join(readers)}")
    try:
        return reader(Path(path))
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except Exception as error:  # a damaged file makes its reader stumble over anything, IndexError included
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileError(f"{path}: not a readable file of weights ({why})") from error


def _pth(path: Path) -> dict[str, Any]:
    # weights_only: tensors and plain containers; nothing a pickle could otherwise run.
    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]  # a training checkpoint
    if not isinstance(found, dict):
        raise FileError(f"{path}: holds a {type(found).__name__}, not a state dict")
    return dict(found)


def _npz(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        claimed = sum(member.file_size for member in archive.infolist())
    if claimed > MOST_BYTES:
        raise FileError(f"{path}: its arrays claim {claimed:,} bytes; at most {MOST_BYTES:,} are read")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _safetensors(path: Path) -> dict[str, Any]:
    """8 bytes of header length, a JSON header with each array's place, the arrays."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(LONGEST_HEADER, size - 8):
            raise FileError(f"{path}: a damaged file (its header claims {length:,} bytes)")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: _array(file, name, entry, 8 + length, size) for name, entry in header.items()}


def _array(file: Any, name: str, entry: dict[str, Any], base: int, size: int) -> np.ndarray:
    begin, end = entry["data_offsets"]
    word, shape = entry["dtype"], entry["shape"]
    if word not in TYPES:
        raise ValueError(f"{name} is of type {word}; {', '.join(TYPES)} are read")
    dtype, count = np.dtype(TYPES[word]), math.prod(shape)
    if not 0 <= begin <= end <= size - base or end - begin != count * dtype.itemsize:
        raise ValueError(f"{name} lies outside the file")
    file.seek(base + begin)
    array = np.fromfile(file, dtype, count).reshape(shape)
    return (array.astype("<u4") << 16).view("<f4") if word == "BF16" else array
