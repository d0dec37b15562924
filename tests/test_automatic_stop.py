"""The default stop of denoising, on photographs: near the best step, without knowing the truth."""

from pathlib import Path

import numpy as np
import pytest

from dipedge import arrays, images
from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.fit import fit_steps
from dipedge.metrics import psnr
from dipedge.noise import noise_of
from dipedge.presets import preset
from dipedge.result import StopReason
from dipedge.tasks import Denoise

EXAMPLES = Path(__file__).parents[1] / "examples"
SIDE = 96
BEYOND = 200  # steps made after the stop, to see whether waiting would have been better


@pytest.mark.slow
@pytest.mark.parametrize("name", ["astronaut_256.png", "chelsea_256.png", "coffee_256.png"])
def test_denoising_ends_by_itself_within_a_third_of_a_decibel_of_its_best_step(name):
    pytest.importorskip("dipedge._native")
    pixels = arrays.read(images.open_image(EXAMPLES / name)).pixels
    top, left = ((side - SIDE) // 2 for side in pixels.shape[:2])
    clean = pixels[top : top + SIDE, left : left + SIDE]
    noise = np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    noisy = np.clip(clean + noise, 0, 1).astype(np.float32)
    chosen = preset(Denoise())
    settings = Settings(chosen.optimiser, chosen.average, seed=0, subsample=chosen.subsample)
    program = get_engine("native").compile(chosen.prior, Denoise(), clean.shape, settings)
    program.set_target(noisy)
    along, answer, last = [], None, None
    steps = fit_steps(
        program, chosen.stop, clock=lambda: 0.0, backtrack=chosen.backtrack,
        noise=lambda: noise_of(Denoise(), noisy),
    )  # fmt: skip
    for last in steps:
        answer = last.kept if last.kept is not None else answer
        along.append(psnr(program.estimate(), clean))
    answer = program.estimate() if answer is None else answer
    for _ in range(BEYOND):
        program.step()
        along.append(psnr(program.estimate(), clean))
    program.close()
    assert last.reason is StopReason.DISCREPANCY
    assert psnr(answer, clean) > max(along) - 0.33
