"""Haze without a fit: every formula of ``dipedge.haze`` against the same thing written out pixel by pixel."""

import numpy as np
import pytest

from dipedge import haze

SIZES = [(16, 16), (17, 31), (40, 9)]


def random_picture(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels))


def window(values, row, column, radius):
    return values[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_dark_channel_is_the_least_value_around_each_pixel(size, channels):
    pixels = random_picture(*size, channels)
    expected = [[window(pixels, i, j, 7).min() for j in range(size[1])] for i in range(size[0])]
    np.testing.assert_array_equal(haze.dark_channel(pixels), expected)


def test_the_airlight_is_the_brightest_colour_where_the_dark_channel_is_brightest():
    pixels = 0.3 * random_picture(120, 100)
    pixels[10:40, 20:60] = (0.7, 0.8, 0.9)  # a bright region wider than the window
    pixels[80, 80] = 1.0  # one bright pixel is no airlight
    np.testing.assert_array_equal(haze.airlight(pixels), (0.7, 0.8, 0.9))


def test_a_white_house_in_a_large_picture_is_no_haze():
    pixels = np.full((600, 800, 3), 0.6) - 0.2 * random_picture(600, 800)
    pixels[:200] = (0.6, 0.65, 0.7)
    pixels[400:430, 500:530] = 0.95
    np.testing.assert_allclose(haze.airlight(pixels), (0.6, 0.65, 0.7), rtol=0, atol=1e-12)


def test_the_airlight_of_a_tiny_picture_looks_at_one_pixel():
    pixels = random_picture(16, 16)
    brightest = np.argmax(haze.dark_channel(pixels))
    np.testing.assert_array_equal(haze.airlight(pixels), pixels.reshape(-1, 3)[brightest])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("radius", [0, 1, 4, 50])
def test_box_means_are_those_of_the_window_inside_the_picture(size, radius):
    values = random_picture(*size)
    expected = [
        [window(values, i, j, radius).mean(axis=(0, 1)) for j in range(size[1])] for i in range(size[0])
    ]
    np.testing.assert_allclose(haze.box_mean(values, radius), expected, rtol=0, atol=1e-13)


def guided_by_hand(guide, values, radius, eps):
    """The paper's equations, one least-squares fit for each window."""
    height, width, channels = guide.shape
    found, counts = np.zeros((height, width)), np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            colours = window(guide, i, j, radius).reshape(-1, channels)
            levels = window(values, i, j, radius).ravel()
            covariance = np.cov(colours.T, bias=True).reshape(channels, channels)
            mixed = ((colours - colours.mean(0)) * (levels - levels.mean())[:, None]).mean(0)
            slope = np.linalg.inv(covariance + eps * np.eye(channels)) @ mixed
            offset = levels.mean() - slope @ colours.mean(0)
            window(found, i, j, radius)[...] += window(guide, i, j, radius) @ slope + offset
            window(counts, i, j, radius)[...] += 1
    return found / counts


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("eps", [1e-4, 0.1])
def test_the_guided_filter_is_a_least_squares_fit_in_every_window(channels, eps):
    guide, values = random_picture(13, 18, channels), random_picture(13, 18, 1, seed=1)[..., 0]
    expected = guided_by_hand(guide, values, 3, eps)
    np.testing.assert_allclose(haze.guided_filter(guide, values, 3, eps), expected, rtol=0, atol=1e-11)


def test_the_guided_filter_gives_a_blurred_step_the_edge_of_its_guide():
    guide = np.zeros((60, 60, 3))
    guide[:, 30:] = (0.2, 0.9, 0.4)
    blurred = haze.box_mean(np.where(guide[..., 0] > 0, 0.8, 0.3), 4)
    sharp = haze.guided_filter(guide, blurred, 20, 1e-4)
    before, after = np.diff(blurred, axis=1)[:, 29], np.diff(sharp, axis=1)[:, 29]
    assert before.max() < 0.06 and after.min() > 0.4


@pytest.mark.parametrize("size", [(7, 5), (10, 3), (3, 4)])
def test_reducing_takes_the_mean_of_the_area_under_each_pixel(size):
    values = random_picture(12, 10)
    fine = np.repeat(np.repeat(values, size[0], axis=0), size[1], axis=1)
    expected = fine.reshape(size[0], 12, size[1], 10, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(haze.resized(values, *size), expected, rtol=0, atol=1e-13)


def test_enlarging_goes_straight_between_the_centres_of_pixels():
    values = np.array([[0.0, 1.0]])
    np.testing.assert_allclose(haze.resized(values, 1, 4), [[0, 0.25, 0.75, 1]], atol=1e-15)
    np.testing.assert_allclose(haze.resized(values, 1, 6), [[0, 0, 1 / 3, 2 / 3, 1, 1]], atol=1e-15)
    np.testing.assert_allclose(haze.resized(values.T, 4, 1), [[0], [0.25], [0.75], [1]], atol=1e-15)


def test_resizing_keeps_the_dtype_and_the_picture_of_its_own_size():
    pixels = random_picture(20, 30).astype(np.float32)
    assert haze.resized(pixels, 20, 30) is pixels
    assert haze.resized(pixels, 45, 17).dtype == np.float32


@pytest.mark.parametrize(
    ("had", "expected"), [((300, 400), (300, 400)), ((1536, 1024), (512, 341)), ((6000, 20), (512, 16))]
)
def test_the_size_of_the_fit_keeps_the_proportion_and_the_smallest_side(had, expected):
    assert haze.reduced_size(*had, 512) == expected


def test_haze_that_was_put_in_is_taken_out_again():
    clear, transmission = random_picture(20, 24), 0.2 + 0.8 * random_picture(20, 24, 1, seed=1)[..., 0]
    light = np.array([0.8, 0.85, 0.9])
    pixels = haze.hazy(clear, transmission, light)
    np.testing.assert_allclose(haze.cleared(pixels, transmission, light), clear, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        haze.cleared(pixels, transmission, np.broadcast_to(light, clear.shape)), clear, rtol=0, atol=1e-12
    )


def test_a_refined_transmission_stays_between_a_tenth_and_one():
    ramp = np.broadcast_to(np.linspace(0, 1, 200), (40, 200))
    found = haze.refined(2 * ramp[::2, ::2] - 0.5, ramp[..., None], 200)
    assert found.shape == (40, 200) and found.min() == 0.1 and found.max() == 1
    np.testing.assert_allclose(found[:, 100], 0.5, atol=0.02)


def test_the_least_possible_transmission_is_where_the_clear_picture_leaves_its_range():
    pixels, light = random_picture(20, 24), np.array([0.4, 0.5, 0.95])
    least = haze.least_possible(pixels, light, margin=0.0)
    assert least.min() >= 0 and least.max() <= 1
    share = least[..., None]
    at_bound = (pixels - (1 - share) * light) / share
    assert at_bound.min() > -1e-12 and at_bound.max() < 1 + 1e-12
    below = (pixels - (1 - 0.99 * share) * light) / (0.99 * share)
    assert ((below < 0) | (below > 1)).any(axis=2).all()


def test_a_bounded_transmission_clips_nothing():
    pixels, light = 0.01 + 0.98 * random_picture(40, 50), np.array([0.7, 0.75, 0.8])
    low = np.full((20, 25), 0.1)
    free, bounded = haze.refined(low, pixels, 64), haze.refined(low, pixels, 64, light)
    clipped = [haze.cleared(pixels, share, light) for share in (free, bounded)]
    assert ((clipped[0] == 0) | (clipped[0] == 1)).mean() > 0.3
    assert clipped[1].min() >= haze.MARGIN - 1e-9 and clipped[1].max() <= 1 - haze.MARGIN + 1e-9
    spread = np.broadcast_to(light, pixels.shape)
    np.testing.assert_allclose(haze.refined(low, pixels, 64, spread), bounded, atol=1e-12)


@pytest.mark.parametrize("longest", [400, 200, 100])
def test_refining_gives_a_coarse_transmission_the_edges_of_the_picture(longest):
    """A disc before a slow background; as well with coefficients found at a quarter of the size."""
    row, column = np.mgrid[:400, :400] / 400
    radius = np.hypot(row - 0.5, column - 0.5)
    disc, edge = radius < 0.3, np.abs(radius - 0.3) < 0.015
    truth = np.where(disc, 0.8, 0.3 + 0.2 * column)
    guide = np.stack([np.where(disc, 0.2, 0.7), 0.3 + 0.4 * column, 0.8 - 0.3 * disc], axis=2)
    coarse = haze.resized(truth, 40, 40)
    before = np.abs(haze.resized(coarse, 400, 400) - truth)[edge].mean()
    after = np.abs(haze.refined(coarse, guide, longest) - truth)[edge].mean()
    assert after < 0.3 * before
