"""Cameras' frames beside the definitions in float64: where the bytes lie, and what they mean.

The expected pixels are computed one by one, from where a format's definition puts each value; nothing is
shared with the code under test. Rounding: the nearest integer, but for values that lie so close to a half
that float32 may take the other one.
"""

import numpy as np
import pytest

from dipedge import bayer
from dipedge.errors import InputError
from dipedge.pixel_formats import FORMATS, PACKED, frame_bytes, from_rgb, to_rgb

RNG = np.random.default_rng(0)
SIZES = [(16, 18), (17, 19), (2, 2), (1, 1), (3, 2), (64, 700)]  # height, width
PLANAR, TWO_PLANES, PAIRS = ("I420", "YV12"), ("NV12", "NV21"), ("YUYV", "YUY2", "YVYU", "UYVY")


def noise(count):
    return RNG.integers(0, 256, count, dtype=np.uint8)


def yuv_at(format, frame, height, width, row, column):
    """Y, U and V of a pixel in a frame without padding, as fourcc.org describes the formats."""
    half, chroma_rows = -(-width // 2), -(-height // 2)
    if format in PAIRS:
        pair = row * 4 * half + 4 * (column // 2)
        order = {"YUYV": (0, 2, 1, 3), "YUY2": (0, 2, 1, 3), "YVYU": (0, 2, 3, 1), "UYVY": (1, 3, 0, 2)}[
            format
        ]
        return frame[pair + order[column % 2]], frame[pair + order[2]], frame[pair + order[3]]
    luma, chroma = frame[row * width + column], height * width
    if format in TWO_PLANES:
        place = chroma + (row // 2) * 2 * half + 2 * (column // 2)
        first, second = frame[place], frame[place + 1]
    else:
        place = chroma + (row // 2) * half + column // 2
        first, second = frame[place], frame[place + chroma_rows * half]
    return (luma, first, second) if format in ("NV12", "I420") else (luma, second, first)


def rgb_exactly(y, u, v, matrix, full_range):
    """ITU-R BT.601-7 section 2.5 and BT.709-6 section 3, in float64; not rounded."""
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    y, u, v = (np.asarray(values, np.float64) for values in (y, u, v))
    luma = y / 255 if full_range else (y - 16) / 219
    cb, cr = ((values - 128) / (255 if full_range else 224) for values in (u, v))
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255)


def assert_rounded(found, exact, slack=1e-3):
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= 0.5 + slack


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("format", [*PLANAR, *TWO_PLANES, *PAIRS])
def test_every_yuv_pixel_is_where_and_what_the_definition_says(format, matrix, full_range):
    for height, width in SIZES[:-1]:
        frame = noise(frame_bytes(format, width, height))
        yuv = [[yuv_at(format, frame, height, width, r, c) for c in range(width)] for r in range(height)]
        exact = rgb_exactly(*np.moveaxis(np.array(yuv), 2, 0), matrix, full_range)
        found = to_rgb(frame.tobytes(), format, width, height, matrix=matrix, full_range=full_range)
        assert found.dtype == np.uint8
        assert_rounded(found, exact)


def test_all_luma_and_chroma_values_come_out_right_through_every_band():
    # All 2^16 chroma pairs, one a 2 x 2 block, with luma of all values; tall enough for several bands.
    u, v = np.meshgrid(np.arange(256), np.arange(256))
    y = noise((512, 512))
    chroma = np.stack([u, v], axis=2).astype(np.uint8)
    found = to_rgb(np.concatenate([y.ravel(), chroma.ravel()]), "NV12", 512, 512)
    wide = np.repeat(np.repeat(chroma, 2, 0), 2, 1)
    assert_rounded(found, rgb_exactly(y, wide[..., 0], wide[..., 1], "bt601", False))


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_black_and_white_are_what_the_range_says(matrix):
    for full_range, black, white in ((False, 16, 235), (True, 0, 255)):
        frame = np.full(frame_bytes("NV12", 16, 16), 128, np.uint8)
        for value, expected in ((black, 0), (white, 255)):
            frame[:256] = value
            assert (to_rgb(frame, "NV12", 16, 16, matrix=matrix, full_range=full_range) == expected).all()


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("format", [*PLANAR, *TWO_PLANES])
def test_rgb_becomes_the_yuv_of_the_definition(format, matrix, full_range):
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    for height, width in SIZES:
        pixels = noise((height, width, 3))
        frame = from_rgb(pixels, format, matrix=matrix, full_range=full_range)
        assert frame.shape == (frame_bytes(format, width, height),)
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.float64)
        mean = (even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]) / 4
        luma = [p @ (red, 1 - red - blue, blue) / 255 for p in (pixels.astype(np.float64), mean)]
        steps = 255 if full_range else 224
        u = 128 + steps * (mean[..., 2] / 255 - luma[1]) / 2 / (1 - blue)
        v = 128 + steps * (mean[..., 0] / 255 - luma[1]) / 2 / (1 - red)
        y = 255 * luma[0] if full_range else 16 + 219 * luma[0]
        assert_rounded(frame[: height * width].reshape(height, width), y)
        chroma = [yuv_at(format, frame, height, width, 2 * r, 2 * c)[1:] for r, c in np.ndindex(u.shape)]
        exact = np.clip(np.stack([u.ravel(), v.ravel()], axis=1), 0, 255)
        assert_rounded(np.array(chroma), exact)


@pytest.mark.parametrize("format", [*PLANAR, *TWO_PLANES])
def test_gray_survives_the_way_to_yuv_and_back(format):
    # 219 steps of luma for 256 of gray: some neighbours become one.
    gray = np.repeat(np.arange(256, dtype=np.uint8), 4).reshape(16, 64)
    found = to_rgb(from_rgb(gray, format), format, 64, 16)
    assert np.abs(found.astype(int) - gray[..., None]).max() <= 1
    exact = to_rgb(from_rgb(gray[..., None], format, full_range=True), format, 64, 16, full_range=True)
    np.testing.assert_array_equal(exact, np.repeat(gray[..., None], 3, axis=2))


# Padding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_padded_rows_and_planes_anywhere_change_nothing(format):
    width, height = 18, 16
    tight = noise(frame_bytes(format, width, height))
    if format[:4] in bayer.PATTERNS and format.endswith(("10", "12")):
        tight[1::2] = 0  # the upper bits of 16 are empty
    expected = to_rgb(tight, format, width, height)
    planes = {
        2: [(16, 18), (8, 18)],
        3: [(16, 18), (8, 9), (8, 9)],
    }.get((format in TWO_PLANES) * 2 + (format in PLANAR) * 3, [(height, len(tight) // height)])
    padded, strides, offsets, place = noise(4000), [], [], 0
    parts = []
    for rows, count in planes:
        strides.append(count + 7)
        offsets.append(
            sum(r * s for (r, _), s in zip(planes, strides, strict=False)) - rows * strides[-1] + 5
        )
        parts.append(noise(rows * strides[-1]))
        for row in range(rows):
            line = tight[place : place + count]
            padded[offsets[-1] + row * strides[-1] :][:count] = line
            parts[-1][row * strides[-1] :][:count] = line
            place += count
    found = to_rgb(memoryview(padded), format, width, height, strides=strides, offsets=offsets)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(to_rgb(parts, format, width, height, strides=strides), expected)


@pytest.mark.parametrize("format", ["NV12", "I420"])
def test_one_stride_is_that_of_luma(format):
    width, height = 18, 16
    pixels = to_rgb(noise(frame_bytes(format, 24, height)), format, 24, height)
    frame = from_rgb(pixels, format)
    found = to_rgb(frame, format, width, height, strides=24)
    np.testing.assert_array_equal(found, to_rgb(frame, format, 24, height)[:, :width])


@pytest.mark.parametrize("format", ["GRAY8", "GRAY16", "RGB", "BGR", "RGBA", "RGBx", "BGRx"])
def test_gray_and_packed_frames_are_not_copied(format):
    frame = noise(frame_bytes(format, 18, 16))
    assert np.shares_memory(to_rgb(frame, format, 18, 16), frame)


@pytest.mark.parametrize("format", PACKED)
def test_packed_colours_come_in_their_order(format):
    frame = noise(frame_bytes(format, 18, 16))
    found = to_rgb(frame, format, 18, 16)
    pixels = frame.reshape(16, 18, -1)
    for place, colour in enumerate("RGBA" if "A" in format else "RGB"):
        np.testing.assert_array_equal(found[..., place], pixels[..., format.index(colour)])


def test_16_bit_gray_is_little_endian():
    found = to_rgb(bytes([1, 2] * 16 * 18), "GRAY16", 18, 16)
    assert found.dtype == np.uint16
    assert (found == 0x0201).all()


# Bayer ----------------------------------------------------------------------------------------------


def interpolated_exactly(mosaic, pattern):
    """Each missing colour is the mean of the nearest pixels that have it, with mirrored edges; float64."""
    height, width = mosaic.shape
    mosaic, result = np.pad(mosaic.astype(np.float64), 1, mode="reflect"), np.zeros((height, width, 3))
    for row, column, colour in np.ndindex(height, width, 3):
        near = [
            (abs(down) + abs(right), mosaic[1 + row + down, 1 + column + right])
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if pattern[2 * ((row + down) % 2) + (column + right) % 2] == "RGB"[colour]
        ]
        distance = min(near)[0]
        result[row, column, colour] = np.mean([value for far, value in near if far == distance])
    return result


def bayer_frame(values, depth):
    """Bytes of raw values [H, W], as the MIPI CSI-2 specification packs them."""
    if depth == "8":
        return values.astype(np.uint8).tobytes()
    if not depth.endswith("P"):
        return values.astype("<u2").tobytes()
    bits, group = int(depth[:-1]), {"10P": 4, "12P": 2}[depth]
    frame = bytearray()
    for row in values:
        for first in range(0, len(row), group):
            some = [int(value) for value in row[first : first + group]] + [0] * group
            frame += bytes(value >> (bits - 8) for value in some[:group])
            frame.append(
                sum(
                    (value & (2 ** (bits - 8) - 1)) << ((bits - 8) * k)
                    for k, value in enumerate(some[:group])
                )
            )
    return bytes(frame)


@pytest.mark.parametrize("depth", bayer.DEPTHS)
@pytest.mark.parametrize("pattern", bayer.PATTERNS)
def test_bayer_is_the_mean_of_the_nearest_pixels_of_each_colour(pattern, depth):
    white = 2 ** int(depth.removesuffix("P")) - 1
    for height, width in ((6, 8), (7, 9), (2, 2)):
        values = RNG.integers(0, white + 1, (height, width))
        found = to_rgb(bayer_frame(values, depth), pattern + depth, width, height)
        top = 255 if depth == "8" else 65535
        assert found.dtype == (np.uint8 if depth == "8" else np.uint16)
        # Half a step each for scaling to 16 bits and for the mean.
        slack = 0.5 if depth in ("8", "16") else 1
        assert np.abs(found - interpolated_exactly(values, pattern) * top / white).max() <= slack


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("pattern", bayer.PATTERNS)
def test_opencv_interpolates_bayer_to_the_same_bits(pattern, dtype):
    pytest.importorskip("cv2")
    for shape in ((32, 48), (33, 47), (2, 3)):
        mosaic = RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        np.testing.assert_array_equal(
            bayer.interpolated(mosaic, pattern), bayer.interpolated(mosaic, pattern, opencv=False)
        )


# What cannot be -------------------------------------------------------------------------------------

FRAME = bytes(frame_bytes("NV12", 18, 16))


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((FRAME, "NV13", 18, 16), {}, "NV13.*NV12"),
        ((FRAME, "NV12", 0, 16), {}, "0 x 16"),
        ((FRAME, "RGGB8", 1, 16), {}, "1 x 16.*2 or more"),
        ((FRAME[:-1], "NV12", 18, 16), {}, "431 bytes.*plane 2 ends at byte 432"),
        ((FRAME + b"x", "NV12", 18, 16), {}, "433 bytes.*ends at byte 432; give strides"),
        ((FRAME, "NV12", 18, 16), {"strides": 32}, "432 bytes"),
        ((FRAME, "NV12", 18, 16), {"strides": [18]}, "strides"),
        ((FRAME, "NV12", 18, 16), {"strides": [17, 18]}, "strides are .17, 18.; .*18, 18"),
        ((FRAME, "NV12", 18, 16), {"offsets": [0]}, "offsets.*2 planes"),
        ((FRAME, "NV12", 18, 16), {"offsets": [-1, 288]}, "offsets.*before 0"),
        (([FRAME], "NV12", 18, 16), {}, "list of 1.*2 planes"),
        ((FRAME, "NV12", 18, 16), {"matrix": "bt2020"}, "bt2020.*bt709"),
        ((5, "NV12", 18, 16), {}, "int; it must be bytes"),
        ((np.zeros((16, 18, 3), np.uint8)[:, ::2], "RGB", 9, 16), {}, "contiguous"),
        ((b"\xff" * 2 * 18 * 16, "RGGB10", 18, 16), {}, "65535.*10 bits.*1023.*16"),
    ],
)
def test_frames_that_cannot_be_are_refused_in_one_line(arguments, options, words):
    with pytest.raises(InputError, match=words) as caught:
        to_rgb(*arguments, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "format", "words"),
    [
        (np.zeros((16, 18, 3)), "NV12", "16 x 18 x 3 of float64.*uint8"),
        (np.zeros((16, 18, 4), np.uint8), "NV12", "16 x 18 x 4"),
        (np.zeros((16, 18, 3), np.uint8), "YUYV", "YUYV.*I420"),
    ],
)
def test_pixels_that_cannot_become_yuv_are_refused_in_one_line(pixels, format, words):
    with pytest.raises(InputError, match=words):
        from_rgb(pixels, format)
