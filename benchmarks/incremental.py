"""What a weekly cycle reads on a year of history, beside the week's own: Spark's own metrics, stage by stage.

    python -m benchmarks.incremental [--events 300000] [--users 6000] [--items 3000] [--master local[2]]

The log is synthetic: a year of a heavy tail of users, half of whom come or leave within it. The first cycle ingests it up
to the last week, from a file every four weeks; the second continues it with that week's file. Nothing is trained: the first cycle's
version is put where a registered one would be. Both run in a home of their own, which is removed.

For every Spark stage of the second cycle the table has records read and shuffled, bytes read, and their ratios to the
floor: the week's lines and the histories of the users seen in them, counted as records; the bytes of the floor are those
of the week's file and of the same share of the table `events`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from expectations.tables import location
from expectations.wording import size
from model.arrays import Ints
from model.config import ModelSection
from pipeline.config import Config, ScheduleConfig
from pipeline.cycle import accepted, identity, lease
from pipeline.cycle.definition import AcceptedVersion, Cycle, write_cycle
from pipeline.cycle.records import StageRecord, read_records
from pipeline.runner import run_stage
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow
from spark_jobs.config import EventMapping, FeaturesConfig, SourceConfig
from spark_jobs.figures import SparkWork

BEGIN = datetime(2025, 1, 6, tzinfo=UTC)
WEEKS = 52
WEEK = timedelta(days=7)
WEEK_SECONDS = int(WEEK.total_seconds())
DIGEST = "0" * 64
"""Stands for the weights of the first cycle's version."""


@dataclass(frozen=True)
class Log:
    """A year of events, in order of time: int64 [E] each."""

    user: Ints
    item: Ints
    second: Ints
    """Seconds since BEGIN."""

    @property
    def week(self) -> Ints:
        return self.second // WEEK_SECONDS


def synthetic_log(events: int, users: int, items: int, seed: int = 0) -> Log:
    """Users' rates are log-normal (the busiest hundredth has a quarter of the events); half of them come and leave
    within the year."""
    draw = np.random.default_rng(seed)
    rate = draw.lognormal(0.0, 1.6, users)
    begin = np.where(draw.random(users) < 0.5, 0.0, draw.random(users))
    end = np.where(draw.random(users) < 0.5, 1.0, begin + (1 - begin) * draw.random(users))
    share = rate * (end - begin)
    user = draw.choice(users, events, p=share / share.sum())
    at = begin[user] + (end - begin)[user] * draw.random(events)
    item = np.floor(draw.random(events) ** 3 * items).astype(np.int64)
    second = np.floor(at * WEEKS * WEEK_SECONDS).astype(np.int64)
    order = np.argsort(second, kind="stable")
    return Log(user[order], item[order], second[order])


def land(log: Log, weeks: range, folder: Path) -> None:
    """Writes one file of some weeks."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.flatnonzero(np.isin(log.week, weeks))
    rows = pa.table(
        {
            "user": [f"user-{one}" for one in log.user[chosen]],
            "item": [f"item-{one}" for one in log.item[chosen]],
            "time": int(BEGIN.timestamp()) + log.second[chosen],
            "action": np.where(log.item[chosen] % 10 < 3, "liked", "seen"),
        }
    )
    pa.csv.write_csv(rows, folder / f"week-{weeks[0]:02}.csv")


def configuration(folder: Path) -> Config:
    source = SourceConfig(
        name="weekly",
        landing=str(folder),
        events=EventMapping(
            files=("week-*.csv",), format="csv", user="user", item="item", time="time", action="action"
        ),
        actions=("seen", "liked"),
        high_value="action = 'liked'",
    )
    return Config(
        preset="laptop",
        source=source,
        schedule=ScheduleConfig(window_days=WEEK.days),
        features=FeaturesConfig(language_encoder="none"),
        model=ModelSection(modalities=("graph", "annotation")),
    )


def run(config: Config, cycle: Cycle, settings: Settings) -> dict[str, StageRecord]:
    """Runs the Spark stages of a cycle; returns their records."""
    write_cycle(settings, cycle, config, cold_start=False)
    with lease.holding(settings, cycle.source, cycle.name):
        identity.claim(config, settings)
        for stage in workflow(config).stages:
            if stage.engine == "spark":
                started = time.perf_counter()
                run_stage(stage.name, config, cycle, settings, say=lambda text: None)
                print(f"  {stage.name}: {time.perf_counter() - started:.1f} s", flush=True)
    return read_records(settings.cycle_folder(cycle.source, cycle.name))


def two_cycles(settings: Settings, log: Log, landing: Path) -> dict[str, StageRecord]:
    """Records of the second cycle."""
    config = configuration(landing)
    cutoffs = [BEGIN + (WEEKS - 1) * WEEK, BEGIN + WEEKS * WEEK]
    print("first cycle", flush=True)
    for begin in range(0, WEEKS - 1, 4):
        land(log, range(begin, min(begin + 4, WEEKS - 1)), landing)
    first = Cycle("weekly", cutoffs[0], WEEK, None)
    run(config, first, settings)
    accepted.keep(settings, first, DIGEST)
    version = AcceptedVersion(1, first.name, first.split, DIGEST)
    print("second cycle", flush=True)
    land(log, range(WEEKS - 1, WEEKS), landing)
    return run(config, Cycle("weekly", cutoffs[1], WEEK, version, version), settings)


def table(records: dict[str, StageRecord], floor_records: int, floor_bytes: int) -> list[str]:
    """A row a stage, and one of all."""
    lines = [
        "| stage | seconds | records read | of floor | shuffled | bytes read | of floor | written |",
        "|---|---|---|---|---|---|---|---|",
    ]
    work = {name: record.spark for name, record in records.items() if record.spark is not None}
    seconds = {name: records[name].seconds for name in work}
    for name, done in (*work.items(), ("all", total(list(work.values())))):
        lines.append(
            f"| {name} | {seconds.get(name, sum(seconds.values())):.1f} | {done.records_read:,} | "
            f"{done.records_read / floor_records:.2f} | {done.records_shuffled:,} | {size(done.bytes_read)} | "
            f"{done.bytes_read / floor_bytes:.2f} | {size(done.bytes_written)} |"
        )
    return lines


def total(work: list[SparkWork]) -> SparkWork:
    names = SparkWork.__dataclass_fields__
    return SparkWork(**{name: sum(getattr(one, name) for one in work) for name in names})


def main() -> None:
    """Prints the floor and the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--users", type=int, default=6_000)
    parser.add_argument("--items", type=int, default=3_000)
    parser.add_argument("--master", default="local[2]")
    given = parser.parse_args()
    jars = Settings.from_environment().jars
    with tempfile.TemporaryDirectory(prefix="incremental-") as folder:
        settings = Settings.at(Path(folder) / "home", spark_master=given.master)
        settings.home.mkdir()
        settings.jars.symlink_to(jars, target_is_directory=True)
        log = synthetic_log(given.events, given.users, given.items)
        records = two_cycles(settings, log, Path(folder) / "landing")
        is_new = log.week == WEEKS - 1
        week = int(is_new.sum())
        of_users = int((np.isin(log.user, log.user[is_new]) & ~is_new).sum())
        week_bytes = (Path(folder) / "landing" / f"week-{WEEKS - 1}.csv").stat().st_size
        events = Path(location(settings.lake, "weekly", "events"))
        stored = sum(path.stat().st_size for path in events.glob("*.parquet"))
    floor_bytes = week_bytes + round(stored * of_users / given.events)
    print(
        f"week      {week:,} lines, {size(week_bytes)}; {week / given.events:.1%} of {given.events:,} events"
    )
    print(
        f"floor     {week + of_users:,} records, {size(floor_bytes)}: the week, and {of_users:,} earlier events of its users"
    )
    print(*table(records, week + of_users, floor_bytes), sep="\n")


if __name__ == "__main__":
    main()
