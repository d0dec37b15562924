"""Restores what PyAV decodes: a camera through FFmpeg, a network stream, or a video file.

    python examples/camera_pyav.py /dev/video0 restored.mkv --format v4l2 --ms 33
    python examples/camera_pyav.py rtsp://camera/live restored.mkv
    python examples/camera_pyav.py video.mkv restored.mkv --every-frame --steps 30

Frames go from the decoder's planes to RGB in one pass (``pixel_formats.to_rgb``) where the format is known,
and through FFmpeg's scaler where not. Every frame keeps its time, also where others are left out. Damaged
packets are skipped, a camera that fails is opened again, and frames of another size begin a new session (in
the file they are scaled to the first one's size). For whole files with sound there is ``dipedge video``.

Needs PyAV (pip install dipedge[video]).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

import dipedge as de
from dipedge.pixel_formats import to_rgb

# FFmpeg's names of formats whose planes are read where they lie, and whether 0 and 255 are black and white.
PLAIN = {
    "nv12": ("NV12", False),
    "yuv420p": ("I420", False),
    "yuvj420p": ("I420", True),
    "yuyv422": ("YUYV", False),
    "rgb24": ("RGB", True),
    "bgr24": ("BGR", True),
}
BT709, FULL_RANGE = 1, 2  # FFmpeg's AVCOL_SPC_BT709 and AVCOL_RANGE_JPEG
TICKS = 1000  # of the written file, a second


def rgb_of(frame: av.VideoFrame) -> np.ndarray:
    """A decoded frame as uint8 [H, W, 3]."""
    if frame.format.name not in PLAIN:
        return frame.to_ndarray(format="rgb24")
    format, full = PLAIN[frame.format.name]
    return to_rgb(
        list(frame.planes),
        format,
        frame.width,
        frame.height,
        strides=[plane.line_size for plane in frame.planes],
        matrix="bt709" if int(frame.colorspace) == BT709 else "bt601",
        full_range=full or int(frame.color_range) == FULL_RANGE,
    )


class CameraError(Exception):
    """A source without pictures."""


class Camera:
    """Frames of a source that is opened again when it fails.

    Args:
        source: path or address.
        format: the kind of a device ("v4l2"), or None.
        retries: times to open a device or an address again; a file that ends has ended.

    Attributes:
        has_ended: whether no frame will come any more.
        times: seconds of each frame since the first, by its number in the current stretch.

    Raises:
        av.error.FFmpegError: it cannot be opened.
    """

    def __init__(self, source: str, format: str | None, retries: int) -> None:
        self._source, self._format = source, format
        self._retries = retries if format is not None or "://" in source else 0
        self._container: av.container.InputContainer | None = av.open(source, format=format)
        self._frames = self._decoded()
        self._waiting: av.VideoFrame | None = None  # the first one of another size
        self._start: float | None = None
        self.has_ended = False
        self.times: dict[int, float] = {}

    def frames(self) -> Iterator[np.ndarray]:
        """RGB frames [H, W, 3] of one size, to the end or until another size comes."""
        self.times.clear()
        size = None
        while (frame := self._waiting or next(self._frames, None)) is not None:
            self._waiting = None
            if size is not None and (frame.width, frame.height) != size:
                self._waiting = frame
                return
            size = (frame.width, frame.height)
            now = frame.time if frame.time is not None else time.monotonic()
            self._start = now if self._start is None else self._start
            self.times[len(self.times)] = now - self._start
            yield rgb_of(frame)
        self.has_ended = True

    def _decoded(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                if self._container is None:
                    self._container = av.open(self._source, format=self._format)
                with self._container as container:
                    if not container.streams.video:
                        raise CameraError(f"{self._source} has no video")
                    for packet in container.demux(video=0):
                        yield from pictures(packet)
                if self._retries == 0:
                    return
            except av.error.FFmpegError:
                if self._retries == 0:
                    raise
            self._container, self._retries = None, self._retries - 1
            print(f"camera_pyav: {self._source} gives no frame; opening it again", file=sys.stderr)
            time.sleep(1)


def pictures(packet: av.Packet) -> Iterator[av.VideoFrame]:
    """What a packet holds; a damaged one is left out."""
    try:
        yield from packet.decode()
    except av.error.InvalidDataError:
        print("camera_pyav: a damaged packet was left out", file=sys.stderr)


class Recorder:
    """A video file of restored frames.

    Args:
        path: its extension says which container.
    """

    def __init__(self, path: str) -> None:
        self._container = av.open(path, "w")
        self._stream: av.VideoStream | None = None
        self._last = -1

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Adds an RGB picture that is shown from ``seconds`` on."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        if self._stream is None:
            self._stream = self._container.add_stream("mpeg4", rate=TICKS)
            self._stream.width, self._stream.height = frame.width, frame.height
            self._stream.pix_fmt = "yuv420p"
            self._stream.bit_rate = 8_000_000
        frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p")
        self._last = max(
            self._last + 1, round(seconds * TICKS)
        )  # never backwards, as after a camera's return
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finishes the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()


def run(camera: Camera, recorder: Recorder, options: argparse.Namespace) -> None:
    """Restores until the end."""
    stop = de.Deadline(ms=options.ms) if options.steps is None else de.MaxSteps(options.steps)
    drop, count = "block" if options.every_frame else "oldest", 0
    while not camera.has_ended and count != options.frames:
        with (
            de.Session(de.Denoise(sigma=options.sigma)) as session,
            session.stream(camera.frames(), drop=drop, stop=stop) as results,
        ):
            for result in results:
                recorder.write(result.image, camera.times[result.frame])
                count += 1
                if count == options.frames:
                    break
        found = results.statistics
        if found.restored:
            print(
                f"{found.restored} frames restored, {found.dropped} left out, "
                f"{found.latency_p50:.0f} ms from frame to result ({found.latency_p99:.0f} ms for 99 of 100)"
            )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Restores what PyAV decodes.")
    parser.add_argument("source", help="a device, address or file")
    parser.add_argument("output", help="the video to write, such as restored.mkv")
    parser.add_argument("--format", help="kind of the device, such as v4l2")
    parser.add_argument("--ms", type=float, default=33, help="milliseconds for a frame")
    parser.add_argument("--steps", type=int, help="exactly so many steps a frame, instead of a deadline")
    parser.add_argument("--sigma", type=float, help="standard deviation of the noise, if it is known")
    parser.add_argument("--frames", type=int, help="end after so many frames")
    parser.add_argument("--every-frame", action="store_true", help="leave out none, as of a file")
    parser.add_argument("--retries", type=int, default=10, help="times to open a failing camera again")
    options = parser.parse_args(arguments)
    try:
        camera = Camera(options.source, options.format, options.retries)
        recorder = Recorder(options.output)
        try:
            run(camera, recorder, options)
        finally:
            recorder.close()
    except (CameraError, av.error.FFmpegError, de.DipedgeError) as error:
        print(f"camera_pyav: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
