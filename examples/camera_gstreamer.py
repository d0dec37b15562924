"""Restores a camera's stream between two GStreamer pipelines: SOURCE ! appsink -> dipedge -> appsrc ! SINK.

    python examples/camera_gstreamer.py                     # a test picture, in a window
    python examples/camera_gstreamer.py "v4l2src device=/dev/video0" "autovideosink sync=false"
    python examples/camera_gstreamer.py "filesrc location=in.mkv ! decodebin" \
        "x264enc ! matroskamux ! filesink location=out.mkv" --every-frame --steps 30

GStreamer captures in threads of its own and appsink keeps the newest frame, so what is restored is never
older than the frame before it took. The frame is read where GStreamer put it, without a copy. Another size in
the middle of the stream is fitted from scratch; a camera that fails (unplugged) is opened again.

Needs GStreamer's Python bindings (Debian: python3-gi python3-gst-1.0 gir1.2-gst-plugins-base-1.0), which
belong to the system's Python. As an element of a pipeline: examples/gstreamer/python/gstdipedge.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstVideo  # noqa: E402

import dipedge as de  # noqa: E402

TEST_PICTURE = "videotestsrc pattern=ball num-buffers=300 ! video/x-raw,width=320,height=240"
WAIT = 200 * Gst.MSECOND


class PipelineError(Exception):
    """A pipeline has failed; the message is GStreamer's."""


class SourceError(PipelineError):
    """The source's has, as it does when a camera is unplugged."""


class Source:
    """A pipeline that ends in appsink.

    Args:
        description: of what gives the frames, as gst-launch-1.0 takes it.
        every_frame: whether GStreamer waits until a frame is taken, instead of replacing it by a newer one.
    """

    def __init__(self, description: str, every_frame: bool) -> None:
        drop = "false" if every_frame else "true"
        ending = (
            f"videoconvert ! video/x-raw,format=RGB ! appsink name=out max-buffers=1 drop={drop} sync=false"
        )
        self._pipeline = Gst.parse_launch(f"{description} ! {ending}")
        self._out = self._pipeline.get_by_name("out")

    def samples(self) -> Iterator[Gst.Sample]:
        """Frames until the stream's end.

        Raises:
            SourceError: the pipeline failed.
        """
        self._pipeline.set_state(Gst.State.PLAYING)
        try:
            while True:
                sample = self._out.emit("try-pull-sample", WAIT)
                if sample is not None:
                    yield sample
                    continue
                check(self._pipeline, SourceError)
                if self._out.get_property("eos"):
                    return
        finally:
            self._pipeline.set_state(Gst.State.NULL)


class Sink:
    """A pipeline that begins with appsrc.

    Args:
        description: of what takes the frames.
    """

    def __init__(self, description: str) -> None:
        start = "appsrc name=in format=time block=true max-buffers=2"
        self._pipeline = Gst.parse_launch(f"{start} ! videoconvert ! {description}")
        self._in = self._pipeline.get_by_name("in")
        self._caps: Gst.Caps | None = None
        self._pipeline.set_state(Gst.State.PLAYING)

    def show(self, image: np.ndarray, like: Gst.Sample) -> None:
        """Hands over a picture [H, W, 3] with the time of the frame it was made of.

        Raises:
            PipelineError: the pipeline failed, or its window was closed.
        """
        check(self._pipeline, PipelineError)
        caps = like.get_caps().copy()
        caps.set_value("width", image.shape[1])
        caps.set_value("height", image.shape[0])
        if self._caps is None or not caps.is_equal(self._caps):
            self._in.set_property("caps", caps)
            self._caps = caps
        info = GstVideo.VideoInfo.new_from_caps(caps)
        buffer = Gst.Buffer.new_allocate(None, info.size, None)
        with buffer.map(Gst.MapFlags.WRITE) as memory:
            pixels_of(memory.data, info)[...] = image
        times = like.get_buffer()
        buffer.pts, buffer.duration = times.pts, times.duration
        self._in.emit("push-buffer", buffer)

    def close(self) -> None:
        """Ends the stream and waits until everything is shown or written."""
        self._in.emit("end-of-stream")
        if self._caps is not None:
            self._pipeline.get_bus().timed_pop_filtered(
                10 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR
            )
        self._pipeline.set_state(Gst.State.NULL)


def check(pipeline: Gst.Pipeline, kind: type[PipelineError]) -> None:
    """Raises ``kind`` with what an element of the pipeline has reported."""
    message = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    if message is not None:
        raise kind(f"{message.src.get_name()}: {message.parse_error()[0].message}")


def pixels_of(data: memoryview, info: GstVideo.VideoInfo) -> np.ndarray:
    """A frame [H, W, 3] in its memory; rows are padded to multiples of four bytes."""
    return np.ndarray((info.height, info.width, 3), np.uint8, data, info.offset[0], (info.stride[0], 3, 1))


class Restorer:
    """A session for the frames of one size after another.

    Args:
        sigma: of the noise, or None.
        stop: when a frame's fit ends.
    """

    def __init__(self, sigma: float | None, stop: de.Deadline | de.MaxSteps) -> None:
        self._sigma, self._stop = sigma, stop
        self._session: de.Session | None = None
        self._shape: tuple[int, ...] = ()

    def push(self, sample: Gst.Sample) -> np.ndarray:
        """One frame, read where it lies; of another size than the last one it begins a new session."""
        info = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
        with sample.get_buffer().map(Gst.MapFlags.READ) as memory:
            frame = pixels_of(memory.data, info)
            if frame.shape != self._shape:
                self.close()
                self._session, self._shape = de.Session(de.Denoise(sigma=self._sigma)), frame.shape
            return self._session.push(frame, stop=self._stop).image

    def close(self) -> None:
        """Gives the session's memory back."""
        if self._session is not None:
            self._session.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Restores a stream between two GStreamer pipelines.")
    parser.add_argument("source", nargs="?", default=TEST_PICTURE, help="where frames come from")
    parser.add_argument("sink", nargs="?", default="autovideosink sync=false", help="where they go")
    parser.add_argument("--ms", type=float, default=33, help="milliseconds for a frame")
    parser.add_argument("--steps", type=int, help="exactly so many steps a frame, instead of a deadline")
    parser.add_argument("--sigma", type=float, help="standard deviation of the noise, if it is known")
    parser.add_argument("--frames", type=int, help="end after so many frames")
    parser.add_argument("--every-frame", action="store_true", help="leave out none, as of a file")
    parser.add_argument("--retries", type=int, default=10, help="times to open a failing source again")
    options = parser.parse_args(arguments)
    Gst.init(None)
    try:
        return run(options)
    except (PipelineError, de.DipedgeError) as error:
        print(f"camera_gstreamer: {error}", file=sys.stderr)
        return 2
    except GLib.Error as error:  # a pipeline that cannot be parsed
        print(f"camera_gstreamer: {error.message}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    stop = de.Deadline(ms=options.ms) if options.steps is None else de.MaxSteps(options.steps)
    sink, restorer, count, failures = Sink(options.sink), Restorer(options.sigma, stop), 0, 0
    try:
        while True:
            try:
                for sample in Source(options.source, options.every_frame).samples():
                    sink.show(restorer.push(sample), sample)
                    failures, count = 0, count + 1
                    if count == options.frames:
                        break
                break  # the stream's own end, or enough of it
            except SourceError as error:
                failures += 1
                if failures > options.retries:
                    raise
                print(f"camera_gstreamer: {error}; opening the source again", file=sys.stderr)
                time.sleep(1 if failures > 1 else 0)
    finally:
        sink.close()
        restorer.close()
    print(f"{count} frames restored")
    return 0


if __name__ == "__main__":
    sys.exit(main())
