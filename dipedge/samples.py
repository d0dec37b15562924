"""Pictures drawn from a prior: what it puts out before anything has been fitted."""

from __future__ import annotations

import numpy as np

from dipedge.engines import engine_for
from dipedge.engines.base import Settings
from dipedge.errors import InputError
from dipedge.priors import GivenImage, Prior
from dipedge.tasks import Denoise


def sample_prior(
    prior: Prior, shape: tuple[int, int, int], seed: int = 0, engine: str = "auto"
) -> np.ndarray:
    """A picture of the prior with random weights, the point where a fit with this seed begins.

    A network is no distribution over pictures, but where it begins says what it prefers: colours in patches
    whose size grows with its depth, grain from its skips (DIP paper, section "'Sampling' from the deep image
    prior"). z is not perturbed.

    Args:
        prior: the description, such as ``dip()``.
        shape: (H, W, C) of the picture, each 1 or more.
        seed: of weights and z; one seed gives the same bits on one engine.
        engine: which one evaluates it; see ``engines.get_engine``.

    Returns:
        [H, W, C], float32 in [0, 1].

    Raises:
        InputError: a shape with a side under 1, or a prior whose z is a given image.
        EngineError: the engine cannot run here, or not this prior.
    """
    if isinstance(prior.encoding, GivenImage):
        raise InputError("prior has a given image as its input; there is none to draw a sample from")
    if len(shape) != 3 or not all(isinstance(side, int) and side >= 1 for side in shape):
        raise InputError(f"shape is {shape}; it must be (H, W, C), whole numbers of 1 or more")
    task = Denoise()  # of the tasks one without a mask or a scale: what it compares with is not looked at
    program = engine_for(engine, prior, task).compile(
        prior, task, shape, Settings(seed=seed, precision="fp32")
    )
    try:
        program.set_target(np.zeros(shape, np.float32))
        return np.clip(program.evaluate().output, 0, 1)
    finally:
        program.close()
