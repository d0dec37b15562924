"""What the page says of one picture."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from dipedge import arrays
from dipedge.given import read_picture, read_reference
from dipedge.metrics import psnr, ssim
from dipedge.report_page.curves import charts
from dipedge.report_page.pictures import View, data_uri, difference, eight_bits, shown, views
from dipedge.report_page.words import (
    decibels,
    how_it_ended,
    rows,
    runs_on,
    table_of_fits,
    timings,
)
from dipedge.result import FitResult

WAS, TRUE = "as it was", "true picture"  # what the other pictures are called on the page
SMALL = 320  # pixels; narrower pictures are shown enlarged


def section(
    name: str,
    result: FitResult,
    image: Any,
    reference: Any,
    settings: dict[str, str],
    side: int,
    number: int,
) -> str:
    """The HTML of one picture's section.

    Args:
        name: the picture's.
        result: its fit.
        image: what was fitted, of any kind ``arrays.read`` takes, or a path; None where there was none.
        reference: the true picture likewise, or None.
        settings: names and values for the table.
        side: the longest that a picture is shown with, in pixels.
        number: of the section in the page.

    Raises:
        InputError, FileError: a picture that cannot be used.
    """
    answer = arrays.read(result.image, "result.image")
    before = None if image is None else read_picture(image, "image")
    truth = None if reference is None else read_reference(reference, answer.shape)
    values = {"restored": eight_bits(answer.values)}
    if before is not None:
        values[WAS] = eight_bits(before.values)
    if truth is not None:
        values[TRUE] = eight_bits(truth.values)
    shows = [_comparison(name, values, view) for view in views(*answer.shape[:2], side)]
    told = {"settings": settings, "timings": timings(result)}
    tables = "".join(f"<div><h3>{title.title()}</h3>{rows(one)}</div>" for title, one in told.items() if one)
    return (
        f'<section aria-labelledby="picture-{number}"><h2 id="picture-{number}">{escape(name)}</h2>'
        f'<p class="verdict">{escape(_sentence(result))}</p>{_figures(result, before, truth)}'
        f"{''.join(shows)}{_parts(result, side)}{charts(result)}"
        f'<div class="tables">{tables}</div>{table_of_fits(result)}</section>'
    )


def failure(name: str, why: str) -> str:
    """The section of a picture that has no result."""
    return f'<section class="failed"><h2>{escape(name)}</h2><p class="verdict">{escape(why)}</p></section>'


def _sentence(result: FitResult) -> str:
    words = how_it_ended(result)
    return f"{words[0].upper()}{words[1:]}. Computed by {runs_on(result)}."


def _figures(result: FitResult, before: arrays.Picture | None, truth: arrays.Picture | None) -> str:
    """The few numbers that stand large above the pictures."""
    told: list[tuple[str, str, str]] = []
    if truth is not None:
        answer = arrays.read(result.image).values
        after = psnr(answer, truth.values), ssim(answer, truth.values)
        was: tuple[float, float] | None = None
        if before is not None and before.shape[2] == truth.shape[2]:
            enlarged = before.values
            if before.shape != truth.shape:
                enlarged = arrays.enlarged(before.pixels, *truth.shape[:2])
            was = psnr(enlarged, truth.values), ssim(enlarged, truth.values)
        by = "Lanczos" if before is not None and before.shape != truth.shape else "before"
        told.append(("PSNR", decibels(after[0]), "" if was is None else f"{by}: {decibels(was[0])}"))
        told.append(("SSIM", f"{after[1]:.4f}", "" if was is None else f"{by}: {was[1]:.4f}"))
    told.append(("Steps", f"{result.steps:,}", f"{result.steps / result.seconds:.1f} a second"))
    told.append(("Time", f"{result.seconds:.1f} s", ""))
    cells = (
        f"<div><dt>{escape(word)}</dt><dd>{escape(value)}<small>{escape(small)}</small></dd></div>"
        for word, value, small in told
    )
    return f'<dl class="figures">{"".join(cells)}</dl>'


def _comparison(name: str, values: dict[str, np.ndarray], view: View) -> str:
    """The slider of one view, and what the differences look like there."""
    size = values["restored"].shape[:2]
    part = {word: shown(picture, view, size) for word, picture in values.items()}
    note = _note(view, size)
    if not _same_scene(values):
        return f'<div class="stills">{"".join(_still(word, one) for word, one in part.items())}</div>{note}'
    others = [word for word in part if word != "restored"]
    said = escape(name)
    under = "".join(
        f'<img class="under" data-name="{word}"{" hidden" if index else ""} draggable="false" '
        f'src="{data_uri(part[word])}" alt="{said}, {word}">'
        for index, word in enumerate(others)
    )
    uri = data_uri(part["restored"])
    over = f'<img class="over" draggable="false" src="{uri}" alt="{said}, restored">'
    place = f'class="frame" style="--width:{view.width};--height:{view.height}"'
    if not others:
        return f'<figure class="compare"><div {place}>{over}</div>{note}</figure>'
    return (
        f'<div class="pictures"><figure class="compare{_small(view.width)}" data-compare>'
        f"<div {place}>{under}{over}"
        f'<span class="tag left">{others[0]}</span><span class="tag right">restored</span>'
        '<input type="range" min="0" max="100" value="50" aria-label="Where the restored picture begins">'
        f'<i class="handle"></i></div><figcaption>{_choice(others)}'
        f"<span>Drag the line, or use the arrow keys.</span></figcaption>{note}</figure>"
        f'<div class="stills">{"".join(_difference(word, part) for word in others)}</div></div>'
    )


def _same_scene(values: dict[str, np.ndarray]) -> bool:
    """Whether all pictures show the same, at whatever size, with as many channels."""
    height, width, channels = values["restored"].shape
    return all(
        one.shape[2] == channels and height * one.shape[1] == width * one.shape[0] for one in values.values()
    )


def _note(view: View, size: tuple[int, int]) -> str:
    height, width = size
    if view.reduced:
        text = f"{width} x {height} pixels, shown reduced to {view.width} x {view.height}"
        text += "; below is a detail as it is."
    elif (view.width, view.height) != (width, height):
        text = f"Detail of {view.width} x {view.height} pixels, not reduced."
    else:
        text = f"{width} x {height} pixels."
    return f'<p class="note">{text}</p>'


def _small(width: int) -> str:
    """A class for pictures so small that they are shown enlarged: with their pixels as they are."""
    return " small" if width < SMALL else ""


def _choice(words: list[str]) -> str:
    """Buttons that say which picture the answer is compared with, if there are several."""
    if len(words) < 2:
        return ""
    buttons = (
        f'<button type="button" data-show="{word}" aria-pressed="{"true" if not index else "false"}">'
        f"{word}</button>"
        for index, word in enumerate(words)
    )
    return f'<span class="choice" role="group" aria-label="Compare with">{"".join(buttons)}</span>'


def _difference(word: str, part: dict[str, np.ndarray]) -> str:
    picture, factor = difference(part["restored"], part[word])
    what = "What was changed" if word == WAS else "What is still wrong"
    title = f"{what}: restored − {word}"
    return _still(title, picture, f"amplified {factor} times; grey: no difference")


def _still(title: str, picture: np.ndarray, small: str = "") -> str:
    height, width = picture.shape[:2]
    image = f'src="{data_uri(picture)}" alt="{escape(title)}" width="{width}" height="{height}"'
    return (
        f'<figure class="still{_small(width)}"><img {image} style="--width:{width}">'
        f"<figcaption>{escape(title)}<small>{escape(small)}</small></figcaption></figure>"
    )


def _parts(result: FitResult, side: int) -> str:
    """What else the task found, where it can be shown as a picture."""
    found = ""
    for name, part in result.parts.items():
        values = part[..., None] if part.ndim == 2 else part
        if values.ndim != 3 or values.shape[2] not in (1, 3) or values.dtype.kind not in "fu":
            continue
        view = views(*values.shape[:2], side)[0]
        found += _still(name, shown(eight_bits(values), view, values.shape[:2]), "also found")
    return f'<div class="stills">{found}</div>' if found else ""
