"""What the encoder sees of a picture, and the distance it is told to make small."""

import numpy as np
import pytest

import dipedge as de

torch = pytest.importorskip("torch")

from dipedge.objectives import cutouts, objective_for  # noqa: E402
from dipedge.objectives.text import spherical_distance  # noqa: E402
from tests.stand_in_encoders import LENGTH, stand_in, word_code  # noqa: E402


def task(text="red fox", size=(40, 56), **options):
    return de.MatchText(text, stand_in(), size=size, **options)


def output(height=40, width=56, seed=0):
    """An output of a network, [H, W, 3] inside (0, 1), smooth."""
    row, column = np.mgrid[:height, :width] / 20
    random = np.random.default_rng(seed).uniform(0.5, 2, (3, 2))
    planes = [0.5 + 0.3 * np.sin(a * row + b * column + a) for a, b in random]
    return np.stack(planes, axis=2).astype(np.float32)


def tensor(pixels):
    return torch.tensor(np.moveaxis(pixels, 2, 0), dtype=torch.float64)[None]


def exact(given, seed=0):
    """The objective in float64."""
    objective = objective_for(given, seed)
    objective.to(torch.device("cpu"), torch.float64)
    return objective


@pytest.fixture
def only(monkeypatch):
    """``only(FLIP=1)``: of all random changes just these happen, as often as said."""

    def make(**often):
        for name in ("FLIP", "MOVE", "SKEW", "RECOLOUR", "GREY"):
            monkeypatch.setattr(cutouts, name, often.get(name, 0))

    return make


# Cut-outs ---------------------------------------------------------------------------------------------


def test_what_is_seen_depends_on_seed_and_step_alone():
    first, again, other = (exact(task(), seed) for seed in (3, 3, 4))
    first.pieces(tensor(output()), 0)  # what was drawn before must not matter
    seen = first.pieces(tensor(output()), 5)
    assert torch.equal(seen, again.pieces(tensor(output()), 5))
    assert not torch.equal(seen, again.pieces(tensor(output()), 6))
    assert not torch.equal(seen, other.pieces(tensor(output()), 5))


def test_cutouts_lie_inside_and_have_the_published_sizes(monkeypatch):
    sides = []
    monkeypatch.setattr(
        cutouts, "_resized", lambda piece, size: sides.append(piece.shape[2:]) or piece[:, :, :1, :1]
    )
    picture = torch.zeros(1, 3, 200, 300)
    for step in range(300):
        cutouts.cut(picture, 10, 50, cutouts.drawing(0, step))
    whole = [side for side in sides if side == (200, 300)]
    squares = np.array([side[0] for side in sides if side != (200, 300)])
    assert len(whole) == 300  # one in ten is the whole picture
    assert all(side[0] == side[1] for side in sides if side != (200, 300))
    assert squares.min() >= 50 and squares.max() == 200
    # A normal distribution of mean 0.8 and deviation 0.3, cut off at 0.25 and 1.
    assert abs((squares == 200).mean() - 0.2525) < 0.03
    assert abs((squares <= 160).mean() - 0.5) < 0.03
    assert abs((squares == 50).mean() - 0.0334) < 0.015


def test_pieces_are_area_averages_of_the_picture():
    picture = torch.arange(64, dtype=torch.float64).reshape(1, 1, 8, 8)
    piece = cutouts.cut(picture, 8, 4, cutouts.drawing(0, 0))[-1, 0]  # the last of eight is whole
    assert torch.allclose(piece, picture.reshape(4, 2, 4, 2).mean(dim=(1, 3)))


def test_pictures_smaller_than_the_encoder_are_enlarged_whole():
    seen = exact(task(size=(16, 20))).pieces(tensor(output(16, 20)), 0)
    assert seen.shape == (10, 3, 16, 16)
    large = de.MatchText("fox", stand_in(size=32), size=16, augment=False)
    pieces = exact(large).pieces(tensor(output(16, 16)), 0)
    assert pieces.shape == (10, 3, 32, 32)
    assert torch.allclose(pieces, pieces[:1].expand_as(pieces))


# Changes of a cut-out ---------------------------------------------------------------------------------


def pieces(count=6, size=12):
    return torch.cat([tensor(output(size, size, seed)) for seed in range(count)])


def test_without_chance_nothing_changes(only):
    only()
    assert torch.allclose(cutouts.vary(pieces(), cutouts.drawing(0, 0)), pieces(), atol=1e-12)


def test_a_flip_is_a_flip(only):
    only(FLIP=1)
    assert torch.allclose(cutouts.vary(pieces(), cutouts.drawing(0, 0)), pieces().flip(3), atol=1e-12)


def test_turns_keep_size_and_stay_under_fifteen_degrees(only):
    only(MOVE=1)
    moves = cutouts._moves(500, cutouts.drawing(0, 0))
    turn, shift = moves[:, :, :2], moves[:, :, 2]
    assert np.allclose(turn @ turn.transpose(0, 2, 1), np.eye(2)) and np.allclose(np.linalg.det(turn), 1)
    angles = np.degrees(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]))
    assert 14 < np.abs(angles).max() <= 15 and abs(angles.mean()) < 1.5
    assert 0.19 < np.abs(shift).max() <= 0.2  # a tenth of the side, which is 2 long here


def test_a_shift_moves_what_is_seen(monkeypatch, only):
    only(MOVE=1)
    monkeypatch.setattr(cutouts, "TURN", 0.0)
    moves = cutouts._moves(1, cutouts.drawing(0, 0))
    moves[0, :, 2] = (2 * 2 / 12, 0)  # two of twelve columns
    moved = cutouts._warp(pieces(1), moves, np.eye(3)[None])
    assert torch.allclose(moved[..., :-2], pieces(1)[..., 2:], atol=1e-12)
    assert torch.allclose(moved[..., -1], pieces(1)[..., -1], atol=1e-12)  # the border goes on


def test_perspective_takes_each_corner_back_and_leaves_black_outside(only):
    only(SKEW=1)
    skews = cutouts._skews(200, cutouts.drawing(0, 0))
    back = np.linalg.inv(skews)
    for corner in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        point = back @ np.array([*corner, 1.0])
        moved = point[:, :2] / point[:, 2:]
        inwards = 1 - moved * corner
        assert inwards.min() >= -1e-9 and 0.38 < inwards.max() <= 0.4 + 1e-9
    skewed = cutouts.vary(torch.ones(50, 3, 24, 24), cutouts.drawing(0, 1))
    assert ((skewed == 0) | ((skewed - 1).abs() < 1e-6)).all()
    assert (skewed[:, :, 11:13, 11:13] > 0.99).all()
    assert 0.5 < skewed.mean() < 0.8  # corners 0.2 of the half side inwards on average: (1 - 0.2)^2


def test_grey_pieces_have_the_luma_of_the_coloured_ones(only):
    only(GREY=1)
    grey = cutouts.vary(pieces(), cutouts.drawing(0, 0))
    luma = torch.einsum("c,nchw->nhw", torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64), pieces())
    assert all(torch.allclose(grey[:, channel], luma, atol=1e-12) for channel in range(3))


def test_hues_turn_about_the_grey_axis():
    angles = np.radians([0, 40, 120])
    still, turned, third = cutouts._hues(angles)
    assert np.allclose(still, np.eye(3))
    assert np.allclose(turned @ turned.T, np.eye(3)) and np.allclose(turned @ np.ones(3), 1)
    assert not np.allclose(turned, np.eye(3), atol=0.1)
    assert np.allclose(third @ [1, 0, 0], [0, 1, 0])  # red becomes green after a third of the circle


def test_recoloured_pieces_stay_in_range_and_do_change(only):
    only(RECOLOUR=1)
    seen = cutouts.vary(pieces(40), cutouts.drawing(0, 0))
    assert seen.min() >= 0 and seen.max() <= 1
    assert ((seen - pieces(40)).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


# The distance -----------------------------------------------------------------------------------------


def test_the_distance_is_half_the_squared_angle_and_has_a_slope_everywhere():
    angles = torch.tensor([0.0, 0.3, 1.5, 3.0, np.pi], dtype=torch.float64, requires_grad=True)
    found = spherical_distance(
        torch.stack([angles.cos(), angles.sin()], dim=1), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    )
    assert torch.allclose(found, angles**2 / 2, atol=1e-2)
    assert torch.allclose(found[1:4], angles[1:4] ** 2 / 2, atol=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), angles)
    assert torch.isfinite(slope).all() and torch.allclose(slope[1:4], angles[1:4].detach())


def loss_of(given, step=2, pixels=None):
    return objective_for(given, 0)(output() if pixels is None else pixels, step)[0]


def expected_loss(given, step=2):
    """The loss by hand: codes of the pieces that are seen, angles by the arccosine."""
    pieces = (exact(given).pieces(tensor(output()), step) - 0.5) / 0.25
    codes = torch.nn.functional.normalize(given.encoders.image(pieces), dim=1)
    total, weights = 0.0, 0.0
    for text, weight in given.prompts:
        code = sum(word_code(word) for word in text.split())
        angles = torch.arccos(codes @ (code / code.norm()))
        total += weight * float((angles**2 / 2).mean())
        weights += abs(weight)
    return total / weights


@pytest.mark.parametrize(
    ("text", "negative"), [("red fox", None), ("red fox | snow:0.5", None), ("red fox:3", "snow | ice:2")]
)
def test_the_loss_is_the_weighted_mean_of_the_distances(text, negative):
    given = task(text, negative=negative)
    expected = expected_loss(given)
    assert abs(expected) > 0.05
    assert loss_of(given) == pytest.approx(expected, rel=1e-4)


def test_an_unwanted_text_counts_against_the_picture():
    alone, minus = task("red fox"), task("red fox", negative="red fox")
    assert loss_of(alone) > 0.1 and loss_of(minus) == pytest.approx(0, abs=1e-6)
    assert loss_of(task("red fox:7")) == pytest.approx(loss_of(alone))


@pytest.mark.parametrize("options", [{}, {"decorrelated": False}, {"augment": False}, {"negative": "snow"}])
def test_the_gradient_is_that_of_finite_differences(options):
    objective = exact(task("red fox", size=(24, 24), **options))
    pixels = output(24, 24).astype(np.float64)
    _, gradient = objective(pixels, 1)
    direction = np.random.default_rng(1).standard_normal(pixels.shape)
    ahead, behind = (objective(pixels + sign * 1e-5 * direction, 1)[0] for sign in (1, -1))
    along = float((gradient * direction).sum())
    assert abs(along) > 1e-4
    assert (ahead - behind) / 2e-5 == pytest.approx(along, rel=1e-4)


def test_the_picture_that_is_judged_is_the_answer():
    given = task()
    judged = exact(given).picture(tensor(output()))[0].permute(1, 2, 0).numpy()
    answer = given.answer(output().astype(np.float64), output()).image
    assert np.allclose(judged, answer, atol=1e-12)
    assert not np.allclose(judged, output(), atol=0.05)


def test_codes_of_the_wrong_shape_are_named():
    pair = stand_in()
    flat = de.Encoders(pair.image, lambda text: torch.zeros(LENGTH), 16)
    with pytest.raises(de.InputError, match=r"encoders.text gave \(12,\) for 'fox'; it must give \[1, D\]"):
        objective_for(de.MatchText("fox", flat, size=16), 0)
    short = de.Encoders(lambda pictures: pair.image(pictures)[:, :5], pair.text, 16)
    with pytest.raises(de.InputError, match=r"encoders.image gave \(10, 5\).* must give \(10, 12\)"):
        objective_for(de.MatchText("fox", short, size=16), 0)(output(16, 16), 0)
