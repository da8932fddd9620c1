"""Charts of the cycle report as inline SVG: dots with intervals, lines, bars.

Sizes are in units of the view box, which a browser shows at about one pixel each. Every series has its
own colour and shape (Okabe and Ito's colours), so that a reader needs neither alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from model.evaluation.figures import Estimate

COLOURS = ("#0072B2", "#D55E00", "#5d6166", "#009E73", "#CC79A7", "#7a5a00", "#56B4E9")
SHAPES = ("circle", "diamond", "square", "triangle", "cross")
GRID, SOFT = "#e3e5e8", "#5d6166"


@dataclass(frozen=True)
class Series:
    """One line or one kind of dot: its name and a point for each row or place, None where it has none."""

    name: str
    points: Sequence[Estimate | None]


def dots(rows: Sequence[str], series: Sequence[Series], unit: str) -> Markup:
    """One row a group, one dot with its interval for each series in it, on a common axis from 0."""
    left, width, step, gap, top = 190, 880, 15, 14, 34 + 22 * _legend_lines(series, 880)
    tick, scale = _axis(_highest(series), left, width - 20)
    band = len(series) * step + gap
    height = top + len(rows) * band + 26
    parts = [_legend(series, width)]
    for value in tick:
        x = scale(value)
        parts.append(_line(x, top - 8, x, height - 24, GRID))
        parts.append(_text(x, height - 8, _short(value), "middle", SOFT))
    parts.append(_text(width - 20, top - 14, unit, "end", SOFT))
    for number, row in enumerate(rows):
        y = top + number * band
        if number:
            parts.append(_line(0, y - 1, width - 20, y - 1, GRID))
        parts.append(_text(0, y + band / 2 + 4, row, "start", weight=600 if number == 0 else 400))
        for index, one in enumerate(series):
            point = one.points[number]
            if point is None or point.value is None:
                continue
            at = y + gap / 2 + (index + 0.5) * step
            if point.low is not None and point.high is not None:
                parts.append(_line(scale(point.low), at, scale(point.high), at, _colour(index), 2))
            parts.append(_mark(index, scale(point.value), at))
    return _svg(width, height, parts, f"{unit} by group")


def legend(names: Sequence[str]) -> Markup:
    """The marks of series in the order given, for figures that share them."""
    series, width = [Series(name, ()) for name in names], 880
    return _svg(width, 20 + 22 * _legend_lines(series, width), [_legend(series, width)], "legend")


def lines(title: str, places: Sequence[str], series: Sequence[Series]) -> Markup:
    """Series over a few named places (delays), with intervals as upright bars; see `legend`."""
    left, width, top, height = 52, 430, 34, 214
    tick, across = _axis(_highest(series), height - 34, top)
    step = (width - left - 30) / max(len(places), 1)
    parts = [_text(0, 14, title, "start", weight=600)]
    for value in tick:
        parts.append(_line(left, across(value), width - 10, across(value), GRID))
        parts.append(_text(left - 8, across(value) + 4, _short(value, 4), "end", SOFT))
    for number, place in enumerate(places):
        parts.append(_text(left + step * (number + 0.5), height - 10, place, "middle", SOFT))
    for index, one in enumerate(series):
        # Series stand side by side, so that their intervals do not cover each other.
        shift = (index - (len(series) - 1) / 2) * 9
        known = [
            (left + step * (number + 0.5) + shift, point)
            for number, point in enumerate(one.points)
            if point is not None and point.value is not None
        ]
        path = " ".join(f"{x:.1f},{across(point.value):.1f}" for x, point in known)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{_colour(index)}" stroke-width="1.5" opacity=".55"/>'
        )
        for x, point in known:
            if point.low is not None and point.high is not None:
                parts.append(_line(x, across(point.low), x, across(point.high), _colour(index), 2))
            parts.append(_mark(index, x, across(point.value)))
    return _svg(width, height, parts, title)


def curve(title: str, pairs: Sequence[Sequence[float]], x_name: str, colour: int = 0) -> Markup:
    """One measure over steps: `pairs` of step and value; the last value is written out."""
    left, width, height, top = 60, 430, 230, 34
    xs, ys = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    low, high = min(ys), max(ys)
    room = (high - low or abs(high) or 1.0) * 0.08
    across = _scale(low - room, high + room, height - 36, top)
    along = _scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, left, width - 56)
    parts = [_text(0, 14, title, "start", weight=600)]
    for value in _ticks(low, high):
        parts.append(_line(left, across(value), width - 10, across(value), GRID))
        parts.append(_text(left - 8, across(value) + 4, _short(value, 4), "end", SOFT))
    for value in (xs[0], xs[-1]) if len(xs) > 1 else xs:
        parts.append(_text(along(value), height - 10, f"{value:,.0f}", "middle", SOFT))
    parts.append(_text((left + width - 56) / 2, height - 10, x_name, "middle", SOFT))
    path = " ".join(f"{along(x):.1f},{across(y):.1f}" for x, y in pairs)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{_colour(colour)}" stroke-width="2"/>')
    parts.append(_mark(colour, along(xs[-1]), across(ys[-1])))
    parts.append(_text(along(xs[-1]) + 9, across(ys[-1]) + 4, _short(ys[-1], 3), "start", weight=600))
    return _svg(width, height, parts, title)


def bars(title: str, names: Sequence[str], values: Sequence[float], x_name: str) -> Markup:
    """Upright bars, one a name, with their values on top."""
    width, height, top = 880, 220, 44
    across = _scale(0, max(values, default=0) or 1, height - 46, top)
    step = width / max(len(names), 1)
    parts = [_text(0, 14, title, "start", weight=600)]
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        x, y = number * step, across(value)
        parts.append(
            f'<rect x="{x + 2:.1f}" y="{y:.1f}" width="{step - 4:.1f}" height="{height - 46 - y:.1f}" fill="{_colour(0)}"/>'
        )
        parts.append(_text(x + step / 2, y - 6, f"{value:,.0f}", "middle"))
        parts.append(_text(x + step / 2, height - 28, name, "middle", SOFT))
    parts.append(_text(width / 2, height - 6, x_name, "middle", SOFT))
    return _svg(width, height, parts, title)


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" font-size="13">'
        + "".join(parts)
        + "</svg>"
    )


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#1b1b1b", weight: int = 400) -> str:
    # As a style, which wins over the page's own rule for text in figures.
    style = f"fill:{colour};font-weight:{weight}"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}"/>'


def _mark(index: int, x: float, y: float) -> str:
    colour, r = _colour(index), 4.6
    match SHAPES[index % len(SHAPES)]:
        case "circle":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" fill="{colour}"/>'
        case "diamond":
            corners = ((0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0))
        case "square":
            corners = ((-r + 0.6, -r + 0.6), (r - 0.6, -r + 0.6), (r - 0.6, r - 0.6), (-r + 0.6, r - 0.6))
        case "triangle":
            corners = ((0, -r - 0.8), (r + 0.4, r - 0.6), (-r - 0.4, r - 0.6))
        case _:
            bar = f'stroke="{colour}" stroke-width="2.4"'
            return (
                f'<path d="M{x - r:.1f} {y - r:.1f}L{x + r:.1f} {y + r:.1f}'
                f'M{x - r:.1f} {y + r:.1f}L{x + r:.1f} {y - r:.1f}" {bar}/>'
            )
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _legend_places(series: Sequence[Series], width: float) -> list[tuple[float, int]]:
    """Left edge and line of each entry; an entry is as wide as its name at 13 units."""
    places, x, line = [], 0.0, 0
    for one in series:
        wide = 34 + 7.4 * len(one.name)
        if x and x + wide > width:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += wide
    return places


def _legend_lines(series: Sequence[Series], width: float) -> int:
    return max((line for _, line in _legend_places(series, width)), default=0)


def _legend(series: Sequence[Series], width: float) -> str:
    parts = []
    for index, (x, line) in enumerate(_legend_places(series, width)):
        y = 10 + 22 * line
        parts.append(_mark(index, x + 6, y) + _text(x + 17, y + 4.5, series[index].name, "start"))
    return "".join(parts)


def _highest(series: Sequence[Series]) -> float:
    ends = [
        max(number for number in (point.value, point.high) if number is not None)
        for one in series
        for point in one.points
        if point is not None and point.value is not None
    ]
    return max(ends, default=1.0) or 1.0


def _axis(highest: float, start: float, end: float):
    """Ticks from 0 to `highest`, and the scale that places them."""
    return _ticks(0.0, highest), _scale(0.0, highest, start, end)


def _scale(low: float, high: float, start: float, end: float):
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within the bounds."""
    spread = high - low
    if not spread > 0:
        return [low]
    rough = spread / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(value: float, digits: int = 6) -> str:
    return f"{value:.{digits}g}"
