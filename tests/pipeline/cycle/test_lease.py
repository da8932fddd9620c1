"""One cycle of a source at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from pipeline.cycle import lease
from pipeline.settings import CHECKOUT, Settings


@pytest.fixture
def settings(tmp_path):
    return Settings.at(tmp_path)


def test_another_cycle_is_refused_until_the_lease_is_given_back(settings):
    lease.take(settings, "log", "2026-03-01")
    with pytest.raises(lease.SourceBusyError, match="cycle 2026-03-01 of log is running"):
        lease.take(settings, "log", "2026-04-01")
    assert lease.release(settings, "log", "2026-03-01") == "2026-03-01"
    lease.take(settings, "log", "2026-04-01")


def test_the_same_cycle_and_another_source_are_not_refused(settings):
    lease.take(settings, "log", "2026-03-01")
    lease.take(settings, "log", "2026-03-01")
    lease.take(settings, "other", "2026-04-01")
    assert lease.release(settings, "log", "2026-04-01") is None


def test_a_lease_of_a_process_that_is_gone_is_taken_over(settings):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    lease.take(settings, "log", "2026-03-01", owner_process=child)
    lease.take(settings, "log", "2026-04-01")
    assert lease.release(settings, "log") == "2026-04-01"


def test_a_lease_that_nobody_renewed_is_taken_over(settings, monkeypatch):
    lease.take(settings, "log", "2026-03-01")
    monkeypatch.setattr(lease, "STALE_AFTER_SECONDS", -1.0)
    lease.take(settings, "log", "2026-04-01")
    assert lease.release(settings, "log") == "2026-04-01"


def test_a_working_stage_keeps_a_stale_lease_alive(settings, monkeypatch):
    lease.take(settings, "log", "2026-03-01")
    monkeypatch.setattr(lease, "STALE_AFTER_SECONDS", -1.0)
    with (
        lease.working(settings, "log", "2026-03-01", "train"),
        pytest.raises(lease.SourceBusyError, match="cycle 2026-03-01 of log is running"),
    ):
        lease.take(settings, "log", "2026-04-01")


def works_beside(settings, stage, *, source="log", cycle="2026-03-01", beside=()) -> bool:
    """Whether a stage may work while `train` of the source `log`, cycle 2026-03-01, does."""
    with lease.working(settings, "log", "2026-03-01", "train"):
        try:
            with lease.working(settings, source, cycle, stage, beside):
                return True
        except lease.SourceBusyError as error:
            assert "stage train of log is still running" in str(error) or "log.train is locked" in str(error)
            return False


def test_two_stages_of_a_source_work_side_by_side_only_where_it_is_said(settings):
    assert not works_beside(settings, "evaluate")
    assert not works_beside(settings, "evaluate", beside=["events"])
    assert works_beside(settings, "evaluate", beside=["train"])
    assert works_beside(settings, "evaluate", source="log-2", cycle="2026-04-01")


def test_stages_of_two_cycles_never_work_side_by_side(settings):
    assert not works_beside(settings, "evaluate", cycle="2026-04-01", beside=["train"])
    with lease.working(settings, "log", "2026-03-01", "train"):
        lease.release(settings, "log")
        with (
            pytest.raises(lease.SourceBusyError),
            lease.working(settings, "log", "2026-04-01", "evaluate", ["train"]),
        ):
            pass
    assert lease.release(settings, "log") is None


def test_a_stage_does_not_work_twice_at_once(settings):
    assert not works_beside(settings, "train")
    assert not works_beside(settings, "train", beside=["train"])


def test_a_stage_that_ended_is_in_nobodys_way(settings):
    worked = []
    for stage in ("train", "evaluate"):
        with lease.working(settings, "log", "2026-03-01", stage):
            worked.append(stage)
    assert worked == ["train", "evaluate"]


def test_a_stage_keeps_the_process_that_runs_the_whole_cycle(settings):
    lease.take(settings, "log", "2026-03-01", owner_process=os.getpid())
    with lease.working(settings, "log", "2026-03-01", "train"):
        pass
    held = json.loads((settings.home / "leases" / "log.json").read_text())
    assert held["process"] == os.getpid()


def test_the_cycles_that_run_are_named(settings, monkeypatch):
    assert lease.running_cycles(settings) == []
    lease.take(settings, "log", "2026-03-01")
    with lease.working(settings, "titles", "2026-04-01", "train"):
        assert lease.running_cycles(settings) == ["cycle 2026-03-01 of log", "cycle 2026-04-01 of titles"]
        monkeypatch.setattr(lease, "STALE_AFTER_SECONDS", -1.0)
        assert lease.running_cycles(settings) == ["cycle 2026-04-01 of titles"]
    assert lease.running_cycles(settings) == []


def test_a_block_that_fails_gives_back_a_lease_that_it_took(settings):
    with pytest.raises(ValueError, match="no such date"), lease.taking(settings, "log", "2026-03-01"):
        raise ValueError("no such date")
    lease.take(settings, "log", "2026-04-01")


def test_a_block_that_fails_keeps_a_lease_that_the_cycle_held_before(settings):
    lease.take(settings, "log", "2026-03-01")
    with pytest.raises(ValueError, match="no such date"), lease.taking(settings, "log", "2026-03-01"):
        raise ValueError("no such date")
    with pytest.raises(lease.SourceBusyError):
        lease.take(settings, "log", "2026-04-01")


def test_a_block_that_succeeds_keeps_the_lease(settings):
    with lease.taking(settings, "log", "2026-03-01"):
        pass
    assert lease.release(settings, "log") == "2026-03-01"


def refused(held, match):
    with pytest.raises(lease.SourceBusyError, match=match), held:
        pass


def test_a_mending_command_waits_for_work_and_work_for_it_but_not_for_a_cycle_between_stages(settings):
    def mending(command="withdraw"):
        return lease.mending(settings, "films", command)

    lease.take(settings, "films", "2026-03-01")
    with mending():
        refused(
            lease.working(settings, "films", "2026-03-01", "events"), "withdraw of films is still running"
        )
        refused(mending("erase-user"), "withdraw of films is still running")
    with lease.working(settings, "films", "2026-03-01", "events"):
        refused(mending(), "events of films is still running")
    with lease.holding(settings, "films", "2026-03-01"):
        refused(mending(), "cycle 2026-03-01 of films is running")


HOLDS = """
import sys
from pathlib import Path
from pipeline.cycle import lease
from pipeline.settings import Settings

home, held, *words = sys.argv[1:]
with getattr(lease, held)(Settings.at(Path(home)), *words):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process(settings) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a process that holds something of the lease until its input ends."""
    started: list[subprocess.Popen] = []

    def start(held: str, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLDS, str(settings.home), held, *words]
        process = subprocess.Popen(
            command, cwd=CHECKOUT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_two_processes_never_run_one_cycle_and_a_killed_one_is_in_nobodys_way(settings, other_process):
    process = other_process("holding", "log", "2026-03-01")
    running = f"cycle 2026-03-01 of log is running in process {process.pid}; retry when it finishes"
    refused(lease.holding(settings, "log", "2026-03-01"), running)
    refused(lease.taking(settings, "log", "2026-03-01"), running)
    refused(lease.working(settings, "log", "2026-03-01", "events"), running)
    refused(lease.mending(settings, "log", "maintain"), running)
    refused(
        lease.holding(settings, "log", "2026-04-01"),
        "cycle 2026-03-01 of log is running; cycle 2026-04-01 waits",
    )
    with lease.holding(settings, "log-2", "2026-03-01"):
        pass
    assert lease.holder(settings, "log") == "2026-03-01"  # whoever was refused has not taken it along
    process.send_signal(signal.SIGKILL)
    process.wait()
    with lease.holding(settings, "log", "2026-04-01"):
        pass


def test_a_stage_and_a_mending_command_of_two_processes_wait_for_each_other(settings, other_process):
    other_process("working", "log", "2026-03-01", "train")
    refused(
        lease.working(settings, "log", "2026-03-01", "train"),
        "train of log is still running|log.train is locked",
    )
    refused(lease.working(settings, "log", "2026-03-01", "resolve"), "train of log is still running")
    refused(lease.mending(settings, "log", "maintain"), "train of log is still running")
    other_process("mending", "films", "maintain")
    refused(lease.working(settings, "films", "2026-03-01", "events"), "maintain of films is still running")
    refused(lease.mending(settings, "films", "withdraw"), "maintain of films is still running")


def test_a_command_that_runs_alone_is_refused_beside_itself_only(settings, other_process):
    other_process("alone", "replay-log-3")
    refused(lease.alone(settings, "replay-log-3"), "replay-log-3 is locked by another process")
    with lease.alone(settings, "replay-log-4"), lease.working(settings, "log", "2026-03-01", "train"):
        pass


def test_a_process_that_moves_the_alias_is_waited_for(settings, other_process):
    process = other_process("moving_alias", "log")
    ends = threading.Timer(0.2, process.stdin.close)
    ends.start()
    with lease.moving_alias(settings, "log"):
        assert process.stdin.closed
    ends.join()


def test_a_process_with_the_number_of_one_that_is_gone_is_another(settings):
    lease.take(settings, "log", "2026-03-01", owner_process=os.getpid())
    path = settings.home / "leases" / "log.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"process_started_at": content["process_started_at"] - 3600}))
    lease.take(settings, "log", "2026-04-01")


def test_only_the_process_that_holds_the_lease_gives_it_back(settings):
    lease.take(settings, "log", "2026-03-01")
    assert lease.release(settings, "log", "2026-03-01", os.getpid()) is None
    assert lease.release(settings, "log", "2026-03-01") == "2026-03-01"
