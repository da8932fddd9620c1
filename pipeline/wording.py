"""How numbers read for people, the same in verdicts, on pages and on the terminal."""

from __future__ import annotations

import math
from typing import Any


def percent(value: float, *, sign: bool = True) -> str:
    """A share, +12.3 %; no sign where there is nothing to compare with."""
    if not math.isfinite(value):
        return "not a number"
    text = f"{value:+.1%}" if sign and value != 0 else f"{value:.1%}"
    return text.replace("%", "\u00a0%").replace("-", "−")


def number(value: Any, digits: int = 4) -> str:
    """A count with thousands separated, or a measure with some digits; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}".replace("-", "−")


def seconds(value: float) -> str:
    """A duration, 3.2 s or 4 min 10 s."""
    return f"{value:.1f} s" if value < 100 else f"{int(value // 60)} min {value % 60:.0f} s"


def megabytes(value: float) -> str:
    return f"{value:,.0f} MB"
