"""Events up to an instant and after it."""

from __future__ import annotations

from datetime import timedelta

from spark_jobs.histories.spans import after, up_to
from tests.factories import START, events_frame


def test_an_event_at_the_instant_is_up_to_it_and_not_after_it(spark):
    events = events_frame(spark, [("u", "i1", second) for second in (86_399, 86_400, 86_401)])
    split = START + timedelta(days=1)
    assert up_to(events, split).count() == 2
    assert after(events, split).count() == 1
    assert after(up_to(events, split + timedelta(seconds=1)), split).count() == 1


def test_both_filters_reach_the_file_scan(spark, plan_of, tmp_path):
    events_frame(spark, [("u", "i1", 1)]).write.parquet(str(tmp_path / "events"))
    events = spark.read.parquet(str(tmp_path / "events"))
    for frame in (up_to(events, START), after(events, START)):
        pushed = next(line for line in plan_of(frame).split("\n") if "PushedFilters" in line)
        assert "event_date" in pushed and "event_at" in pushed
