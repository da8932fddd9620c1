"""The part of `check-source` about item, tag and edge files: samples of them, and how they fit the events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_SHOWN_LINES, _SHOWN_IDS = 3, 3
_WIDTH = 100
_FEW = 0.5
"""Share of items below which a gap is worth a word."""


def sample_lines(kind: str, accepted: DataFrame) -> Iterator[str]:
    """The first lines of a kind of file as they would be used."""
    from pyspark.sql import functions as F

    said = {
        "items": ("title", F.date_format("launched_at", "yyyy-MM-dd HH:mm:ss").alias("launched")),
        "tags": (F.concat_ws(" | ", "tag").alias("tags"),),
        "edges": ("relation", F.concat_ws(" | ", "entity").alias("entities")),
    }
    first = accepted.orderBy("file_id", "line_number").limit(_SHOWN_LINES)
    for row in first.select("item_id", *said[kind]).collect():
        cells = [str(cell) for cell in row if cell not in (None, "")]
        yield f"  for instance: {'  '.join(cells)}"[:_WIDTH]


def about_refused(kind: str, lines: DataFrame, bound: float, advice: list[str]) -> Iterator[str]:
    """Refused lines, and lines used without a field, by reason; says so where more than the share `bound` of the
    lines is refused."""
    from spark_jobs.landing.reading import EXCLUDED

    counted = lines.groupBy("problem", "dropped").count().collect()
    told = {
        (row["problem"], row["dropped"]): row["count"] for row in counted if row["problem"] or row["dropped"]
    }
    for (problem, dropped), count in sorted(told.items(), key=lambda entry: (-entry[1], str(entry[0]))):
        yield f"  {count:>9,}  " + (f"rejected: {problem}" if problem else dropped)
    total = sum(row["count"] for row in counted if row["problem"] != EXCLUDED)
    refused = sum(count for (problem, _), count in told.items() if problem and problem != EXCLUDED)
    if total and refused / total > bound:
        advice.append(
            f"{refused:,} of the {total:,} sampled lines of {kind} files are refused: cycles are red above {bound:.0%} "
            "(expectations.max_faulty_catalogue_fraction)"
        )


def about_letters(tags: Sequence[DataFrame], advice: list[str]) -> None:
    """Says when most tags are single characters, as a split with the wrong pattern makes them."""
    from pyspark.sql import functions as F

    for lines in tags:
        counted = lines.select(F.explode("tag").alias("tag")).agg(
            F.count(F.lit(1)).alias("tags"), F.count_if(F.length("tag") == 1).alias("letters")
        )
        row = counted.first()
        if row["tags"] and row["letters"] / row["tags"] > _FEW:
            advice.append(
                f"{row['letters'] / row['tags']:.0%} of the tags are single characters: the separator of split() is a "
                "pattern in which | . * + stand for others; write split(column, '[|]')"
            )


def about_matches(parts: dict[str, list[DataFrame]], seen: DataFrame, advice: list[str]) -> None:
    """Says which kinds of file hardly name an item with events, with ids of both sides. `seen` has the
    `item_id` of every item with sampled events, once."""
    from pyspark.sql import functions as F

    total = seen.count()
    if not total:
        return
    for kind, lines in parts.items():
        named = _named(lines)
        if named is None or not named.count():
            continue
        unknown = seen.join(named, on="item_id", how="left_anti")
        lost = unknown.count()
        if lost / total <= _FEW and not _alike(unknown, named):
            continue
        ids, others = _some(unknown), _some(named.join(seen, on="item_id", how="left_anti"))
        if lost == total:
            advice.append(
                f"no line of the {kind} files is about an item with sampled events: ids of events are {ids}, those of "
                f"the {kind} files {others}"
            )
        elif lost / total > _FEW:
            advice.append(
                f"{lost:,} of the {total:,} items with sampled events are in no line of the {kind} files, for instance {ids}"
            )
        alike = _alike(unknown, named)
        if alike:
            here, there = unknown.withColumn("alike", _core()), named.withColumn("alike", _core())
            pair = (
                here.join(there.select("alike", F.col("item_id").alias("other")), on="alike", how="inner")
                .orderBy("item_id")
                .first()
            )
            advice.append(
                f"{alike:,} items with events would be known to the {kind} files but for leading zeros or case: "
                f"{pair['item_id']!r} and {pair['other']!r}"
            )


def about_launches(items: Sequence[DataFrame], events: DataFrame, advice: list[str]) -> None:
    """Says how many items with events have no launch, and how many events are before it."""
    from pyspark.sql import functions as F

    if not items:
        return
    launched = items[0].select("item_id", "launched_at")
    for lines in items[1:]:
        launched = launched.unionByName(lines.select("item_id", "launched_at"))
    launched = launched.groupBy("item_id").agg(F.max("launched_at").alias("launched_at"))
    joined = events.select("item_id", "event_at").join(launched, on="item_id", how="left")
    row = joined.agg(
        F.count(F.lit(1)).alias("events"),
        F.count_if(F.col("event_at") < F.col("launched_at")).alias("early"),
        F.count_distinct("item_id").alias("items"),
        F.count_distinct(F.when(F.col("launched_at").isNull(), F.col("item_id"))).alias("unlaunched"),
    ).first()
    if row["unlaunched"] and row["unlaunched"] < row["items"] and row["unlaunched"] / row["items"] > 1 - _FEW:
        advice.append(
            f"{row['unlaunched'] / row['items']:.0%} of the items with events have no launch date: they are eligible from "
            "the first cycle on"
        )
    if row["early"]:
        advice.append(
            f"{row['early'] / row['events']:.1%} of the events ({row['early']:,}) are before their item's launch: no list of "
            "that time can hold it; check items.launched_at and its unit"
        )


def share(seen: DataFrame, parts: Sequence[DataFrame], total: int) -> float:
    """The share of the items in `seen`, `total` of them, that a line of `parts` is about."""
    named = _named(parts)
    if named is None or not total:
        return 0.0
    return seen.join(named, on="item_id", how="left_semi").count() / total


def _named(parts: Sequence[DataFrame]) -> DataFrame | None:
    if not parts:
        return None
    named = parts[0].select("item_id")
    for part in parts[1:]:
        named = named.unionByName(part.select("item_id"))
    return named.distinct()


def _core():
    from pyspark.sql import functions as F

    return F.regexp_replace(F.lower("item_id"), "^0+", "")


def _alike(unknown: DataFrame, named: DataFrame) -> int:
    """Items that only leading zeros or case keep from being named."""
    there = named.select(_core().alias("alike")).distinct()
    return unknown.select(_core().alias("alike")).join(there, on="alike", how="left_semi").count()


def _some(ids: DataFrame) -> str:
    return ", ".join(repr(row["item_id"]) for row in ids.orderBy("item_id").limit(_SHOWN_IDS).collect())
