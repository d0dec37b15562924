"""Pictures in memory: what goes in decides what comes out, and what is refused says why."""

import numpy as np
import pytest
from PIL import Image

from dipedge import arrays, unit_values
from dipedge.errors import InputError

RNG = np.random.default_rng(0)


def sample(shape, dtype):
    values = RNG.random(shape)
    if np.dtype(dtype).kind == "u":
        return np.round(values * np.iinfo(dtype).max).astype(dtype)
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64", ">u2"])
@pytest.mark.parametrize("shape", [(16, 17), (16, 17, 1), (18, 16, 3), (17, 19, 4)])
def test_numpy_pictures_come_back_as_they_were(shape, dtype):
    image = sample(shape, dtype)
    picture = arrays.read(image)
    assert picture.pixels.dtype == np.float32
    assert picture.pixels.flags.c_contiguous
    assert picture.pixels.shape == (*shape[:2], 3 if shape[2:] in ((3,), (4,)) else 1)
    back = picture.give_back(picture.pixels)
    assert back.dtype == image.dtype
    assert back.shape == image.shape
    np.testing.assert_allclose(back.astype(np.float64), image.astype(np.float64), atol=6e-8, rtol=0)


def test_white_is_one_for_every_dtype():
    for dtype, white in (("uint8", 255), ("uint16", 65535), ("float32", 1.0)):
        assert arrays.read(np.full((16, 16), white, dtype)).pixels.max() == 1.0


def test_alpha_is_carried_over_bit_for_bit_and_not_fitted():
    image = sample((16, 20, 4), "uint16")
    picture = arrays.read(image)
    back = picture.give_back(np.zeros((16, 20, 3), np.float32))
    assert (back[..., 3] == image[..., 3]).all()
    assert (back[..., :3] == 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_alpha_is_enlarged_with_lanczos_for_a_larger_answer(dtype):
    # 14: Lanczos reaches 3 pixels, here 6 of the larger picture, to either side of the edge at 20.
    image = sample((16, 20, 4), dtype)
    image[:, :10, 3], image[:, 10:, 3] = 0, np.iinfo(dtype).max if dtype == "uint8" else 1
    back = arrays.read(image).give_back(np.zeros((32, 40, 3), np.float32))
    assert back.shape == (32, 40, 4)
    assert back.dtype == image.dtype
    assert (back[:, :14, 3] == 0).all()
    assert (back[:, -14:, 3] == image[0, -1, 3]).all()


def test_answers_beyond_white_and_black_are_clipped_not_wrapped():
    picture = arrays.read(np.zeros((16, 16), np.uint8))
    back = picture.give_back(np.array([-0.2, 1.3], np.float32).repeat(128).reshape(16, 16, 1))
    assert back.min() == 0 and back.max() == 255


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "F"])
def test_pil_pictures_come_back_in_their_mode(mode):
    shape = {"L": (16, 18), "LA": (16, 18, 2), "RGB": (16, 18, 3), "RGBA": (16, 18, 4)}.get(mode, (16, 18))
    image = Image.fromarray(sample(shape, {"I;16": "uint16", "F": "float32"}.get(mode, "uint8")))
    assert image.mode == mode
    picture = arrays.read(image)
    back = picture.give_back(picture.pixels)
    assert (back.mode, back.size) == (image.mode, (18, 16))
    np.testing.assert_allclose(np.asarray(back, float), np.asarray(image, float), atol=6e-8)


def test_other_pil_modes_become_the_nearest_that_can_be_fitted():
    colour = Image.fromarray(sample((16, 18, 3), "uint8"))
    for mode, after in (("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB")):
        picture = arrays.read(colour.convert(mode))
        assert picture.give_back(picture.pixels).mode == after


def test_a_transparent_palette_colour_becomes_alpha():
    image = Image.new("P", (16, 16), 3)
    image.putpalette([0] * 9 + [255, 0, 0])
    image.info["transparency"] = 3
    picture = arrays.read(image)
    back = np.asarray(picture.give_back(picture.pixels))
    assert back.shape == (16, 16, 4)
    assert (back[..., 3] == 0).all()


def test_exif_orientation_is_applied_and_its_tag_removed():
    image = Image.fromarray(sample((16, 24, 3), "uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter: what is seen is 24 high and 16 wide
    exif[0x010F] = "a camera"
    image.info["exif"] = exif.tobytes()
    picture = arrays.read(image)
    assert picture.pixels.shape == (24, 16, 3)
    back = picture.give_back(picture.pixels)
    np.testing.assert_array_equal(np.asarray(back), np.rot90(np.asarray(image), -1))
    assert back.getexif().get(0x0112, 1) == 1
    assert back.getexif()[0x010F] == "a camera"


def test_colour_profile_is_kept_unless_the_colours_were_converted():
    image = Image.fromarray(sample((16, 24, 3), "uint8"))
    image.info["icc_profile"] = b"profile"
    picture = arrays.read(image)
    assert picture.give_back(picture.pixels).info["icc_profile"] == b"profile"
    converted = image.convert("CMYK")
    converted.info["icc_profile"] = b"profile of inks"
    picture = arrays.read(converted)
    assert "icc_profile" not in picture.give_back(picture.pixels).info


def test_32_bit_pil_pictures_hold_16_bits_or_are_refused():
    values = np.arange(256, dtype=np.int32).reshape(16, 16)
    picture = arrays.read(Image.fromarray(values * 257))
    assert picture.pixels.max() == 1.0
    assert picture.give_back(picture.pixels).mode == "I;16"
    with pytest.raises(InputError, match="65535"):
        arrays.read(Image.fromarray(values * 1000))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(16, 17), (16, 17, 3), (3, 16, 17), (1, 16, 17), (4, 16, 17), (16, 17, 1)])
def test_torch_pictures_come_back_with_their_layout(shape, dtype):
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(sample(shape, "uint8"))
    image = image if dtype == "uint8" else (image.double() / 255).to(getattr(torch, dtype))
    picture = arrays.read(image)
    assert picture.pixels.shape[:2] == (16, 17)
    back = picture.give_back(picture.pixels)
    assert back.dtype == image.dtype
    assert back.shape == image.shape
    assert back.is_contiguous()
    torch.testing.assert_close(back, image, atol=6e-8, rtol=0)


def test_torch_picture_that_wants_a_gradient_is_read_without_one():
    torch = pytest.importorskip("torch")
    image = torch.rand(16, 16, requires_grad=True)
    back = arrays.read(image).give_back(np.zeros((16, 16, 1), np.float32))
    assert not back.requires_grad


class Foreign:
    """An array of a library that speaks DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class ForeignWithNamespace(Foreign):
    """The same, following the array API: its library can take an array back."""

    def __array_namespace__(self):
        class Namespace:
            asarray = staticmethod(ForeignWithNamespace)

        return Namespace


def test_dlpack_pictures_come_back_in_their_library_where_it_can_take_them():
    image = sample((16, 18, 3), "uint8")
    picture = arrays.read(Foreign(image))
    np.testing.assert_array_equal(picture.give_back(picture.pixels), image)
    picture = arrays.read(ForeignWithNamespace(image))
    back = picture.give_back(picture.pixels)
    assert isinstance(back, ForeignWithNamespace)
    np.testing.assert_array_equal(back.array, image)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((15, 40)), "15 x 40.*16 pixels"),
        (np.zeros((40, 15, 3)), "40 x 15 x 3.*16 pixels"),
        (np.zeros((0, 0, 3)), "0 x 0 x 3"),
        (np.zeros((16, 16, 2)), "16 x 16 x 2.*1, 3 or 4"),
        (np.zeros((3, 32, 32)), "3 x 32 x 32.*channels to the end"),
        (np.zeros((1, 3, 32, 32)), "1 x 3 x 32 x 32"),
        (np.zeros(64), "64.*H x W"),
        (np.zeros(()), "a single value"),
        (np.zeros((16, 16), bool), "bool.*mask"),
        (np.zeros((16, 16), np.int32), "int32.*uint8"),
        (np.zeros((16, 16), complex), "complex128"),
        (np.zeros((16, 16), object), "object"),
        (np.full((16, 16), np.nan), "NaN"),
        (np.full((16, 16), np.inf, np.float16), "NaN or infinite"),
        (np.linspace(0, 255, 256).reshape(16, 16), r"0 to 255;.*\[0, 1\]"),
        (np.linspace(-0.5, 1, 256).reshape(16, 16), "-0.5 to 1"),
        ([[0.0] * 16] * 16, "a list"),
        (None, "a NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(image, words):
    with pytest.raises(InputError, match=f"^frame .*{words}") as caught:
        arrays.read(image, "frame")
    assert "\n" not in str(caught.value)


def test_rounding_just_past_white_is_taken_as_white():
    assert arrays.read(np.full((16, 16), 1.0005, np.float32)).pixels.max() == 1.0


@pytest.mark.parametrize("dtype", [bool, "uint8", "float32", "int64"])
def test_masks_of_any_dtype_mean_nonzero_is_known(dtype):
    mask = np.zeros((16, 18), dtype)
    mask[3:5] = 1
    known = arrays.read_mask(mask, (16, 18, 3))
    assert known.dtype == bool
    assert known.sum() == 2 * 18
    np.testing.assert_array_equal(arrays.read_mask(np.stack([mask] * 3, 2), (16, 18)), known)
    np.testing.assert_array_equal(arrays.read_mask(mask[..., None], (16, 18)), known)


def test_alpha_of_a_mask_says_nothing():
    mask = np.zeros((16, 18, 4), np.uint8)
    mask[..., 3] = 255
    mask[2, 2, 0] = 1
    assert arrays.read_mask(mask, (16, 18)).sum() == 1


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
def test_pil_masks_of_any_mode_are_read(mode):
    mask = np.zeros((16, 18), np.uint8)
    mask[4:] = 255
    image = Image.fromarray(mask.astype(np.uint16)) if mode == "I;16" else Image.fromarray(mask).convert(mode)
    np.testing.assert_array_equal(arrays.read_mask(image, (16, 18)), mask > 0)


def test_jpeg_mask_is_cut_at_half():
    image = Image.fromarray(np.repeat([[3, 250]], 16, 0).repeat(9, 1).astype(np.uint8))
    image.format = "JPEG"
    assert arrays.read_mask(image, (16, 18)).sum() == 16 * 9


def test_torch_mask_may_carry_its_channel_in_front():
    torch = pytest.importorskip("torch")
    mask = torch.zeros(1, 16, 18, dtype=torch.bool)
    mask[0, 0, 0] = True
    assert arrays.read_mask(mask, (16, 18)).sum() == 1


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((16, 17)), "16 x 17.*16 x 18"),
        (np.zeros((16, 18)), "every pixel as a hole"),
        (np.full((16, 18), np.nan), "NaN"),
        (np.array("mask.png"), "dtype"),
        (None, "dtype object"),
        (5, "a single value"),
    ],
)
def test_masks_that_cannot_be_used_are_refused_in_one_line(mask, words):
    with pytest.raises(InputError, match=f"^mask .*{words}") as caught:
        arrays.read_mask(mask, (16, 18, 3))
    assert "\n" not in str(caught.value)


# Parts, and memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float64"])
@pytest.mark.parametrize("shape", [(18, 20), (18, 20, 3), (18, 20, 4)])
def test_a_window_is_that_part_of_the_pixels(shape, dtype):
    picture = arrays.read(sample(shape, dtype))
    window = picture.window(slice(3, 17), slice(5, 12))
    assert window.flags.c_contiguous
    assert window.dtype == np.float32
    np.testing.assert_array_equal(window, picture.pixels[3:17, 5:12])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("band", [1, 100, 1000])
def test_bands_change_no_bit_of_what_goes_in_or_comes_out(monkeypatch, dtype, band):
    image = sample((37, 20, 4), dtype)
    whole = arrays.read(image).pixels
    back = arrays.read(image).give_back(whole)
    monkeypatch.setattr(unit_values, "BAND", band)
    np.testing.assert_array_equal(arrays.read(image).pixels, whole)
    np.testing.assert_array_equal(arrays.read(image).give_back(whole), back)


def test_reading_a_numpy_picture_copies_nothing():
    image = sample((16, 20, 3), "uint8")
    assert np.shares_memory(arrays.read(image).values, image)


@pytest.mark.parametrize("shape", [(20, 16), (17, 19, 4), (16, 16, 3)])
def test_one_pixel_tells_what_the_answer_will_be(shape):
    picture = arrays.read(Image.fromarray(sample(shape, "uint8")))
    assert picture.one_pixel().mode == picture.give_back(picture.pixels).mode
    assert picture.one_pixel().size == (1, 1)
    assert arrays.read(sample(shape, "uint16")).one_pixel().dtype == np.uint16
