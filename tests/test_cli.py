"""The command line, from arguments to files, on every engine that is here."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dipedge import cli
from dipedge.cli import progress
from dipedge.images import open_image
from dipedge.metrics import psnr
from dipedge.result import Step


def names():
    return sorted(os.listdir())


@pytest.mark.parametrize("command", ["denoise", "jpeg"])
def test_a_picture_is_restored_to_the_file_that_was_named(run, command, engine):
    code, out, err = run(command, "in.png", "-o", "out.png")
    assert (code, err) == (0, "")
    assert "in.png -> out.png" in out
    assert "2 steps in" in out and engine in out
    assert open_image("out.png").size == (20, 16)
    assert names() == ["in.png", "out.png"]


def test_super_resolution_enlarges_by_its_scale(run):
    assert run("superresolve", "in.png", "-o", "out.png", "--scale", 2)[0] == 0
    assert open_image("out.png").size == (40, 32)


def test_super_resolution_is_compared_with_lanczos(run, picture):
    Image.fromarray(picture(32, 40)).save("large.png")
    code, out, _ = run("superresolve", "in.png", "-o", "out.png", "--scale", 2, "--reference", "large.png")
    assert code == 0
    assert " dB (Lanczos) -> " in out


@pytest.mark.parametrize("prior", ["dip", "pip"])
def test_the_json_file_tells_how_it_went(run, prior, engine):
    arguments = ["--json", "out.json", "--reference", "in.png", "--sigma", 25, "--prior", prior, "--seed", 3]
    assert run("denoise", "in.png", "-o", "out.png", *arguments)[0] == 0
    with open("out.json") as file:
        told = json.load(file)
    assert (told["task"], told["sigma"], told["prior"], told["seed"]) == ("denoise", 25, prior, 3)
    assert (told["engine"], told["steps"], told["chosen_step"], told["reason"]) == (engine, 2, 2, "steps")
    assert told["seconds"] > 0 and told["loss"] > 0
    assert told["isa"] and told["device"]
    written, given = (np.asarray(open_image(name)) for name in ("out.png", "in.png"))
    assert told["psnr"] == pytest.approx(psnr(written, given))
    assert told["psnr_before"] is None  # the reference is the input itself
    assert told["ssim_before"] == pytest.approx(1)
    assert told["ssim"] < 1


def test_a_reference_gives_psnr_before_and_after(run, noisy):
    degraded, clean = (np.rint(255 * array).astype(np.uint8) for array in noisy())
    Image.fromarray(degraded).save("noisy.png")
    Image.fromarray(clean).save("clean.png")
    _, out, _ = run("denoise", "noisy.png", "-o", "out.png", "--reference", "clean.png")
    assert f"PSNR {psnr(degraded, clean):.2f} dB -> " in out
    assert "SSIM" in out


def test_pictures_side_by_side(run):
    arguments = ["--reference", "in.png", "--side-by-side", "row.png"]
    assert run("denoise", "in.png", "-o", "out.png", *arguments)[0] == 0
    row = np.asarray(open_image("row.png"))
    assert row.shape == (16, 3 * 20 + 2 * 8, 3)
    np.testing.assert_array_equal(row[:, :20], np.asarray(open_image("in.png")))
    np.testing.assert_array_equal(row[:, 28:48], np.asarray(open_image("out.png")))
    np.testing.assert_array_equal(row[:, -20:], np.asarray(open_image("in.png")))


def test_a_folder_is_restored_into_a_folder_as_png(run, picture):
    os.mkdir("all")
    Image.fromarray(picture(16, 18, 0)).save("all/gray.jpg")
    Image.fromarray(picture(17, 16, 4)).save("all/alpha.png")
    with open("all/notes.txt", "w") as file:
        file.write("not a picture, and not asked for")
    code, out, _ = run("denoise", "all", "-o", "done", "--json", "done.json")
    assert code == 0
    assert "2 of 2 pictures restored" in out
    assert sorted(os.listdir("done")) == ["alpha.png", "gray.png"]
    assert open_image("done/gray.png").mode == "L"
    assert open_image("done/alpha.png").mode == "RGBA"
    with open("done.json") as file:
        assert [entry["input"] for entry in json.load(file)] == ["all/alpha.png", "all/gray.jpg"]


def test_a_glob_is_expanded_where_the_shell_did_not(run, picture):
    for name in ("a1.png", "a2.png", "b.png"):
        Image.fromarray(picture()).save(name)
    assert run("denoise", "a*.png", "-o", "done/")[0] == 0
    assert sorted(os.listdir("done")) == ["a1.png", "a2.png"]


def test_several_files_may_be_named_and_references_stand_in_a_folder(run, picture):
    os.mkdir("true")
    for name in ("a", "b"):
        Image.fromarray(picture()).save(f"{name}.png")
        Image.fromarray(picture()).save(f"true/{name}.bmp")
    _, out, _ = run("denoise", "a.png", "b.png", "-o", "done", "--reference", "true")
    assert out.count("PSNR") == 2


def test_one_file_into_a_folder_keeps_its_name(run):
    assert run("denoise", "in.png", "-o", "done/")[0] == 0
    assert os.listdir("done") == ["in.png"]


def test_a_batch_goes_on_after_a_bad_file_and_says_so(run, picture):
    os.mkdir("all")
    for name in ("a.png", "c.png"):
        Image.fromarray(picture()).save(f"all/{name}")
    with open("all/b.png", "w") as file:
        file.write("no picture")
    code, out, err = run("denoise", "all", "-o", "done", "--json", "done.json")
    assert code == 2
    assert "2 of 3 pictures restored" in out
    assert err.count("\n") == 1 and "all/b.png: not a picture" in err
    assert sorted(os.listdir("done")) == ["a.png", "c.png"]
    with open("done.json") as file:
        assert ["error" in entry for entry in json.load(file)] == [False, True, False]


def test_an_existing_output_is_replaced_only_when_the_new_one_is_complete(run):
    Image.new("RGB", (20, 16)).save("out.png")
    assert run("denoise", "in.png", "-o", "out.png")[0] == 0
    assert np.asarray(open_image("out.png")).max() > 0
    assert names() == ["in.png", "out.png"]


def test_what_a_file_loses_is_said(run, picture):
    first = Image.fromarray(picture())
    first.save("moving.gif", save_all=True, append_images=[Image.new("RGB", (20, 16))])
    code, _, err = run("denoise", "moving.gif", "-o", "out.png")
    assert code == 0
    assert err == "dipedge: moving.gif: note: only the first of 2 frames is taken\n"


# Tiles ----------------------------------------------------------------------------------------------


def test_a_picture_is_cut_as_it_was_asked_and_the_json_file_tells_of_every_tile(run, picture):
    Image.fromarray(picture(20, 70)).save("wide.png")
    code, out, _ = run("denoise", "wide.png", "-o", "out.png", "--tiles", "32,8", "--json", "out.json")
    assert code == 0
    assert "  3 of 3 tiles of 32 x 20 fitted; 3 ended because all steps that were asked for are done" in out
    with open("out.json") as file:
        told = json.load(file)
    assert [(tile["left"], tile["steps"], tile["reason"]) for tile in told["tiles"]] == [
        (0, 2, "steps"), (19, 2, "steps"), (38, 2, "steps")
    ]  # fmt: skip
    assert told["steps"] == 6
    assert open_image("out.png").size == (70, 20)


@pytest.mark.parametrize(("words", "count"), [("auto", 0), ("none", 0), ("64", 2), ("40,4", 2)])
def test_tiles_are_given_as_a_word_or_in_numbers(run, picture, words, count):
    Image.fromarray(picture(20, 70)).save("wide.png")
    assert run("denoise", "wide.png", "-o", "out.png", "--tiles", words, "--json", "out.json")[0] == 0
    with open("out.json") as file:
        assert len(json.load(file)["tiles"]) == count


def test_ctrl_c_in_a_tile_says_what_the_rest_of_the_picture_is(run, picture, monkeypatch):
    def watch(self, step):
        if step.index == 3:
            raise KeyboardInterrupt

    Image.fromarray(picture(20, 70)).save("wide.png")
    monkeypatch.setattr(progress.Lines, "__call__", watch)
    code, out, err = run("denoise", "wide.png", "-o", "out.png", "--tiles", "32,8", "--json", "out.json")
    assert code == 130
    assert err == (
        "dipedge: interrupted in tile 2 of 3; the best result so far is in out.png, "
        "with the picture as it was beyond that tile\n"
    )
    assert "2 of 3 tiles of 32 x 20 fitted; 1 ended because it was interrupted" in out
    answer, given = (np.asarray(open_image(name)) for name in ("out.png", "wide.png"))
    np.testing.assert_array_equal(answer[:, 51:], given[:, 51:])  # where tile 2 ends
    assert (answer[:, :51] != given[:, :51]).any()


# Ctrl-C ---------------------------------------------------------------------------------------------

INTERRUPTING = """
import os, signal, sys
from dipedge import cli
from dipedge.cli import progress

def watch(self, step):
    if step.index == 3:
        os.kill(os.getpid(), signal.SIGINT)

progress.Lines.__call__ = watch
# A shell starts its background jobs with SIGINT ignored, and this suite may be one.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_ctrl_c_writes_the_best_result_so_far_and_says_so(folder, engine):
    arguments = ["in.png", "-o", "out.png", "--engine", engine, "--threads", "1", "--json", "out.json"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTING, "denoise", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr == "dipedge: interrupted; the best result so far (step 3) is in out.png\n"
    assert open_image("out.png").size == (20, 16)
    with open("out.json") as file:
        assert json.load(file)["reason"] == "interrupted"
    assert names() == ["in.png", "out.json", "out.png"]


def test_ctrl_c_before_the_first_step_writes_nothing(run, monkeypatch):
    def interrupted(self, image, reference):
        raise KeyboardInterrupt

    monkeypatch.setattr("dipedge.session.Session.fit", interrupted)
    code, _, err = run("denoise", "in.png", "-o", "out.png")
    assert code == 130
    assert err == "dipedge: in.png: interrupted before the first step\n"
    assert names() == ["in.png"]


def test_ctrl_c_ends_a_whole_batch(run, picture, monkeypatch):
    Image.fromarray(picture()).save("second.png")

    def watch(self, step):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress.Lines, "__call__", watch)
    code, out, _ = run("denoise", "in.png", "second.png", "-o", "done")
    assert code == 130
    assert "0 of 2" in out
    assert os.listdir("done") == ["in.png"]


# Progress -------------------------------------------------------------------------------------------


def test_without_a_terminal_a_line_comes_every_ten_seconds(capsys):
    now = [0.0]
    lines = progress.Lines(sys.stderr, clock=lambda: now[0])
    lines.begin("in.png")
    for index in range(1, 26):
        now[0] = float(index)
        lines(Step(index, 0.01, float(index), limit=125))
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "in.png: step 10/125, 1.0 steps/s, at most 1:55 left, loss 0.01000",
        "in.png: step 20/125, 1.0 steps/s, at most 1:45 left, loss 0.01000",
    ]


def test_a_fit_without_a_limit_of_steps_shows_no_time_left():
    assert progress.status(Step(10, 0.5, 2.0)) == "5.0 steps/s, loss 0.50000"


def test_tiles_that_are_done_tell_how_long_the_others_will_take(capsys):
    now = [0.0]
    lines = progress.Lines(sys.stderr, clock=lambda: now[0])
    lines.begin("in.png")
    for index, tile, earlier in ((10, 1, 0), (50, 2, 40), (95, 3, 90)):  # tiles of 40 and 50 steps
        now[0] += 10
        limit = 4 * 100 if tile == 1 else earlier + (5 - tile) * 100
        lines(Step(index, 0.01, float(index), limit=limit, tile=tile, tiles=4, earlier=earlier))
    assert capsys.readouterr().err.splitlines() == [
        "in.png, tile 1 of 4: step 10/400, 1.0 steps/s, at most 6:30 left, loss 0.01000",
        "in.png, tile 2 of 4: step 50/340, 1.0 steps/s, about 1:50 left, loss 0.01000",
        "in.png, tile 3 of 4: step 95/290, 1.0 steps/s, about 1:25 left, loss 0.01000",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3725, "1:02:05")])
def test_times_are_written_as_clocks_show_them(seconds, text):
    assert progress.clock_time(seconds) == text


def _on_terminal(command):
    """Runs a command whose standard error is a terminal; (exit code, what was shown there)."""
    pty = pytest.importorskip("pty")
    outside, inside = pty.openpty()
    environment = os.environ | {"COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=inside, env=environment) as process:
        os.close(inside)
        shown = b""
        while True:
            try:
                part = os.read(outside, 4096)
            except OSError:  # how Linux says that nobody is left to write
                break
            if not part:
                break
            shown += part
    os.close(outside)
    return process.returncode, shown.decode()


def test_on_a_terminal_a_bar_shows_speed_time_left_and_loss(folder, engine):
    command = [sys.executable, "-m", "dipedge", "denoise", "in.png", "-o", "out.png", "--engine", engine]
    code, shown = _on_terminal([*command, "--steps", "40"])
    assert code == 0
    for words in ("in.png", "/40", "steps/s", "left", "loss"):
        assert words in shown


# Info and bench -------------------------------------------------------------------------------------


def test_info_names_version_machine_and_every_engine(capsys, engine):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    for words in ("dipedge", "processor", "auto", "native", "torch", "usable"):
        assert words in out
    assert f"{engine:<10} ready: " in out


def test_info_says_why_an_engine_is_not_there(capsys, monkeypatch):
    from dipedge.cli import machine
    from dipedge.errors import EngineError

    def missing(name):
        raise EngineError(f"engine {name!r} is not built")

    monkeypatch.setattr(machine, "get_engine", missing)
    assert cli.main(["info"]) == 0
    assert "not available: engine 'native' is not built" in capsys.readouterr().out


def test_bench_puts_every_engine_in_one_table(capsys, engine):
    assert cli.main(["bench", "--size", "16", "--seconds", "0.05", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    for words in ("steps/s", "x torch", "differs", engine):
        assert words in out


@pytest.mark.parametrize(
    "option", [("--size", "8"), ("--seconds", "0"), ("--threads", "0"), ("--prior", "x")]
)
def test_bench_refuses_what_it_cannot_do(capsys, option):
    assert cli.main(["bench", *option]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", [[sys.executable, "-m", "dipedge"], ["dipedge"]])
def test_the_module_and_the_script_are_the_same_command(command):
    environment = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, env=environment, check=True)
    for word in ("denoise", "jpeg", "superresolve", "inpaint", "info", "bench"):
        assert word in done.stdout
    done = subprocess.run([*command, "denoise"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
