"""Lines of the landed files that no earlier cycle has passed, and how many of them are faulty.

Measures only: the bound is in `expectations.suites.events`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.figures import NewLines

EXAMPLES = 5
"""Reasons of faulty lines that are shown."""


def new_lines(
    ingested_files: DataFrame,
    rejected_events: DataFrame,
    cycle: str,
    passed: int | None,
    harmless_reasons: Sequence[str],
    conflict_reasons: Sequence[str] = (),
) -> NewLines:
    """Counts the lines of the files that no other cycle has passed, and the faulty ones among them.

    These are the files that `cycle` ingested itself and those of ingestions after `passed`, the newest version
    of `ingested_files` that another cycle has passed. Lines refused for one of `harmless_reasons` are not
    counted. What a failed cycle ingested counts as new for the next cycle. `conflict_reasons` say that an event_id
    does not name one event.
    """
    numbered = "ingestion" in ingested_files.columns  # not in a version of an earlier release
    number = F.coalesce("ingestion", F.lit(0)) if numbered else F.lit(0)
    is_new = (F.col("cycle") == cycle) | (F.lit(True) if passed is None else number > passed)
    new = ingested_files.where(is_new).select("file_id", "line_count")
    is_harmless = F.col("reason").isin(*harmless_reasons)
    refused = rejected_events.groupBy("file_id").agg(
        F.count_if(is_harmless).alias("harmless"),
        F.count_if(~is_harmless).alias("faulty"),
        F.count_if(F.col("reason").isin(*conflict_reasons)).alias("conflicts"),
    )
    sums = [F.sum(name).alias(name) for name in ("line_count", "harmless", "faulty", "conflicts")]
    row = new.join(refused, on="file_id", how="left").agg(*sums).first()
    lines, faulty = (row["line_count"] or 0) - (row["harmless"] or 0), row["faulty"] or 0
    examples = _examples(new, rejected_events.where(~is_harmless)) if faulty else ()
    return NewLines(lines, faulty, examples, row["conflicts"] or 0)


def _examples(new: DataFrame, faulty: DataFrame) -> tuple[str, ...]:
    by_reason = faulty.join(new, on="file_id", how="left_semi").groupBy("reason")
    first = F.min(F.struct("file_path", "line_number")).alias("first")
    most = by_reason.agg(F.count("*").alias("n"), first).orderBy(F.desc("n"), "reason").limit(EXAMPLES)
    return tuple(
        f"{row['n']:,} × {row['reason']} (first: {row['first']['file_path']}, line {row['first']['line_number']})"
        for row in most.collect()
    )
