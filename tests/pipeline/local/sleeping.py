"""Services that sleep for a minute, and a wait for what other processes do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from pipeline.local.services import Service

NOWHERE = "http://127.0.0.1:9/"
"""An address at which nothing listens."""

_SLEEP = "import time; time.sleep(60)"
_SLEEP_WITH_CHILD = (
    "import subprocess, sys, time; "
    f"subprocess.Popen([sys.executable, '-c', {_SLEEP!r}], start_new_session=True); time.sleep(60)"
)


def sleeper(name: str = "sleeper", **variables: str) -> Service:
    """A service whose process starts a child in another session."""
    command = (sys.executable, "-c", _SLEEP_WITH_CHILD)
    return Service(name, command, {**os.environ, **variables}, NOWHERE)


def until(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether the condition became true within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
