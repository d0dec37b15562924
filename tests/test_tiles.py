"""Where tiles lie, and that their cross-fades add up: geometry alone, no fit."""

import numpy as np
import pytest

from dipedge.errors import InputError
from dipedge.tiles import AUTO_PIXELS, Axis, Tiles, chosen_grid, cut

LENGTHS = [16, 31, 32, 33, 40, 47, 63, 64, 65, 97, 128, 255, 512, 513, 514, 600, 1001, 4000, 6000]
TILES = [Tiles(32, 0), Tiles(32, 16), Tiles(33, 16), Tiles(64, 8), Tiles(100, 7), Tiles(170, 21), Tiles()]
BLOCKS = [1, 16]


def axis_of(length, tiles, block=1, scale=1):
    return cut((length, 16), tiles, block=block, scale=scale).rows


every_way = pytest.mark.parametrize(("tiles", "block"), [(t, b) for t in TILES for b in BLOCKS], ids=str)


@every_way
def test_tiles_cover_every_pixel_and_overlap_by_what_was_asked(tiles, block):
    for length in LENGTHS:
        axis = axis_of(length, tiles, block)
        assert axis.starts[0] == 0
        assert axis.starts[-1] + axis.side == length
        for before, after in zip(axis.starts, axis.starts[1:], strict=False):
            assert before < after <= before + axis.side - tiles.overlap


@every_way
def test_no_tile_is_larger_than_asked_but_for_a_block(tiles, block):
    for length in LENGTHS:
        assert axis_of(length, tiles, block).side <= tiles.side + block - 1


@every_way
def test_every_tile_begins_with_a_block(tiles, block):
    for length in LENGTHS:
        assert {start % block for start in axis_of(length, tiles, block).starts} == {0}


@every_way
def test_there_are_no_more_tiles_than_needed(tiles, block):
    stride = (tiles.side - tiles.overlap) // block * block
    for length in LENGTHS:
        fewer = len(axis_of(length, tiles, block).starts) - 1
        assert fewer == 0 or tiles.side + (fewer - 1) * stride < length


@every_way
def test_weights_add_up_to_one_at_every_pixel(tiles, block):
    for length in LENGTHS:
        axis = axis_of(length, tiles, block)
        weights = axis.weights()
        assert weights.dtype == np.float32
        assert weights.shape == (len(axis.starts), axis.side)
        assert (weights >= 0).all()
        total = np.zeros(length)
        for start, profile in zip(axis.starts, weights, strict=True):
            total[start : start + axis.side] += profile
        np.testing.assert_allclose(total, 1, rtol=0, atol=2 * np.finfo(np.float32).eps)


def test_a_pixel_of_one_tile_alone_has_weight_one_exactly():
    axis = Axis(90, 40, (0, 25, 50))
    weights = axis.weights()
    assert (weights[0, :25] == 1).all()
    assert (weights[1, 15:25] == 1).all()
    assert (weights[2, 15:] == 1).all()


def test_weights_rise_smoothly_from_almost_nothing():
    rise = Axis(96, 64, (0, 32)).weights()[1, :32]
    assert rise[0] < 0.001
    assert rise[:4].max() < 0.04  # the outer eighth
    assert (np.diff(rise) > 0).all()
    assert np.diff(rise).max() < 1.6 / 32  # a straight ramp climbs by 1 / 32, a jump by 1
    np.testing.assert_allclose(rise + rise[::-1], 1, atol=1e-6)


def test_a_picture_barely_larger_than_a_tile_gets_small_tiles():
    axis = axis_of(513, Tiles(512, 64))
    assert (axis.side, axis.starts) == (320, (0, 193))


def test_sides_that_are_not_longer_than_a_tile_are_not_cut():
    grid = cut((512, 1000, 3), Tiles(512, 64))
    assert (grid.rows.side, grid.rows.starts) == (512, (0,))
    assert len(grid.columns.starts) == 3


def test_all_tiles_of_a_picture_have_one_shape():
    grid = cut((1001, 777, 3), Tiles(200, 30))
    shapes = {(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in grid.places()}
    assert shapes == {grid.shape}
    assert len(list(grid.places())) == len(grid) == len(list(grid.weights()))


def test_a_grid_counts_row_by_row_and_names_its_tiles():
    grid = cut((100, 100, 3), Tiles(64, 8))
    assert [(rows.start, columns.start) for rows, columns in grid.places()] == [
        (0, 0),
        (0, 36),
        (36, 0),
        (36, 36),
    ]
    assert grid.name(1) == "tile 2 of 4 (rows 0 to 63, columns 36 to 99)"


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_tiles_of_a_super_resolution_are_measured_in_the_answer(scale):
    grid = cut((100, 150, 3), Tiles(128, 24), scale=scale)
    answer = grid.enlarged(scale)
    assert max(answer.shape) <= 128
    assert answer.columns.length == 150 * scale
    assert answer.columns.starts == tuple(scale * start for start in grid.columns.starts)
    for before, after in zip(answer.columns.starts, answer.columns.starts[1:], strict=False):
        assert before + answer.columns.side - after >= 24
    total = np.zeros(150 * scale)
    for start, profile in zip(answer.columns.starts, answer.columns.weights(), strict=True):
        total[start : start + answer.columns.side] += profile
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)


# Which tiles are taken ------------------------------------------------------------------------------


def test_auto_leaves_pictures_of_up_to_a_megapixel_in_one_piece():
    assert AUTO_PIXELS == 1024 * 1024
    assert chosen_grid("auto", (1024, 1024, 3)) is None
    assert chosen_grid("auto", (512, 2048, 3)) is None
    assert max(chosen_grid("auto", (1024, 1025, 3)).shape) <= 512


def test_auto_counts_the_pixels_of_the_answer():
    assert chosen_grid("auto", (256, 256, 3), scale=4) is None
    assert chosen_grid("auto", (257, 256, 3), scale=4) is not None


def test_tiles_overlap_by_an_eighth_unless_told_otherwise():
    assert Tiles() == Tiles(512, 64)
    assert Tiles(40) == Tiles(40, 5)
    assert Tiles(40, 0).overlap == 0


def test_none_never_cuts_and_a_description_cuts_what_is_larger():
    assert chosen_grid(None, (9000, 9000, 3)) is None
    assert chosen_grid(Tiles(512, 64), (512, 512, 3)) is None
    assert len(chosen_grid(Tiles(512, 64), (512, 513, 3))) == 2


def test_twenty_four_megapixels_are_126_tiles():
    grid = chosen_grid("auto", (4000, 6000, 3))
    assert (len(grid), grid.shape) == (126, (512, 512))


def test_a_tile_wholly_in_a_hole_is_named():
    mask = np.ones((100, 100), bool)
    mask[:64, 36:] = False
    with pytest.raises(
        InputError, match=r"tile 2 of 4 \(rows 0 to 63, columns 36 to 99\) has no known pixel"
    ):
        chosen_grid(Tiles(64, 8), mask.shape, mask=mask)
    mask[63, 99] = True
    assert len(chosen_grid(Tiles(64, 8), mask.shape, mask=mask)) == 4


def test_auto_takes_larger_tiles_where_a_hole_needs_them():
    mask = np.ones((2000, 2000), bool)
    assert max(chosen_grid("auto", mask.shape, mask=mask).shape) <= 512
    mask[300:1100, 300:1100] = False
    assert 512 < max(chosen_grid("auto", mask.shape, mask=mask).shape) <= 1024
    mask[:1500, :1500] = False
    with pytest.raises(InputError, match=r"tile 1 of .* has no known pixel"):
        chosen_grid("auto", mask.shape, mask=mask)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"side": 31}, "side is 31; it must be a whole number from 32 to 16384"),
        ({"side": 20000}, "side is 20000"),
        ({"side": 64.0}, "side is 64.0"),
        ({"side": True}, "side is True"),
        ({"side": 64, "overlap": 33}, "overlap is 33; it must be a whole number from 0 to 32"),
        ({"overlap": -1}, "overlap is -1"),
        ({"overlap": "8"}, "overlap is '8'"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(values, words):
    with pytest.raises(InputError, match=words) as caught:
        Tiles(**values)
    assert "\n" not in str(caught.value)
