"""The GStreamer element "dipedge": restores every frame of a stream, in place of any other video filter.

    GST_PLUGIN_PATH=examples/gstreamer gst-launch-1.0 videotestsrc num-buffers=30 \
        ! dipedge steps=5 ! videoconvert ! autovideosink

GStreamer's loader of Python elements (Debian: gstreamer1.0-python3-plugin-loader, python3-gst-1.0) finds this
file in the folder "python" of the plugin path. It runs the system's Python: install dipedge there, or name
the site-packages of a virtual environment of the same Python version in PYTHONPATH.

A frame is fitted where it lies and written back to the same memory. A camera that is faster than that needs
"queue leaky=downstream max-size-buffers=1" before the element, which leaves out the frames in between. When
another size is negotiated in the middle, the next frame is fitted from scratch.
"""

from __future__ import annotations

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstBase", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, GObject, Gst, GstBase, GstVideo  # noqa: E402

import dipedge as de  # noqa: E402

CHANNELS = {"RGB": 3, "BGR": 3, "GRAY8": 1}
CAPS = Gst.Caps.from_string(f"video/x-raw,format={{{','.join(CHANNELS)}}}")
READ_WRITE = Gst.MapFlags.READ | Gst.MapFlags.WRITE


class Dipedge(GstBase.BaseTransform):
    """Frames in, restored frames out, of the same format and size."""

    __gstmetadata__ = (
        "dipedge",
        "Filter/Effect/Video",
        "Restores video with a network fitted to this very stream, without training data",
        "dipedge",
    )
    __gsttemplates__ = (
        Gst.PadTemplate.new("sink", Gst.PadDirection.SINK, Gst.PadPresence.ALWAYS, CAPS),
        Gst.PadTemplate.new("src", Gst.PadDirection.SRC, Gst.PadPresence.ALWAYS, CAPS),
    )

    steps = GObject.Property(
        type=int,
        default=5,
        minimum=0,
        maximum=100_000,
        blurb="steps a frame; 0: as many as the deadline allows",
    )
    deadline = GObject.Property(
        type=int, default=0, minimum=0, maximum=3_600_000, blurb="milliseconds for a frame; 0: none"
    )
    sigma = GObject.Property(
        type=float, default=0, minimum=0, maximum=255, blurb="standard deviation of the noise; 0: unknown"
    )
    threads = GObject.Property(type=int, default=0, minimum=0, maximum=1024, blurb="worker threads; 0: all")
    engine = GObject.Property(type=str, default="auto", blurb="engine: auto, native, triton or torch")

    def __init__(self) -> None:
        super().__init__()
        self.set_in_place(True)
        self._session: de.Session | None = None
        self._info: GstVideo.VideoInfo | None = None

    def do_set_caps(self, incoming: Gst.Caps, outgoing: Gst.Caps) -> bool:
        """The format is known, or another one from now on: what was fitted is of no use for it."""
        self._info = GstVideo.VideoInfo.new_from_caps(incoming)
        self._close()
        return self._info is not None

    def do_stop(self) -> bool:
        """The pipeline goes to READY."""
        self._close()
        return True

    def do_transform_ip(self, buffer: Gst.Buffer) -> Gst.FlowReturn:
        """Restores one frame in its own memory."""
        mapped, memory = buffer.map(READ_WRITE)
        if not mapped:
            return self._fail("the frame's memory cannot be written")
        try:
            frame = self._pixels(memory.data)
            frame[...] = self._pushed(frame)
        except de.DipedgeError as error:
            return self._fail(str(error))
        finally:
            buffer.unmap(memory)
        return Gst.FlowReturn.OK

    def _pushed(self, frame: np.ndarray) -> np.ndarray:
        stop = de.MaxSteps(self.steps) if self.steps or not self.deadline else None
        if self.deadline:
            deadline = de.Deadline(ms=self.deadline)
            stop = deadline if stop is None else stop | deadline
        if self._session is None:
            self._session = de.Session(
                de.Denoise(sigma=self.sigma or None), engine=self.engine, threads=self.threads or None
            )
        return self._session.push(frame, stop=stop).image

    def _pixels(self, data: memoryview) -> np.ndarray:
        """The frame [H, W] or [H, W, 3] in its memory; GStreamer pads rows to multiples of four bytes."""
        info = self._info
        height, width, stride = info.height, info.width, info.stride[0]
        channels = CHANNELS[info.finfo.name]
        shape = (height, width) if channels == 1 else (height, width, channels)
        strides = (stride, 1) if channels == 1 else (stride, channels, 1)
        return np.ndarray(shape, np.uint8, data, info.offset[0], strides)

    def _fail(self, why: str) -> Gst.FlowReturn:
        """Says on the bus what is wrong, as every element does."""
        error = GLib.Error.new_literal(Gst.stream_error_quark(), why, Gst.StreamError.FAILED)
        self.post_message(Gst.Message.new_error(self, error, why))
        return Gst.FlowReturn.ERROR

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


GObject.type_register(Dipedge)
__gstelementfactory__ = ("dipedge", Gst.Rank.NONE, Dipedge)
