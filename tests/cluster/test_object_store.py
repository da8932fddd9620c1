"""A lake and a log on an S3-compatible server."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations.delta_log import open_table, storage_options
from expectations.tables import EVENTS, SEQUENCES
from model.data import delta
from pipeline.cycle import lake_lease
from pipeline.errors import Exit
from pipeline.settings import CHECKOUT, Settings
from pipeline.setup.jars import missing_jars
from tests.cluster.services import KEYS, bucket_of, s3_server

pytestmark = pytest.mark.s3

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
CUTOFFS = ("2026-03-01", "2026-03-15")
LAKE = "s3a://bucket/lake"
TOML = """
[source]
name = "remote"
landing = "s3a://bucket/landing"
[source.events]
files = ["log-*.csv", "packed/*.csv.gz"]
format = "csv"
user = "u"
item = "i"
time = "t"
[schedule]
window_days = 14
[objective]
label_window = 1
half_life_hours = 48
[training]
batch_tokens = 256
epochs = 2
finetune_epochs = 1
"""


@pytest.fixture
def store(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of a process that uses the server; this process has it too."""
    if missing_jars(home.jars, "s3"):
        pytest.fail(f"{home.jars} lacks the jars of S3; run `make setup JARS=s3`", pytrace=False)
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield {**os.environ, **environment, "REPRISE_HOME": str(home.home), "REPRISE_LAKE": LAKE}


def land(store: dict[str, str], name: str, days: range) -> None:
    """A file of the log: thirty users on a walk around a ring of twenty items."""
    rng = random.Random(days.start)
    lines = [
        f"u{user:02d},i{(user + 3 * day + rng.randrange(2)) % 20:02d},{int(START) + day * 86400 + rng.randrange(86400)}"
        for day in days
        for user in range(30)
        if rng.random() < 0.5
    ]
    system = bucket_of(int(store["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    with system.open_output_stream(f"bucket/landing/{name}", compression="detect") as stream:
        stream.write("\n".join(["u,i,t", *lines, ""]).encode())


def pipeline(store: dict[str, str], *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words], cwd=CHECKOUT, env=store | more, check=False, capture_output=True, text=True
    )  # fmt: skip


APPEND = """
import sys
from pyspark.sql import functions as F
from pipeline import presets
from pipeline.cycle.context import spark_session
from pipeline.settings import Settings
spark = spark_session(Settings.from_environment(), presets.load("ml-100k"))
for number in range(5):
    spark.range(7).write.format("delta").mode("append").save(sys.argv[1])
"""


def test_writers_of_several_processes_and_engines_lose_no_commit(store: dict[str, str]):
    address = f"{LAKE}/shared/table"
    rows = pa.table({"id": pa.array(range(7), pa.int64())})

    def with_spark(_: int) -> None:
        answer = subprocess.run(
            [sys.executable, "-c", APPEND, address], cwd=CHECKOUT, env=store, check=False, capture_output=True, text=True
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr[-3000:]

    def with_delta_rs(_: int) -> None:
        for _ in range(20):
            write_deltalake(address, rows, mode="append", storage_options=storage_options(address))

    with_delta_rs(0)
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(with_spark, 0), pool.submit(with_spark, 1), pool.submit(with_delta_rs, 0)]
        for one in done:
            one.result()
    table = open_table(address)
    assert (table.version(), table.to_pyarrow_dataset().count_rows()) == (49, 7 * 50)


def test_of_many_homes_that_want_a_source_at_once_one_gets_it(store: dict[str, str], tmp_path: Path):
    homes = [Settings.at(tmp_path / str(number), lake=LAKE) for number in range(6)]

    def wants(settings: Settings) -> bool:
        try:
            lake_lease.take(settings, "log", "cycle 2026-03-01", 60.0)
            return True
        except lake_lease.SourceBusyError:
            return False

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(wants, homes))
    assert sum(won) == 1
    winner, other = homes[won.index(True)], homes[won.index(False)]
    for _ in range(25):
        assert wants(winner) and not wants(other)
    lake_lease.release(winner, "log")
    assert wants(other) and not wants(winner)


def test_a_server_without_conditional_writes_is_refused(home: Settings, tmp_path: Path):
    (tmp_path / "remote.toml").write_text(TOML)
    with s3_server("ignore-conditions") as environment:
        store = {**os.environ, **environment, "REPRISE_HOME": str(home.home), "REPRISE_LAKE": LAKE}
        land(store, "log-1.csv", range(2))
        answer = pipeline(store, "cycle", "--source", str(tmp_path / "remote.toml"), "--cutoff", CUTOFFS[0])
    assert answer.returncode == Exit.FAILED
    assert "ignores conditional writes (If-None-Match)" in answer.stderr.splitlines()[-1]


def test_two_cycles_on_s3_killed_and_run_again(store: dict[str, str], home: Settings, tmp_path: Path):
    toml = tmp_path / "remote.toml"
    toml.write_text(TOML)
    land(store, "log-1.csv", range(40))
    land(store, "packed/log-2.csv.gz", range(40, 59))
    done = (Exit.DONE, Exit.REFUSED)
    for cutoff, stage in zip(CUTOFFS, ("sequences", "items"), strict=True):
        words = ("cycle", "--source", str(toml), "--preset", "quick", "--cutoff", cutoff)
        killed = pipeline(store, *words, REPRISE_CRASH_AT=f"{stage}:before-record")
        assert killed.returncode == 86, killed.stdout[-2000:] + killed.stderr[-4000:]
        answer = pipeline(store, *words)
        assert answer.returncode in done, answer.stdout[-2000:] + answer.stderr[-4000:]
        assert pipeline(store, *words).stdout.count("done before, nothing to do") >= 15
        land(store, "log-3.csv", range(59, 73))
    events = delta.latest(LAKE, "remote", EVENTS)
    figures = [
        json.loads((home.cycle_folder("remote", cutoff) / "stage-events.json").read_text())["figures"] for cutoff in CUTOFFS
    ]  # fmt: skip
    accepted = [one["accepted"] for one in figures]
    # The files of the first cycle are not read again, and what a killed run wrote is there once.
    assert [one["files_new"] for one in figures] == [2, 1]
    assert events.dataset().count_rows() == sum(accepted) > 900
    sequences = delta.latest(LAKE, "remote", SEQUENCES).dataset().to_table(["cycle"])
    assert set(sequences["cycle"].to_pylist()) == set(CUTOFFS)
    tables = pipeline(store, "tables", "--source", str(toml))
    assert tables.returncode == 0 and "events" in tables.stdout, tables.stderr
    tidy = pipeline(store, "maintain", "--source", str(toml), "--preset", "quick")
    assert tidy.returncode == 0, tidy.stderr[-3000:]
    # No key of the store is in anything that was written.
    written = [path for path in home.home.rglob("*") if path.is_file() and not path.is_relative_to(home.jars)]
    assert not [path for path in written if KEYS[1].encode() in path.read_bytes()]
