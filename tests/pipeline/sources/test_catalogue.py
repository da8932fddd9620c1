"""What `check-source` says of item, tag and edge files."""

from __future__ import annotations

from datetime import datetime

from pipeline.sources import catalogue


def ids(spark, *names):
    return spark.createDataFrame([(name,) for name in names], "item_id string")


def test_files_that_fit_are_not_spoken_of(spark):
    advice: list[str] = []
    seen = ids(spark, "a", "b")
    catalogue.about_matches({"items": [ids(spark, "a", "b", "c")], "tags": []}, seen, advice)
    tags = spark.createDataFrame([(["sky", "x"],)], "tag array<string>")
    catalogue.about_letters([tags], advice)
    assert advice == []
    assert catalogue.share(seen, [ids(spark, "a"), ids(spark, "a", "c")], 2) == 1 / 2


def test_most_items_unknown_to_a_kind_of_file_are_named(spark):
    advice: list[str] = []
    catalogue.about_matches({"items": [ids(spark, "a")]}, ids(spark, "a", "b", "c"), advice)
    assert advice == [
        "2 of the 3 items with sampled events are in no line of the items files, for instance 'b', 'c'"
    ]


def test_items_without_launch_and_events_before_it_are_counted(spark):
    launched = spark.createDataFrame(
        [("a", datetime(2026, 1, 2)), ("b", None), ("c", None)], "item_id string, launched_at timestamp"
    )
    events = spark.createDataFrame(
        [(name, datetime(2026, 1, 1)) for name in "abc"], "item_id string, event_at timestamp"
    )
    advice: list[str] = []
    catalogue.about_launches([launched], events, advice)
    assert advice[0].startswith("67% of the items with events have no launch date")
    assert advice[1].startswith("33.3% of the events (1) are before their item's launch")
