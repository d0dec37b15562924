"""Scene files: readable by others, exact, and not to be fooled by a file from somewhere."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from dipedge import descriptions
from dipedge.errors import FileError, InputError
from dipedge.optimisers import Adam, Muon
from dipedge.priors import (
    Fourier,
    GivenImage,
    Hourglass,
    Level,
    Meshgrid,
    Noise,
    Prior,
    ResNet,
    SpaceTime,
    UNet,
    dip,
    pip,
    pixels,
    video_pip,
)
from dipedge.scene_file import load_scene, save_scene
from dipedge.stopping import Deadline, Discrepancy, MaxSteps, Rule
from dipedge.tasks import Denoise, Inpaint, RemoveJpeg, SuperResolve
from dipedge.variance import VarianceWindow

RNG = np.random.default_rng(0)
ARRAYS = {
    "param/level0.down.conv.weight": RNG.random((4, 3, 3, 3), np.float32),
    "adam/m/head": RNG.random(7),
    "half": RNG.random((2, 3)).astype(np.float16),
    "rng": RNG.integers(0, 256, 5056, dtype=np.uint8),
    "counter": np.array([1, 2**63], np.uint64),
    "step": np.array(12, np.int64),
    "none": np.zeros((0, 4), np.float32),
}
DESCRIPTION = {"task": {"kind": "Denoise", "sigma": None}, "words": "Grün, 緑"}


@pytest.fixture(params=["scene.npz", "scene.safetensors"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_scenes_come_back_bit_for_bit(path):
    save_scene(path, ARRAYS, DESCRIPTION)
    arrays, description = load_scene(path)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()
        assert arrays[name].flags.writeable
    assert description == DESCRIPTION | {"format": 1}
    assert os.listdir(path.parent) == [path.name]


def test_the_safetensors_library_reads_what_we_write(tmp_path):
    save_scene(tmp_path / "a.safetensors", ARRAYS, DESCRIPTION)
    loaded = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert json.loads(file.metadata()["dipedge"])["words"] == "Grün, 緑"


def test_we_read_what_the_safetensors_library_writes(tmp_path):
    text = json.dumps({"format": 1})
    safetensors.numpy.save_file(ARRAYS, tmp_path / "a.safetensors", metadata={"dipedge": text})
    arrays, _ = load_scene(tmp_path / "a.safetensors")
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_numpy_reads_what_we_write(tmp_path):
    save_scene(tmp_path / "a.npz", ARRAYS, DESCRIPTION)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as loaded:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(loaded[name], array)


def test_non_native_and_strided_arrays_are_stored_by_value(path):
    save_scene(path, {"a": np.arange(6, dtype=">f4").reshape(2, 3).T}, {})
    np.testing.assert_array_equal(load_scene(path)[0]["a"], [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize(
    "arrays",
    [{"a": np.array([None])}, {"a": np.array(["text"])}, {"../a": np.zeros(1)[:0], "b c": np.zeros(1)}],
)
def test_what_cannot_be_stored_is_refused_before_a_file_is_made(path, arrays):
    with pytest.raises(FileError, match="cannot be stored"):
        save_scene(path, arrays, {})
    assert os.listdir(path.parent) == []


def test_other_extensions_are_refused(tmp_path):
    for act in (lambda p: save_scene(p, {}, {}), load_scene):
        with pytest.raises(FileError, match=r"ends in \.safetensors or \.npz"):
            act(tmp_path / "scene.pkl")


def test_a_missing_scene_is_named(path):
    with pytest.raises(FileError, match="no such file"):
        load_scene(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_scenes_are_refused(path, share):
    save_scene(path, ARRAYS, DESCRIPTION)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(FileError, match="scene"):
        load_scene(path)


def test_scenes_of_another_format_are_refused(path):
    save_scene(path, {}, {})
    data = path.read_bytes()
    old, new = (
        (b'\\"format\\": 1', b'\\"format\\": 2')
        if path.suffix != ".npz"
        else (b'"format": 1', b'"format": 2')
    )
    assert old in data
    if path.suffix == ".npz":  # a zip guards its members by a checksum: write it anew
        np.savez(path, description=np.frombuffer(b'{"format": 2}', np.uint8))
    else:
        path.write_bytes(data.replace(old, new))
    with pytest.raises(FileError, match="of format 2; this version reads format 1"):
        load_scene(path)


def safetensors_bytes(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


META = {"__metadata__": {"dipedge": '{"format": 1}'}}


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (safetensors_bytes(META, length=2**60), "header claims"),
        (safetensors_bytes(META, length=10_000), "header claims"),
        (safetensors_bytes({"a": entry()}, b"1234"), "not a scene"),
        (safetensors_bytes({"__metadata__": 5}), "not a scene"),
        (safetensors_bytes(b"[1, 2]"), "header"),
        (safetensors_bytes(b"{"), "damaged"),
        (
            safetensors_bytes(META | {"a": entry(shape=(2**39, 2**39), offsets=(0, 2**62))}, b"1234"),
            "outside",
        ),
        (safetensors_bytes(META | {"a": entry(shape=(2,))}, b"1234"), "outside"),
        (safetensors_bytes(META | {"a": entry(), "b": entry()}, b"1234"), "outside"),
        (safetensors_bytes(META | {"a": entry(offsets=(4, 8))}, b"12345678"), "outside"),
        (safetensors_bytes(META | {"a": entry()}, b"12345678"), "left over"),
        (safetensors_bytes(META | {"a": entry(shape=(-1,))}, b"1234"), "none that dipedge writes"),
        (safetensors_bytes(META | {"a": entry(shape=(1.0,))}, b"1234"), "none that dipedge writes"),
        (safetensors_bytes(META | {"a": entry(dtype="BF16")}, b"1234"), "none that dipedge writes"),
        (safetensors_bytes(META | {"a b": entry()}, b"1234"), "none that dipedge writes"),
        (safetensors_bytes(META | {"a": {"dtype": "F32"}}, b"1234"), "not safetensors'"),
        (safetensors_bytes(META | {"a": 5}, b"1234"), "not safetensors'"),
        (
            safetensors_bytes(META | {f"a{i}": entry(shape=(0,), offsets=(0, 0)) for i in range(10_001)}),
            "arrays",
        ),
        (safetensors_bytes(b'{"a": 1, "a": 2}'), "twice"),
        (safetensors_bytes({"__metadata__": {"dipedge": "[" * 100_000}}), "description is damaged"),
        (safetensors_bytes({"__metadata__": {"dipedge": "[]"}}), "of format None"),
    ],
)
def test_hostile_safetensors_are_refused_in_one_line(tmp_path, data, words):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileError, match=f"a.safetensors: .*{words}") as caught:
        load_scene(path)
    assert "\n" not in str(caught.value)


def npy_bytes(array=None, header=None):
    stream = io.BytesIO()
    if header is None:
        np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
    else:
        np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


HUGE = {"descr": "<f4", "fortran_order": False, "shape": (2**30, 2**9)}


@pytest.mark.parametrize(
    ("members", "compression", "words"),
    [
        ({"a.npy": npy_bytes(np.zeros(1, np.float32))}, zipfile.ZIP_STORED, "not a scene"),
        ({"a.npy": npy_bytes(header=HUGE)}, zipfile.ZIP_STORED, "does not fill"),
        ({"a.npy": npy_bytes(np.array([None]))}, zipfile.ZIP_STORED, "none that dipedge writes"),
        ({"a.npy": npy_bytes(np.array(["x"]))}, zipfile.ZIP_STORED, "none that dipedge writes"),
        ({"a.npy": npy_bytes(np.ones((2, 3), np.float32).T)}, zipfile.ZIP_STORED, "does not fill"),
        ({"../a.npy": b"garbage that is no array"}, zipfile.ZIP_STORED, "damaged"),
        ({"a b.npy": npy_bytes(np.zeros(1, np.float32))}, zipfile.ZIP_STORED, "none that dipedge writes"),
        ({"a.npy": npy_bytes(np.zeros(2, np.float32))}, zipfile.ZIP_DEFLATED, "compressed"),
        ({"a.npy": npy_bytes(np.zeros(10**7, np.float32))}, zipfile.ZIP_DEFLATED, "more bytes than the file"),
    ],
)
def test_hostile_npz_files_are_refused_in_one_line(tmp_path, members, compression, words):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(FileError, match=f"a.npz: .*{words}") as caught:
        load_scene(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        dip(),
        pip(),
        Prior(Fourier(3, 9.5, True), Hourglass((Level(5, 6, 0, 1, 3, 1),)), 0.1, "frequencies", "mine"),
        Prior(Meshgrid(), Hourglass(upsample="nearest", padding="zero", sigmoid=False)),
        Prior(GivenImage(1), Hourglass(downsample="lanczos3", need1x1_up=False)),
        Prior(Noise(3), UNet((4, 5), "batch", "nearest", "reflection", False, 1e-4)),
        video_pip(),
        Prior(SpaceTime(3, 9.5, True, times=5), Hourglass((Level(5, 6, 0, 1, 3, 1),))),
        Prior(Fourier(2), ResNet(9, 16, "zero", False, 0.1, 1e-4)),
        pixels(tv=0.5),
        Denoise(25.0),
        RemoveJpeg(),
        SuperResolve(3),
        Adam(0.1, 0.8, 0.99, 1e-4),
        Muon(0.03, 0.9, 4, Adam(0.2)),
        MaxSteps(5) | (Deadline(3.5) & Discrepancy(9, 0.5)),
        VarianceWindow(7, 8, 9, 10) | MaxSteps(11),
    ],
    ids=lambda value: type(value).__name__,
)
def test_descriptions_survive_json(value):
    text = json.dumps(descriptions.to_plain(value))
    assert descriptions.from_plain(json.loads(text), type(value)) == value


def test_an_inpaintings_mask_is_stored_beside_the_text():
    mask = np.ones((4, 4), bool)
    plain = descriptions.to_plain(Inpaint(mask))
    assert plain == {"kind": "Inpaint", "keep": True}
    assert descriptions.from_plain(plain, Inpaint, mask=mask).mask is mask


@pytest.mark.parametrize(
    "plain",
    [
        {"kind": "os.system"},
        {"kind": None},
        {},
        {"kind": "MaxSteps"},
        {"kind": "MaxSteps", "steps": "all"},
        {"kind": "MaxSteps", "steps": 5, "more": 1},
        {"kind": "Denoise", "sigma": -5},
        {"kind": "Deadline", "ms": None},
        {"kind": "Deadline", "ms": True},
        {"kind": "AnyOf", "rules": [1, 2]},
        {"kind": "AnyOf", "rules": {"kind": "MaxSteps", "steps": 1}},
        {"kind": "AllOf", "rules": [{"kind": "Denoise"}]},
        [1, 2],
        "MaxSteps",
    ],
)
def test_descriptions_that_we_did_not_write_are_refused(plain):
    with pytest.raises(InputError):
        descriptions.from_plain(plain, Rule)


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": 5},
        {"network": None},
        {"encoding": {"kind": "Adam"}},
        {"perturbation": "1"},
        {"perturb": []},
    ],
)
def test_priors_that_we_did_not_write_are_refused(change):
    with pytest.raises(InputError):
        descriptions.from_plain(descriptions.to_plain(dip()) | change, Prior)


def test_a_description_nested_without_end_is_refused():
    plain = {"kind": "MaxSteps", "steps": 1}
    for _ in range(500):
        plain = {"kind": "AnyOf", "rules": [plain]}
    with pytest.raises(InputError, match="deeply"):
        descriptions.from_plain(plain, Rule)
