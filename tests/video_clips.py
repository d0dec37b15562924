"""Small video files made by PyAV for the tests of video files, and the pictures in them."""

import os
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

SILENT = "log-level=none"
os.environ.setdefault("SVT_LOG", "1")  # read by the AV1 encoder, which is talkative


def picture(index, height=32, width=48, channels=3, dtype="uint8"):
    """Frame ``index`` of a moving pattern, [H, W, C]: smooth, so that codecs with loss keep it well."""
    row, column = np.mgrid[:height, :width]
    planes = [
        0.5 + 0.4 * np.sin((column + 2 * index) / 9),
        0.5 + 0.4 * np.cos(row / 7),
        0.5 + 0.3 * np.sin((row + column - index) / 11),
        (row + index) % 32 / 32,
    ]
    values = np.stack(planes[: channels if channels != 1 else 1], axis=2)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def write_clip(
    path, codec="libx264", pixel_format="yuv420p", count=12, size=(32, 48), rate=25, times=None, base=None,
    sound=None, tags=None, options=None, prepare=None,
):  # fmt: skip
    """A clip at ``path``; ``times``: of its frames in seconds (Fractions); ``sound``: an audio encoder."""
    with av.open(str(path), "w") as container:
        options = {"crf": "1", "x265-params": SILENT} if options is None else options
        options = {key: value for key, value in options.items() if key != "x265-params" or codec == "libx265"}
        if codec == "libvpx-vp9":
            options = {"cpu-used": "8", "deadline": "realtime", **options}
        if "crf" in options and codec not in ("libx264", "libx265", "libvpx-vp9"):
            options.pop("crf")
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        base = base or Fraction(1, rate)
        stream.codec_context.time_base = stream.time_base = base
        stream.codec_context.max_b_frames = 0
        voice = container.add_stream(sound, rate=48000) if sound else None
        if voice is not None:
            voice.layout = "mono"
        container.metadata.update(tags or {})
        if prepare is not None:
            prepare(container, stream)
        for index in range(count):
            frame = frame_of(index, size, pixel_format)
            frame.pts = round((times[index] if times else Fraction(index, rate)) / base)
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None:
            for packet in tone(voice, count / rate):
                container.mux(packet)
    return path


def frame_of(index, size, pixel_format):
    """``picture(index)`` in a pixel format, in full precision where that has more than 8 bits."""
    alpha = "a" in pixel_format.replace("gray", "")
    deep = any(depth in pixel_format for depth in ("10", "12", "16"))
    gray = pixel_format.startswith("gray")
    channels = 1 if gray else 4 if alpha else 3
    pixels = picture(index, *size, channels, "uint16" if deep else "uint8")
    memory = {1: ("gray", "gray16le"), 3: ("rgb24", "rgb48le"), 4: ("rgba", "rgba64le")}[channels][deep]
    frame = av.VideoFrame.from_ndarray(np.squeeze(pixels), format=memory)
    return frame.reformat(
        format=pixel_format,
        src_color_range=2,
        dst_color_range=2 if gray else 1,
        src_colorspace=5,
        dst_colorspace=5,
    )


def tone(stream, seconds):
    """Packets of a tone."""
    shape = stream.codec_context.format.name
    count = stream.codec_context.frame_size or 1024
    for number in range(int(seconds * 48000 / count) + 1):
        wave = 0.3 * np.sin(np.arange(number * count, (number + 1) * count) / 20)[None]
        dtype = {"flt": np.float32, "s16": np.int16, "s32": np.int32}[shape[:3]]
        values = (wave * (1 if dtype is np.float32 else np.iinfo(dtype).max)).astype(dtype)
        frame = av.AudioFrame.from_ndarray(values, format=shape, layout="mono")
        frame.rate, frame.pts, frame.time_base = 48000, number * count, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def packets_of(path, kind):
    """(pts, bytes) of every packet of one kind of stream."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in (container.demux(streams) if streams else ())
            if packet.pts is not None
        ]
