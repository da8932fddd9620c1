"""How numbers, counts and lists read for people: the same in verdicts, on pages and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def percent(value: float, *, sign: bool = True) -> str:
    """A fraction as percent: a difference as `+12.3 %`, a share (`sign=False`) as `12.3 %`."""
    if not math.isfinite(value):
        return "not a number"
    text = f"{value:+.1%}" if sign and value != 0 else f"{value:.1%}"
    return text.replace("%", "\u00a0%").replace("-", "−")


def number(value: float | None, digits: int = 4) -> str:
    """A count with thousands separated, a measure with `digits` decimals; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}".replace("-", "−")


def seconds(value: float) -> str:
    """A duration: `3.2 s`, `48 s`, `4 min 10 s` or `2 h 5 min`."""
    if value < 100:
        return f"{value:.1f}".removesuffix(".0") + " s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(value / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def megabytes(value: float) -> str:
    """A size, given in megabytes: `2,048 MB`."""
    return f"{value:,.0f} MB"


def size(value: int) -> str:
    """A size, given in bytes, in the largest unit of which there is one: `999 B`, `1.5 kB`, `12 MB`, `3.4 GB`."""
    scaled, units = float(value), ["B", "kB", "MB", "GB", "TB", "PB"]
    while scaled >= 999.5 and len(units) > 1:
        scaled, units = scaled / 1000, units[1:]
    return f"{scaled:.1f} {units[0]}" if scaled < 9.95 and units[0] != "B" else f"{scaled:,.0f} {units[0]}"


def listing(words: Sequence[str]) -> str:
    """Words as a list in a sentence: `a`, `a and b`, `a, b and c`. At least one is given."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def by_frequency(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Names with their counts, the largest first, equal ones by name."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
