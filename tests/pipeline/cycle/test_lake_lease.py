"""Two homes with one lake."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipeline.cycle import lake_lease, lease
from pipeline.settings import CHECKOUT, Settings


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Settings, Settings]:
    return tuple(Settings.at(tmp_path / name, lake=str(tmp_path / "lake")) for name in ("one", "other"))


def refused(settings: Settings, cycle: str = "2026-04-01") -> str:
    with pytest.raises(lease.SourceBusyError) as busy, lease.working(settings, "log", cycle, "events"):
        pass
    return str(busy.value)


def test_a_lake_in_a_home_is_that_homes_own(tmp_path):
    settings = Settings.at(tmp_path)
    with lease.working(settings, "log", "2026-03-01", "events"):
        assert not (tmp_path / "lake").exists()
    assert not lake_lease.is_shared(settings)


def test_a_home_waits_for_the_cycle_of_another(homes):
    one, other = homes
    with lease.taking(one, "log", "2026-03-01"):
        said = refused(other)
    assert "cycle 2026-03-01 of log is at work in" in said and platform.node() in said
    # Between two stages too, and for commands that change what cycles wrote.
    assert "cycle 2026-03-01" in refused(other)
    with pytest.raises(lease.SourceBusyError), lease.mending(other, "log", "maintain"):
        pass
    with (
        lease.working(one, "log", "2026-03-01", "events"),
        lease.working(other, "titles", "2026-03-01", "events"),
    ):
        pass
    assert lease.release(other, "log") is None
    assert "cycle 2026-03-01" in refused(other)
    assert lease.release(one, "log") == "2026-03-01"
    with lease.holding(other, "log", "2026-04-01"):
        assert "cycle 2026-04-01" in refused(one)
    with lease.mending(one, "log", "maintain"):
        assert "maintain of log is at work" in refused(other)
    with lease.working(other, "log", "2026-04-01", "events"):
        pass


def test_a_holder_that_renews_keeps_the_lease_and_one_that_is_gone_loses_it(homes, monkeypatch):
    one, other = homes
    monkeypatch.setattr(lake_lease, "EXPIRES_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(lake_lease, "RENEWED_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(lake_lease, "SKEW_SECONDS", 0.0)
    with lease.working(one, "log", "2026-03-01", "events") as check:
        time.sleep(1.0)
        refused(other)
        check()
    # Killed, it neither renews nor gives back.
    lake_lease.take(one, "log", "cycle 2026-03-01", 0.1)
    time.sleep(0.2)
    with lease.working(other, "log", "2026-04-01", "events") as check:
        check()


def test_a_holder_that_slept_too_long_records_nothing(homes, monkeypatch):
    one, other = homes
    monkeypatch.setattr(lake_lease, "RENEWED_EVERY_SECONDS", 0.2)
    with lease.working(one, "log", "2026-03-01", "events") as check:
        lake_lease._change(one, "log", lambda held: lake_lease.NOBODY)  # as if the time had passed
        lake_lease.take(other, "log", "cycle 2026-04-01", 60.0)
        time.sleep(0.6)
        with pytest.raises(lease.SourceBusyError, match="cycle 2026-04-01 .* is not recorded, retry"):
            check()
    assert lake_lease.holder(one, "log").what == "cycle 2026-04-01"


def test_a_lake_that_cannot_be_reached_is_a_lost_lease(homes, monkeypatch):
    one, _ = homes
    with lease.working(one, "log", "2026-03-01", "events") as check:
        monkeypatch.setattr(lake_lease, "EXPIRES_AFTER_SECONDS", -1.0)
        with pytest.raises(lease.SourceBusyError, match="could not be reached to renew the lease"):
            check()


def test_of_many_homes_that_want_a_source_at_once_one_gets_it(tmp_path):
    homes = [Settings.at(tmp_path / str(number), lake=str(tmp_path / "lake")) for number in range(6)]

    def wants(settings: Settings) -> bool:
        try:
            lake_lease.take(settings, "log", "cycle 2026-03-01", 60.0)
            return True
        except lease.SourceBusyError:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(wants, homes)) == 1


def test_renewals_leave_no_heap_of_files(homes, monkeypatch):
    one, _ = homes
    for _ in range(45):
        lake_lease.take(one, "log", "cycle 2026-03-01", 60.0)
    table = DeltaTable(str(Path(one.lake) / "log" / "lease"))
    assert table.version() == 45 and table.to_pyarrow_dataset().count_rows() == 0


def test_a_process_of_another_machine_counts_while_it_renews(homes):
    settings = homes[0]
    path = settings.home / "leases" / "log.json"
    with lease.holding(settings, "log", "2026-03-01"):
        # The same process id, on another machine.
        held = json.loads(path.read_text()) | {"host": "elsewhere"}
        path.write_text(json.dumps(held))
        with pytest.raises(lease.SourceBusyError, match=f"in process {os.getpid()} on elsewhere"):
            lease.take(settings, "log", "2026-03-01", os.getpid())
        with pytest.raises(lease.SourceBusyError, match="cycle 2026-03-01 of log is running"):
            lease.take(settings, "log", "2026-04-01")
        path.write_text(json.dumps(held | {"renewed_at": time.time() - lease.SILENT_AFTER_SECONDS}))
        lease.take(settings, "log", "2026-04-01")
    assert lease.holder(settings, "log") == "2026-04-01"


KILLED = """
import sys, time
from pipeline.cycle import lease
from pipeline.settings import Settings
with lease.holding(Settings.at(__import__("pathlib").Path(sys.argv[1]), lake=sys.argv[2]), "log", "2026-03-01"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_the_lease_until_it_expires_and_no_longer(homes, monkeypatch):
    one, other = homes
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, one.home, one.lake], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    refused(other)
    now = time.time()
    monkeypatch.setattr(
        lake_lease.time, "time", lambda: now + lake_lease.EXPIRES_AFTER_SECONDS + lake_lease.SKEW_SECONDS
    )
    with lease.working(other, "log", "2026-04-01", "events"):
        pass
