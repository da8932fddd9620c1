"""What must be true of `items`: unique keys, append-only numbering, an item for every event, and catalogue
files that can be used.

How many lines of these files are faulty is measured beforehand, by the job that reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from expectations.expectation import Expectation, unique
from expectations.instants import microseconds

KEYS = ("item_id", "item_index")
KINDS = ("items", "tags", "edges")
SAID = ("title", "description", "launched_at", "tags", "edges")
"""What a catalogue says of an item."""
AGGREGATES = ("numbering", "event_items", "known_items", "kept", "catalogue")
"""Batches to cache."""

FIRST_LAUNCH = datetime(1000, 1, 1, tzinfo=UTC)
LAST_LAUNCH = datetime(2200, 1, 1, tzinfo=UTC)
"""A date outside these bounds is a placeholder for "unknown", which must be null."""


@dataclass(frozen=True)
class Lines:
    """Lines of one kind of catalogue file."""

    lines: int
    faulty: int
    """Lines that cannot be used."""
    unreadable: int = 0
    """Files that cannot be read."""

    @property
    def faulty_fraction(self) -> float:
        """`faulty` / `lines`; 0 without a line."""
        return self.faulty / self.lines if self.lines else 0.0


def batches(
    items: DataFrame, events: DataFrame, parent_items: DataFrame | None, catalogue: Mapping[str, Lines]
) -> dict[str, DataFrame]:
    """The rows to judge. `catalogue` has the lines of the kinds of files that the source has.

    `items`: the table; `numbering`: one row of counts; `event_items`: one row per item with events;
    `known_items`: one row per item of `parent_items`, the table as the parent's cycle read it (absent without
    a parent), and `kept`: one row of the shares of what it knew that is not known now; `catalogue`: one row of what was counted of item, tag and edge files.
    """
    numbers = items.select("item_id", "item_index")
    judged = {
        "items": items.select("*", F.unix_micros("launched_at").alias("launched_at_us")),
        "numbering": items.agg(
            F.count("*").alias("rows"), (F.coalesce(F.max("item_index"), F.lit(-1)) + 1).alias("next_index")
        ).withColumn("next_index", F.col("next_index").cast("bigint")),
        "event_items": events.select("item_id").distinct().join(numbers, on="item_id", how="left"),
        "catalogue": items.sparkSession.range(1).select(
            F.lit(sum(lines.unreadable for lines in catalogue.values())).alias("unreadable"),
            *(F.lit(lines.faulty_fraction).alias(f"faulty_{kind}") for kind, lines in catalogue.items()),
        ),
    }
    if parent_items is not None:
        known = parent_items.select("item_id", F.col("item_index").alias("parent_item_index"))
        judged["known_items"] = known.join(numbers, on="item_id", how="left").select(
            "item_id", "parent_item_index", F.coalesce("item_index", F.lit(-1)).alias("item_index")
        )
        before = parent_items.select("item_id", *(_said(name).alias(f"was_{name}") for name in SAID))
        now = items.select("item_id", *(_said(name).alias(name) for name in SAID))
        both = before.join(now, on="item_id", how="left")
        lost = [
            F.count_if(F.col(f"was_{name}") & ~F.coalesce(name, F.lit(False)))
            / F.greatest(F.count_if(f"was_{name}"), F.lit(1))
            for name in SAID
        ]
        judged["kept"] = both.agg(
            *(share.alias(f"lost_{name}") for name, share in zip(SAID, lost, strict=True))
        )
    return judged


def _said(name: str) -> Column:
    """Whether a catalogue says this of an item."""
    return F.size(name) > 0 if name in ("tags", "edges") else F.col(name).isNotNull()


def expectations(
    has_parent: bool,
    catalogue: Mapping[str, Lines],
    max_faulty_fraction: float,
    max_lost_fraction: float,
) -> tuple[Expectation, ...]:
    """What must be true of the batches of `batches()`. `max_faulty_fraction` is the largest allowed share of
    faulty lines among those of one kind of catalogue file, `max_lost_fraction` that of items that were described before
    and are not now."""
    return (
        *_catalogue(catalogue, max_faulty_fraction),
        unique("items", ("item_id",), "no item_id occurs twice", keys=KEYS),
        unique("items", ("item_index",), "no two items share an item_index", keys=KEYS),
        Expectation(
            "launched_at_plausible",
            f"launched_at is between {FIRST_LAUNCH:%Y} and {LAST_LAUNCH:%Y}, or null when unknown",
            "items",
            "between",
            ("launched_at_us",),
            KEYS,
            minimum=microseconds(FIRST_LAUNCH),
            maximum=microseconds(LAST_LAUNCH),
            allowed_words=f"{FIRST_LAUNCH:%Y-%m-%d} ≤ launched_at ≤ {LAST_LAUNCH:%Y-%m-%d}",
        ),
        Expectation(
            "numbering_dense",
            "item_index runs from 0 to the number of items − 1",
            "numbering",
            "equal",
            ("rows", "next_index"),
            ("rows", "next_index"),
        ),
        Expectation(
            "events_have_items",
            "every item with an event is in items",
            "event_items",
            "not_null",
            ("item_index",),
            ("item_id",),
        ),
        Expectation(
            "numbering_append_only",
            "every item that the parent knew keeps its item_index",
            "known_items",
            "equal",
            ("parent_item_index", "item_index"),
            ("item_id",),
            not_applicable=None if has_parent else "no parent cycle",
        ),
        *(_kept(name, has_parent, max_lost_fraction) for name in SAID),
    )


def _kept(name: str, has_parent: bool, max_lost_fraction: float) -> Expectation:
    what = name.replace("launched_at", "launch")
    return Expectation(
        f"{name}_kept",
        f"few items have lost their {what} since the parent's cycle",
        "kept",
        "between",
        (f"lost_{name}",),
        maximum=max_lost_fraction,
        allowed_words=f"at most {max_lost_fraction:.1%} of the items that had it",
        remedy=f"compare what the mapping names for {what} with the catalogue's columns, or land the catalogue as it was, or "
        "raise expectations.max_lost_catalogue_fraction",
        not_applicable=None if has_parent else "no parent cycle",
    )


def _catalogue(catalogue: Mapping[str, Lines], max_faulty_fraction: float) -> tuple[Expectation, ...]:
    unreadable = sum(lines.unreadable for lines in catalogue.values())
    readable = Expectation(
        "catalogue_files_readable",
        "every item, tag and edge file can be read",
        "catalogue",
        "between",
        ("unreadable",),
        maximum=0,
        observed=f"{unreadable:,} files cannot be read",
        not_applicable=None if catalogue else "the source has no such files",
    )
    few = []
    for kind in KINDS:
        lines = catalogue.get(kind)
        few.append(
            Expectation(
                f"faulty_{kind}_few",
                f"few lines of the {kind} files are faulty",
                "catalogue",
                "between",
                (f"faulty_{kind}",),
                maximum=max_faulty_fraction,
                allowed_words=f"at most {max_faulty_fraction:.1%} of the lines are faulty",
                observed=f"{lines.faulty:,} of {lines.lines:,} lines, {lines.faulty_fraction:.1%}"
                if lines
                else "",
                not_applicable=None if lines else "the source has no such files",
            )
        )
    return readable, *few
