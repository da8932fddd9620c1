"""The source's rules: which events are high-value, and with which reward."""

from __future__ import annotations

import pytest

from spark_jobs.config import EventMapping, SourceConfig
from spark_jobs.histories.high_value import by_rules, with_reward
from spark_jobs.landing.expressions import MappingError
from tests.factories import events_frame

SOURCE = SourceConfig(
    name="literal",
    events=EventMapping(files=("x",), format="jsonl", user="u", item="i", time="t", page="p"),
    high_value="action = 'interaction'",
    reward="rating",
)


def test_a_high_value_event_without_a_usable_reward_is_an_ordinary_event(spark):
    ratings = (0.0, -1.0, None, float("nan"), float("inf"), 1e-60, 0.5)
    log = [("u", "i1", place, "interaction", {"rating": rating}) for place, rating in enumerate(ratings)]
    events = events_frame(spark, log)
    rows = with_reward(events, SOURCE).orderBy("event_at").collect()
    assert [row["reward"] for row in rows] == [0.0] * 6 + [0.5]


def test_each_rule_has_its_own_column(spark):
    log = [("u", "i1", 1, "interaction", {"rating": 0.0}), ("u", "i1", 2, "seen", {"rating": 3.0})]
    rows = by_rules(events_frame(spark, log), SOURCE).orderBy("event_at").collect()
    assert [(row["high_value"], row["reward"]) for row in rows] == [(True, 0.0), (False, 3.0)]


def test_a_rule_that_fails_on_a_row_makes_it_an_ordinary_event(spark):
    ratings = ({"rating": 0.0, "page": "2"}, {"rating": 4.0, "page": "home"}, {"rating": 4.0, "page": "2"})
    log = [("u", "i1", place, "interaction", values) for place, values in enumerate(ratings)]
    rules = {"reward": "8 / rating", "high_value": "cast(page AS int) < 3"}
    rows = with_reward(events_frame(spark, log), SOURCE.model_copy(update=rules)).orderBy("event_at")
    assert [row["reward"] for row in rows.collect()] == [0.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"reward": "8 / ratings"}, r"source\.reward = '8 / ratings' cannot be used.* columns are: .*rating"),
        ({"high_value": "rating >"}, r"source\.high_value = 'rating >' is not an SQL expression"),
        ({"high_value": "rating"}, r"source\.high_value = 'rating' is double, not true or false"),
        ({"reward": "action"}, r"source\.reward = 'action' is string, not a number"),
    ],
)
def test_an_unusable_rule_is_refused_by_name(spark, rules, message):
    with pytest.raises(MappingError, match=message):
        with_reward(events_frame(spark, [("u", "i1", 1)]), SOURCE.model_copy(update=rules))
