"""dipedge video: clips and folders of frames from the command line."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipedge import cli
from dipedge.cli.video_progress import FilmLines, FilmWatch
from dipedge.result import Step

av = pytest.importorskip("av", reason="PyAV is not installed")
pytest.importorskip("dipedge.clips", reason="clips need SpaceTime priors", exc_type=ImportError)

from dipedge.video import open_video  # noqa: E402
from tests.video_clips import packets_of, picture, write_clip  # noqa: E402

QUICK = ("--prior", "pip", "--steps", "1", "--threads", "1")  # frame by frame: the smallest fits there are


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here, capsys):
    """``run("denoise", ...)``: (exit code, standard output, standard error)."""

    def command(*arguments, quick=QUICK):
        code = cli.main(["video", *map(str, arguments), *quick])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def told_in(name):
    """What a JSON file holds."""
    return json.loads(Path(name).read_text())


def clip(name="a.mkv", count=4, size=(16, 20), **options):
    return write_clip(name, options.pop("codec", "ffv1"), count=count, size=size, **options)


def test_a_video_is_denoised_with_its_sound_and_its_times(run):
    clip(sound="libopus")
    code, said, noise = run("denoise", "a.mkv", "-o", "b.mkv", "--sigma", "25", "--json", "told.json")
    assert (code, noise) == (0, "")
    assert said.startswith("a.mkv -> b.mkv\n  4 frames in ")
    before, after = open_video("a.mkv"), open_video("b.mkv")
    assert [frame.time for frame in before] == [frame.time for frame in after]
    assert packets_of("a.mkv", "audio") == packets_of("b.mkv", "audio")
    told = told_in("told.json")
    assert (told["input"], told["output"], told["task"], told["sigma"]) == ("a.mkv", "b.mkv", "denoise", 25)
    assert (told["frames"], told["resumed"], told["rate"], told["input_codec"]) == (4, 0, 25, "ffv1")
    assert told["steps"] == sum(segment["steps"] for segment in told["segments"]) > 0
    assert told["steps_per_second"] > 0 and told["frames_per_second"] > 0 and told["notes"] == []


def test_a_video_is_enlarged_and_its_holes_are_filled(run):
    clip()
    assert run("superresolve", "a.mkv", "-o", "large.mp4", "--scale", "2")[0] == 0
    assert open_video("large.mp4").shape == (32, 40, 3)
    known = np.full((16, 20), 255, np.uint8)
    known[5:9, 5:9] = 0
    Image.fromarray(known).save("mask.png")
    assert run("inpaint", "a.mkv", "--mask", "mask.png", "-o", "filled.mkv", "--codec", "ffv1")[0] == 0
    assert run("jpeg", "a.mkv", "-o", "clean.mkv")[0] == 0


def test_frames_as_shell_and_glob_and_folder_become_the_same_video(run):
    for index in range(3):
        Image.fromarray(picture(index, 16, 20)).save(f"f{index}.png")
    names = [f"f{index}.png" for index in (2, 0, 1)]  # as they come; a reader sorts them
    assert run("denoise", *names, "-o", "shell.mkv", "--rate", "10", "--codec", "ffv1")[0] == 0
    assert run("denoise", "f*.png", "-o", "glob.mkv", "--rate", "10", "--codec", "ffv1")[0] == 0
    assert run("denoise", "f*.png", "-o", "frames/*.tif")[0] == 0
    shell, glob = open_video("shell.mkv"), open_video("glob.mkv")
    assert shell.rate == glob.rate == 10
    for first, second in zip(shell, glob, strict=True):
        assert (first.pixels == second.pixels).all()
    assert [path.name for path in open_video("frames").pictures] == ["f0.tif", "f1.tif", "f2.tif"]


def test_a_reference_gives_psnr_and_ssim_of_what_came_in_and_of_what_was_written(run):
    clip("truth.mkv", count=3)
    clip("noisy.mkv", count=3, prepare=None)
    code, said, _ = run("denoise", "noisy.mkv", "-o", "b.mkv", "--reference", "truth.mkv", "--json", "t.json")
    assert code == 0
    assert "PSNR identical -> " in said and "SSIM 1.0000 -> " in said
    told = told_in("t.json")
    assert told["psnr_before"] is None and told["ssim_before"] == pytest.approx(1)
    assert 3 < told["psnr"] < 60 and 3 < told["psnr_written"] < 60 and 0 < told["ssim_written"] < 1
    assert told["ssim3d"] is None  # fewer than seven frames


def test_without_sound_if_so_asked_and_with_a_note_where_it_cannot_be_copied(run):
    clip(sound="pcm_s16le", count=2)
    _, _, noise = run("denoise", "a.mkv", "-o", "b.webm", "--json", "told.json")
    assert noise == "dipedge: a.mkv: note: a .webm file holds no pcm_s16le sound of this kind; left out\n"
    assert told_in("told.json")["notes"] == [noise.split("note: ")[1].strip()]
    _, _, noise = run("denoise", "a.mkv", "-o", "c.webm", "--no-audio")
    assert noise == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.mkv", "-o", "a.mkv"], "dipedge: a.mkv: is also what is read; give the output another name"),
        (["missing.mp4", "-o", "b.mp4"], "dipedge: missing.mp4: no such file"),
        (["words.mp4", "-o", "b.mp4"], "dipedge: words.mp4: not a video that can be read"),
        (["a.mkv", "-o", "b.xyz"], "dipedge: b.partial.xyz: .xyz is no video file; use "),
        (["a.mkv", "-o", "no/b.mp4"], "dipedge: no/b.mp4: there is no folder no"),
        (["a.mkv", "-o", "b.mp4", "--codec", "h999"], "dipedge: codec is 'h999'; it must be one of "),
        (["a.mkv", "-o", "b.mp4", "--crf", "77"], "dipedge: crf is 77, but ffv1 has no such scale"),
        (["a.mkv", "-o", "b.mp4", "--rate", "10"], "dipedge: rate is 10; that is for folders of frames"),
        (["a.mkv", "words.mp4", "-o", "b.mp4"], "dipedge: 2 inputs and a.mkv is no picture"),
        (["a.mkv", "-o", "b.mp4", "--motion", "up"], "dipedge: motion is 'up'"),
        (["a.mkv", "-o", "b.mp4", "--times", "9"], "dipedge: times is 9"),
        (["a.mkv", "-o", "b.mp4", "--tiles", "x"], "dipedge: tiles is 'x'"),
        (
            ["a.mkv", "-o", "b.mp4", "--reference", "large.mkv"],
            "dipedge: large.mkv is 40 x 32; the restored ",
        ),
        (["a.mkv", "-o", "b.mp4", "--history"], "dipedge: history goes into the JSON file"),
        (["a.mkv", "-o", "b.mp4", "--json", "a.mkv"], "dipedge: a.mkv: is also read"),
        (["a.mkv", "-o", "b.mp4", "--json", "b.mp4"], "dipedge: b.mp4: two outputs would be written there"),
        (["a.mkv", "-o", "b.mp4", "--json", "no/t.json"], "dipedge: no/t.json: there is no folder no"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_leaves_nothing(run, here, arguments, said):
    clip(count=2)
    clip("large.mkv", count=2, size=(32, 40))
    (here / "words.mp4").write_text("no video" * 99)
    before = sorted(here.iterdir())
    code, out, noise = run("denoise", *arguments)
    assert (code, out) == (2, "")
    assert noise.startswith(said) and noise.count("\n") == 1
    assert sorted(here.iterdir()) == before


def test_a_truncated_video_is_restored_up_to_there_and_kept_under_its_partial_name(run, here):
    data = clip(count=8, size=(32, 40)) and (here / "a.mkv").read_bytes()
    (here / "cut.mkv").write_bytes(data[: len(data) // 2])
    code, _, noise = run("denoise", "cut.mkv", "-o", "b.mkv", "--json", "told.json")
    assert code == 2 and noise.count("\n") == 1
    assert noise.startswith("dipedge: cut.mkv: ends too early after ") and "are in b.partial.mkv" in noise
    kept = len(list(open_video("b.partial.mkv")))
    assert 1 <= kept < 8 and f"the {kept} frames before it" in noise
    assert not (here / "b.mkv").exists()
    assert "ends too early" in told_in("told.json")["error"]


def test_ctrl_c_keeps_and_names_what_is_finished_and_resume_goes_on(run, here, monkeypatch):
    clip(count=4)
    whole = run("denoise", "a.mkv", "-o", "whole.mkv", "--codec", "ffv1")
    assert whole[0] == 0

    def interrupt(_, step):
        if step.fit == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FilmLines, "__call__", interrupt)
        code, _, noise = run("denoise", "a.mkv", "-o", "b.mkv", "--codec", "ffv1", "--json", "told.json")
    assert code == 130
    said = "dipedge: a.mkv: interrupted; the 2 frames before are in b.partial.mkv (--resume goes on from"
    assert noise == f"{said} there)\n"
    assert len(list(open_video("b.partial.mkv"))) == 2 and not (here / "b.mkv").exists()
    told = told_in("told.json")
    assert (told["reason"], told["frames"], told["output"]) == ("interrupted", 2, "b.partial.mkv")
    code, said, _ = run("denoise", "a.mkv", "-o", "b.mkv", "--codec", "ffv1", "--resume")
    assert code == 0 and "4 frames (2 of them by an earlier run)" in said
    for first, second in zip(open_video("whole.mkv"), open_video("b.mkv"), strict=True):
        assert (first.pixels == second.pixels).all()
    assert not list(here.glob("b.*partial*")) and not list(here.glob("*.progress"))


class _Clip:
    """What the progress needs of a reader."""

    path, frames, handed_out = "a.mp4", 40, 10


def test_progress_counts_frames_and_foresees_the_time_of_all():
    clock = iter(np.arange(0.0, 1000.0, 10.0)).__next__
    reader = _Clip()
    watch = FilmWatch(reader, clock)  # at 0 s
    half = Step(5, 0.25, 4.0, limit=10, fit=1, fits=4)
    assert watch.done(half) == 5
    assert watch.named(half) == "segment 1 of 4"
    assert watch.status(half) == "1.2 steps/s, about 1:10 left, loss 0.25000"  # 5 of 40 frames in 10 s
    reader.handed_out = 20
    assert watch.done(Step(5, 0.25, 4.0, limit=10, fit=2, fits=4, tile=2, tiles=6)) == 15
    assert watch.named(Step(5, 0.25, 4.0, fit=2, tile=2, tiles=6)) == "segment 2, tile 2 of 6"


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    times = iter([0.0, 0.0, 1.0, 11.0, 11.0, 12.0])
    lines = FilmLines(_Clip(), times.__next__)
    for index in (1, 5, 6):
        lines(Step(index, 0.25, 2.0 * index, limit=10, fits=4))
    assert sys.stderr.getvalue() == (
        "a.mp4: frame 5 of 40, segment 1 of 4, 0.5 steps/s, about 1:17 left, loss 0.25000\n"
    )


def test_the_commands_help_names_every_option(capsys):
    assert cli.main(["video", "superresolve", "--help"]) == 0
    said = capsys.readouterr().out
    for name in (
        "--scale",
        "--output",
        "--segment",
        "--times",
        "--resume",
        "--codec",
        "--crf",
        "--reference",
    ):
        assert name in said
    assert "--no-audio" in said
