"""The camera examples as they are run: on files, stand-ins for cameras, and GStreamer's test picture."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import dipedge as de

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def example(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frames_of(count, height=32, width=48, seed=0):
    """A still scene, uint8 [H, W, 3], with other noise in every frame."""
    row, column = np.mgrid[:height, :width]
    clean = np.stack([127 + 90 * np.sin(column / 9), 127 + 90 * np.cos(row / 7), 90 + 0 * row], axis=2)
    noise = np.random.default_rng(seed)
    return [np.clip(clean + noise.normal(0, 15, clean.shape), 0, 255).astype(np.uint8) for _ in range(count)]


def restored(frames, steps=2, **options):
    """What a session makes of them."""
    with de.Session(de.Denoise(), **options) as session:
        return [session.push(frame, steps=steps).image for frame in frames]


@pytest.fixture
def quick(monkeypatch, tiny_pip):
    """``quick(name)``: an example whose sessions have a tiny prior and one thread; they are in ``opened``."""

    def make(name):
        module = example(name)
        module.opened = []

        def session(*arguments, **options):
            module.opened.append(de.Session(*arguments, prior=tiny_pip, threads=1, **options))
            return module.opened[-1]

        class Face:  # dipedge, as the example sees it
            Session = staticmethod(session)

            def __getattr__(self, name):
                return getattr(de, name)

        module.de = Face()
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        return module

    return make


# OpenCV ---------------------------------------------------------------------------------------------


class Capture:
    """Stands for ``cv2.VideoCapture``: gives frames (BGR), None once where the camera fails."""

    def __init__(self, frames):
        self.frames, self.opened = list(frames), 0

    def __call__(self, source):
        return self

    def isOpened(self):
        return True

    def get(self, key):
        return 25.0

    def read(self):
        frame = self.frames.pop(0) if self.frames else None
        return frame is not None, None if frame is None else frame[..., ::-1].copy()

    def open(self, source):
        self.opened += 1

    def release(self):
        pass


@pytest.fixture
def opencv(quick, monkeypatch):
    """``opencv(frames, *arguments)``: runs the example; (exit code, shown images, capture, module)."""
    cv2 = pytest.importorskip("cv2")

    def run(frames, *arguments):
        module, capture, shown = quick("camera_opencv"), Capture(frames), []
        monkeypatch.setattr(cv2, "VideoCapture", capture)
        monkeypatch.setattr(module.Screen, "show", lambda self, image: shown.append(image) or True)
        code = module.main([*arguments, "--every-frame", "--steps", "2"])
        return code, shown, capture, module

    return run


def test_opencv_frames_come_out_as_a_session_restores_them(opencv, tiny_pip):
    frames = frames_of(4)
    code, shown, _, _ = opencv(frames, "0", "--retries", "0")
    assert code == 0
    for found, wanted in zip(shown, restored(frames, prior=tiny_pip, threads=1), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_opencv_opens_a_camera_again_that_gave_no_frame(opencv, capsys):
    # More than are wanted: the thread that reads is some frames ahead.
    frames = [*frames_of(2), None, None, *frames_of(12, seed=1)]
    code, shown, capture, _ = opencv(frames, "0", "--frames", "4", "--retries", "3")
    assert (code, len(shown), capture.opened) == (0, 4, 2)
    assert capsys.readouterr().err.count("opening it again") == 2


def test_opencv_begins_a_new_session_when_the_size_changes(opencv, tiny_pip):
    first, second = frames_of(2), frames_of(2, 24, 40)
    code, shown, _, module = opencv([*first, *second], "0", "--retries", "0")
    assert (code, len(module.opened)) == (0, 2)
    wanted = [image for part in (first, second) for image in restored(part, prior=tiny_pip, threads=1)]
    for found, expected in zip(shown, wanted, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_opencv_says_in_one_line_what_cannot_be_opened(quick, capfd, tmp_path):
    pytest.importorskip("cv2")
    assert quick("camera_opencv").main([str(tmp_path / "none.avi")]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("camera_opencv")]
    assert len(lines) == 1
    assert "none.avi" in lines[0]


def test_opencv_writes_a_file_of_every_frame(quick, tmp_path):
    cv2 = pytest.importorskip("cv2")
    module, path = quick("camera_opencv"), str(tmp_path / "out.avi")
    screen = module.Screen(path, 25.0)
    for frame in [*frames_of(2), *frames_of(1, 24, 40)]:  # the last is scaled
        assert screen.show(frame)
    screen.close()
    capture = cv2.VideoCapture(path)
    found = [capture.read()[1] for _ in range(3)]
    assert [frame.shape for frame in found] == [(32, 48, 3)] * 3
    assert np.abs(found[0][..., ::-1].astype(int) - frames_of(1)[0]).mean() < 20  # JPEG of noise


# PyAV -----------------------------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path):
    """Path and frames of a lossless video with a gap in its times: 0, 40, 80 and 200 ms."""
    av = pytest.importorskip("av")
    path, frames = tmp_path / "clip.mkv", frames_of(4, 32, 50)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 50, 32, "bgr0"
        for frame, pts in zip(frames, (0, 40, 80, 200), strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = pts
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path, frames


def times_of(path):
    import av

    with av.open(str(path)) as container:
        return [round(1000 * frame.time) for frame in container.decode(video=0)]


def test_pyav_restores_every_frame_and_keeps_its_time(quick, clip, tmp_path, monkeypatch, tiny_pip):
    path, frames = clip
    module, written = quick("camera_pyav"), []
    original = module.Recorder.write
    monkeypatch.setattr(
        module.Recorder, "write", lambda self, image, at: written.append(image) or original(self, image, at)
    )
    output = tmp_path / "out.mkv"
    assert module.main([str(path), str(output), "--every-frame", "--steps", "2"]) == 0
    for found, wanted in zip(written, restored(frames, prior=tiny_pip, threads=1), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert times_of(output) == [0, 40, 80, 200]


def test_pyav_opens_a_device_again_that_ended_and_never_goes_back_in_time(
    quick, clip, tmp_path, monkeypatch, capsys
):
    import av

    path, _ = clip
    original = av.open
    monkeypatch.setattr(av, "open", lambda name, *rest, format=None: original(name, *rest))
    module, output = quick("camera_pyav"), tmp_path / "out.mkv"
    options = ["--format", "v4l2", "--frames", "6", "--every-frame", "--steps", "1"]
    assert module.main([str(path), str(output), *options]) == 0
    assert "opening it again" in capsys.readouterr().err
    times = times_of(output)
    assert len(times) == 6
    assert times == sorted(set(times))


@pytest.mark.parametrize("format", ["yuv420p", "nv12", "yuyv422", "yuv444p"])
def test_pyav_frames_become_the_rgb_they_were_made_of(format):
    av = pytest.importorskip("av")
    row, column = np.mgrid[:32, :50]
    smooth = np.stack([40 + 3 * column, 60 + 4 * row, 200 - 2 * column], axis=2).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(smooth, format="rgb24").reformat(format=format)
    found = example("camera_pyav").rgb_of(frame)
    assert found.shape == smooth.shape
    # Shared chroma of a slope of 3 a pixel, and rounding of Y, U and V.
    assert np.abs(found.astype(int) - smooth).max() <= 6


def test_pyav_leaves_out_a_damaged_packet(capsys):
    av = pytest.importorskip("av")

    class Damaged:
        def decode(self):
            raise av.error.InvalidDataError(1, "damaged")

    assert list(example("camera_pyav").pictures(Damaged())) == []
    assert "damaged packet" in capsys.readouterr().err


def test_pyav_says_in_one_line_what_is_no_video(quick, tmp_path, capsys):
    av = pytest.importorskip("av")
    silent = tmp_path / "sound.mkv"
    with av.open(str(silent), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate, sound.pts = 8000, 0
        container.mux(stream.encode(sound))
    module = quick("camera_pyav")
    for source, words in ((silent, "has no video"), (tmp_path / "none.mkv", "none.mkv")):
        assert module.main([str(source), str(tmp_path / "out.mkv")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert words in error


# GStreamer ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gstreamer(tmp_path_factory):
    """``gstreamer(command, **environment)``: runs a command that finds GStreamer's Python bindings.

    They belong to the system's Python. Where this one is of the same version, they are shown to it in a
    folder of their own, so that it sees nothing else of the system's.
    """
    folder, paths = tmp_path_factory.mktemp("gstreamer"), []
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("no GStreamer: there is no gst-launch-1.0 (Debian: gstreamer1.0-tools)")
    if importlib.util.find_spec("gi") is None:
        bindings = Path("/usr/lib/python3/dist-packages/gi")
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        if not (bindings / f"_gi{suffix}").is_file():
            pytest.skip(f"no GStreamer bindings for this Python: {bindings} has no _gi{suffix} (python3-gi)")
        (folder / "gi").symlink_to(bindings)
        paths.append(str(folder))
    plain = os.environ | {"GST_REGISTRY": str(folder / "registry"), "OMP_NUM_THREADS": "1"}

    def run(*command, **environment):
        path = os.pathsep.join([*paths, *environment.pop("PYTHONPATH", "").split(os.pathsep)]).strip(
            os.pathsep
        )
        environment = plain | {"PYTHONPATH": path} | environment
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=ROOT)

    found = (
        "gi.require_version('GstVideo', '1.0'); from gi.repository import GstVideo; import gi.overrides.Gst"
    )
    check = run(sys.executable, "-c", f"import gi; {found}")
    if check.returncode != 0:
        pytest.skip(f"no GStreamer bindings: {check.stderr.strip().splitlines()[-1]}")
    return run


# Two sizes one after the other; 66 RGB pixels are 198 bytes, and rows have 200.
SIZES = [(48, 66), (32, 48)]
SOURCE = (
    "videotestsrc num-buffers=2 pattern=snow ! video/x-raw,format=RGB,width=66,height=48 ! concat name=all "
    "videotestsrc num-buffers=2 pattern=ball ! video/x-raw,format=RGB,width=48,height=32 ! all. all."
)


def raw_frames(path):
    """The frames of SIZES, two each, from GStreamer's raw bytes."""
    data, place, frames = np.fromfile(path, np.uint8), 0, []
    for height, width in [size for size in SIZES for _ in range(2)]:
        stride = -(-3 * width // 4) * 4
        rows = data[place : place + height * stride].reshape(height, stride)
        frames.append(rows[:, : 3 * width].reshape(height, width, 3))
        place += height * stride
    assert place == len(data)
    return frames


@pytest.fixture(scope="module")
def tested(gstreamer, tmp_path_factory):
    """The frames of SOURCE, and what sessions make of them in one step."""
    path = tmp_path_factory.mktemp("frames") / "in.rgb"
    done = gstreamer("gst-launch-1.0", "-q", *SOURCE.split(), "!", "filesink", f"location={path}")
    assert done.returncode == 0, done.stderr
    frames = raw_frames(path)
    return frames, [image for part in (frames[:2], frames[2:]) for image in restored(part, steps=1)]


def camera_gstreamer(gstreamer, *arguments):
    return gstreamer(sys.executable, str(EXAMPLES / "camera_gstreamer.py"), *map(str, arguments))


def test_gstreamer_frames_of_two_sizes_are_restored_between_two_pipelines(gstreamer, tested, tmp_path):
    sink = f"video/x-raw,format=RGB ! filesink location={tmp_path / 'out.rgb'}"
    done = camera_gstreamer(gstreamer, SOURCE, sink, "--every-frame", "--steps", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 frames restored\n"
    for found, wanted in zip(raw_frames(tmp_path / "out.rgb"), tested[1], strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_gstreamer_opens_a_source_again_that_fails(gstreamer):
    source = "videotestsrc ! video/x-raw,width=32,height=32 ! identity error-after=3"
    options = ("--every-frame", "--steps", 1, "--frames", 5)
    done = camera_gstreamer(gstreamer, source, "fakesink", *options)
    assert (done.returncode, done.stdout) == (0, "5 frames restored\n")
    assert done.stderr.count("opening the source again") == 2


@pytest.mark.parametrize(
    ("source", "words"),
    [("nosuchsource", "nosuchsource"), ("filesrc location=/none.mkv ! decodebin", "filesrc.*not found")],
)
def test_gstreamer_says_in_one_line_what_cannot_run(gstreamer, source, words):
    done = camera_gstreamer(gstreamer, source, "fakesink", "--retries", 0)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(words, done.stderr)


@pytest.fixture(scope="module")
def launch(gstreamer):
    """``launch("... ! dipedge ! ...")``: gst-launch-1.0 with the element, run by the system's Python."""
    folders = [Path(de.__file__).parents[1], Path(np.__file__).parents[1]]
    environment = {
        "GST_PLUGIN_PATH": str(EXAMPLES / "gstreamer"),
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
    }
    if gstreamer("gst-inspect-1.0", "python").returncode != 0:
        pytest.skip("GStreamer loads no Python elements (Debian: gstreamer1.0-python3-plugin-loader)")
    return lambda pipeline: gstreamer("gst-launch-1.0", "-q", *pipeline.split(), **environment)


def test_the_gstreamer_element_restores_frames_of_two_sizes_in_place(launch, tested, tmp_path):
    done = launch(f"{SOURCE} ! dipedge steps=1 ! filesink location={tmp_path / 'out.rgb'}")
    assert done.returncode == 0, done.stderr
    for found, wanted in zip(raw_frames(tmp_path / "out.rgb"), tested[1], strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_gstreamer_element_says_on_the_bus_why_it_cannot(launch):
    done = launch("videotestsrc num-buffers=1 ! video/x-raw,width=8,height=8 ! dipedge ! fakesink")
    assert done.returncode != 0
    assert "16 pixels or more" in done.stderr
