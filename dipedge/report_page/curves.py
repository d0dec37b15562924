"""Loss, PSNR and SSIM by step, as inline SVG, with the answer's step marked.

The lines stand in the page as they are drawn and need no script; the script only shows values under the
pointer, from the JSON beside them. Labels are HTML over a stretched drawing: text in an SVG that is scaled to
a telephone's width could not be read.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from html import escape

import numpy as np

from dipedge.history import History
from dipedge.result import FitResult

MOST_POINTS = 20_000  # drawn in a chart; of longer histories every second, third, ... loss
WIDE = 1000  # of the drawing, in both directions; it is stretched to the place it has
LOG_FROM = 4.0  # a loss that falls by more than this is drawn on a logarithmic scale


@dataclass(frozen=True)
class Scale:
    """Values on the upright axis.

    Args:
        low, high: at the bottom and at the top.
        log: whether equal distances are equal factors.
    """

    low: float
    high: float
    log: bool = False

    def at(self, values: np.ndarray) -> np.ndarray:
        """Heights in the drawing, 0 at the top."""
        low, high = self.low, self.high
        if self.log:
            values, low, high = np.log(values), math.log(low), math.log(high)
        return WIDE * (high - np.asarray(values)) / (high - low)

    def ticks(self) -> list[float]:
        """Round values on the axis, five or so."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
                found = [step * 10.0**decade for decade in decades for step in steps]
                found = [tick for tick in found if self.low <= tick <= self.high]
                if len(found) >= 3:
                    break
            return found
        return round_values(self.low, self.high)


def round_values(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``: three to six."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    count = math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1
    return [round(step * (math.ceil(low / step - 1e-9) + one), 12) for one in range(count)]


def scale_of(values: np.ndarray, log: bool = False) -> Scale:
    """A scale with a little air above and below ``values``."""
    low, high = float(values.min()), float(values.max())
    if log and low > 0 and high > LOG_FROM * low:
        air = (high / low) ** 0.05
        return Scale(low / air, high * air, True)
    air = 0.05 * (high - low) or 0.05 * abs(high) or 1e-6
    return Scale(low - air, high + air)


def chosen_steps(result: FitResult) -> list[int]:
    """The answer's step of every fit in the history."""
    found = []
    for one in result.members or [result]:
        found += [tile.chosen_step for tile in one.tiles if tile.steps] or [one.chosen_step]
    return found


def charts(result: FitResult) -> str:
    """A figure for the loss and, where there was a reference, for PSNR and SSIM."""
    parts, stops = result.history.parts(), chosen_steps(result)
    last = max(len(part) for part in parts)
    every = -(-len(result.history) // MOST_POINTS)
    words = "Loss" if every == 1 else f"Loss (one step in {every} is drawn)"
    drawn = [("loss", words, [_losses(part, every) for part in parts])]
    if len(result.history.steps_measured):
        drawn.append(("psnr", "PSNR in dB", [_measured(part, part.psnr) for part in parts]))
        drawn.append(("ssim", "SSIM", [_measured(part, part.ssim) for part in parts]))
    scales, figures = {}, []
    for key, title, lines in drawn:
        values = np.concatenate([values for _, values in lines])
        if not len(values):  # every measured PSNR was infinite
            continue
        scales[key] = scale_of(values, log=key == "loss")
        figures.append(_figure(key, title, lines, scales[key], stops, last))
    data = json.dumps({"last": last, **_data(drawn, scales, stops)}, separators=(",", ":"))
    safe = data.replace("<", "\\u003c")
    return (
        f'<div class="charts" data-charts>{"".join(figures)}'
        f'<script type="application/json">{safe}</script></div>'
    )


Line = tuple[np.ndarray, np.ndarray]  # steps and values


def _losses(part: History, every: int) -> Line:
    steps = np.arange(1, len(part) + 1)
    # Counted from the end, so that the last loss is always among them.
    return steps[::-1][::every][::-1], part.loss[::-1][::every][::-1]


def _measured(part: History, values: np.ndarray) -> Line:
    seen = np.isfinite(values)
    return part.steps_measured[seen], values[seen]


def _data(drawn: list[tuple[str, str, list[Line]]], scales: dict[str, Scale], stops: list[int]) -> dict:
    """What the script shows under the pointer."""
    told = {}
    for key, _, lines in drawn:
        if key in scales:
            scale = scales[key]
            told[key] = {
                "low": scale.low,
                "high": scale.high,
                "log": scale.log,
                "lines": [
                    [steps.tolist(), [float(f"{one:.5g}") for one in values.tolist()]]
                    for steps, values in lines
                ],
            }
    return {"stops": stops, "charts": told}


def _figure(key: str, title: str, lines: list[Line], scale: Scale, stops: list[int], last: int) -> str:
    """One chart."""
    drawing = "".join(_polyline(steps, scale.at(values), last) for steps, values in lines if len(steps))
    heights = [float(scale.at(np.array(tick))) * 100 / WIDE for tick in scale.ticks()]
    grid = "".join(
        f'<i class="tick" style="top:{top:.2f}%"><b>{tick:.4g}</b></i>'
        for tick, top in zip(scale.ticks(), heights, strict=True)
    )
    under = "".join(
        f'<b style="left:{100 * tick / last:.2f}%">{tick:,.0f}</b>'
        for tick in round_values(0, last)
        if tick == int(tick)
    )
    marks = "".join(_mark(line, stop, scale, last) for line, stop in zip(lines, stops, strict=True))
    if len(stops) == 1:
        side = " before" if stops[0] > last / 2 else ""
        at = 100 * stops[0] / last
        marks += f'<i class="stop{side}" style="left:{at:.2f}%"><b>answer: step {stops[0]:,}</b></i>'
    axis = ", logarithmic" if scale.log else ""
    ends = [values[-1] for _, values in lines if len(values)]
    said = f"{title} by step, {len(lines)} fits" if len(lines) > 1 else f"{title} by step"
    said += f": ends at {ends[-1]:.4g} after {last} steps; arrow keys show values"
    return (
        f'<figure class="chart {key}"><figcaption>{escape(title + axis)} <output></output></figcaption>'
        f'<div class="plot" tabindex="0" role="group" aria-label="{escape(said)}">{grid}'
        f'<svg viewBox="0 0 {WIDE} {WIDE}" preserveAspectRatio="none" aria-hidden="true">{drawing}</svg>'
        f'{marks}<i class="cross" hidden></i></div><div class="axis">{under}</div></figure>'
    )


def _polyline(steps: np.ndarray, heights: np.ndarray, last: int) -> str:
    points = " ".join(f"{WIDE * x / last:.1f},{y:.1f}" for x, y in zip(steps, heights, strict=True))
    return f'<polyline points="{points}"/>'


def _mark(line: Line, stop: int, scale: Scale, last: int) -> str:
    """A dot where the answer of a fit was taken, if that step is drawn."""
    steps, values = line
    near = np.flatnonzero(steps == stop)
    if not len(near):
        return ""
    top = float(scale.at(values[near[0]])) * 100 / WIDE
    return f'<i class="dot" style="left:{100 * stop / last:.2f}%;top:{top:.2f}%"></i>'
