from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from pipeline.local import processes
from tests.pipeline.local.sleeping import sleeper, until


@pytest.fixture
def leader() -> Iterator[psutil.Process]:
    """A process with a child that leads another session."""
    process = psutil.Process(subprocess.Popen(sleeper().command).pid)
    assert until(process.children)
    yield process
    if processes.is_alive(process):
        processes.end_families([process])


def test_descendants_are_found_across_sessions(leader: psutil.Process):
    (child,) = processes.descendants(leader)
    assert os.getsid(child.pid) == child.pid != os.getsid(leader.pid)


def test_a_family_ends_with_its_leader(leader: psutil.Process):
    (child,) = processes.descendants(leader)
    processes.end_families([leader])
    assert not processes.is_alive(leader) and not processes.is_alive(child)


def test_what_ignores_the_first_signal_is_killed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.3)
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as started:
        started.stdout.readline()
        stubborn = psutil.Process(started.pid)
        processes.end_families([stubborn])
        assert stubborn.wait() == -signal.SIGKILL


def test_a_process_that_ended_and_was_not_waited_for_is_not_alive():
    process = subprocess.Popen(["true"])
    handle = psutil.Process(process.pid)
    assert until(lambda: not processes.is_alive(handle))
    process.wait()
    assert not processes.is_alive(handle)
    assert processes.descendants(handle) == []
    with pytest.raises(psutil.NoSuchProcess):
        processes.started_ticks(handle)


def test_number_and_start_identify_a_process(leader: psutil.Process):
    # A clock tick is a hundredth of a second; this process started long before its child.
    assert processes.started_ticks(psutil.Process(leader.pid)) == processes.started_ticks(leader)
    assert processes.started_ticks(psutil.Process()) < processes.started_ticks(leader)
