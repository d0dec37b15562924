"""The stream benchmark: its scenes move as they say, and a stream that keeps memory is found."""

from __future__ import annotations

import json
import mmap
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import dipedge as de

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # a plain ``pytest`` does not put it there
    sys.path.append(str(ROOT))

bench_stream = pytest.importorskip("benchmarks.bench_stream")  # skips where the native engine is not built
from benchmarks import stream_runs  # noqa: E402
from benchmarks.stream_scenes import PICTURE, SIGMA, opened, shots  # noqa: E402

PHOTOGRAPH = opened(PICTURE, 8)  # 64 x 64


def clean(scene, count, side=32):
    return [shot.clean for shot in shots(scene, PHOTOGRAPH, side, count)]


def test_every_frame_of_a_scene_has_noise_of_its_own():
    first, second = shots("still", np.full((32, 32, 3), 0.5, np.float32), 32, 2)
    assert np.array_equal(first.clean, second.clean)
    noise = first.noisy - first.clean
    assert noise.std() == pytest.approx(SIGMA, rel=0.05)
    assert np.corrcoef(noise.ravel(), (second.noisy - second.clean).ravel())[0, 1] == pytest.approx(
        0, abs=0.06
    )


def test_a_pan_moves_two_columns_a_frame_and_turns_where_the_photograph_ends():
    frames = clean("pan", 40)
    for before, after in pairwise(frames[:17]):
        assert np.array_equal(before[:, 2:], after[:, :-2])
    assert np.array_equal(frames[17][:, 2:], frames[16][:, :-2])
    assert np.array_equal(frames[0], frames[32])


def test_an_object_moves_over_a_scene_that_stands_still():
    taken = list(shots("object", PHOTOGRAPH, 48, 9))
    for before, after in pairwise(taken):
        changed = np.any(before.clean != after.clean, axis=2)
        assert changed.any()
        assert not np.any(changed & ~after.moving)


def test_a_scene_that_the_photograph_does_not_hold_is_refused():
    with pytest.raises(ValueError, match="a pan of 64 x 64 needs a larger picture"):
        next(shots("pan", PHOTOGRAPH, 64, 1))


class Parrot:
    """A session that gives back what it is shown, ``shift`` off, and keeps ``kilobytes`` of every frame."""

    def __init__(self, shift=0.0, kilobytes=0):
        self.shift, self.kilobytes, self.kept, self.asked = shift, kilobytes, [], []

    def push(self, frame, **rule):
        self.asked.append(rule)
        if self.kilobytes:  # fresh pages: what other tests gave back would hide in the heap
            self.kept.append(mmap.mmap(-1, self.kilobytes * 1024))
            self.kept[-1].write(bytes([1]) * self.kilobytes * 1024)
        return SimpleNamespace(image=frame + self.shift, steps=rule.get("steps", 99))


def quiet(count):
    """Frames without noise, in the middle of the range."""
    for shot in shots("object", 0.25 + PHOTOGRAPH / 2, 48, count):
        yield SimpleNamespace(clean=shot.clean, noisy=shot.clean, moving=shot.moving)


def test_quality_is_that_of_the_last_frame_and_of_what_moves():
    parrot = Parrot(shift=0.01)
    found = stream_runs.quality(parrot, quiet(4), steps=7)
    assert parrot.asked == [{}, *3 * [{"steps": 7}]]
    for name in ("psnr_single", "psnr", "psnr_mean", "psnr_moving"):
        assert found[name] == pytest.approx(40, abs=0.01), name
    assert found["flicker"] == pytest.approx(0, abs=1e-3)
    assert (found["steps"], found["frames"]) == (7, 4)


def test_latency_leaves_the_first_frame_out():
    found = stream_runs.latency(Parrot(), quiet(6), steps=3)
    assert (found["frames"], found["steps_p50"]) == (5, 3)
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]


def test_a_camera_that_waits_for_nobody_is_slowed_down_by_nothing_but_its_rate(tiny_pip):
    frames = [shot.noisy for shot in shots("pan", PHOTOGRAPH, 16, 6)]
    with de.Session(de.Denoise(), prior=tiny_pip, engine="native", threads=1, steps=1) as session:
        begin = time.perf_counter()
        found = stream_runs.streamed_latency(session, frames, 20.0, steps=1)
        assert time.perf_counter() - begin >= 5 / 20.0
    assert found["frames"] == 6
    assert 0 <= found["dropped"] < 6
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory in use is read from Linux")
@pytest.mark.parametrize(("kilobytes", "grows"), [(0, False), (256, True)])
def test_a_stream_that_keeps_memory_of_every_frame_is_found(kilobytes, grows):
    results = stream_runs.pushed(Parrot(kilobytes=kilobytes), quiet(100), {}, {})
    found = stream_runs.memory(results, settled=20, every=8)
    # From the middle of the first quarter to that of the last are 56 frames.
    assert (found["growth_mib"] > 10) is grows
    assert grows or found["growth_mib"] < 4
    assert found["highest_mib"] >= found["settled_mib"] > 10


SMALL = ["--sides", "16", "--side", "16", "--steps", "1", "--frames", "3", "--latency-frames", "4"]
SMALL += ["--rate", "200", "--memory-frames", "8", "--quality", "fast", "--threads", "1"]


def test_all_sections_are_written_and_one_alone_is_measured_again(tmp_path, capsys):
    place = tmp_path / "stream.json"
    assert bench_stream.main([*SMALL, "--growth", "100", "--json", str(place)]) == 0
    report = json.loads(place.read_text())
    assert [len(report[section]["rows"]) for section in bench_stream.SECTIONS] == [3, 3, 2]
    assert {row["scene"] for row in report["quality"]["rows"]} == {"still", "pan", "object"}
    page = place.with_suffix(".md").read_text()
    assert page.count("\n| ") == 3 + 3 + 2 + 2 * 3
    before = report["quality"]
    assert bench_stream.main(["memory", *SMALL, "--growth", "-1000", "--json", str(place)]) == 1
    assert "memory grew" in capsys.readouterr().err
    assert json.loads(place.read_text())["quality"] == before


def test_a_word_it_does_not_know_is_refused(tmp_path, capsys):
    assert bench_stream.main(["speed", "--json", str(tmp_path / "a.json")]) == 2
    assert "quality, latency, memory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_stream_of_the_benchmark_gets_better_with_more_steps():
    found = {}
    for steps in (1, 20):
        with de.Session(de.Denoise(), engine="native", quality="fast", threads=1) as session:
            found[steps] = stream_runs.quality(session, shots("still", PHOTOGRAPH, 32, 5), steps)
    assert found[20]["psnr"] > found[20]["psnr_single"]
    assert found[1]["frames_per_second"] > found[20]["frames_per_second"]
