"""What a network has not taken up yet, put back from the frame itself.

A frame of a stream gets few steps. Right after a scene cut, and wherever something moves by itself, the
network is behind, and its output shows a blur or what was there before. There the frame differs from the
output by more than noise can, and that is known: so much of the difference is kept as is not noise.

That is the local Wiener filter of J.-S. Lee (Digital image enhancement and noise filtering by use of local
statistics, IEEE PAMI 1980), with the network's output in the place of the local mean. Where all is taken up
the residual has the noise's variance, and nothing is put back. Measured in docs/streams.md.
"""

from __future__ import annotations

import numpy as np

# The residual's variance is averaged over 9 x 9 pixels, those in the middle counting most: a box of 5, twice.
BOX = 5
PASSES = 2
# That variance is taken to be noise up to this share of the noise's: an average of 9 x 9 pixels is off by
# chance, too. With 1.0 frames lose a little once all is taken up, with 1.2 they gain less on the way there.
SHARE = 1.1


def with_leftover(estimate: np.ndarray, frame: np.ndarray, noise: float) -> np.ndarray:
    """The estimate, and where it is behind as much of the frame as pays.

    With the variance e of what is not taken up yet, and s of the noise, the mean of estimate and frame that
    is nearest to the truth has weights s/(e + s) and e/(e + s); e is what the residual has
    beyond ``SHARE`` s.

    Args:
        estimate: [H, W, C] float32.
        frame: [H, W, C] float32.
        noise: s, its variance, above 0.
    """
    residual = frame - estimate
    power = _blurred(np.einsum("hwc,hwc->hw", residual, residual) / np.float32(residual.shape[2]))
    behind = np.maximum(power - np.float32(SHARE * noise), 0)
    residual *= (behind / (behind + np.float32(noise)))[..., None]
    residual += estimate
    return residual


def _blurred(plane: np.ndarray) -> np.ndarray:
    """[H, W], averaged over boxes; beyond its edges the edge is repeated."""
    reach = BOX // 2
    for axis in (0, 1) * PASSES:
        padded = np.pad(plane, [(reach, reach) if one == axis else (0, 0) for one in (0, 1)], mode="edge")
        side = plane.shape[axis]
        parts = [padded[k : k + side] if axis == 0 else padded[:, k : k + side] for k in range(BOX)]
        plane = sum(parts[1:], parts[0]) * np.float32(1 / BOX)
    return plane
