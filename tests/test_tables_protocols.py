"""The protocols of benchmarks.tables: pictures, how they are degraded and compared; and the baselines."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # a plain ``pytest`` does not put it there
    sys.path.append(str(ROOT))

from benchmarks.tables import baselines, methods, pictures, published  # noqa: E402
from benchmarks.tables.registry import protocol  # noqa: E402
from tests.conftest import smooth_picture  # noqa: E402


def saved(path: Path, height: int, width: int, channels: int = 3) -> Path:
    values = np.rint(smooth_picture(height, width, channels) * 255).astype(np.uint8)
    Image.fromarray(values if channels == 3 else values[..., 0]).save(path)
    return path


def test_the_mask_is_drawn_as_the_published_notebook_draws_it():
    np.random.seed(0)
    theirs = np.random.random_sample(size=(1, 9, 7)) > 0.5
    assert np.array_equal(pictures.random_mask((9, 7)), theirs[0])
    assert 0.4 < pictures.random_mask((100, 100)).mean() < 0.6


def test_noise_is_the_same_every_time_and_clipped():
    clean = np.full((64, 64, 3), 0.98, np.float32)
    np.random.seed(0)
    theirs = np.clip(clean + np.random.normal(scale=25 / 255, size=clean.shape), 0, 1).astype(np.float32)
    np.testing.assert_array_equal(pictures.with_noise(clean), theirs)
    assert theirs.max() == 1.0


@pytest.mark.parametrize(("colour", "luma"), [((0, 0, 0), 16), ((1, 1, 1), 235), ((1, 0, 0), 81.481)])
def test_luma_is_that_of_rgb2ycbcr(colour, luma):
    pixels = np.broadcast_to(np.float32(colour), (2, 3, 3))
    np.testing.assert_allclose(pictures.luma(pixels), luma / 255, rtol=1e-6)
    if len(set(colour)) == 1:
        np.testing.assert_allclose(pictures.luma(pixels[..., 0]), luma / 255, rtol=1e-6)


def test_the_centre_is_cropped_to_multiples_of_32():
    numbers = np.arange(40 * 70, dtype=np.int32).reshape(40, 70)
    cropped = np.asarray(pictures.centre(Image.fromarray(numbers)))
    np.testing.assert_array_equal(cropped, numbers[4:36, 3:67])


def test_what_is_compared_is_the_centre_less_four_pixels_a_side():
    numbers = np.arange(70 * 101).reshape(70, 101)
    np.testing.assert_array_equal(pictures.middle(numbers), numbers[3 + 4 : 67 - 4, 2 + 4 : 98 - 4])


def test_a_picture_smaller_than_the_crop_is_refused_with_its_size():
    with pytest.raises(ValueError, match="20 x 90 pixels"):
        pictures.centre(Image.new("L", (20, 90)))


@pytest.mark.parametrize("scale", [4, 8])
def test_super_resolution_shrinks_the_cropped_picture(tmp_path, scale):
    case = protocol(f"sr{scale}").case("x", saved(tmp_path / "x.png", 140, 200), None)
    assert case.clean.shape == (128, 192, 3)
    assert case.degraded.shape == (128 // scale, 192 // scale, 3)
    expected = smooth_picture(140, 200)[6:134, 4:196]
    assert np.abs(case.clean - expected).max() <= 0.5 / 255 + 1e-6
    # An answer that is the picture itself has no error; a constant one is scored on luma, not on RGB.
    assert protocol("sr4").scores(case, case.clean)["psnr"] == float("inf")
    scores = protocol("sr4").scores(case, np.clip(case.clean + 0.01, 0, 1))
    assert scores["psnr"] == pytest.approx(40, abs=0.01)
    assert scores["psnr_y"] == pytest.approx(40 + 20 * np.log10(255 / 219), abs=0.01)


def test_ready_pairs_are_found_below_the_folder_and_called_as_published(tmp_path):
    ready = tmp_path / "ready"
    ready.mkdir()
    for name in ("img_003", "img_014", "woman"):
        saved(ready / f"{name}_x4_HR.png", 64, 64)
        saved(ready / f"{name}_x4_LR.png", 16, 16)
    chosen = protocol("sr4", pairs=True)
    files = chosen.files(tmp_path)
    assert [name for name, _ in files] == ["bridge", "zebra", "woman"]
    case = chosen.case(*files[0], None)
    assert (case.clean.shape, case.degraded.shape) == ((64, 64, 3), (16, 16, 3))


def test_files_of_the_denoising_set_are_called_as_published():
    names = ["image_F16_512rgb", "image_House256rgb", "kodim01"]
    assert [protocol("denoise").called(name) for name in names] == ["f16", "house", "kodim01"]
    assert {"f16", "house", "kodim01"} <= set(published.NINE)


def test_half_of_the_pixels_is_scored_whole_and_where_nothing_was_known(tmp_path):
    chosen = protocol("inpaint50")
    assert [chosen.called(name) for name in ("Cameraman256", "peppers256", "man")] == [
        "cameraman",
        "peppers",
        "man",
    ]
    case = chosen.case("x", saved(tmp_path / "x.png", 40, 50), None)
    assert case.clean.shape == case.mask.shape == (40, 50)
    np.testing.assert_array_equal(case.degraded, np.where(case.mask, case.clean, 0))
    scores = chosen.scores(case, np.where(case.mask, case.clean, case.clean + 0.01))
    assert scores["psnr_holes"] == pytest.approx(40, abs=0.01)
    assert scores["psnr"] == pytest.approx(40 - 10 * np.log10(np.mean(~case.mask)), abs=0.01)


def test_a_clip_is_a_folder_of_frames_and_only_its_first_are_taken(tmp_path):
    for clip in ("swan", "camel"):
        (tmp_path / clip).mkdir()
        for index in range(4):
            saved(tmp_path / clip / f"{index:05}.png", 34, 67)
    (tmp_path / "empty").mkdir()
    chosen = protocol("video", frames=3)
    files = chosen.files(tmp_path)
    assert [name for name, _ in files] == ["camel", "swan"]
    case = chosen.case(*files[0], None)
    assert case.degraded.shape == (3, 32, 64, 3)
    assert not np.array_equal(case.degraded[0] - case.clean[0], case.degraded[1] - case.clean[1])
    near_zero = {"flicker": pytest.approx(0, abs=1e-4)}  # an error that stays
    assert chosen.scores(case, case.clean + 0.01) == {"psnr": pytest.approx(40, abs=0.01)} | near_zero
    alone = protocol("video", frames=1).case(*files[0], None)
    assert list(chosen.scores(alone, alone.clean)) == ["psnr"]


def test_seven_frames_and_more_have_a_3d_ssim():
    clip = np.stack([smooth_picture(16, 20)] * 7)
    chosen = protocol("video", frames=7)
    case = methods.Case("x", clip, pictures.with_noise(clip), None)
    assert chosen.scores(case, clip)["ssim3d"] == pytest.approx(1)
    assert 0 < chosen.scores(case, case.degraded)["ssim3d"] < 0.95
    assert 30 < chosen.scores(case, case.degraded)["flicker"] < 36


def test_a_larger_picture_is_shrunk_to_the_size_asked_for(tmp_path):
    path = saved(tmp_path / "x.png", 64, 96)
    assert pictures.opened(path, side=32).size == (48, 32)
    assert pictures.opened(path, side=64).size == (96, 64)


@pytest.mark.parametrize(
    ("table", "means"),
    [
        ("sr4", {"DIP": (27.00, 29.89), "bicubic": (26.05, 28.44), "TV": (26.42, 28.85),
                 "no prior": (24.93, 26.56), "Glasner et al.": (26.46, 28.84)}),
        ("sr8", {"DIP": (24.15, 25.88), "bicubic": (23.09, 24.37), "TV": (23.48, 24.87),
                 "no prior": (22.56, 23.45), "SelfExSR": (23.96, 25.42)}),
    ],
)  # fmt: skip
def test_published_numbers_have_the_published_means(table, means):
    for column, of_sets in means.items():
        for pictures_of, mean in zip((published.SET14, published.SET5), of_sets, strict=True):
            # The published means are cut or rounded to hundredths.
            ours = published.mean_over(published.TABLES[table][column], list(pictures_of))
            assert ours == pytest.approx(mean, abs=0.0101), (column, pictures_of)


@pytest.mark.parametrize(("name", "tolerance"), [("set5", 0.02), ("set14", 0.04)])
def test_bicubic_of_the_ready_pairs_gives_the_published_bicubic_row(shared, name, tolerance):
    """What is compared (luma, crop, border) is right if this row comes out, picture by picture."""
    chosen = protocol("sr4", pairs=True)
    differences = []
    for picture, path in chosen.files(shared / "data" / name):
        case = chosen.case(picture, path, None)
        score = chosen.scores(case, baselines.bicubic(case))["psnr_y"]
        differences.append(score - published.TABLES["sr4"]["bicubic"][picture])
    assert len(differences) == len(published.SETS[name])
    assert np.mean(np.abs(differences)) < tolerance


@pytest.mark.parametrize("method", methods.DENOISING, ids=lambda method: method.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_denoising_baselines_remove_noise(method, channels):
    if method.missing():
        pytest.skip(method.missing())
    clean = smooth_picture(48, 64, channels)
    clean = clean if channels == 3 else clean[..., 0]
    case = methods.Case("x", clean, pictures.with_noise(clean), None)
    answer = method.run(case, None)
    assert answer.image.shape == clean.shape
    assert pictures.psnr(answer.image, clean) > pictures.psnr(case.degraded, clean) + 5


@pytest.mark.parametrize("method", methods.INPAINTING, ids=lambda method: method.name)
def test_inpainting_baselines_keep_what_is_known_and_fill_the_rest(method, tmp_path):
    if method.missing():
        pytest.skip(method.missing())
    case = protocol("inpaint50").case("x", saved(tmp_path / "x.png", 48, 64), None)
    image = method.run(case, None).image
    np.testing.assert_allclose(image[case.mask], case.clean[case.mask], atol=1e-6)
    assert np.isfinite(image).all()
    assert pictures.psnr(image[~case.mask], case.clean[~case.mask]) > 30


def test_cubes_over_frames_remove_noise_in_colour():
    pytest.importorskip("bm4d")
    clean = np.stack([smooth_picture(16, 20)] * 5)
    case = methods.Case("x", clean, pictures.with_noise(clean), None)
    answer = baselines.block_matching_over_frames(case)
    assert answer.shape == clean.shape
    # Every channel by itself: a wrong way back from grey and colours would leave one of them far off.
    for channel in range(3):
        assert pictures.psnr(answer[..., channel], clean[..., channel]) > 28


def test_a_method_for_pictures_is_run_on_every_frame():
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    clean = np.stack([smooth_picture(32, 40)] * 4)
    case = methods.Case("x", clean, pictures.with_noise(clean), None)
    alone = baselines.nonlocal_means(methods.Case("x", clean[2], case.degraded[2], None))
    together = baselines.per_frame(methods.DENOISING[1]).run(case, None).image
    np.testing.assert_allclose(together[2], alone, rtol=1e-5)
    # Four frames of a scene that stands still say more than one.
    over = baselines.nonlocal_means_over_frames(case)
    one = baselines.nonlocal_means_over_frames(methods.Case("x", clean[:1], case.degraded[:1], None))
    assert pictures.psnr(over[1], clean[1]) > pictures.psnr(one[0], clean[0])
