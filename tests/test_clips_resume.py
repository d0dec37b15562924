"""Clips that are killed and taken up again: at most a segment is lost, and no bit is different."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dipedge as de
from dipedge import video
from dipedge.clips import restore_video
from dipedge.priors import Hourglass, Level, Prior, SpaceTime

ROOT = Path(__file__).resolve().parents[1]
SEGMENT, OVERLAP, FRAMES, STEPS = 4, 2, 10, 3  # frames 0-3, 2-5, 4-7, 6-9
RUN = """
import os, signal, sys
from tests.test_clips_resume import options, restore_video, task
where, source, output, resume = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def at_step(step):
    if where == f"step {step.fit}.{step.index}":
        die()

if where == "keeping":  # the frames are there, the state that makes them count is not
    import dipedge.clips.progress_folder as folder
    folder.save_scene = die
if where == "renaming":  # all is written, nothing is in its place
    import dipedge.video.writer as writer
    writer.put_in_place = die
result = restore_video(source, task(), output, resume=resume == "resume", progress=at_step, **options())
print(result.restored, result.resumed, result.steps)
"""


def options():
    level = Level(16, 16, 4, kernel_down=1, kernel_up=1)
    tiny = Prior(SpaceTime(count=4, highest=16.0, times=2), Hourglass((level, level)), name="tiny clip")
    return {
        "prior": tiny, "engine": "native", "segment": SEGMENT, "overlap": OVERLAP, "steps": STEPS,
        "threads": 1, "motion": "affine",
    }  # fmt: skip


def task():
    return de.Denoise()


def run(where, source, output, resume):
    arguments = [where, str(source), str(output), "resume" if resume else "anew"]
    return subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, cwd=ROOT)


def read(folder):
    return np.stack([frame.pixels for frame in video.open_video(folder)])


@pytest.fixture
def source(tmp_path):
    """A folder with a pan over a picture of coarse texture."""
    rng = np.random.default_rng(0)
    wide = np.kron(rng.random((12, 20, 3)), np.ones((3, 3, 1)))
    (tmp_path / "in").mkdir()
    for number in range(FRAMES):
        frame = wide[2:34, number : number + 40] + rng.normal(0, 0.05, (32, 40, 3))
        Image.fromarray((255 * frame.clip(0, 1)).astype(np.uint8)).save(tmp_path / "in" / f"{number}.png")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("where", "kept"),
    [("step 2.1", 2), ("step 4.3", 6), ("keeping", 0), ("renaming", 6)],
)
def test_a_killed_run_is_taken_up_and_no_bit_is_different(source, tmp_path, where, kept):
    whole = restore_video(source, task(), tmp_path / "whole", **options())
    killed = run(where, source, tmp_path / "out", resume=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "out").exists()  # a partial answer is never mistaken for a finished one
    resumed = run("nowhere", source, tmp_path / "out", resume=True)
    assert resumed.returncode == 0, resumed.stderr
    restored, taken_up, steps = map(int, resumed.stdout.split())
    assert (restored, taken_up) == (FRAMES, kept)
    assert steps == STEPS * (4 - kept // 2)  # what was finished was not done again
    np.testing.assert_array_equal(read(tmp_path / "out"), read(tmp_path / "whole"))
    assert whole.restored == FRAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]


def test_an_array_is_taken_up_in_the_depth_it_had(tmp_path):
    rng = np.random.default_rng(1)
    scene, noise = rng.random((16, 20)), rng.random((FRAMES, 16, 20))
    clip = (65535 * (0.9 * scene + 0.1 * noise)).astype(np.uint16)

    def stop(step):
        if step.fit == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_video(clip, task(), tmp_path / "out", progress=stop, **options())
    result = restore_video(clip, task(), tmp_path / "out", resume=True, **options())
    assert result.resumed == 4 and len(result.segments) == 4
    assert [one.first for one in result.segments] == [0, 2, 4, 6]
    assert all(len(one.history) == one.steps == STEPS for one in result.segments)
    assert result.steps == 2 * STEPS
    restore_video(clip, task(), tmp_path / "whole", **options())
    np.testing.assert_array_equal(read(tmp_path / "out"), read(tmp_path / "whole"))


def interrupted(source, output):
    def stop(step):
        if step.fit == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_video(source, task(), output, progress=stop, **options())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"steps": 4}, "steps"),
        ({"overlap": 1}, "overlap"),
        ({"motion": None}, "motion"),
    ],
)
def test_other_settings_are_not_gone_on_with(source, tmp_path, change, named):
    interrupted(source, tmp_path / "out")
    with pytest.raises(de.InputError, match=f"was made with another {named}; resume with the same") as caught:
        restore_video(source, task(), tmp_path / "out", resume=True, **(options() | change))
    assert "\n" not in str(caught.value)
    result = restore_video(source, task(), tmp_path / "out", resume=True, **options())
    assert result.resumed == 4  # the refusal has cost nothing


@pytest.mark.parametrize("number", [0, 3, 5])
def test_another_clip_is_not_gone_on_with(source, tmp_path, number):
    interrupted(source, tmp_path / "out")
    other = np.asarray(Image.open(source / f"{number}.png")).copy()
    other[7, 7, 1] ^= 1
    Image.fromarray(other).save(source / f"{number}.png")
    with pytest.raises(de.InputError, match="was made from another clip than") as caught:
        restore_video(source, task(), tmp_path / "out", resume=True, **options())
    assert "\n" not in str(caught.value)


def test_a_clip_that_has_become_shorter_is_another(source, tmp_path):
    interrupted(source, tmp_path / "out")
    for number in range(5, FRAMES):
        (source / f"{number}.png").unlink()
    with pytest.raises(de.InputError, match="was made from another clip than"):
        restore_video(source, task(), tmp_path / "out", resume=True, **options())


@pytest.mark.parametrize("name", ["run.json", "state-00001.safetensors", "frames-00000.npz"])
def test_damage_to_what_was_kept_is_said_in_one_line(source, tmp_path, name):
    interrupted(source, tmp_path / "out")
    kept = tmp_path / "out.progress" / name
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(de.FileError, match="damaged") as caught:
        restore_video(source, task(), tmp_path / "out", resume=True, **options())
    assert "\n" not in str(caught.value)
    assert restore_video(source, task(), tmp_path / "out", **options()).resumed == 0


def test_a_new_run_throws_away_what_an_older_one_left(source, tmp_path):
    interrupted(source, tmp_path / "out")
    seen = []
    restore_video(source, task(), tmp_path / "out", progress=seen.append, **(options() | {"seed": 9}))
    assert [one.fit for one in seen] == [k for k in (1, 2, 3, 4) for _ in range(STEPS)]
    assert not (tmp_path / "out.progress").exists()


def test_a_folder_of_the_users_own_is_not_thrown_away(source, tmp_path):
    (tmp_path / "out.progress").mkdir()
    (tmp_path / "out.progress" / "thesis.txt").write_text("all of it")
    with pytest.raises(de.FileError, match="is in the way, and no unfinished clip"):
        restore_video(source, task(), tmp_path / "out", **options())
    assert (tmp_path / "out.progress" / "thesis.txt").read_text() == "all of it"


def test_what_is_kept_holds_no_more_than_one_state(source, tmp_path):
    interrupted(source, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out.progress").iterdir())
    assert names == ["frames-00000.npz", "frames-00001.npz", "run.json", "state-00001.safetensors"]
    assert json.loads((tmp_path / "out.progress" / "run.json").read_text())["seed"] == 0
