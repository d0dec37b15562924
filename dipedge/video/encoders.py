"""Which encoder a restored video is written with, and in which pixel format.

The answer shall look like its source, which is seldom a free choice: the input's own codec is taken where
there is an encoder for it and the output's container holds it. Else the extension decides. Quality is
"visually lossless": a fit of minutes should not be spoilt to save megabytes.

Frames are never reordered (no B-frames) and none is held back by the encoder: what was written is in the
file, so a killed run loses little and can be gone on from. That costs a tenth of the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

from dipedge.errors import InputError

PALETTE = "pal8"


@dataclass(frozen=True)
class Encoder:
    """How one codec is written.

    Args:
        name: of FFmpeg's encoder.
        crf: its scale's value for no visible loss; None: it has no such scale.
        highest: the end of that scale.
        options: of the encoder.
        quantiser: constant quantiser instead, 1 (best) to 31; 0 for none.
        even: both sides must be even numbers where chroma is stored at half size.
        refused: pixel formats that it lists and that hardly anything reads afterwards.
        clock: ticks a second of an encoder that puts the frames' times into its one packet itself; else 0.
        alpha_in: the containers in which it keeps transparency; empty for all that hold it.
        rates: whether only the rates in the codec's own table can be written.
        smallest: side from which on it can be trusted.
    """

    name: str
    crf: int | None = None
    highest: int = 51
    options: dict[str, str] = field(default_factory=dict)
    quantiser: int = 0
    even: bool = False
    refused: tuple[str, ...] = ()
    rates: bool = False
    smallest: int = 1
    alpha_in: tuple[str, ...] = ()
    clock: int = 0


_MATROSKA = ("matroska", "webm")  # here transparency is a second picture beside the packet
_X264 = {"preset": "medium", "tune": "zerolatency"}
_VPX = {"b:v": "0", "lag-in-frames": "0", "auto-alt-ref": "0", "deadline": "good", "cpu-used": "2"}
ENCODERS: dict[str, Encoder] = {
    "h264": Encoder(
        "libx264", 16, options={**_X264, "x264-params": "stitchable=1"}, even=True,
        refused=("gray", "gray10le"),
    ),
    "hevc": Encoder(
        "libx265", 17, even=True, refused=("yuva420p", "yuva420p10le", "gray", "gray10le", "gray12le"),
        smallest=64,  # below, x265 4.2 writes beyond its buffers
        options={**_X264, "x265-params": "log-level=none:bframes=0"},
    ),
    "vp9": Encoder("libvpx-vp9", 15, 63, {**_VPX, "row-mt": "1"}, alpha_in=_MATROSKA),
    "vp8": Encoder("libvpx", 6, 63, {**_VPX, "b:v": "20M"}, alpha_in=_MATROSKA),
    "av1": Encoder(
        "libsvtav1", 18, 63, {"preset": "8", "svtav1-params": "pred-struct=1:lookahead=0"}, even=True
    ),
    "mpeg4": Encoder("mpeg4", quantiser=2),
    "mpeg2video": Encoder("mpeg2video", quantiser=2, rates=True),
    "mpeg1video": Encoder("mpeg1video", quantiser=2, rates=True),
    "mjpeg": Encoder("mjpeg", quantiser=2),
    "ffv1": Encoder("ffv1", options={"level": "3", "slicecrc": "1"}),
    "ffvhuff": Encoder("ffvhuff"),
    "huffyuv": Encoder("huffyuv"),
    "utvideo": Encoder("utvideo"),
    "magicyuv": Encoder("magicyuv"),
    "prores": Encoder("prores_ks", options={"bits_per_mb": "8000"}),
    "png": Encoder("png"),
    "apng": Encoder("apng"),
    "qtrle": Encoder("qtrle"),
    "rawvideo": Encoder("rawvideo"),
    "gif": Encoder("gif", refused=("rgb8", "bgr8", "rgb4_byte", "bgr4_byte", "gray")),
    "webp": Encoder("libwebp_anim", options={"lossless": "1"}, refused=("yuv420p", "yuva420p"), clock=1000),
}  # fmt: skip
# What an extension is written as, the best first; the first that keeps depth and transparency is taken.
BY_EXTENSION: dict[str, tuple[str, ...]] = {
    ".mp4": ("h264", "hevc"), ".m4v": ("h264",), ".mov": ("h264", "prores"), ".mkv": ("h264", "ffv1"),
    ".webm": ("vp9", "av1"), ".avi": ("ffv1",), ".nut": ("ffv1",), ".ts": ("h264",), ".m2ts": ("h264",),
    ".mts": ("h264",), ".flv": ("h264",), ".3gp": ("h264",), ".mpg": ("mpeg2video",),
    ".mpeg": ("mpeg2video",), ".mxf": ("mpeg2video",), ".ivf": ("vp9", "av1"), ".gif": ("gif",),
    ".apng": ("apng",), ".png": ("apng",),
    ".webp": ("webp",), ".wmv": ("mpeg4",), ".ogv": ("vp8",),
}  # fmt: skip


# What containers hold beyond what FFmpeg's tables say; some have no table.
HELD_TOO = {
    "mpegts": {"libx264", "libx265", "mpeg1video", "mpeg4"},
    "vob": {"mpeg1video"},
    "mxf": {"prores_ks", "libx264"},
}


@dataclass(frozen=True)
class Choice:
    """An encoder and what it is given."""

    codec: str
    encoder: Encoder
    pixel_format: str


@cache
def pixel_formats(encoder: str) -> tuple[str, ...]:
    """The formats an encoder takes; empty where it takes any."""
    from av.codec import Codec

    return tuple(described.name for described in Codec(encoder, "w").video_formats or ())


@cache
def _properties(name: str) -> tuple[bool, int, tuple[int, int], bool]:
    """(has alpha, bits a channel, columns and rows of chroma for 64 of luma, is RGB) of a pixel format."""
    from av.video.format import VideoFormat

    described = VideoFormat(name, 64, 64)
    components = described.components
    alpha = any(component.is_alpha for component in components)
    bits = max(component.bits for component in components)
    if len(components) - alpha == 1:
        return alpha, bits, (0, 0), described.is_rgb
    return alpha, bits, (described.chroma_width(64), described.chroma_height(64)), described.is_rgb


def nearest(formats: Sequence[str], wanted: str) -> str:
    """The one of ``formats`` that loses least of ``wanted``, and among these the one that adds least."""
    if not formats or wanted in formats:
        return wanted
    alpha, bits, chroma, rgb = _properties(wanted)

    def cost(name: str) -> tuple[int | bool, ...]:
        has_alpha, has_bits, has_chroma, is_rgb = _properties(name)
        more = [has - wants for has, wants in zip(has_chroma, chroma, strict=True)]
        return (
            alpha and not has_alpha, max(0, bits - has_bits), -sum(min(0, n) for n in more), rgb != is_rgb,
            has_alpha and not alpha, abs(has_bits - bits), sum(map(abs, more)),
        )  # fmt: skip

    # Palettes hold 256 colours; full-range twins (yuvj) are a tag, not a format.
    real = [name for name in formats if name not in (PALETTE, "rgb8", "bgr8") and not name.startswith("yuvj")]
    real = [name for name in real if _is_pixels(name)]
    return min(real or formats, key=cost)


def _is_pixels(name: str) -> bool:
    from av.video.format import VideoFormat

    try:
        return bool(VideoFormat(name).components) and VideoFormat(name).components[0].bits >= 8
    except ValueError:
        return False


def keeps(pixel_format: str, channels: int, bit_depth: int) -> bool:
    """Whether a format has room for transparency and depth."""
    if pixel_format == PALETTE:
        return True
    alpha, bits, chroma, _ = _properties(pixel_format)
    return (alpha or channels < 4) and bits >= bit_depth and (chroma[0] > 0 or channels == 1)


def bits_of(pixel_format: str) -> int:
    """Bits a channel."""
    return _properties(pixel_format)[1]


def choose(
    container: str, extension: str, supported: set[str], source: tuple[str, str], shape: tuple[int, int, int],
    bit_depth: int, asked: str | None,
) -> Choice:  # fmt: skip
    """The encoder and its pixel format.

    Args:
        container: FFmpeg's name of the output's kind.
        extension: of the output, with its dot.
        supported: encoders whose output the container holds, by FFmpeg's name.
        source: codec and pixel format of what was read; "" each where it was no video file.
        shape: [H, W, C] of the frames.
        bit_depth: of a channel, 8 to 16.
        asked: codec by the user's choice, or None.

    Raises:
        InputError: the codec asked for is unknown, or does not go into such a file.
    """
    codec, pixel_format = source
    pixel_format = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p"}.get(
        pixel_format, pixel_format
    )
    if asked is not None and asked not in ENCODERS:
        raise InputError(f"codec is {asked!r}; it must be one of {', '.join(sorted(ENCODERS))}")
    names = [asked] if asked is not None else [codec, *BY_EXTENSION.get(extension, ("h264", "ffv1"))]
    names = [name for name in names if name in ENCODERS and ENCODERS[name].name in supported]
    names = [name for name in names if min(shape[:2]) >= ENCODERS[name].smallest]
    if not names:
        size = f"with frames of {shape[1]} x {shape[0]}"
        raise InputError(f"codec {asked or codec!r} does not go into a {extension} file {size}; name another")
    choices = [_choice(name, container, pixel_format, shape, bit_depth) for name in names]
    good = [choice for choice in choices if keeps(choice.pixel_format, shape[2], bit_depth)]
    return (good or choices)[0]


def _choice(
    codec: str, container: str, pixel_format: str, shape: tuple[int, int, int], bit_depth: int
) -> Choice:
    """One codec with its nearest pixel format."""
    encoder = ENCODERS[codec]
    formats = [name for name in pixel_formats(encoder.name) if name not in encoder.refused]
    if encoder.alpha_in and container not in encoder.alpha_in:
        formats = [name for name in formats if not _properties(name)[0]]
    wanted = pixel_format or _of_pixels(shape[2], bit_depth, encoder)
    chosen = nearest(formats, wanted)
    height, width, _ = shape
    if encoder.even and (height % 2 or width % 2) and _properties(chosen)[2] != (64, 64):
        chosen = nearest(formats, "yuv444p" if bit_depth == 8 else "yuv444p10le")
    return Choice(codec, encoder, chosen)


def _of_pixels(channels: int, bit_depth: int, encoder: Encoder) -> str:
    """What single pictures become: what every player takes, from a codec with loss; RGB from one without."""
    if encoder.name == "gif":
        return PALETTE
    lossless = encoder.crf is None and not encoder.quantiser and encoder.name != "prores_ks"
    names = {
        (1, False): ("gray", "gray16le"), (3, False): ("yuv420p", "yuv420p10le"),
        (4, False): ("yuva420p", "yuva420p10le"),
        (1, True): ("gray", "gray16le"), (3, True): ("rgb24", "rgb48le"), (4, True): ("rgba", "rgba64le"),
    }  # fmt: skip
    return names[channels, lossless][bit_depth > 8]


def settings(choice: Choice, crf: int | None) -> dict[str, str]:
    """Options for the encoder.

    Raises:
        InputError: a crf beyond its scale, or for a codec that has none.
    """
    encoder, options = choice.encoder, dict(choice.encoder.options)
    if crf is not None and encoder.crf is None:
        having = ", ".join(sorted(name for name, known in ENCODERS.items() if known.crf is not None))
        raise InputError(f"crf is {crf}, but {choice.codec} has no such scale; {having} have one")
    if crf is not None and not 0 <= crf <= encoder.highest:
        raise InputError(f"crf is {crf}; for {choice.codec} it must be 0 (best) to {encoder.highest}")
    if encoder.crf is not None:
        options["crf"] = str(encoder.crf if crf is None else crf)
    return options


def rate_for(choice: Choice, rate: Fraction, known: Sequence[Any] | None) -> Fraction:
    """The rate an encoder is told; old codecs know a few, and get the nearest (timestamps stay true)."""
    if not choice.encoder.rates or not known:
        return rate.limit_denominator(65535)
    return min((Fraction(entry.numerator, entry.denominator) for entry in known), key=lambda r: abs(r - rate))
