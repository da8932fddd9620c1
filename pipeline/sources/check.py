"""`check-source`: shows how a source's log is read, before the first cycle.

Prints the files with their columns and the mappings that use them, sample events, the lines that would be
rejected and why, figures of events and items, and likely mistakes. It writes nothing and reads a sample
(the first records of each local text file, other files whole), with the same transforms as the Spark jobs.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.config import Config, ConfigError
from pipeline.settings import Settings
from spark_jobs.config import FileMapping

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.landing.files import LandedFile
    from spark_jobs.landing.reading import Mapped

SAMPLE_LINES = 20_000
"""Records read of each text file."""
_SHOWN_FILES, _SHOWN_EVENTS, _SHOWN_EXAMPLES = 8, 5, 2
_WIDTH = 100


class _Sampled(NamedTuple):
    """The files of one mapping, and the sample of their lines with the mapping applied."""

    files: list[LandedFile]
    mapped: Mapped


def check_source(config: Config, settings: Settings, say: Callable[[str], None] = print) -> None:
    """Prints the page for a source, line by line.

    Raises ConfigError with one line when a mapping does not fit its files, or no file matches.
    """
    from spark_jobs.lake.session import get_session
    from spark_jobs.landing.expressions import MappingError
    from spark_jobs.landing.files import LandingError

    spark = get_session(settings.spark_master, "check-source", str(settings.jars))
    landing = config.source.landing or str(settings.landing(config.source.name))
    try:
        with tempfile.TemporaryDirectory(prefix="check-source-") as scratch:
            for line in _page(spark, config, landing, Path(scratch)):
                say(line)
    except (MappingError, LandingError) as problem:
        raise ConfigError(str(problem)) from None


def _page(spark: SparkSession, config: Config, landing: str, scratch: Path) -> Iterator[str]:
    from expectations.tables import EVENTS
    from spark_jobs.landing import event_lines

    source = config.source
    yield f"{source.name}: {source.title or 'no title'}"
    yield f"landing folder: {landing}"
    expressions = event_lines.mapped_expressions(source)
    sampled = _sample(spark, landing, source.events, expressions, "events", scratch)
    yield from _files("events", source.events, expressions, sampled)
    if not sampled.mapped.parts:
        yield "  no line is readable; the reasons are above"
        return
    checked = sampled.mapped.through(lambda rows: event_lines.checked_lines(rows, source))
    lines = event_lines.numbered_occurrences(checked, source.name, sampled.files).persist()
    accepted = event_lines.accepted_events(lines).persist()
    yield from _rejected(lines)
    yield from _sample_events(accepted, [c for c in EVENTS.column_names if c not in _HIDDEN])
    advice: list[str] = []
    yield from _profile(accepted, config, advice)
    yield from _items(spark, config, landing, scratch, accepted, advice)
    yield ""
    yield "possible problems" if advice else "no problems found"
    yield from (f"  - {line}" for line in advice)
    lines.unpersist()
    accepted.unpersist()


_HIDDEN = ("event_id", "file_id", "line_number", "event_date")


def _sample(
    spark: SparkSession,
    landing: str,
    mapping: FileMapping,
    expressions: dict[str, str],
    label: str,
    scratch: Path,
) -> _Sampled:
    from spark_jobs.landing.files import LandingError, find
    from spark_jobs.landing.reading import read_mapped

    files = find(spark, landing, mapping.files)
    if not files:
        raise LandingError(f"no file matches {label}.files = {', '.join(mapping.files)} under {landing}")
    heads = (
        [_head(file, mapping, scratch, number) for number, file in enumerate(files)]
        if mapping.format != "parquet"
        else files
    )
    return _Sampled(files, read_mapped(spark, heads, mapping, expressions, label))


def _head(file: LandedFile, mapping: FileMapping, scratch: Path, number: int) -> LandedFile:
    """A copy of a local text file's first records, unpacked and in UTF-8; other files as they are."""
    from spark_jobs.landing.delimited import dialect_of
    from spark_jobs.landing.unpacking import DamagedFile
    from spark_jobs.landing.whole_files import first_records

    if file.unreadable or not file.is_local:
        return file
    dialect = None if mapping.format == "jsonl" else dialect_of(mapping)
    path = scratch / f"{number:05d}.txt"
    try:
        with path.open("wb") as head:
            for record in first_records(file, dialect, SAMPLE_LINES):
                # A JSON value over several lines becomes one line: its line breaks are blanks between tokens.
                raw = record.raw if dialect else record.raw.replace(b"\n", b" ")
                head.write(raw + b"\n")
    except (DamagedFile, OSError) as reason:
        return replace(file, unreadable=" ".join(str(reason).split()))
    return replace(file, path=str(path), size_bytes=path.stat().st_size)


# --- parts of the page ----------------------------------------------------------------------------


def _files(label: str, mapping: FileMapping, expressions: dict[str, str], sampled: _Sampled) -> Iterator[str]:
    total = sum(file.size_bytes for file in sampled.files)
    yield ""
    yield f"{label}: {len(sampled.files)} file(s), {mapping.format}, {_size(total)}"
    for file in sampled.files[:_SHOWN_FILES]:
        problem = sampled.mapped.unreadable.get(file.file_id)
        lines = sampled.mapped.line_counts.get(file.file_id, 0)
        cut = " or more" if lines >= SAMPLE_LINES - 1 and mapping.format != "parquet" else ""
        empty = "" if lines or mapping.format not in ("csv", "tsv") else ", no more than a header"
        yield f"  {file.name}  {_size(file.size_bytes)}  " + (problem or f"{lines:,} lines{cut}{empty}")
    if len(sampled.files) > _SHOWN_FILES:
        yield f"  … and {len(sampled.files) - _SHOWN_FILES} more"
    users = {column: [] for column in sampled.mapped.columns}
    for name, sql in (*expressions.items(), *((("where", mapping.where),) if mapping.where else ())):
        for column, names in users.items():
            if sql == column or re.search(rf"(?<![\w.]){re.escape(column)}(?!\w)", sql):
                names.append(name)
    used = [f"{column} → {', '.join(names)}" for column, names in users.items() if names]
    unused = [column for column, names in users.items() if not names]
    yield from _wrapped("  columns used: ", used)
    yield from _wrapped("  columns not used: ", unused)


def _rejected(lines: DataFrame) -> Iterator[str]:
    from pyspark.sql import functions as F

    reasons = lines.groupBy("problem").agg(
        F.count("*").alias("n"), F.slice(F.collect_list("raw"), 1, _SHOWN_EXAMPLES).alias("raw")
    )
    rows = sorted(reasons.collect(), key=lambda row: -row["n"])
    total = sum(row["n"] for row in rows)
    accepted = sum(row["n"] for row in rows if row["problem"] is None)
    yield ""
    yield f"of {total:,} sampled lines {accepted:,} would be accepted, {total - accepted:,} rejected"
    for row in rows:
        if row["problem"] is not None:
            yield f"  {row['n']:>9,}  {row['problem']}"
            yield from (f"             {raw[:_WIDTH]}" for raw in row["raw"] if raw)


def _sample_events(accepted: DataFrame, columns: list[str]) -> Iterator[str]:
    rows = [
        ["" if row[name] is None else str(row[name])[:32] for name in columns]
        for row in accepted.orderBy("file_id", "line_number").limit(_SHOWN_EVENTS).collect()
    ]
    filled = [n for n in range(len(columns)) if any(row[n] for row in rows)]
    table = [[columns[n] for n in filled], *([row[n] for n in filled] for row in rows)]
    widths = [max(len(row[n]) for row in table) for n in range(len(filled))]
    yield ""
    yield "the first events, as they would be stored"
    yield from (
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def _profile(accepted: DataFrame, config: Config, advice: list[str]) -> Iterator[str]:
    from pyspark.sql import functions as F

    from spark_jobs.histories.high_value import by_rules
    from spark_jobs.landing.event_lines import OPTIONAL

    source = config.source
    whole = by_rules(accepted, source).agg(
        F.count("*").alias("events"), F.countDistinct("user_id").alias("users"), F.countDistinct("item_id").alias("items"),
        F.min("event_at").alias("first"), F.max("event_at").alias("last"),
        F.count_if("high_value").alias("high_value"),
        F.count_if(F.col("high_value") & (F.col("reward") == 0)).alias("unrewarded"),
        *[F.count(name).alias(name) for name in OPTIONAL],
    ).first()  # fmt: skip
    events = whole["events"]
    yield ""
    if not events:
        advice.append("no sampled line is a valid event; the reasons are above")
        yield "no events"
        return
    yield f"{events:,} events of {whole['users']:,} users on {whole['items']:,} items"
    yield f"  from {whole['first']:%Y-%m-%d %H:%M} to {whole['last']:%Y-%m-%d %H:%M} UTC"
    mix = accepted.groupBy("action").count().orderBy(F.desc("count")).collect()
    yield "  actions: " + ", ".join(f"{row['action']} {row['count'] / events:.1%}" for row in mix)
    yield f"  high-value ({source.high_value}): {whole['high_value'] / events:.1%}"
    given = [f"{name} {whole[name] / events:.0%}" for name in OPTIONAL if whole[name]]
    yield "  filled: " + (", ".join(given) or "user, item and time only")
    _advise(whole, config, {row["action"] for row in mix}, advice)


def _advise(whole, config: Config, seen: set[str], advice: list[str]) -> None:
    source, events = config.source, whole["events"]
    days = (whole["last"] - whole["first"]).total_seconds() / 86400
    if days < 2 * config.schedule.window_days:
        advice.append(
            f"the sample spans {days:.1f} days, the evaluation window is {config.schedule.window_days:g} days, and "
            "training needs events before it: lower schedule.window_days or land more of the log"
        )
    unseen = [action for action in source.actions if action not in seen]
    if unseen:
        advice.append(
            f"no sampled event has the action {', '.join(unseen)}: check source.actions and events.action"
        )
    if not whole["high_value"]:
        advice.append(
            f"no event is high-value, so there is nothing to learn: check source.high_value = {source.high_value!r}"
        )
    elif whole["high_value"] == events and len(source.actions) > 1:
        advice.append("every event is high-value: set source.high_value to the actions that are")
    if whole["unrewarded"]:
        advice.append(
            f"{whole['unrewarded']:,} high-value events have no reward above 0: check source.reward = {source.reward!r}"
        )
    if whole["first"].year < 2000:
        advice.append(
            f"the first event is from {whole['first'].year}: check events.time_unit = {source.events.time_unit!r}"
        )


def _items(
    spark, config: Config, landing: str, scratch: Path, accepted: DataFrame, advice: list[str]
) -> Iterator[str]:
    from pyspark.sql import functions as F

    from spark_jobs.landing import item_lines

    source = config.source
    parts: dict[str, list[DataFrame]] = {"items": [], "tags": [], "edges": []}
    for kind, accepted_lines in parts.items():
        for mapping in getattr(source, kind):
            expressions = item_lines.mapped_expressions(mapping)
            sampled = _sample(spark, landing, mapping, expressions, kind, scratch)
            yield from _files(kind, mapping, expressions, sampled)
            if sampled.mapped.parts:
                lines = sampled.mapped.through(partial(item_lines.checked_lines, mapping=mapping))
                yield from _rejected_items(lines)
                accepted_lines.append(lines.where(F.col("problem").isNull()))
    seen = accepted.select("item_id").distinct().persist()
    total = seen.count()
    yield ""
    yield f"of the {total:,} items with sampled events"
    shares = {
        name: _share(seen, [lines.where(F.col(name).isNotNull()) for lines in parts["items"]], total)
        for name in ("title", "description", "launched_at")
    }
    shares["tags"] = _share(seen, [lines.where(F.size("tag") > 0) for lines in parts["tags"]], total)
    shares["edges"] = _share(seen, [lines.where(F.size("entity") > 0) for lines in parts["edges"]], total)
    yield "  " + ", ".join(
        f"{share:.0%} have {name.replace('launched_at', 'a launch date')}" for name, share in shares.items()
    )
    seen.unpersist()
    if not any(shares.values()):
        advice.append(
            "items have no text, tags or edges, so the model knows nothing of an item outside the vocabulary"
        )
    if not shares["launched_at"]:
        advice.append("no launch dates: task C (availability-driven) is not applicable")


def _share(seen: DataFrame, parts: list[DataFrame], total: int) -> float:
    if not parts or not total:
        return 0.0
    named = parts[0].select("item_id")
    for part in parts[1:]:
        named = named.unionByName(part.select("item_id"))
    return seen.join(named.distinct(), on="item_id", how="left_semi").count() / total


def _rejected_items(lines: DataFrame) -> Iterator[str]:
    rows = lines.where("problem IS NOT NULL").groupBy("problem").count().collect()
    for row in sorted(rows, key=lambda row: -row["count"]):
        yield f"  {row['count']:>9,}  rejected: {row['problem']}"


# --- text -----------------------------------------------------------------------------------------


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _wrapped(head: str, words: list[str]) -> Iterator[str]:
    """`head` and the words, separated by commas, in lines of at most _WIDTH characters."""
    line = head
    for number, word in enumerate(words):
        piece = word + ("," if number < len(words) - 1 else "")
        if len(line) + len(piece) > _WIDTH and line.strip():
            yield line.rstrip()
            line = " " * len(head)
        line += piece + " "
    if words:
        yield line.rstrip()
