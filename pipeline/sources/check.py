"""`check-source`: shows how a source's log is read, before the first cycle.

Prints the files with their columns and the mappings that use them, sample events, the lines that would be
rejected and why, figures of events and items, and likely mistakes. It writes nothing and reads a sample
(`pipeline.sources.sampling`), with the same transforms as the Spark jobs. Times are UTC.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.first_files import first_cautions
from expectations.instants import DAY_US
from expectations.losses_of_columns import compared
from pipeline.config import Config, ConfigError
from pipeline.settings import Settings
from pipeline.sources import catalogue, sampling
from pipeline.sources.sampling import Sampled, sample
from spark_jobs.config import DELIMITED, FileMapping

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SHOWN_FILES, _SHOWN_EVENTS, _SHOWN_EXAMPLES = 8, 5, 2
_WIDTH = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STRAY_SHARE, _STRAY_DAYS = 0.01, 14
"""Events are stray when they are at most this share and at least so many days away from all others."""


def check_source(config: Config, settings: Settings, say: Callable[[str], None] = print) -> None:
    """Prints the page for a source, line by line.

    Raises ConfigError with one line when a mapping does not fit its files, or no file matches.
    """
    from spark_jobs.lake.session import get_session
    from spark_jobs.landing.expressions import MappingError
    from spark_jobs.landing.files import LandingError

    spark = get_session(settings.spark_master, "check-source", str(settings.jars), config.spark)
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
    sampled = sample(spark, landing, source.events, expressions, "events", scratch)
    advice: list[str] = []
    yield from _files("events", source.events, expressions, sampled, advice)
    if not sampled.mapped.parts:
        yield "  no line is readable; the reasons are above"
        return
    checked = sampled.mapped.through(lambda rows: event_lines.checked_lines(rows, source))
    lines = event_lines.numbered_occurrences(checked, source, sampled.read).persist()
    accepted = event_lines.accepted_events(lines).persist()
    yield from _rejected(lines, sampled, config, advice)
    yield from _sample_events(accepted, [c for c in EVENTS.column_names if c not in _HIDDEN])
    yield from _profile(accepted, config, advice)
    yield from _items(spark, config, landing, scratch, accepted, advice)
    yield ""
    yield "possible problems" if advice else "no problems found"
    yield from (f"  - {line}" for line in advice)
    lines.unpersist()
    accepted.unpersist()


_HIDDEN = ("event_id", "file_id", "line_number", "event_date")


# --- parts of the page ----------------------------------------------------------------------------


def _files(
    label: str, mapping: FileMapping, expressions: dict[str, str], sampled: Sampled, advice: list[str]
) -> Iterator[str]:
    total = sum(file.size_bytes for file in sampled.files)
    yield ""
    what = "a table" if mapping.table else f"{len(sampled.files)} file(s), {mapping.format}"
    yield f"{label}: {what}, {_size(total)}"
    for file in sampled.read[:_SHOWN_FILES]:
        problem = sampled.mapped.unreadable.get(file.file_id)
        lines = sampled.mapped.line_counts.get(file.file_id, 0)
        cut = (
            " or more"
            if lines >= sampling.SAMPLE_LINES - 1 and mapping.format in ("jsonl", *DELIMITED)
            else ""
        )
        empty = "" if lines or mapping.format not in ("csv", "tsv") else ", no more than a header"
        yield f"  {file.name}  {_size(file.size_bytes)}  " + (problem or f"{lines:,} lines{cut}{empty}")
    damaged = [file for file in sampled.read if file.file_id in sampled.mapped.unreadable]
    if damaged:
        advice.append(
            f"{len(damaged):,} of the {len(sampled.read):,} sampled {label} files cannot be read, the first is "
            f"{damaged[0].name}: cycles stay red until they are mended or removed"
        )
    if len(sampled.files) > _SHOWN_FILES:
        yield f"  … and {len(sampled.files) - _SHOWN_FILES} more"
    if len(sampled.read) < len(sampled.files):
        yield f"  the sample is of {len(sampled.read)} of these files, evenly spread"
    users = {column: [] for column in sampled.mapped.columns}
    for name, sql in (*expressions.items(), *((("where", mapping.where),) if mapping.where else ())):
        for column, names in users.items():
            if sql == column or re.search(rf"(?<![\w.]){re.escape(column)}(?!\w)", sql):
                names.append(name)
    used = [f"{column} → {', '.join(names)}" for column, names in users.items() if names]
    unused = [column for column, names in users.items() if not names]
    yield from _wrapped("  columns used: ", used)
    yield from _wrapped("  columns not used: ", unused)


def _rejected(lines: DataFrame, sampled: Sampled, config: Config, advice: list[str]) -> Iterator[str]:
    from pyspark.sql import functions as F

    from spark_jobs.landing.reasons import REASONS

    found = lines.groupBy("file_id", "problem").agg(
        F.count("*").alias("n"), F.slice(F.collect_list("raw"), 1, _SHOWN_EXAMPLES).alias("raw")
    )
    counts: Counter[str | None] = Counter()
    examples: dict[str | None, list[str]] = {}
    by_file: dict[str, Counter[str | None]] = {}
    for row in found.collect():
        counts[row["problem"]] += row["n"]
        examples.setdefault(row["problem"], []).extend(row["raw"])
        by_file.setdefault(row["file_id"], Counter())[row["problem"]] += row["n"]
    total, accepted = counts.total(), counts[None]
    yield ""
    yield f"of {total:,} sampled lines {accepted:,} would be accepted, {total - accepted:,} rejected"
    for problem, count in counts.most_common():
        if problem is not None and count:
            yield f"  {count:>9,}  {problem}"
            yield from (f"             {raw[:_WIDTH]}" for raw in examples[problem][:_SHOWN_EXAMPLES] if raw)
    judged = total - sum(counts[problem] for problem in REASONS.not_faulty)
    bound = config.expectations.max_faulty_fraction
    if judged and (judged - accepted) / judged > bound:
        advice.append(
            f"{(judged - accepted) / judged:.0%} of the sampled lines are faulty: cycles are red above {bound:.0%} "
            "(expectations.max_faulty_fraction)"
        )
    for file in sampled.read:
        of_file = by_file.get(file.file_id, Counter())
        (problem, count), *others = of_file.most_common() or [(None, 0)]
        if problem and problem not in REASONS.not_faulty and not others and count > 1 and accepted:
            advice.append(
                f"no sampled line of {file.name} can be used, while those of other files can: {problem}, on all "
                f"{count:,}; has a column another type or meaning there?"
            )
    advice += _losses(lines, sampled, config)
    conflicts = sum(counts[problem] for problem in REASONS.conflicts)
    if conflicts:
        advice.append(
            f"{conflicts:,} lines have the event_id of another event with other content: check that events.event_id is the "
            "id of an event, not of a session; for corrections and heartbeats set source.on_conflict = 'keep_last'"
        )
    repeats = lines.where("problem IS NULL AND repeats").count()
    if repeats:
        advice.append(
            f"{repeats:,} lines repeat another exactly and count as events of their own; source.repeats = 'refuse' refuses "
            "them"
        )


def _losses(lines: DataFrame, sampled: Sampled, config: Config) -> Iterator[str]:
    """What is said of the sample as of a source's first files: large losses, and columns that one file has otherwise."""
    from spark_jobs.landing.event_lines import mapped_optional
    from spark_jobs.landing.ingestion import file_lines, line_counts

    bounds, optional = config.expectations, mapped_optional(config.source)
    counts = line_counts(lines, optional, sampled.mapped.measured.names)
    files = [
        file_lines(file, sampled.mapped.line_counts[file.file_id], counts[file.file_id], mapping="")
        for file in sampled.read
        if file.file_id in counts
    ]
    yield from first_cautions(files, optional)
    for one in compared(files, (), bounds.losses, bounds.max_faulty_fraction).retyped:
        yield f"{one.words}: let the expressions that name it read both, or land the file again"


def _sample_events(accepted: DataFrame, columns: list[str]) -> Iterator[str]:
    from pyspark.sql import functions as F

    # As Spark writes it, since Python would show it in the machine's own time zone.
    at = F.date_format("event_at", "yyyy-MM-dd HH:mm:ss").alias("event_at")
    first = accepted.orderBy("file_id", "line_number").limit(_SHOWN_EVENTS)
    shown = first.select(*(at if name == "event_at" else name for name in columns)).collect()
    rows = [["" if row[name] is None else str(row[name])[:32] for name in columns] for row in shown]
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
        F.unix_micros(F.min("event_at")).alias("first"), F.unix_micros(F.max("event_at")).alias("last"),
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
    yield f"  from {_utc(whole['first']):%Y-%m-%d %H:%M} to {_utc(whole['last']):%Y-%m-%d %H:%M} UTC"
    mix = accepted.groupBy("action").count().orderBy(F.desc("count")).collect()
    yield "  actions: " + ", ".join(f"{row['action']} {row['count'] / events:.1%}" for row in mix)
    yield f"  high-value ({source.high_value}): {whole['high_value'] / events:.1%}"
    given = [f"{name} {whole[name] / events:.0%}" for name in OPTIONAL if whole[name]]
    yield "  filled: " + (", ".join(given) or "user, item and time only")
    _advise(whole, config, {row["action"] for row in mix}, advice)
    days = accepted.groupBy(F.unix_date("event_date").alias("day")).count().collect()
    advice += stray_dates({row["day"]: row["count"] for row in days})


def _advise(whole, config: Config, seen: set[str], advice: list[str]) -> None:
    source, events = config.source, whole["events"]
    days = (whole["last"] - whole["first"]) / DAY_US
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
    if _utc(whole["first"]).year < 2000:
        advice.append(
            f"the first event is from {_utc(whole['first']).year}: check events.time_unit = {source.events.time_unit!r}"
        )


def _items(
    spark, config: Config, landing: str, scratch: Path, accepted: DataFrame, advice: list[str]
) -> Iterator[str]:
    from pyspark.sql import functions as F

    from spark_jobs.landing import item_lines

    source = config.source
    parts: dict[str, list[DataFrame]] = {"items": [], "tags": [], "edges": []}
    cached: list[DataFrame] = []
    for kind, accepted_lines in parts.items():
        for mapping in getattr(source, kind):
            expressions = item_lines.mapped_expressions(mapping)
            sampled = sample(spark, landing, mapping, expressions, kind, scratch)
            yield from _files(kind, mapping, expressions, sampled, advice)
            if sampled.mapped.parts:
                checked = partial(item_lines.checked_lines, mapping=mapping, missing=source.missing)
                lines = sampled.mapped.through(checked).persist()
                cached.append(lines)
                bound = config.expectations.max_faulty_catalogue_fraction
                yield from catalogue.about_refused(kind, lines, bound, advice)
                usable = lines.where(F.col("problem").isNull())
                yield from catalogue.sample_lines(kind, usable)
                accepted_lines.append(usable)
    seen = accepted.select("item_id").distinct().persist()
    cached.append(seen)
    total = seen.count()
    yield ""
    yield f"of the {total:,} items with sampled events"
    shares = {
        name: catalogue.share(seen, [lines.where(F.col(name).isNotNull()) for lines in parts["items"]], total)
        for name in ("title", "description", "launched_at")
    }
    shares["tags"] = catalogue.share(seen, [lines.where(F.size("tag") > 0) for lines in parts["tags"]], total)
    shares["edges"] = catalogue.share(
        seen, [lines.where(F.size("entity") > 0) for lines in parts["edges"]], total
    )
    yield "  " + ", ".join(
        f"{share:.0%} have {name.replace('launched_at', 'a launch date')}" for name, share in shares.items()
    )
    catalogue.about_letters(parts["tags"], advice)
    catalogue.about_matches(parts, seen, advice)
    catalogue.about_launches(parts["items"], accepted, advice)
    for frame in cached:
        frame.unpersist()
    if not any(shares.values()):
        advice.append(
            "items have no text, tags or edges, so the model knows nothing of an item outside the vocabulary"
        )
    if not shares["launched_at"]:
        advice.append("no launch dates: task C (availability-driven) is not applicable")


def stray_dates(counts: dict[int, int]) -> list[str]:
    """Advice on the few events far from all others. `counts` are events by day since 1970-01-01."""
    advice, total = [], sum(counts.values())
    for days, word in ((sorted(counts), "before"), (sorted(counts, reverse=True), "after")):
        stray, found = 0, None
        for day, following in pairwise(days):
            stray += counts[day]
            if stray > _STRAY_SHARE * total:
                break
            if abs(following - day) >= _STRAY_DAYS:
                found = stray, abs(following - day)
        if found:
            advice.append(
                f"{found[0]:,} events are {found[1]:,} days or more {word} all others, as far as "
                f"{_EPOCH + timedelta(days=days[0]):%Y-%m-%d}: if they are mistakes, set source.earliest or source.latest"
            )
    return advice


# --- text -----------------------------------------------------------------------------------------


def _utc(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


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
