"""What a stream remembers of its scene: noise averages out, cameras move, objects leave no trail."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dipedge as de
from dipedge.errors import InputError
from dipedge.streaming.local_motion import block_shifts
from dipedge.streaming.resampling import shifted
from dipedge.streaming.scene_memory import SceneMemory
from dipedge.views import View

EXAMPLES = Path(__file__).parents[1] / "examples"
VARIANCE = (25 / 255) ** 2


def picture(name: str, size: int = 256) -> np.ndarray:
    whole = Image.open(EXAMPLES / name).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(whole, np.float32) / 255


def noisy(clean: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return np.clip(clean + 25 / 255 * draw.standard_normal(clean.shape).astype(np.float32), 0, 1)


def psnr(found: np.ndarray, clean: np.ndarray) -> float:
    return -10 * np.log10(np.mean((found.astype(np.float64) - clean) ** 2))


def remembered(memory: SceneMemory, frame: np.ndarray, view: View) -> np.ndarray:
    memory.follow(view)
    return memory.take(frame, VARIANCE)


def test_the_mean_of_a_scene_that_stands_still_loses_its_noise():
    draw, memory, clean = np.random.default_rng(0), SceneMemory(), picture("chelsea_256.png", 96)
    first = psnr(remembered(memory, noisy(clean, draw), View()), clean)
    for _ in range(15):
        mean = remembered(memory, noisy(clean, draw), View())
    assert (
        psnr(mean, clean) > first + 9
    )  # 12 dB of 16 frames, less what clipping keeps and what looks changed


@pytest.mark.parametrize("speed", [(2.0, 0.0), (1.5, -0.5), (-0.3, 0.7)])
def test_the_mean_follows_a_camera_and_the_answer_is_where_the_frame_is(speed):
    draw, memory, whole = np.random.default_rng(1), SceneMemory(), picture("astronaut_512.png", 256)
    for index in range(16):
        dx, dy = speed[0] * index, speed[1] * index
        clean = shifted(whole, dx, dy)[80:176, 60:156]
        view = View.shift(dx, dy)
        mean = remembered(memory, noisy(clean, draw), view)
    assert all(number == round(number) for number in memory.grid.matrix)
    # A network that had learned nothing: all is given back, at the frame's own place.
    seen = slice(8, -40)
    answer = memory.answer(np.zeros_like(mean))
    assert psnr(answer[seen, 40:-40], clean[seen, 40:-40]) > 29


def test_an_object_that_moves_leaves_no_trail():
    draw, memory, room = np.random.default_rng(2), SceneMemory(), picture("coffee_256.png", 128)
    thing = picture("astronaut_256.png", 128)[20:60, 40:80]
    plain = None
    for index in range(16):
        clean, at = room.copy(), 10 + 3 * index
        clean[40:80, at : at + 40] = thing
        frame = noisy(clean, draw)
        mean = remembered(memory, frame, View())
        plain = frame if plain is None else plain + (frame - plain) / (index + 1)
    trail = (slice(40, 80), slice(at - 24, at))

    def shade(found: np.ndarray) -> float:
        """Root of the mean square of what is wrong over squares of 8 pixels, where noise averages out."""
        apart = (found[trail] - clean[trail]).reshape(5, 8, 3, 8, 3).mean(axis=(1, 3))
        return float(np.sqrt(np.mean(apart**2)))

    assert shade(mean) < 0.02
    assert shade(plain) > 4 * shade(mean)
    assert psnr(mean[:32], clean[:32]) > 29  # and the rest of the room is still averaged


@pytest.mark.parametrize("size", [(64, 96), (61, 94)])
def test_blocks_that_moved_by_themselves_are_found(size):
    draw, room = np.random.default_rng(8), picture("coffee_256.png", 128)[: size[0], : size[1]]
    thing = picture("astronaut_256.png", 128)[20:52, 40:72]
    before, after = room.copy(), room.copy()
    before[16:48, 20:52] = thing
    after[18:50, 23:55] = thing
    stayed = block_shifts(noisy(room, draw), room, VARIANCE)
    if stayed is not None:  # a block or two, by chance
        assert (stayed[0] != np.arange(size[0])[:, None]).mean() < 0.02
    rows, columns = block_shifts(noisy(after, draw), before, VARIANCE)
    assert rows.shape == columns.shape == size
    moved = (rows - np.arange(size[0])[:, None] == -2) & (columns - np.arange(size[1]) == -3)
    assert moved[22:46, 27:51].mean() > 0.8
    assert moved[:, 64:].mean() < 0.02
    assert np.abs(before[rows, columns] - after)[22:46, 27:51].mean() < 0.03


def test_what_the_network_misses_is_given_back_but_not_the_noise():
    draw, memory, clean = np.random.default_rng(3), SceneMemory(), picture("astronaut_256.png", 96)
    for _ in range(12):
        mean = remembered(memory, noisy(clean, draw), View())
    blurred = sum(shifted(clean, dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)) / 9
    assert psnr(memory.answer(blurred), clean) > max(psnr(blurred, clean), psnr(mean, clean)) + 1
    assert psnr(memory.answer(clean), clean) > psnr(mean, clean) + 6  # nothing is missing: hardly any comes


def test_noise_whose_neighbours_are_alike_is_not_taken_for_the_scene():
    draw, memory, clean = np.random.default_rng(4), SceneMemory(), picture("coffee_256.png", 96)
    for _ in range(12):
        grain = draw.standard_normal(clean.shape).astype(np.float32)
        grain = grain + shifted(grain, 1, 0) + shifted(grain, 0, 1) + shifted(grain, 1, 1)
        mean = remembered(memory, np.clip(clean + 0.05 * grain, 0, 1), View())
    assert psnr(mean, clean) > 27.5  # one frame has 20
    assert psnr(memory.answer(clean), clean) > psnr(mean, clean) + 5


def test_a_memory_goes_on_from_its_state_bit_for_bit():
    draw, memory, clean = np.random.default_rng(5), SceneMemory(), picture("coffee_256.png", 64)
    frames = [noisy(clean, draw) for _ in range(4)]
    for index, frame in enumerate(frames[:3]):
        remembered(memory, frame, View.shift(1.3 * index, 0))
    again = SceneMemory()
    assert not again.load_state({}, clean.shape)
    assert again.load_state(memory.state(), clean.shape)
    views = View.shift(5.2, 0.4)
    assert np.array_equal(remembered(memory, frames[3], views), remembered(again, frames[3], views))
    assert again.grid == memory.grid
    with pytest.raises(InputError, match="stream/memory"):
        again.load_state(memory.state(), (32, 64, 3))


def test_whole_shifts_keep_every_bit_and_halves_come_back():
    clean = picture("astronaut_256.png", 64)
    assert np.array_equal(shifted(clean, 3, -2)[2:, :-3], clean[:-2, 3:])
    back = shifted(shifted(clean, 0.5, 0.5), -0.5, -0.5)
    assert psnr(back[8:-8, 8:-8], clean[8:-8, 8:-8]) > 33


@pytest.mark.parametrize("speed", [0, 2])
def test_a_session_that_remembers_is_nearer_than_one_that_does_not(speed):
    whole = picture("astronaut_512.png", 128)
    answers = {}
    for memory in (True, False):
        draw = np.random.default_rng(6)
        with de.Session(de.Denoise(sigma=25), memory=memory, threads=1) as session:
            for index in range(6):
                clean = whole[30:78, 20 + speed * index :][:, :48]
                answers[memory] = psnr(session.push(noisy(clean, draw), steps=6).image, clean)
    assert answers[True] > answers[False] + 2


def test_a_saved_stream_remembers_its_scene(tmp_path):
    draw, whole = np.random.default_rng(7), picture("astronaut_512.png", 128)
    frames = [noisy(whole[30:62, 20 + 2 * index :][:, :40], draw) for index in range(4)]
    with de.Session(de.Denoise(sigma=25), threads=1) as session:
        for frame in frames[:3]:
            session.push(frame, steps=3)
        session.save(tmp_path / "scene.safetensors")
        expected = session.push(frames[3], steps=3).image
    with de.Session.load(tmp_path / "scene.safetensors", threads=1) as session:
        assert np.array_equal(session.push(frames[3], steps=3).image, expected)
