"""Exit codes of every command, and how an error becomes the one line a person reads."""

from __future__ import annotations

from enum import IntEnum

from pipeline.disk import full_disk
from pipeline.settings import Settings

_OURS = ("pipeline", "spark_jobs", "model", "expectations")


class Exit(IntEnum):
    """What a command's exit code means."""

    DONE = 0
    FAILED = 1
    """An error that a retry cannot fix; the last line says what is wrong and what to do."""
    USAGE = 2
    """Wrong arguments (argparse's own code)."""
    CRASHED = 70
    """An unexpected error, with its traceback; a retry may help."""
    TRY_LATER = 75
    """Another cycle holds the source."""
    REFUSED = 99
    """The candidate was refused: a result, not an error."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""


def explanation(error: Exception, settings: Settings) -> str | None:
    """The message for a person: what is wrong and what to do.

    None for an unexpected error, whose message says too little without its traceback: one that neither
    a full disk caused nor this project raised with words of its own.
    """
    ours = type(error).__module__.split(".")[0] in _OURS
    return full_disk(error, settings) or (str(error) if ours else None)


def one_line(error: Exception, message: str | None) -> str:
    """The error as one line: the whole message, or the first line of a crash whose traceback has the rest."""
    lines = str(error if message is None else message).strip().splitlines()
    kept = lines[:1] if message is None else lines
    return " ".join(line.strip() for line in kept) or type(error).__name__
