"""The C API against Python: the same settings give the same bits; what C alone has: types, sizes, errors.

The networks are those of the presets, on pictures of some twenty pixels a side.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("dipedge._native", reason="the native engine is not built")

from dipedge import Denoise, Session
from tests import c_library
from tests.c_library import CSession
from tests.conftest import smooth_picture


def frames(count: int, dtype: str = "uint8", height: int = 20, width: int = 24, channels: int = 3) -> list:
    """A noisy stream: one picture, new noise in each."""
    random, clean = np.random.default_rng(1), smooth_picture(height, width, channels)
    made = []
    for _ in range(count):
        noisy = np.clip(clean + random.normal(0, 0.1, clean.shape), 0, 1).astype(np.float32)
        scale = 1 if dtype == "float32" else np.iinfo(dtype).max
        made.append(noisy if dtype == "float32" else np.rint(noisy * scale).astype(dtype))
    return made


def in_python(task, stream: list, first_stop=None, **settings) -> tuple[list, Session]:
    """The answers of a session on the native engine."""
    with Session(task, engine="native", tiles=None, threads=1, **settings) as session:
        return [session.push(frame, stop=first_stop if i == 0 else None) for i, frame in enumerate(stream)]


def assert_equal_streams(task, stream: list, settings: dict, mask=None, **of_c) -> None:
    height, width, channels = stream[0].shape
    words = {name: value for name, value in settings.items() if value is not None}
    expected = in_python(task, stream, **settings)
    with CSession(height, width, channels, task=task.name, threads=1, **words, **of_c) as session:
        if mask is not None:
            session.set_mask(mask)
        for frame, answer in zip(stream, expected, strict=True):
            np.testing.assert_array_equal(session.restored(frame), answer.image)
            found = session.result
            assert (found.steps, found.chosen_step) == (answer.steps, answer.chosen_step)
            assert c_library.REASONS[found.reason] == answer.reason.value
            assert found.loss == answer.loss


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("quality", ["balanced", "fast", "paper"])
@pytest.mark.parametrize("prior", ["pip", "dip"])
def test_pushed_frames_come_back_with_the_bits_of_python(prior, quality, dtype):
    assert_equal_streams(
        Denoise(), frames(3, dtype), {"prior": prior, "quality": quality, "steps": 9, "seed": 2**40 + 5}
    )
