"""Frames that others made: no needless copy on the host, and none to the host for frames of a GPU.

Machines without a GPU test the way of a GPU's frames with tensors in host memory, which then count as one's
(the fixture ``staying``): engine "torch" computes on the same device there, as it would on a GPU.
"""

import numpy as np
import pytest

import dipedge as de
from dipedge import arrays, tensors
from dipedge.errors import InputError
from dipedge.given import Given, read_picture

RNG = np.random.default_rng(0)


def sample(shape, dtype="uint8"):
    values = RNG.random(shape)
    if np.dtype(dtype).kind == "u":
        return np.round(values * np.iinfo(dtype).max).astype(dtype)
    return values.astype(dtype)


# In host memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3), (20, 24, 4)])
def test_reading_an_array_copies_no_pixel_and_no_alpha(shape, dtype):
    image = sample(shape, dtype)
    picture = arrays.read(image)
    assert np.shares_memory(picture.values, image)
    assert picture.alpha is None or np.shares_memory(picture.alpha, image)


def test_float32_frames_are_the_fits_target_without_a_copy():
    image = sample((20, 24, 3), "float32")
    pixels = arrays.read(image).pixels
    assert np.shares_memory(pixels, image)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 0
    image[0, 0, 0] = 0.5  # the caller's own array stays writable


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_held_frame_is_converted_once_and_outlives_its_buffer(dtype):
    image = sample((20, 24, 3), dtype)
    given = Given(de.Denoise(), read_picture(image, "frame"))
    before, held = image.copy(), given.hold()
    assert given.pixels is held
    assert not held.flags.writeable
    image[...] = 0
    np.testing.assert_array_equal(held, arrays.read(before).pixels)


@pytest.mark.parametrize("fault", [1.0005, -0.0005])
def test_float32_frames_that_overstep_are_copied_and_clipped(fault):
    image = sample((20, 24, 3), "float32")
    image[3, 4, 1] = fault
    pixels = arrays.read(image).pixels
    assert not np.shares_memory(pixels, image)
    assert pixels[3, 4, 1] == np.clip(fault, 0, 1)
    assert image[3, 4, 1] == np.float32(fault)


def test_rows_with_padding_are_read_where_they_lie():
    padded = sample((20, 32, 3))
    picture = arrays.read(padded[:, :24])
    assert np.shares_memory(picture.values, padded)
    np.testing.assert_array_equal(picture.pixels, np.float32(padded[:, :24]) / np.float32(255))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_integer_survives_the_way_there_and_back(dtype):
    top = np.iinfo(dtype).max
    image = np.arange(top + 1, dtype=dtype).reshape(-1, 16)
    picture = arrays.read(image)
    np.testing.assert_array_equal(picture.give_back(picture.pixels), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_answers_are_rounded_to_the_nearest_integer(dtype):
    top = np.iinfo(dtype).max
    estimate = (RNG.random((64, 64, 1)) * 1.2 - 0.1).astype(np.float32)
    exact = np.clip(estimate.astype(np.float64), 0, 1) * top
    back = arrays.read(np.zeros((64, 64), dtype)).give_back(estimate)[..., None]
    # Half an integer, and what float32 rounds in the product: 2^-24 of it.
    assert np.abs(back - exact).max() <= 0.5 + top * 2.0**-24


# Objects of other libraries -------------------------------------------------------------------------


class Foreign:
    """A frame of a library that speaks DLPack: on the host, or on a GPU that copies when it is asked to."""

    def __init__(self, array, device=1, copies=False):
        self.array, self.device, self.copies = array, device, copies

    def __dlpack_device__(self):
        return (self.device, 0)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if self.device != 1 and not (self.copies and copy and dl_device == (1, 0)):
            raise BufferError("the memory is on a device")
        return self.array.__dlpack__()

    def __array_namespace__(self):
        return ForeignLibrary


class ForeignLibrary:
    """Its module, following the array API."""

    @staticmethod
    def asarray(values):
        return Foreign(np.asarray(values))

    @staticmethod
    def from_dlpack(values):
        return Foreign(np.from_dlpack(values))


def test_dlpack_frames_in_host_memory_are_not_copied():
    image = sample((20, 24, 3), "float32")
    picture = tensors.read(Foreign(image))
    assert np.shares_memory(picture.values, image)
    assert np.shares_memory(picture.pixels, image)


def test_torch_frames_in_host_memory_are_not_copied():
    torch = pytest.importorskip("torch")
    image = torch.rand(20, 24, 3)
    picture = tensors.read(image)
    assert np.shares_memory(picture.pixels, image.numpy())
    estimate = picture.pixels.copy()
    assert torch.equal(picture.give_back(estimate), image)


def test_a_gpus_frame_is_copied_by_its_library_where_torch_cannot_take_it():
    if np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("numpy before 2.1 does not ask for copies through DLPack")
    image = sample((20, 24, 3))
    picture = tensors.read(Foreign(image, device=2, copies=True), "frame")
    np.testing.assert_array_equal(picture.values, image)
    assert isinstance(picture.give_back(picture.pixels), Foreign)


def test_a_gpus_frame_nobody_can_take_is_refused_in_one_sentence():
    with pytest.raises(InputError, match=r"^frame lies on a GPU.*device type 2.*copy it to host") as caught:
        tensors.read(Foreign(sample((20, 24, 3)), device=2), "frame")
    assert "\n" not in str(caught.value)


# The way of a GPU's frames, on the processor --------------------------------------------------------


@pytest.fixture
def staying(monkeypatch):
    """Tensors in host memory take the way of a GPU's; torch."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(tensors, "stays", lambda image: True)
    return torch


@pytest.fixture
def no_host_copy(monkeypatch):
    """From now on a picture that is asked for in host memory fails the test."""

    def refuse(*arguments):
        raise AssertionError("the frame was copied to the host")

    monkeypatch.setattr(tensors.TensorPicture, "host", property(refuse))


LAYOUTS = [(20, 24), (20, 24, 1), (20, 24, 3), (20, 24, 4), (1, 20, 24), (3, 20, 24), (4, 20, 24)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", LAYOUTS)
def test_a_tensor_that_stays_is_read_and_given_back_as_an_array_would_be(staying, shape, dtype):
    dtype = getattr(staying, dtype)
    image = staying.from_numpy(sample(shape, "uint16" if dtype == staying.uint16 else "uint8"))
    image = image if not dtype.is_floating_point else (image.double() / 255).to(dtype)
    expected, picture = arrays.read(image), tensors.read(image)
    assert isinstance(picture, tensors.TensorPicture)
    assert picture.shape == expected.shape
    np.testing.assert_array_equal(picture.on("cpu").numpy(), expected.pixels)
    np.testing.assert_array_equal(picture.pixels, expected.pixels)
    estimate = (RNG.random(expected.shape) * 1.2 - 0.1).astype(np.float32)
    wanted, found = expected.give_back(estimate), picture.give_back(staying.from_numpy(estimate))
    assert (found.dtype, found.shape, found.is_contiguous()) == (wanted.dtype, wanted.shape, True)
    assert staying.equal(found.to(staying.float64), wanted.to(staying.float64))


def test_a_tensor_that_stays_keeps_known_pixels_and_enlarges_alpha(staying):
    image = staying.from_numpy(sample((20, 24, 4)))
    known = RNG.random((20, 24)) > 0.5
    estimate = RNG.random((20, 24, 3)).astype(np.float32)
    wanted = arrays.read(image).give_back(estimate, known)
    found = tensors.read(image).give_back(staying.from_numpy(estimate), known)
    assert staying.equal(found, wanted)
    large = RNG.random((40, 48, 3)).astype(np.float32)
    wanted = arrays.read(image).give_back(large)
    assert staying.equal(tensors.read(image).give_back(staying.from_numpy(large)), wanted)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((15, 40, 3), "15 x 40 x 3.*16 pixels"),
        ((2, 20, 24), "2 x 20 x 24"),
        ("int32", "int32.*uint8"),
        ("nan", "NaN"),
        ("255", r"\[0, 1\]"),
    ],
)
def test_a_tensor_that_is_no_picture_is_refused_as_an_array_would_be(staying, values, words):
    image = staying.zeros(values if isinstance(values, tuple) else (20, 24, 3))
    if values == "int32":
        image = image.int()
    elif not isinstance(values, tuple):
        image[3, 4, 1] = float(values)
    with pytest.raises(InputError, match=f"^frame .*{words}"):
        tensors.read(image, "frame")


def frames(torch, dtype):
    image = (torch.rand(20, 24, 3, generator=torch.Generator().manual_seed(3)) * 255).to(torch.uint8)
    return image if dtype == "uint8" else image.float() / 255


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("task", [de.Denoise(), de.SuperResolve(scale=2)], ids=["denoise", "enlarge"])
def test_a_session_restores_frames_that_stay_with_the_same_bits(
    staying, no_host_copy, monkeypatch, tiny_pip, task, dtype
):
    # Following the camera and the scene's memory work on the host; whoever wants no frame there has neither.
    options = {"prior": tiny_pip, "engine": "torch", "steps": 4, "threads": 1}
    options |= {"motion": None, "memory": False}
    frame = frames(staying, dtype)
    with de.Session(task, **options) as session:
        found = [session.push(frame).image, session.push(frame, steps=3).image]
    monkeypatch.setattr(tensors, "stays", lambda image: False)
    with de.Session(task, **options) as session:
        wanted = [session.push(frame).image, session.push(frame, steps=3).image]
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == frame.dtype
        assert staying.equal(one, other)


def test_an_inpainted_frame_that_stays_keeps_its_known_pixels(staying, no_host_copy, tiny_pip):
    mask = np.ones((20, 24), bool)
    mask[5:9, 6:12] = False
    frame = frames(staying, "uint8")
    options = {"prior": tiny_pip, "engine": "torch", "steps": 3, "threads": 1, "motion": None}
    found = de.restore(frame, de.Inpaint(mask), **options).image
    known = staying.from_numpy(mask)
    assert staying.equal(found[known], frame[known])
    assert not staying.equal(found[~known], frame[~known])


def test_a_noise_rule_and_a_reference_copy_the_frame_where_they_must(staying, tiny_pip):
    frame = frames(staying, "float32")
    options = {"prior": tiny_pip, "engine": "torch", "threads": 1}
    stop = de.NoiseFloor() | de.MaxSteps(3)
    result = de.restore(frame, de.Denoise(), stop=stop, reference=frame, **options)
    assert result.psnr is not None
    assert isinstance(result.image, staying.Tensor)


def test_engines_without_torch_take_frames_that_stay_from_the_host(staying, tiny_pip):
    frame = frames(staying, "uint8")
    options = {"prior": tiny_pip, "engine": "native", "steps": 3, "threads": 1}
    found = de.restore(frame, de.Denoise(), **options).image
    wanted = de.restore(frame.numpy(), de.Denoise(), **options).image
    np.testing.assert_array_equal(found.numpy(), wanted)


def test_the_triton_engine_takes_and_gives_tensors_too(staying):
    from dipedge.engines.triton_program import TritonProgram

    class Fits:  # what of a TritonFits the two ways touch
        shape, device, averaging, steps_done = (20, 24, 3), staying.device("cpu"), True, 1
        prior, task = de.pip(), de.Denoise()

        class term:
            target = staying.zeros(1, 20, 24, 3)
            average = staying.rand(1, 20, 24, 3)

    program = TritonProgram(Fits(), 0)
    frame = frames(staying, "float32")
    program.set_target(frame)
    assert staying.equal(Fits.term.target[0], frame)
    estimate = program.estimate_tensor()
    assert staying.equal(estimate, Fits.term.average[0])
    estimate.zero_()
    assert Fits.term.average.any()


# On a GPU -------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["torch", "triton"])
def test_frames_of_a_gpu_never_leave_it(no_host_copy, tiny_pip, engine):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    from dipedge.engines.base import Settings

    if engine == "torch":
        from dipedge.engines.torch import TorchEngine as Engine
    else:
        from dipedge.engines.triton import TritonEngine as Engine
    frame = frames(torch, "uint8").cuda()
    task = de.Denoise()
    given = Given(task, read_picture(frame, "frame"))
    program = Engine("cuda").compile(tiny_pip, task, (20, 24, 3), Settings())
    given.prepare(program)
    program.step(3)
    answer, _ = given.answer(program.estimate_tensor())
    assert (answer.device, answer.dtype, answer.shape) == (frame.device, frame.dtype, frame.shape)
    wanted = np.rint(np.clip(program.estimate(), 0, 1) * np.float32(255))
    np.testing.assert_array_equal(answer.cpu().numpy(), wanted)
