"""JVMs that outlive a stage: who gets one, and when it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.settings import Settings
from spark_jobs.lake import warm_jvm
from spark_jobs.lake.warm_jvm import WarmJvms

STAGE = '''"""A stage's process: takes a JVM, says which, and ends as it is told to."""
import json, os, sys
from pathlib import Path
from spark_jobs.lake import warm_jvm
from spark_jobs.lake.session import get_session
folder, jars, how = sys.argv[1:]
spark = get_session("local[1]", "test", jars, warm=warm_jvm.WarmJvms(Path(folder), 60))
table = str(Path(folder).parent / "table")
if not Path(table).exists():
    spark.range(3).write.format("delta").save(table)
print(json.dumps({
    "jvm": warm_jvm.process_id(),
    "application": spark.sparkContext.applicationId,
    "views": [view.name for view in spark.catalog.listTables()],
    "setting": spark.conf.get("spark.test", None),
    "default": spark.conf.get("spark.sql.broadcastTimeout"),
    "rows": spark.read.format("delta").load(table).count(),
}), flush=True)
spark.range(1).createOrReplaceTempView("left_behind")
spark.conf.set("spark.test", "left behind")
if how == "waits":
    sys.stdin.read()
if how == "ends well":
    warm_jvm.give_back()
'''


@pytest.fixture
def folder(tmp_path: Path):
    # Longer than the address of a socket may be.
    folder = tmp_path / ("long" * 30) / "warm"
    yield folder
    for keeper in psutil.process_iter(["cmdline"]):
        if str(folder) in (keeper.info["cmdline"] or []):
            keeper.kill()


def start(folder: Path, how: str) -> subprocess.Popen:
    command = [sys.executable, "-c", STAGE, str(folder), str(Settings.from_environment().jars), how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(stage: subprocess.Popen) -> dict:
    for line in stage.stdout:
        if line.startswith("{"):
            return json.loads(line)
    pytest.fail(f"the stage ended with {stage.wait()} and said nothing")


def ended(number: int) -> bool:
    deadline = time.monotonic() + 20
    while psutil.pid_exists(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(number)


def run(folder: Path, how: str) -> dict:
    stage = start(folder, how)
    result = said(stage)
    assert stage.wait() == 0
    return result


def test_a_stage_takes_the_jvm_of_one_that_ended_well_and_finds_nothing_of_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    (tmp_path / "spark-defaults.conf").write_text("spark.sql.broadcastTimeout 77\n")
    first, second = run(folder, "ends well"), run(folder, "ends well")
    assert first["jvm"] == second["jvm"]
    assert first["application"] != second["application"]
    assert (second["views"], second["setting"], second["rows"]) == ([], None, 3)
    # The person's own defaults hold in it.
    assert first["default"] == second["default"] == "77"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    WarmJvms(folder, 60).end()
    assert ended(first["jvm"])
    assert not list(folder.glob("*.socket"))


def test_a_jvm_ends_with_a_stage_that_did_not_end_well_and_a_busy_one_is_no_others(folder: Path):
    waiting = start(folder, "waits")
    busy = said(waiting)
    failed = run(folder, "fails")
    assert failed["jvm"] != busy["jvm"]
    assert ended(failed["jvm"])
    WarmJvms(folder, 60).end()
    assert psutil.pid_exists(busy["jvm"])
    os.kill(waiting.pid, signal.SIGKILL)
    waiting.wait()
    assert ended(busy["jvm"])


def test_an_idle_jvm_ends_and_the_socket_of_a_killed_keeper_is_no_obstacle(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    folder.mkdir(parents=True)
    warm = WarmJvms(folder, 0.1)
    monkeypatch.setattr(warm_jvm, "_taken", None)
    for name in ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"):
        # Set once, so that what `take` sets is unset again after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert warm.take("local[1]", "spark.ui.enabled false\n")
    taken = warm_jvm._taken
    taken.connection.sendall(warm_jvm._DONE)
    assert ended(taken.pid)
    stale = folder / f"{warm_jvm._key('local[1]', 'none')}-0.socket"
    with warm_jvm.socket.socket(warm_jvm.socket.AF_UNIX) as unheard, warm_jvm._short(folder) as short:
        unheard.bind(f"{short}/{stale.name}")
    assert warm._take_idle(warm_jvm._key("local[1]", "none")) is None
    assert not stale.exists()


def test_settings_that_start_no_jvm_leave_it_to_pyspark(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    assert not WarmJvms(folder, 60).take("local[1]", "spark.driver.memory much\n")
    assert "PYSPARK_GATEWAY_PORT" not in os.environ


def test_another_environment_has_another_jvm(monkeypatch: pytest.MonkeyPatch):
    key = warm_jvm._key("local[2]", "a b\n")
    assert warm_jvm._key("local[2]", "a b\n") == key
    assert len({key, warm_jvm._key("local[1]", "a b\n"), warm_jvm._key("local[2]", "a c\n")}) == 3
    monkeypatch.setenv("AWS_PROFILE", "another")
    assert warm_jvm._key("local[2]", "a b\n") != key
