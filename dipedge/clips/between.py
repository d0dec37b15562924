"""What lies between two frames: their mean, each moved half of the way that the camera went.

The network could be asked for times between (``ClipProgram.between``), as PIP's authors do. But what it puts
out where no frame ever told it anything is farther from the scene than this, in pixels that move as in pixels
that stand (docs/video.md).
"""

from __future__ import annotations

import numpy as np

from dipedge.views import View

BAND = 2**18  # pixels at a time: sixteen neighbours of each are weighed


def blended(before: np.ndarray, after: np.ndarray, views: tuple[View, View], part: float) -> np.ndarray:
    """The scene ``part`` of the way from one frame to the next.

    Args:
        before, after: answers of the two frames, float32 [H, W, C].
        views: of both, in their pixels.
        part: in (0, 1).
    """
    first, second = (np.vstack([np.reshape(view.matrix, (2, 3)), (0.0, 0.0, 1.0)]) for view in views)
    motion = np.linalg.solve(first, second)  # pixels of the second frame -> of the first
    to_first = (1 - part) * np.eye(3) + part * motion
    to_second = np.linalg.solve(motion, to_first)
    return (1 - part) * moved(before, to_first) + part * moved(after, to_second)


def moved(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The picture looked at from elsewhere: pixel (x, y) of the answer is what lies at ``matrix`` (x, y, 1).

    Interpolated by cubic convolution (Keys, 1981); beyond the border the border's pixels go on.

    Args:
        picture: float32 [H, W, C].
        matrix: [3, 3], of column and row; its last row is (0, 0, 1).
    """
    if np.allclose(matrix, np.eye(3), rtol=0, atol=1e-6):
        return picture
    height, width = picture.shape[:2]
    answer = np.empty_like(picture)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        row, column = np.mgrid[top : min(top + rows, height), :width]
        (a, b, c), (d, e, f) = matrix[:2]
        answer[top : top + rows] = _interpolated(picture, d * column + e * row + f, a * column + b * row + c)
    return answer


def _interpolated(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The picture at places [h, w] between its pixels, [h, w, C]."""
    height, width = picture.shape[:2]
    total = np.zeros((*rows.shape, picture.shape[2]), np.float32)
    first_row, first_column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, across = _weights(rows - first_row), _weights(columns - first_column)
    for i in range(4):
        row = np.clip(first_row + i - 1, 0, height - 1)
        for j in range(4):
            column = np.clip(first_column + j - 1, 0, width - 1)
            total += (down[i] * across[j])[..., None] * picture[row, column]
    return total


def _weights(part: np.ndarray) -> list[np.ndarray]:
    """Keys' cubic kernel (a = -1/2) at the four pixels around a place ``part`` behind the second."""
    near = [1.5 * t**3 - 2.5 * t**2 + 1 for t in (part, 1 - part)]
    far = [-0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 for t in (1 + part, 2 - part)]
    return [weight.astype(np.float32) for weight in (far[0], near[0], near[1], far[1])]
