"""Histories: what lies up to an instant, what is high-value, and the order of ties."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from spark_jobs import history
from spark_jobs.config import EventMapping, SourceConfig
from spark_jobs.landing.expressions import MappingError
from tests.factories import START, events_frame, items_frame

SOURCE = SourceConfig(
    name="literal",
    events=EventMapping(files=("x",), format="jsonl", user="u", item="i", time="t", page="p"),
    high_value="action = 'interaction'",
    reward="rating",
)


def test_an_instant_belongs_to_what_lies_up_to_it(spark):
    events = events_frame(spark, [("u", "i1", second) for second in (86_399, 86_400, 86_401)])
    split = START + timedelta(days=1)
    assert history.up_to(events, split).count() == 2
    assert history.after(events, split).count() == 1
    assert history.after(history.up_to(events, split + timedelta(seconds=1)), split).count() == 1


def test_an_instant_without_a_zone_is_utc():
    assert history.micros(datetime(1970, 1, 1, 0, 0, 1)) == 1_000_000
    assert history.micros(START) == history.micros(START.replace(tzinfo=None))


def test_a_high_value_event_without_a_usable_reward_is_an_ordinary_event(spark):
    ratings = (0.0, -1.0, None, float("nan"), float("inf"), 1e-60, 0.5)
    log = [("u", "i1", place, "interaction", {"rating": rating}) for place, rating in enumerate(ratings)]
    events = events_frame(spark, log)
    rows = history.with_reward(events, SOURCE).orderBy("event_at").collect()
    assert [row["reward"] for row in rows] == [0.0] * 6 + [0.5]


def test_a_rule_that_fails_on_a_row_makes_it_an_ordinary_event(spark):
    ratings = ({"rating": 0.0, "page": "2"}, {"rating": 4.0, "page": "home"}, {"rating": 4.0, "page": "2"})
    log = [("u", "i1", place, "interaction", values) for place, values in enumerate(ratings)]
    rules = {"reward": "8 / rating", "high_value": "cast(page AS int) < 3"}
    found = history.with_reward(events_frame(spark, log), SOURCE.model_copy(update=rules)).orderBy("event_at")
    assert [row["reward"] for row in found.collect()] == [0.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"reward": "8 / ratings"}, r"source\.reward = '8 / ratings' cannot be used.* columns are: .*rating"),
        ({"high_value": "rating >"}, r"source\.high_value = 'rating >' cannot be used"),
        ({"high_value": "rating"}, r"source\.high_value = 'rating' is double, not true or false"),
        ({"reward": "action"}, r"source\.reward = 'action' is string, not a number"),
    ],
)
def test_a_rule_that_is_none_is_told_with_its_name(spark, rules, told):
    with pytest.raises(MappingError, match=told):
        history.with_reward(events_frame(spark, [("u", "i1", 1)]), SOURCE.model_copy(update=rules))


def test_ties_keep_the_order_of_the_lines_whatever_came_first(spark):
    lines = [("i4", 1), ("i2", 2), ("i9", 3), ("i1", 4)]
    items = items_frame(spark, [f"i{number}" for number in range(10)])
    for order in (lines, lines[::-1]):
        events = events_frame(
            spark,
            [("u", item, 5, "interaction", {"line_number": line, "event_id": item}) for item, line in order],
        )
        found = history.numbered(history.tokens(events, items, SOURCE, 8)).orderBy("place").collect()
        assert [row["item_index"] for row in found] == [4, 2, 9, 1]
        assert {row["events"] for row in found} == {4}
