"""Scene files: the arrays of a fit and a JSON description, as .safetensors or .npz; never pickle.

Both formats are read here with checks of our own before any memory is asked for, since a file may come from
anywhere: no array can claim more bytes than the file has, names and types are limited to those we write, and
compressed npz members (which could unfold to any size) are refused. The description is the safetensors
metadata entry ``dipedge``, or the npz member ``description`` of UTF-8 bytes.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from dipedge.errors import FileError
from dipedge.images import written_beside

Arrays = dict[str, np.ndarray]
FORMAT = 1
# safetensors' words for the little-endian types we write.
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "U64": "<u8"}
WORDS = {np.dtype(code): word for word, code in TYPES.items()}
NAME = re.compile(r"[A-Za-z0-9_./]{1,200}")
MOST_ARRAYS = 10_000
LONGEST_HEADER = 16 * 2**20
SUFFIXES = (".safetensors", ".npz")


def save_scene(path: str | os.PathLike, arrays: Arrays, description: dict[str, Any]) -> None:
    """Writes a scene beside ``path`` and renames it there.

    Args:
        path: ending in .safetensors or .npz.
        arrays: by name; float16/32/64, int32/64, uint8 or uint64.
        description: JSON values.

    Raises:
        FileError: another extension, or the disk refused.
    """
    suffix = _suffix(path)
    text = json.dumps(description | {"format": FORMAT}, sort_keys=True)
    plain = {name: _little_endian(name, array) for name, array in arrays.items()}
    with written_beside(path) as file:
        if suffix == ".npz":
            np.savez(file, **plain, description=np.frombuffer(text.encode(), np.uint8))
        else:
            _write_safetensors(file, plain, text)


def load_scene(path: str | os.PathLike) -> tuple[Arrays, dict[str, Any]]:
    """Reads what ``save_scene`` wrote: the arrays and the description.

    Raises:
        FileError: a missing or damaged file, or one that is not a scene.
    """
    suffix, path = _suffix(path), Path(path)
    try:
        with open(path, "rb") as file:
            arrays, text = (_read_npz if suffix == ".npz" else _read_safetensors)(file, path)
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except (OSError, ValueError, zipfile.BadZipFile, struct.error, EOFError, NotImplementedError) as error:
        raise FileError(f"{path}: a damaged scene ({' '.join(str(error).split())})") from error
    return arrays, _parsed(path, text)


def _suffix(path: str | os.PathLike) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise FileError(f"{path}: a scene file ends in {' or '.join(SUFFIXES)}")
    return suffix


def _little_endian(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    if little.dtype not in WORDS or not NAME.fullmatch(name):
        raise FileError(f"array {name!r} of {array.dtype} cannot be stored in a scene")
    return little


def _parsed(path: Path, text: bytes | str) -> dict[str, Any]:
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: the scene's description is damaged") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        raise FileError(f"{path}: a scene of format {found!r}; this version reads format {FORMAT}")
    return description


def _write_safetensors(file: IO[bytes], arrays: Arrays, text: str) -> None:
    """8 bytes of header length, the JSON header padded with blanks to whole 8 bytes, the arrays."""
    header: dict[str, Any] = {"__metadata__": {"dipedge": text}}
    end = 0
    # Largest elements first, as the format's own writer does: every array then begins aligned.
    ordered = sorted(arrays.items(), key=lambda entry: (-entry[1].dtype.itemsize, entry[0]))
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": WORDS[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write(struct.pack("<Q", len(encoded)) + encoded)
    for _, array in ordered:
        file.write(array.tobytes())


def _read_safetensors(file: IO[bytes], path: Path) -> tuple[Arrays, str]:
    size = os.fstat(file.fileno()).st_size
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(LONGEST_HEADER, size - 8):
        raise FileError(f"{path}: a damaged scene (its header claims {length:,} bytes)")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_without_doubles)
        metadata = header.pop("__metadata__", {})
        spans = sorted((tuple(entry["data_offsets"]), name) for name, entry in header.items())
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(f"{path}: a damaged scene (its header is not safetensors')") from error
    if not isinstance(metadata, dict) or not isinstance(metadata.get("dipedge"), str):
        raise FileError(f"{path}: not a scene that dipedge wrote")
    arrays: Arrays = {}
    position = 0
    _check_count(path, len(spans))
    for (begin, end), name in spans:
        dtype, shape = _checked(path, name, header[name].get("dtype"), header[name].get("shape"))
        count = math.prod(shape)  # arrays follow each other without gaps, so none can claim another's bytes
        if begin != position or end - begin != count * dtype.itemsize or end > size - 8 - length:
            raise FileError(f"{path}: a damaged scene (array {name!r} lies outside its bytes)")
        arrays[name] = np.fromfile(file, dtype, count).reshape(shape)
        position = end
    if position != size - 8 - length:
        raise FileError(f"{path}: a damaged scene (bytes left over at its end)")
    return arrays, metadata["dipedge"]


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _check_count(path: Path, count: int) -> None:
    if count > MOST_ARRAYS:
        raise FileError(f"{path}: a damaged scene ({count:,} arrays; at most {MOST_ARRAYS:,} are read)")


def _checked(path: Path, name: str, word: Any, shape: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape of one array, if they are such as we write."""
    sides = isinstance(shape, list | tuple) and len(shape) <= 8
    sides = sides and all(type(side) is int and 0 <= side < 2**40 for side in shape)
    if not (sides and isinstance(word, str) and word in TYPES and NAME.fullmatch(name)):
        raise FileError(f"{path}: a damaged scene (array {name[:80]!r} is none that dipedge writes)")
    return np.dtype(TYPES[word]), tuple(shape)


def _read_npz(file: IO[bytes], path: Path) -> tuple[Arrays, bytes]:
    size = os.fstat(file.fileno()).st_size
    arrays: Arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_count(path, len(members))
        if sum(member.file_size for member in members) > size:
            raise FileError(f"{path}: a damaged scene (its arrays claim more bytes than the file has)")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise FileError(f"{path}: compressed npz files are not read")
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as stream:
                arrays[name] = _read_npy(stream, path, name, member.file_size)
    if "description" not in arrays:
        raise FileError(f"{path}: not a scene that dipedge wrote")
    return arrays, arrays.pop("description").tobytes()


def _read_npy(stream: IO[bytes], path: Path, name: str, size: int) -> np.ndarray:
    """One npz member; its header is checked before numpy would allocate what it claims."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise FileError(f"{path}: a damaged scene (array {name[:80]!r} has npy version {version})")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    dtype, shape = _checked(path, name, WORDS.get(dtype), shape)
    data = stream.read(size)
    if fortran or len(data) != math.prod(shape) * dtype.itemsize:
        raise FileError(f"{path}: a damaged scene (array {name!r} does not fill its bytes)")
    return np.frombuffer(bytearray(data), dtype).reshape(shape)
