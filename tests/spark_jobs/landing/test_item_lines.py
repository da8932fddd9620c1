"""Lines about items: what each says, why it is refused, and which of several lines is used."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import pytest
from pyspark.sql import functions as F

from spark_jobs.config import EdgeMapping, ItemMapping, TagMapping
from spark_jobs.landing.files import find
from spark_jobs.landing.item_lines import (
    KEPT_WITHOUT,
    KINDS,
    SUPERSEDED,
    accepted,
    checked_lines,
    mapped_expressions,
    refuse_superseded,
)
from spark_jobs.landing.reading import read_mapped
from tests.spark_jobs.landed import jsonl

ITEMS = ItemMapping(files=("*",), format="jsonl", item="id", title="name", launched_at="out")
TAGS = TagMapping(
    files=("*",), format="jsonl", item="id", tag="tag", tagged_at="at", tagged_at_unit="seconds"
)
EDGES = EdgeMapping(files=("*",), format="jsonl", item="id", relation="rel", entity="entity")


@pytest.fixture
def lines_of(spark, landing):
    """A function (mapping, lines…) → the checked lines of one file."""

    def checked(mapping, *lines):
        jsonl(landing / "a.jsonl", *lines)
        files = find(spark, str(landing), mapping.files)
        mapped = read_mapped(spark, files, mapping, mapped_expressions(mapping), KINDS[type(mapping)])
        return mapped.through(partial(checked_lines, mapping=mapping, missing=("none",))).orderBy(
            "line_number"
        )

    return checked


LAUNCHES = [
    ("1999-12-31", datetime(1999, 12, 31), None),
    (" ", None, None),
    (None, None, None),
    ("soon", None, "is not an instant"),
    ("1995", None, "is a year without a day"),
    (1995, None, "is a year without a day"),
    ("1995.0", None, "is a year without a day"),
    ("1995-06", None, "is a month without a day"),
    ("0000-00-00", None, "is a placeholder of zeros"),
    ("1995-00-00", None, "is a placeholder of zeros"),
    ("1995-06-00 00:00:00", None, "is a placeholder of zeros"),
    ("1995-02-30", None, "is not an instant"),
    ("1800-01-01", datetime(1800, 1, 1), None),
    ("1799-12-31", None, "is not between 1800 and 2200"),
    ("9999-12-31", None, "is not between 1800 and 2200"),
]


def test_a_launch_is_an_instant_or_unknown_and_the_title_is_kept(lines_of):
    rows = lines_of(ITEMS, *({"id": "f1", "name": "Up", "out": out} for out, _, _ in LAUNCHES)).collect()
    assert [(row["title"], row["problem"]) for row in rows] == [("Up", None)] * len(LAUNCHES)
    assert [(row["launched_at"], row["dropped"]) for row in rows] == [
        (at, why and f"{KEPT_WITHOUT}launched_at, which {why}") for _, at, why in LAUNCHES
    ]
    assert all(row["raw"] for row in rows), "a line about an item may be superseded, and is stored then"


def test_every_field_that_is_dropped_is_named(lines_of):
    mapping = ITEMS.model_copy(update={"retired": "gone", "title": "regexp_extract(name, name, 0)"})
    lines = lines_of(
        mapping,
        {"id": "f1", "name": "(", "out": "soon", "gone": "perhaps"},
        {"id": "f2", "name": "Up", "out": None, "gone": None},
        {"id": "None", "name": "Up", "out": "soon", "gone": None},
    ).collect()
    assert lines[0]["dropped"] == (
        f"{KEPT_WITHOUT}title, which cannot be computed on this line; launched_at, which is not an instant; "
        "retired, which is neither true nor false"
    )
    assert [line["title"] for line in lines[:2]] == [None, "Up"]
    assert (lines[2]["problem"], lines[2]["dropped"]) == ("item is a word for a missing value", None)


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        ("sky", ["sky"]),
        (["sky", " old ", None, ""], ["sky", "old"]),
        ("[broken", ["[broken"]),
        ([], []),
        (None, []),
    ],
)
def test_tags_are_one_value_or_an_array(lines_of, tag, tags):
    row = lines_of(TAGS, {"id": "f1", "tag": tag, "at": 5}).first()
    assert (row["tag"], row["tagged_at"], row["raw"]) == (tags, datetime(1970, 1, 1, 0, 0, 5), None)


def test_a_tag_without_its_time_is_refused(lines_of):
    row = lines_of(TAGS, {"id": "f1", "tag": "sky", "at": "soon"}).first()
    assert row["problem"] == "tagged_at is not an instant"


def test_an_edge_needs_its_relation_and_a_refused_line_is_kept(lines_of):
    rows = lines_of(
        EDGES,
        {"id": "f1", "rel": "cast", "entity": ["Ed", "Jo"]},
        {"id": "f1", "rel": "", "entity": "Ed"},
        {"id": "f1", "rel": "", "entity": []},
        {"id": None, "rel": "cast", "entity": "Ed"},
    ).collect()
    assert [row["problem"] for row in rows] == [None, "missing relation", None, "missing item"]
    assert rows[0]["entity"] == ["Ed", "Jo"]
    assert [row["raw"] is None for row in rows] == [True, False, True, False]


def test_the_last_accepted_line_of_an_item_is_used(lines_of):
    lines = lines_of(
        ITEMS,
        {"id": "f1", "name": "First", "out": None},
        {"id": "f1", "name": "Second", "out": None},
        {"id": None, "name": "Third", "out": "soon"},
        {"id": "f2", "name": "Other", "out": None},
    )
    marked = refuse_superseded(lines.withColumn("place", F.lit("0000 a.jsonl"))).orderBy("line_number")
    assert [row["problem"] for row in marked.collect()] == [
        SUPERSEDED,
        None,
        "missing item",
        None,
    ]
    assert sorted(row["title"] for row in accepted(marked).collect()) == ["Other", "Second"]


def test_a_later_mapping_or_file_comes_after_an_earlier_one(lines_of):
    lines = lines_of(ITEMS, {"id": "f1", "name": "A", "out": None}, {"id": "f1", "name": "B", "out": None})
    place = F.when(F.col("line_number") == 1, "0001 a.jsonl").otherwise("0000 z.jsonl")
    marked = refuse_superseded(lines.withColumn("place", place)).orderBy("line_number")
    assert [row["problem"] for row in marked.collect()] == [None, SUPERSEDED]
