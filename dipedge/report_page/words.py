"""What the page and the command line say of a fit: the sentence of its end, figures, settings, tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from dipedge.result import FitResult, StopReason
from dipedge.stopping import AllOf, AnyOf

if TYPE_CHECKING:
    from dipedge.session import Session


def how_it_ended(result: FitResult) -> str:
    """Why the fit ended and what the answer is, in one sentence."""
    why = result.reason.sentence
    if result.tiles:
        ended = sum(tile.reason is result.reason for tile in result.tiles if tile.steps)
        reached = sum(tile.steps > 0 for tile in result.tiles)
        size = f"{result.tiles[0].width} x {result.tiles[0].height}"
        return f"{reached} of {len(result.tiles)} tiles of {size} fitted; {ended} ended because {why}"
    if result.members:
        ended = sum(member.reason is result.reason for member in result.members)
        how = "ended" if result.reason is StopReason.INTERRUPTED else f"{ended} ended"
        return f"the average of {fits(len(result.members))}; {how} because {why}"
    return f"ended because {why}; the answer is that of step {result.chosen_step}"


def fits(count: int) -> str:
    return "1 fit" if count == 1 else f"{count} fits"


def decibels(value: float) -> str:
    return f"{value:.2f} dB" if math.isfinite(value) else "identical"


def runs_on(result: FitResult) -> str:
    """Engine, instruction set and device, as far as they are known."""
    return ", ".join([result.engine, *(result.device[k] for k in ("isa", "device") if k in result.device)])


def settings_of(session: Session) -> dict[str, str]:
    """What a session was told and what its preset made of it, for people to read."""
    settings, chosen = session._settings, session._preset
    told = {
        "task": brief(session.task),
        "prior": session.prior.name,
        "quality": session._quality,
        "optimiser": brief(settings.optimiser),
        "average": f"{settings.average:g}",
        "stop": brief(session._stop),
        "precision": settings.precision,
        "seed": str(settings.seed),
        "settings from": chosen.source,
    }
    if session._ensemble > 1:
        told["ensemble"] = fits(session._ensemble)
    if settings.threads is not None:
        told["threads"] = str(settings.threads)
    return told


def brief(description: Any) -> str:
    """A description as it would be written: what differs from the defaults, pictures as ``...``."""
    if isinstance(description, AnyOf | AllOf):
        sign = " | " if isinstance(description, AnyOf) else " & "
        return sign.join(
            f"({brief(rule)})" if isinstance(rule, AnyOf | AllOf) else brief(rule)
            for rule in description.rules
        )
    if not is_dataclass(description):
        return repr(description)
    told = []
    for one in fields(description):
        value = getattr(description, one.name)
        if one.default is not MISSING and type(value) is type(one.default) and value == one.default:
            continue
        plain = isinstance(value, bool | int | float | str | None) or is_dataclass(value)
        told.append(f"{one.name}={brief(value)}" if plain else f"{one.name}=...")
    return f"{type(description).__name__}({', '.join(told)})"


def timings(result: FitResult) -> dict[str, str]:
    """How long it took, and on what."""
    told = {
        "steps": f"{result.steps:,}",
        "seconds": f"{result.seconds:.1f}",
        "steps per second": f"{result.steps / result.seconds:.1f}",
        "engine": result.engine,
        "instruction set": result.device.get("isa", ""),
        "device": result.device.get("device", ""),
        "engine version": result.device.get("version", ""),
        "last loss": f"{result.loss:.5g}",
    }
    if len(result.history.steps_measured):
        told["compared with the true picture"] = f"at {len(result.history.steps_measured):,} steps"
    return {name: value for name, value in told.items() if value}


def rows(told: dict[str, str]) -> str:
    """A table of names and values."""
    cells = (f"<tr><th scope=row>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in told.items())
    return f"<table>{''.join(cells)}</table>"


def table_of_fits(result: FitResult) -> str:
    """Every member of an ensemble, or every tile, in a table that opens; nothing for a single fit."""
    if result.members:
        head = ("seed", "steps", "answer's step", "seconds", "last loss", "ended")
        body = (
            (one.seed, one.steps, one.chosen_step, f"{one.seconds:.1f}", f"{one.loss:.5g}", one.reason)
            for one in result.members
        )
        return _details(f"The {fits(len(result.members))}", head, body)
    if result.tiles:
        head = ("tile", "place", "steps", "answer's step", "seconds", "last loss", "ended")
        body = (
            (
                number,
                f"{one.left}, {one.top}",
                one.steps,
                one.chosen_step,
                f"{one.seconds:.1f}",
                "" if one.loss is None else f"{one.loss:.5g}",
                one.reason,
            )
            for number, one in enumerate(result.tiles, 1)
        )
        return _details(f"The {len(result.tiles)} tiles", head, body)
    return ""


def _details(title: str, head: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    first = "".join(f"<th scope=col>{escape(word)}</th>" for word in head)
    rest = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in line) + "</tr>" for line in body
    )
    table = f"<table><thead><tr>{first}</tr></thead><tbody>{rest}</tbody></table>"
    return f'<details><summary>{escape(title)}</summary><div class="wide">{table}</div></details>'
