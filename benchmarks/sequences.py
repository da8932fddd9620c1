"""Cost of the stage `sequences`, compared with floors: work that any job with the same input must do.

    python -m benchmarks.sequences [--events 1000000] [--users 20000] [--giant 300000] [--master local[2]]

The log is synthetic: a million events of 20,000 users, and 300,000 more of one user. Prints seconds, and
bytes on disk per stored token. The floors are (a) reading the events; (b) Spark's plain
`groupBy(user).agg(collect_list)` over the same columns, written as Parquet, which keeps no order, cuts no
chunks and holds the largest history in one array; (c) writing the finished rows again. Each figure is the
median of three runs; the first run of a session warms it up.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations import tables
from expectations.instants import microseconds
from pipeline.settings import Settings
from spark_jobs import sequences
from spark_jobs.config import EventMapping, SequencesConfig, SourceConfig
from spark_jobs.histories.tokens import numbered, token_fields, tokens
from spark_jobs.lake.session import get_session

SOURCE = SourceConfig(
    name="synthetic",
    events=EventMapping(
        files=("none",), format="parquet", user="u", item="i", time="t", action="a", page="p", country="c"
    ),
    actions=("seen", "liked"),
    high_value="action = 'liked'",
)
ITEMS = 50_000
START = datetime(2024, 1, 1, tzinfo=UTC)


def synthetic_events(spark: SparkSession, events: int, users: int, giant: int) -> DataFrame:
    """`events` events over three months, with skewed items and 30 % high-value; `giant` more of one user."""
    number = F.col("id")
    chance = [F.pmod(F.xxhash64(number, F.lit(seed)), F.lit(1_000_000)) / 1_000_000 for seed in range(6)]
    user = F.floor(F.pow(chance[0], 2.0) * users)
    event_at = F.timestamp_micros(
        F.lit(microseconds(START)) + F.floor(chance[1] * timedelta(days=90).total_seconds()) * 1_000_000
    )
    made = {
        "event_id": number.cast("string"),
        "user_id": F.when(number < events, F.format_string("user-%d", user)).otherwise(F.lit("giant")),
        "item_id": F.format_string("item-%d", F.floor(F.pow(chance[2], 3.0) * ITEMS)),
        "event_at": event_at,
        "action": F.when(chance[3] < 0.3, "liked").otherwise("seen"),
        "page": F.format_string("page-%d", F.floor(chance[4] * 15)),
        "country": F.format_string("country-%d", F.floor(chance[5] * 40)),
        "file_id": F.sha2(F.floor(number / 100_000).cast("string"), 256),
        "line_number": number % 100_000 + 1,
        "event_date": F.to_date(event_at),
    }
    columns = (
        made.get(column.name, F.lit(None)).cast(column.type).alias(column.name)
        for column in tables.EVENTS.columns
    )
    return spark.range(events + giant).select(*columns)


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """Median wall time of some runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def measure(spark: SparkSession, folder: Path, events: int, users: int, giant: int) -> list[tuple[str, str]]:
    """Rows of the printed table: label and value."""
    synthetic_events(spark, events, users, giant).write.parquet(str(folder / "events"))
    spark.range(ITEMS).select(
        F.format_string("item-%d", "id").alias("item_id"), F.col("id").cast("int").alias("item_index")
    ).write.parquet(str(folder / "items"))
    log = spark.read.parquet(str(folder / "events"))
    items = F.broadcast(spark.read.parquet(str(folder / "items")))
    config = SequencesConfig()
    log_tokens = tokens(log, items, SOURCE, config.context_buckets)
    fields = token_fields(SOURCE)
    lists = log_tokens.groupBy("user_id").agg(*(F.collect_list(field).alias(field) for field in fields))
    rows = sequences.sequences(numbered(log_tokens), "2024-03-31", SOURCE, config)

    def write(frame: DataFrame, name: str) -> None:
        frame.write.mode("overwrite").parquet(str(folder / name))

    read = seconds(lambda: log_tokens.write.format("noop").mode("overwrite").save())
    floor = seconds(lambda: write(lists, "lists"))
    full = seconds(lambda: write(rows, "rows"))
    finished = spark.read.parquet(str(folder / "rows"))
    again = seconds(lambda: write(finished, "again"))
    stored, positions = finished.agg(
        F.sum(F.size("item_index")), F.sum(F.size("item_index") - F.col("loss_start"))
    ).first()
    size = bytes_under(folder / "rows")
    return [
        ("events", f"{events + giant:,}, of which {giant:,} are of one user"),
        ("(a) read and join, nothing written", f"{read:.1f} s"),
        ("(b) groupBy(user), collect_list, write", f"{floor:.1f} s"),
        ("(c) read and write the finished rows", f"{again:.1f} s"),
        ("sequences, written", f"{full:.1f} s = {full / floor:.2f} times (b)"),
        ("events per second", f"{positions / full:,.0f}"),
        ("loss positions", f"{positions:,}"),
        ("stored tokens", f"{stored:,}, {1 - positions / stored:.1%} of which is context"),
        ("bytes per stored token", f"{size / stored:.2f}"),
        ("bytes per event in (b)", f"{bytes_under(folder / 'lists') / positions:.2f}"),
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--giant", type=int, default=300_000)
    parser.add_argument("--master", default="local[2]")
    given = parser.parse_args()
    spark = get_session(given.master, "benchmark", str(Settings.from_environment().jars))
    with tempfile.TemporaryDirectory() as folder:
        table = measure(spark, Path(folder), given.events, given.users, given.giant)
    spark.stop()
    width = max(len(label) for label, _ in table)
    print("\n".join(f"{label:<{width}}  {value}" for label, value in table))


if __name__ == "__main__":
    main()
