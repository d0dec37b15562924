"""Cut-outs: what an image encoder sees of a picture in one step, drawn from (seed, step) alone.

One look at the whole picture says too little: an encoder of 224 pixels sees a picture of 512 in passing,
and what it likes best at one place, size and angle are patterns no eye would read. So it sees many pieces
of other sizes and places, each bent and recoloured a little, and only what is there in all of them counts.

The distributions are those of the published fits with PIP (and of the notebooks by Katherine Crowson they
follow): sizes from a normal distribution of mean 0.8 and deviation 0.3 of the shorter side, cut off at the
encoder's own size and the whole side; a quarter of the pieces, less one, is the whole picture; area
averaging to the encoder's size; then flips, turns of 15 degrees, shifts of a tenth, perspective of 0.4,
jitter of the colours by 0.1, and one piece in seven in grey. There a library does these one after the
other; here all that moves pixels is one mapping of coordinates and all that changes colours one matrix, so
that a piece is interpolated once. Hue is turned about the grey axis, not in HSV, which has kinks.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MEAN_SIZE, SIZE_DEVIATION = 0.8, 0.3  # of cut-outs, as shares of the picture's shorter side
FLIP = 0.5  # each of these: how often
MOVE, TURN, SHIFT = 0.8, math.radians(15), 0.1  # turn in radians, shift as a share of the side; up to so much
SKEW, CORNERS = 0.7, 0.4  # how far corners move in, as a share of half the side
RECOLOUR, JITTER = 0.7, 0.1  # of brightness, contrast, saturation; of hue as a share of the whole turn
GREY = 0.15
LUMA = np.array([0.299, 0.587, 0.114])
STREAM = 0xC07  # keeps these draws off those of the weights and of the perturbation


def drawing(seed: int, step: int) -> np.random.Generator:
    """The random numbers of one step, whatever was drawn before it."""
    return np.random.default_rng((STREAM, seed & (2**64 - 1), step))


def cut(picture: Tensor, count: int, size: int, random: np.random.Generator) -> Tensor:
    """Square pieces of a picture [1, C, H, W], brought to one size: [count, C, size, size]."""
    height, width = picture.shape[2:]
    short = min(height, width)
    whole = max(count // 4 - 1, 0)
    pieces = []
    for index in range(count):
        # Drawn for whole pictures too: how many of them there are changes nothing for the others.
        share = np.clip(random.normal(MEAN_SIZE, SIZE_DEVIATION), min(size / short, 1.0), 1.0)
        side = max(int(short * share), 1)
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        piece = picture if index >= count - whole else picture[:, :, top : top + side, left : left + side]
        pieces.append(_resized(piece, size))
    return torch.cat(pieces)


def _resized(piece: Tensor, size: int) -> Tensor:
    """Area averages where pixels become fewer, bilinear interpolation where they become more."""
    if min(piece.shape[2:]) >= size:
        return F.adaptive_avg_pool2d(piece, size)
    return F.interpolate(piece, size=(size, size), mode="bilinear", align_corners=False)


def vary(pieces: Tensor, random: np.random.Generator) -> Tensor:
    """Pieces [N, 3, S, S] in [0, 1], each moved and recoloured at random; still in [0, 1]."""
    count = pieces.shape[0]
    moves, skews = _moves(count, random), _skews(count, random)
    colours, offsets = _colours(count, random)
    moved = _warp(pieces, moves, skews)
    matrix, offset = (
        torch.as_tensor(a, dtype=pieces.dtype, device=pieces.device) for a in (colours, offsets)
    )
    return (torch.einsum("nij,njhw->nihw", matrix, moved) + offset[:, :, None, None]).clamp(0, 1)


def _chosen(count: int, often: float, random: np.random.Generator) -> np.ndarray:
    return random.random(count) < often


def _moves(count: int, random: np.random.Generator) -> np.ndarray:
    """Affine maps [N, 2, 3] from where a pixel is wanted to where it is taken, coordinates in [-1, 1]."""
    flip = np.where(_chosen(count, FLIP, random), -1.0, 1.0)
    move = _chosen(count, MOVE, random)
    angle = np.where(move, random.uniform(-TURN, TURN, count), 0.0)
    # Coordinates span 2 from side to side.
    shift = np.where(move[:, None], 2 * random.uniform(-SHIFT, SHIFT, (count, 2)), 0.0)
    found = np.empty((count, 2, 3))
    found[:, 0, 0], found[:, 0, 1] = flip * np.cos(angle), -flip * np.sin(angle)
    found[:, 1, 0], found[:, 1, 1] = np.sin(angle), np.cos(angle)
    found[:, :, 2] = shift
    return found


def _skews(count: int, random: np.random.Generator) -> np.ndarray:
    """Homographies [N, 3, 3], of the same direction, that bring corners moved inwards back to theirs."""
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    inwards = CORNERS * random.random((count, 4, 2)) * _chosen(count, SKEW, random)[:, None, None]
    taken_from = corners * (1 - inwards)
    # Two equations a corner for eight numbers; the ninth is 1.
    system, wanted = np.zeros((count, 8, 8)), np.empty((count, 8, 1))
    for corner in range(4):
        point = np.concatenate([taken_from[:, corner], np.ones((count, 1))], axis=1)
        for axis in range(2):
            row, target = 2 * corner + axis, corners[corner, axis]
            system[:, row, 3 * axis : 3 * axis + 3] = point
            system[:, row, 6:] = -target * point[:, :2]
            wanted[:, row] = target
    solved = np.linalg.solve(system, wanted)[:, :, 0]
    return np.concatenate([solved, np.ones((count, 1))], axis=1).reshape(count, 3, 3)


def _warp(pieces: Tensor, moves: np.ndarray, skews: np.ndarray) -> Tensor:
    """Moved by ``moves``, the border going on outside, then skewed by ``skews``, black outside."""
    count, size = pieces.shape[0], pieces.shape[-1]
    centres = (2 * np.arange(size) + 1) / size - 1
    places = np.stack([*np.meshgrid(centres, centres), np.ones((size, size))], axis=-1)
    flat = np.einsum("nij,hwj->nhwi", skews, places)
    flat = flat[..., :2] / flat[..., 2:]
    inside = (np.abs(flat) <= 1).all(axis=-1)
    grid = np.einsum("nij,nhwj->nhwi", moves[:, :, :2], flat) + moves[:, None, None, :, 2]
    grid, inside = (torch.as_tensor(a, dtype=pieces.dtype, device=pieces.device) for a in (grid, inside))
    taken = F.grid_sample(pieces, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return taken * inside.reshape(count, 1, size, size)


def _colours(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A matrix [N, 3, 3] and an offset [N, 3] of the colours of each piece."""
    chosen = _chosen(count, RECOLOUR, random)[:, None]
    brightness, contrast, saturation, hue = np.where(chosen, random.uniform(-JITTER, JITTER, (count, 4)), 0).T
    grey = np.broadcast_to(LUMA, (3, 3))
    full = np.where(_chosen(count, GREY, random), 0.0, 1 + saturation)[:, None, None]
    saturated = full * np.eye(3) + (1 - full) * grey
    matrix = (1 + contrast)[:, None, None] * (saturated @ _hues(2 * np.pi * hue))
    return matrix, np.repeat(brightness[:, None], 3, axis=1)


def _hues(angles: np.ndarray) -> np.ndarray:
    """Rotations [N, 3, 3] about the grey axis (1, 1, 1), by Rodrigues' formula; grey stays as it is."""
    axis = 1 / math.sqrt(3)
    cross = axis * np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    return cosine * np.eye(3) + sine * cross + (1 - cosine) / 3
