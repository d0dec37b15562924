"""Restores what OpenCV captures: a camera, a network stream or a video file.

    python examples/camera_opencv.py                        # the first camera, in a window
    python examples/camera_opencv.py rtsp://camera/live --ms 100 --output restored.avi
    python examples/camera_opencv.py video.mkv --every-frame --steps 30 --output restored.avi

A thread reads the camera while another one restores, and frames that come too fast are left out, so the
picture is as new as can be (``Session.stream``). A camera that fails (unplugged) is opened again; frames of
another size begin a new session.

Needs OpenCV (pip install opencv-python; without a window opencv-python-headless does).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import cv2
import numpy as np

import dipedge as de


class CameraError(Exception):
    """A camera that cannot be opened, or a file that cannot be read or written."""


class Camera:
    """Frames of a ``VideoCapture`` that comes back after a failure.

    Args:
        source: the number of a camera, or the path or address of a video.
        retries: times to open a failing camera again before it is given up.

    Attributes:
        has_ended: whether no frame will come any more.

    Raises:
        CameraError: it cannot be opened.
    """

    def __init__(self, source: int | str, retries: int) -> None:
        self._source, self._retries = source, retries
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            raise CameraError(f"{source} cannot be opened")
        self._waiting: np.ndarray | None = None  # the first frame of another size
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.has_ended = False

    def frames(self) -> Iterator[np.ndarray]:
        """RGB frames [H, W, 3] of one size, to the end or until another size comes."""
        shape = None
        while (frame := self._next()) is not None:
            if shape is not None and frame.shape != shape:
                self._waiting = frame
                return
            shape = frame.shape
            yield frame[..., ::-1]  # OpenCV's order is BGR; a view
        self.has_ended = True

    def _next(self) -> np.ndarray | None:
        if self._waiting is not None:
            frame, self._waiting = self._waiting, None
            return frame
        good, frame = self._capture.read()
        # The end of a file looks like a camera that was unplugged.
        while not good and isinstance(self._source, int) and self._retries > 0:
            self._retries -= 1
            print(f"camera_opencv: {self._source} gives no frame; opening it again", file=sys.stderr)
            time.sleep(1)
            self._capture.open(self._source)
            good, frame = self._capture.read()
        return frame if good else None

    def close(self) -> None:
        """Gives the camera back."""
        self._capture.release()


class Screen:
    """A window; or with ``path`` an AVI file with Motion-JPEG, whose frames keep the first one's size."""

    def __init__(self, path: str | None, rate: float) -> None:
        self._path, self._rate = path, rate
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] | None = None

    def show(self, image: np.ndarray) -> bool:
        """Shows an RGB picture; False when the user wants no more (q, or Escape)."""
        bgr = np.ascontiguousarray(image[..., ::-1])
        if self._path is None:
            cv2.imshow("dipedge", bgr)
            return cv2.waitKey(1) not in (ord("q"), 27)
        if self._writer is None:
            self._size = (bgr.shape[1], bgr.shape[0])
            code = cv2.VideoWriter.fourcc(*"MJPG")
            self._writer = cv2.VideoWriter(self._path, code, self._rate, self._size)
            if not self._writer.isOpened():
                raise CameraError(f"{self._path} cannot be written")
        self._writer.write(bgr if bgr.shape[1::-1] == self._size else cv2.resize(bgr, self._size))
        return True

    def close(self) -> None:
        """Finishes the file."""
        if self._writer is not None:
            self._writer.release()


def run(camera: Camera, screen: Screen, options: argparse.Namespace) -> None:
    """Restores until the end."""
    stop = de.Deadline(ms=options.ms) if options.steps is None else de.MaxSteps(options.steps)
    drop, count, wanted = "block" if options.every_frame else "oldest", 0, True
    while wanted and not camera.has_ended:
        with (
            de.Session(de.Denoise(sigma=options.sigma)) as session,
            session.stream(camera.frames(), drop=drop, stop=stop) as results,
        ):
            for result in results:
                count += 1
                wanted = screen.show(result.image) and count != options.frames
                if not wanted:
                    break
        found = results.statistics
        if found.restored:
            print(
                f"{found.restored} frames restored, {found.dropped} left out, "
                f"{found.latency_p50:.0f} ms from frame to result ({found.latency_p99:.0f} ms for 99 of 100)"
            )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Restores what OpenCV captures.")
    parser.add_argument("source", nargs="?", default="0", help="a camera's number, or a path or address")
    parser.add_argument("--output", help="an .avi file instead of a window")
    parser.add_argument("--ms", type=float, default=33, help="milliseconds for a frame")
    parser.add_argument("--steps", type=int, help="exactly so many steps a frame, instead of a deadline")
    parser.add_argument("--sigma", type=float, help="standard deviation of the noise, if it is known")
    parser.add_argument("--frames", type=int, help="end after so many frames")
    parser.add_argument("--every-frame", action="store_true", help="leave out none, as of a file")
    parser.add_argument("--retries", type=int, default=10, help="times to open a failing camera again")
    options = parser.parse_args(arguments)
    source = int(options.source) if options.source.isdigit() else options.source
    try:
        camera = Camera(source, options.retries)
        screen = Screen(options.output, camera.rate)
        try:
            run(camera, screen, options)
        finally:
            screen.close()
            camera.close()
    except (CameraError, de.DipedgeError, cv2.error) as error:
        print(f"camera_opencv: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
