"""Motion of a camera between noisy frames: known shifts and turns of pictures, cuts and no cuts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipedge.errors import InputError
from dipedge.motion import MotionEstimator
from dipedge.views import View

EXAMPLES = Path(__file__).parents[1] / "examples"


def picture(name: str) -> np.ndarray:
    return np.asarray(Image.open(EXAMPLES / name).convert("RGB"), np.float32) / 255


def noisy(clean: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    grain = rng.standard_normal(clean.shape).astype(np.float32) * (sigma / 255)
    return np.clip(clean + grain, 0, 1)


def window(name: str, view: View, size: tuple[int, int]) -> np.ndarray:
    """What a camera at ``view`` sees of an example, (H, W) pixels, 64 pixels in from its corner."""
    a, b, c, d, e, f = view.matrix
    whole = Image.open(EXAMPLES / name).convert("RGB")
    # Pillow asks where a pixel's middle, at .5, comes from.
    numbers = (a, b, c + 64 + 0.5 * (1 - a - b), d, e, f + 64 + 0.5 * (1 - d - e))
    seen = whole.transform(size[::-1], Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)
    return np.asarray(seen, np.float32) / 255


def worst_corner(view: View, truth: View, size: tuple[int, int]) -> float:
    """How far apart two views are, in pixels, at the corner where they are farthest."""
    height, width = size
    corners = np.array([(x, y, 1) for x in (0, width - 1) for y in (0, height - 1)])
    apart = (np.array(view.matrix) - np.array(truth.matrix)).reshape(2, 3)
    return float(np.hypot(*(apart @ corners.T)).max())


@pytest.mark.parametrize("size", [(128, 128), (97, 150), (256, 320)])
@pytest.mark.parametrize("move", [(2.0, 0.0), (-7.3, 4.6), (21.0, -17.5), (0.4, -0.25)])
@pytest.mark.parametrize("sigma", [0, 25, 50])
def test_a_known_shift_is_found_within_a_fraction_of_a_pixel(size, move, sigma):
    rng = np.random.default_rng(0)
    truth, motion = View.shift(*move), MotionEstimator()
    motion.next(noisy(window("astronaut_512.png", View(), size), sigma, rng))
    found = motion.next(noisy(window("astronaut_512.png", truth, size), sigma, rng))
    assert not found.cut and found.confidence > 0.65
    assert found.view.is_shift
    assert worst_corner(found.view, truth, size) < 0.15 + 0.012 * sigma


@pytest.mark.parametrize("degrees, zoom", [(1.0, 1.0), (-3.0, 1.0), (0.0, 1.03), (2.0, 0.97)])
@pytest.mark.parametrize("sigma", [0, 25])
def test_a_known_turn_and_zoom_is_found_by_affine(degrees, zoom, sigma):
    rng = np.random.default_rng(0)
    angle = np.radians(degrees)
    a, b = zoom * np.cos(angle), -zoom * np.sin(angle)
    middle = View.shift(-127.5, -127.5)
    truth = View.shift(130.0, 126.0).after(View((a, b, 0, -b, a, 0))).after(middle)
    motion = MotionEstimator("affine")
    motion.next(noisy(window("astronaut_512.png", View(), (256, 256)), sigma, rng))
    found = motion.next(noisy(window("astronaut_512.png", truth, (256, 256)), sigma, rng))
    assert not found.cut
    assert worst_corner(found.view, truth, (256, 256)) < 0.3 + 0.01 * sigma


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_the_sum_of_a_hundred_motions_stays_near_the_truth(kind):
    rng = np.random.default_rng(1)
    motion, view = MotionEstimator(kind), View()
    for index in range(101):
        truth = View.shift(1.7 * index, 0.6 * index)
        found = motion.next(noisy(window("astronaut_512.png", truth, (128, 128)), 25, rng))
        view = view.after(found.view)
        assert not found.cut
    assert worst_corner(view, truth, (128, 128)) < (0.5 if kind == "shift" else 2.5)


def test_a_clean_estimate_of_the_last_frame_keeps_the_sum_near_the_truth():
    rng = np.random.default_rng(1)
    motion, view, clean = MotionEstimator(), View(), None
    for index in range(41):
        truth = View.shift(1.7 * index, 0.6 * index)
        seen = window("astronaut_512.png", truth, (128, 128))
        view = view.after(motion.next(noisy(seen, 50, rng), clean).view)
        clean = window("astronaut_512.png", view, (128, 128))  # where it is thought to be, as in a session
    assert worst_corner(view, truth, (128, 128)) < 0.5


@pytest.mark.parametrize("kind", ["shift", "affine"])
@pytest.mark.parametrize("sigma", [0, 25, 50])
def test_a_camera_that_stands_still_does_not_creep(kind, sigma):
    rng = np.random.default_rng(2)
    clean, motion = picture("chelsea_256.png")[:160, :128], MotionEstimator(kind)
    found = [motion.next(noisy(clean, sigma, rng)) for _ in range(12)]
    assert all(item.view == View() and not item.cut for item in found)


def test_pure_noise_neither_moves_nor_cuts():
    rng = np.random.default_rng(3)
    grey, motion = np.full((96, 96, 3), 0.5, np.float32), MotionEstimator()
    found = [motion.next(noisy(grey, 40, rng)) for _ in range(12)]
    assert all(item.view == View() and not item.cut for item in found)


@pytest.mark.parametrize("kind", ["shift", "affine"])
@pytest.mark.parametrize("sigma", [0, 25, 50])
def test_every_change_of_scene_is_a_cut(kind, sigma):
    rng = np.random.default_rng(4)
    scenes = [picture(f"{name}_256.png") for name in ("astronaut", "chelsea", "coffee")]
    scenes = [scene[:200, :220] for scene in scenes] + [scenes[0][::-1][:200, :220]]
    motion = MotionEstimator(kind)
    for index, scene in enumerate((*scenes, scenes[1], scenes[0])):
        first, second = (motion.next(noisy(scene, sigma, rng)) for _ in range(2))
        assert first.cut == (index > 0)
        assert first.view == View()
        assert not second.cut and second.view == View()


@pytest.mark.parametrize("gain, offset", [(0.6, 0.0), (1.4, 0.0), (1.0, 0.2), (0.7, -0.1)])
def test_a_change_of_brightness_is_no_cut_and_no_motion(gain, offset):
    rng = np.random.default_rng(5)
    clean, motion = picture("coffee_256.png"), MotionEstimator()
    motion.next(noisy(clean, 25, rng))
    found = motion.next(noisy(np.clip(gain * clean + offset, 0, 1), 25, rng))
    assert not found.cut
    assert worst_corner(found.view, View(), clean.shape[:2]) < 0.3


def test_a_person_walking_in_is_no_cut_and_does_not_drag_the_background():
    rng = np.random.default_rng(6)
    room, person = picture("coffee_256.png"), picture("astronaut_256.png")
    motion, view = MotionEstimator(), View()
    for index in range(20):
        frame, width = room.copy(), 6 * index
        frame[:, : min(width, 110)] = person[:, max(0, 110 - width) : 110][:, : min(width, 110)]
        found = motion.next(noisy(frame, 25, rng))
        view = view.after(found.view)
        assert not found.cut
        assert worst_corner(view, View(), room.shape[:2]) < 1


def test_another_size_is_refused_until_reset():
    motion = MotionEstimator()
    motion.next(np.zeros((32, 40, 3), np.float32))
    with pytest.raises(InputError, match="40 x 32"):
        motion.next(np.zeros((40, 32, 3), np.float32))
    motion.reset()
    motion.next(np.zeros((40, 32, 1), np.float32))


def test_unusable_arguments_are_named():
    with pytest.raises(InputError, match="'zoom'"):
        MotionEstimator("zoom")
    with pytest.raises(InputError, match="from 16"):
        MotionEstimator().next(np.zeros((15, 40, 3), np.float32))
