"""Charts of the cycle report as inline SVG: dots with intervals, lines, curves, bars.

Sizes are in units of the view box, about one pixel each in a browser. Every series has its own colour
(from Okabe and Ito's palette) and shape, so that neither is needed to tell series apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from model.evaluation.figures import Estimate

COLOURS = ("#0072B2", "#D55E00", "#5d6166", "#009E73", "#CC79A7", "#7a5a00", "#56B4E9")
SHAPES = ("circle", "diamond", "square", "triangle", "cross")
GRID, INK, SOFT = "#e3e5e8", "#1b1b1b", "#5d6166"

WIDTH, HALF_WIDTH = 880, 430
"""Width of a chart across the page, and of one of two side by side."""
LETTER, LEGEND_LINE = 7.4, 22
"""Width of a letter at the font size of charts, and height of a line of the legend."""

Scale = Callable[[float], float]
"""From a value to its place in the chart."""


@dataclass(frozen=True)
class Series:
    """One line or one kind of dot."""

    name: str
    points: Sequence[Estimate | None]
    """One for each row of `dots` or place of `lines`; None where there is no value."""


def dots(rows: Sequence[str], series: Sequence[Series], unit: str) -> Markup:
    """One row a group and in it a dot with its interval for each series, on a common axis from 0."""
    step, gap, right = 15, 14, WIDTH - 20
    left = min(max(190, LETTER * max(map(len, rows), default=0) + 10), WIDTH / 2)
    top = 34 + LEGEND_LINE * _last_legend_line(series)
    ticks, scale_x = _axis(_highest(series), left, right)
    band = len(series) * step + gap
    height = top + len(rows) * band + 26
    parts = [_legend(series)]
    for value in ticks:
        x = scale_x(value)
        parts.append(_line(x, top - 8, x, height - 24, GRID))
        parts.append(_text(x, height - 8, _short(value), "middle", SOFT))
    parts.append(_text(right, top - 14, unit, "end", SOFT))
    for row, name in enumerate(rows):
        row_top = top + row * band
        if row:
            parts.append(_line(0, row_top - 1, right, row_top - 1, GRID))
        parts.append(_text(0, row_top + band / 2 + 4, name, "start", weight=600 if row == 0 else 400))
        for index, member in enumerate(series):
            y, point = row_top + gap / 2 + (index + 0.5) * step, member.points[row]
            if point is None or point.value is None:
                continue
            if point.low is not None and point.high is not None:
                parts.append(_line(scale_x(point.low), y, scale_x(point.high), y, _colour(index), 2))
            parts.append(_mark(index, scale_x(point.value), y))
    return _svg(WIDTH, height, parts, f"{unit} by group")


def legend(names: Sequence[str]) -> Markup:
    """The marks of series in the order given, for charts that share them."""
    series = [Series(name, ()) for name in names]
    return _svg(WIDTH, 20 + LEGEND_LINE * _last_legend_line(series), [_legend(series)], "legend")


def lines(title: str, places: Sequence[str], series: Sequence[Series]) -> Markup:
    """Series over a few named places, with intervals as upright bars; `legend` names the series."""
    left, top, height = 52, 34, 214
    ticks, scale_y = _axis(_highest(series), height - 34, top)
    step = (HALF_WIDTH - left - 30) / max(len(places), 1)
    centres = [left + step * (place + 0.5) for place in range(len(places))]
    parts = [_title(title)]
    for value in ticks:
        parts += _level(scale_y(value), left, value)
    for x, place in zip(centres, places, strict=True):
        parts.append(_text(x, height - 10, place, "middle", SOFT))
    for index, member in enumerate(series):
        # Side by side, so that intervals do not cover each other.
        shift = (index - (len(series) - 1) / 2) * 9
        known = [
            (x + shift, point)
            for x, point in zip(centres, member.points, strict=True)
            if point is not None and point.value is not None
        ]
        parts.append(_path([(x, scale_y(point.value)) for x, point in known], index, 1.5, opacity=0.55))
        for x, point in known:
            if point.low is not None and point.high is not None:
                parts.append(_line(x, scale_y(point.low), x, scale_y(point.high), _colour(index), 2))
            parts.append(_mark(index, x, scale_y(point.value)))
    return _svg(HALF_WIDTH, height, parts, title)


def curve(title: str, points: Sequence[Sequence[float]], x_name: str, colour: int = 0) -> Markup:
    """One measure over steps, from pairs of step and value; the last value is written out.

    `colour` is the index of the series whose colour and shape it takes.
    """
    left, right, height, top = 60, HALF_WIDTH - 56, 230, 34
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    margin = (high - low or abs(high) or 1.0) * 0.08
    scale_y = _scale(low - margin, high + margin, height - 36, top)
    scale_x = _scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, left, right)
    parts = [_title(title)]
    for value in _ticks(low, high):
        parts += _level(scale_y(value), left, value)
    for value in (xs[0], xs[-1]) if len(xs) > 1 else xs:
        parts.append(_text(scale_x(value), height - 10, f"{value:,.0f}", "middle", SOFT))
    parts.append(_text((left + right) / 2, height - 10, x_name, "middle", SOFT))
    parts.append(_path([(scale_x(x), scale_y(y)) for x, y in points], colour, 2))
    x, y = scale_x(xs[-1]), scale_y(ys[-1])
    parts.append(_mark(colour, x, y))
    parts.append(_text(x + 9, y + 4, _short(ys[-1], 3), "start", weight=600))
    return _svg(HALF_WIDTH, height, parts, title)


def bars(title: str, names: Sequence[str], values: Sequence[float], x_name: str) -> Markup:
    """Upright bars, one a name, with their values on top."""
    height, top, base = 220, 44, 174
    scale_y = _scale(0, max(values, default=0) or 1, base, top)
    step = min(WIDTH / max(len(names), 1), 110)
    parts = [_title(title)]
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        x, y = place * step, scale_y(value)
        parts.append(
            f'<rect x="{x + 2:.1f}" y="{y:.1f}" width="{step - 4:.1f}" height="{base - y:.1f}" fill="{_colour(0)}"/>'
        )
        parts.append(_text(x + step / 2, y - 6, f"{value:,.0f}", "middle"))
        parts.append(_text(x + step / 2, height - 28, name, "middle", SOFT))
    parts.append(_text(len(names) * step / 2, height - 6, x_name, "middle", SOFT))
    return _svg(WIDTH, height, parts, title)


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" font-size="13">'
        + "".join(parts)
        + "</svg>"
    )


def _text(x: float, y: float, words: str, anchor: str, colour: str = INK, weight: int = 400) -> str:
    # A style attribute wins over the page's own rule for text in charts.
    style = f"fill:{colour};font-weight:{weight}"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{escape(words)}</text>'


def _title(words: str) -> str:
    return _text(0, 14, words, "start", weight=600)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _level(y: float, left: float, value: float) -> list[str]:
    """One grid line of a chart of half the width, with its value."""
    return [
        _line(left, y, HALF_WIDTH - 10, y, GRID),
        _text(left - 8, y + 4, _short(value, 4), "end", SOFT),
    ]


def _path(places: Sequence[tuple[float, float]], index: int, width: float, opacity: float = 1.0) -> str:
    ends = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    stroke = f'stroke="{_colour(index)}" stroke-width="{width:g}" opacity="{opacity:g}"'
    return f'<polyline points="{ends}" fill="none" {stroke}/>'


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
            stroke = f'stroke="{colour}" stroke-width="2.4"'
            return (
                f'<path d="M{x - r:.1f} {y - r:.1f}L{x + r:.1f} {y + r:.1f}'
                f'M{x - r:.1f} {y + r:.1f}L{x + r:.1f} {y - r:.1f}" {stroke}/>'
            )
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _legend_places(series: Sequence[Series]) -> list[tuple[float, int]]:
    """Left edge and line of each entry, as many a line as fit."""
    places, x, line = [], 0.0, 0
    for member in series:
        width = 34 + LETTER * len(member.name)
        if x and x + width > WIDTH:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += width
    return places


def _last_legend_line(series: Sequence[Series]) -> int:
    return max((line for _, line in _legend_places(series)), default=0)


def _legend(series: Sequence[Series]) -> str:
    parts = []
    for index, (x, line) in enumerate(_legend_places(series)):
        y = 10 + LEGEND_LINE * line
        parts.append(_mark(index, x + 6, y) + _text(x + 17, y + 4.5, series[index].name, "start"))
    return "".join(parts)


def _highest(series: Sequence[Series]) -> float:
    """The highest value or end of an interval; 1 where there is none above 0."""
    ends = [
        end
        for member in series
        for point in member.points
        if point is not None
        for end in (point.value, point.high)
        if end is not None
    ]
    return max(ends, default=1.0) or 1.0


def _axis(highest: float, start: float, end: float) -> tuple[list[float], Scale]:
    """Ticks from 0 to `highest`, and the scale that places them."""
    return _ticks(0.0, highest), _scale(0.0, highest, start, end)


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    """The linear map of `low` to `start` and `high` to `end`."""
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
    return [multiple * step for multiple in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(value: float, digits: int = 6) -> str:
    return f"{value:.{digits}g}"
