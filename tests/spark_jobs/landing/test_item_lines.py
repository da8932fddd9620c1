"""Lines about items: what each says, why it is refused, and which of several lines is used."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import pytest
from pyspark.sql import functions as F

from spark_jobs.config import EdgeMapping, ItemMapping, TagMapping
from spark_jobs.landing.files import find
from spark_jobs.landing.item_lines import (
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
        return mapped.through(partial(checked_lines, mapping=mapping)).orderBy("line_number")

    return checked


@pytest.mark.parametrize(
    ("out", "launched_at", "problem"),
    [
        ("1999-12-31", datetime(1999, 12, 31), None),
        (" ", None, None),
        (None, None, None),
        ("soon", None, "launched_at is not an instant"),
        ("1800-01-01", datetime(1800, 1, 1), None),
        ("1799-12-31", None, "launched_at is not between 1800 and 2200"),
        ("9999-01-01", None, "launched_at is not between 1800 and 2200"),
    ],
)
def test_a_launch_is_an_instant_or_unknown(lines_of, out, launched_at, problem):
    row = lines_of(ITEMS, {"id": "f1", "name": "Up", "out": out}).first()
    assert (row["title"], row["launched_at"], row["problem"]) == ("Up", launched_at, problem)
    assert row["raw"], "a line about an item may be superseded, and is stored then"


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
        {"id": "f1", "name": "Third", "out": "soon"},
        {"id": "f2", "name": "Other", "out": None},
    )
    marked = refuse_superseded(lines.withColumn("place", F.lit("0000 a.jsonl"))).orderBy("line_number")
    assert [row["problem"] for row in marked.collect()] == [
        SUPERSEDED,
        None,
        "launched_at is not an instant",
        None,
    ]
    assert sorted(row["title"] for row in accepted(marked).collect()) == ["Other", "Second"]


def test_a_later_mapping_or_file_comes_after_an_earlier_one(lines_of):
    lines = lines_of(ITEMS, {"id": "f1", "name": "A", "out": None}, {"id": "f1", "name": "B", "out": None})
    place = F.when(F.col("line_number") == 1, "0001 a.jsonl").otherwise("0000 z.jsonl")
    marked = refuse_superseded(lines.withColumn("place", place)).orderBy("line_number")
    assert [row["problem"] for row in marked.collect()] == [None, SUPERSEDED]
