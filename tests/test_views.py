"""Views: where a frame's pixels lie in the scene, and how one follows another."""

import math

import numpy as np
import pytest

from dipedge.errors import InputError
from dipedge.views import View


def seen(view, x, y):
    """Where pixel (x, y) of a frame lies in the scene."""
    a, b, c, d, e, f = view.matrix
    return a * x + b * y + c, d * x + e * y + f


def turned(degrees, dx=0.0, dy=0.0, time=0.0):
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return View((cosine, -sine, dx, sine, cosine, dy), time)


def test_the_first_frame_lies_where_it_is():
    assert seen(View(), 3, 5) == (3, 5)
    assert View().time == 0
    assert View().is_shift


def test_a_shift_moves_every_pixel_alike():
    view = View.shift(2.5, -1.0, time=0.25)
    assert view.is_shift
    assert seen(view, 0, 0) == (2.5, -1.0)
    assert seen(view, 10, 20) == (12.5, 19.0)
    assert view.time == 0.25


@pytest.mark.parametrize("matrix", [(1, 0.01, 0, 0, 1, 0), (1.01, 0, 0, 0, 1, 0), (1, 0, 0, 0.01, 1, 0)])
def test_what_turns_or_scales_is_no_shift(matrix):
    assert not View(matrix).is_shift


def test_a_view_after_a_motion_goes_first_to_the_frame_before_and_then_to_the_scene():
    view, motion = turned(20, 3, -2, time=0.5), View((1.1, 0.2, 4, -0.1, 0.9, 7), 0.125)
    both = view.after(motion)
    assert seen(both, 13, 29) == pytest.approx(seen(view, *seen(motion, 13, 29)), abs=1e-12)
    assert seen(both, 13, 29) != pytest.approx(seen(motion, *seen(view, 13, 29)), abs=0.1)
    assert both.time == 0.625


def test_shifts_after_each_other_add_up_to_the_bit_of_their_sum():
    view = View()
    for _ in range(8):
        view = view.after(View.shift(0.375, -2.0))
    assert view == View.shift(3.0, -16.0)
    assert view.is_shift


def test_a_view_survives_being_numbers():
    view = turned(12, 0.1, 1 / 3, time=0.7)
    assert view.numbers().dtype == np.float64
    assert view.numbers().shape == (7,)
    assert View.of_numbers(view.numbers()) == view


def test_views_of_numpy_numbers_are_equal_to_those_of_plain_ones():
    assert View(tuple(np.float32([1, 0, 2.5, 0, 1, 0]))) == View.shift(2.5, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: View((1, 0, 0, 0, 1)), "5 numbers"),
        (lambda: View((1, 0, float("nan"), 0, 1, 0)), "finite"),
        (lambda: View(time=float("inf")), "finite"),
        (lambda: View.of_numbers(np.zeros(6)), "5 numbers"),
    ],
)
def test_a_view_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
