"""Reports: one self-contained HTML page of what became of one picture or several.

The page holds everything it shows: pictures as data URIs, curves as SVG, its style and a little JavaScript.
It asks no server for anything (a content security policy in it forbids that, too) and can be mailed or kept.

    section.py    what the page says of one picture: pieces of HTML
    pictures.py   pictures, reduced where they are large, and residuals
    curves.py     loss, PSNR and SSIM by step
    words.py      sentences, figures and tables
    page.*        the frame around the sections: HTML, style, script
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from dipedge.errors import InputError
from dipedge.images import check_place, written_beside
from dipedge.report_page.pictures import LARGEST_SIDE, SIDE_OF_MANY
from dipedge.report_page.section import failure, section
from dipedge.report_page.words import settings_of
from dipedge.result import FitResult

if TYPE_CHECKING:
    from dipedge.session import Session

MANY = 4  # of more pictures than this each is shown smaller, so that a browser can hold the page

__all__ = ["failure", "largest_side", "section", "settings_of", "write_page", "write_report"]


def largest_side(count: int) -> int:
    """The longest side, in pixels, that one of ``count`` pictures is shown with."""
    return LARGEST_SIDE if count <= MANY else SIDE_OF_MANY


def write_report(
    path: str | os.PathLike,
    result: FitResult | Sequence[FitResult | None],
    image: Any = None,
    *,
    reference: Any = None,
    session: Session | None = None,
    names: str | Sequence[str] | None = None,
) -> None:
    """Writes a page about a fit, or about the fits of a list.

    Args:
        path: of the HTML file; it appears there only when it is complete.
        result: what ``fit`` or ``restore`` gave back; of a list, None is a picture that was not begun.
        image: what was fitted (or the list of it), of any kind ``fit`` takes; None where the task begins from
            none.
        reference: the true picture, or the list of them, as ``fit`` took it.
        session: whose settings are shown; it may be closed.
        names: what the pictures are called; by default their files' names, or "picture 1", ...

    Raises:
        InputError: lists of different lengths, or a picture that cannot be used.
        FileError: the file cannot be written.
    """
    check_place(Path(path))
    several = not isinstance(result, FitResult)
    results = list(result) if several else [result]
    images, truths, called = (
        _as_list(name, given, several, len(results))
        for name, given in (("image", image), ("reference", reference), ("names", names))
    )
    settings = {} if session is None else settings_of(session)
    side, sections = largest_side(len(results)), []
    for number, (one, before, truth, name) in enumerate(zip(results, images, truths, called, strict=True), 1):
        if name is None:
            is_file = isinstance(before, str | os.PathLike)
            name = Path(before).name if is_file else f"picture {number}" if several else "picture"
        if one is None:
            sections.append(failure(str(name), "the fit was not begun"))
        else:
            sections.append(section(str(name), one, before, truth, settings, side, number))
    write_page(path, sections)


def _as_list(name: str, given: Any, several: bool, count: int) -> list[Any]:
    """What was given for each result."""
    if given is None:
        return [None] * count
    if not several:
        return [given]
    if not isinstance(given, list | tuple) or len(given) != count:
        found = f"a list of {len(given)}" if isinstance(given, list | tuple) else f"a {type(given).__name__}"
        raise InputError(f"{name} is {found}; it must be a list of {count}, as result is")
    return list(given)


def write_page(path: str | os.PathLike, sections: Sequence[str], title: str = "dipedge") -> None:
    """Writes the page around ``sections``, the HTML of each, beside ``path`` and renames it there.

    Raises:
        FileError: the disk refused.
    """
    here = Path(__file__).parent
    count = "" if len(sections) == 1 else f" of {len(sections)} pictures"
    page = Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"{title}: report{count}"),
        date=time.strftime("%Y-%m-%d %H:%M"),
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
        sections="\n".join(sections),
    )
    with written_beside(path) as file:
        file.write(page.encode())
