"""Kinds of values that a column of landed files may have, as records and messages name them.

What a value's kind is, is measured in `spark_jobs.landing.kinds`; which change of it matters, judged in
`expectations.losses_of_columns`.
"""

from __future__ import annotations

MISSING = "missing"
SECONDS, MILLISECONDS, MICROSECONDS, NANOSECONDS = (
    f"{unit} since 1970" for unit in ("seconds", "milliseconds", "microseconds", "nanoseconds")
)
"""Numbers in a column that a mapping's time names, by their size."""

KINDS = {
    "-": MISSING,
    "n": "numbers",
    "s": SECONDS,
    "m": MILLISECONDS,
    "u": MICROSECONDS,
    "z": NANOSECONDS,
    "d": "dates",
    "b": "true or false",
    "t": "text",
    "o": "objects",
    "a": "lists",
    "x": "bytes",
}
"""Kinds by the letter that stands for one on a line."""
