"""Named points at which a stage's process ends at once, to prove that a stage may be killed anywhere.

    REPRISE_CRASH_AT=events:before-ingested_files python -m pipeline events --source my.toml --cutoff 2026-03-01

Whatever writes state calls `reach` before and after it does. Nothing is cleaned up on the way out, as by a kill. Which
points there are is in `pipeline.workflows.crash_points`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "REPRISE_CRASH_AT"
EXIT_CODE = 86
"""Exit code of a process that ended at a point."""

_stage = ""


@contextmanager
def inside(stage: str) -> Iterator[None]:
    """Points that are reached inside are of this stage."""
    global _stage
    before, _stage = _stage, stage
    try:
        yield
    finally:
        _stage = before


def wanted() -> str | None:
    """The point at which this process is to end, `stage:point`; None: at none."""
    return os.environ.get(VARIABLE) or None


def reach(point: str) -> None:
    """Ends the process if this is the point that is wanted, of the stage that runs."""
    if wanted() == f"{_stage}:{point}":
        sys.stdout.flush()
        print(f"ends at {_stage}:{point}, as {VARIABLE} says", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)
