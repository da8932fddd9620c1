"""Tokens: their fields, their context codes, and the order of ties."""

from __future__ import annotations

from model.data.context import field_code
from spark_jobs.config import EventMapping, SourceConfig
from spark_jobs.histories import tokens
from tests.factories import events_frame, items_frame

SOURCE = SourceConfig(
    name="literal",
    events=EventMapping(
        files=("x",), format="jsonl", user="u", item="i", time="t", action="a", page="p", position="n"
    ),
    actions=("seen", "liked"),
)


def rows(spark, log, buckets=8):
    """Numbered tokens of a log over the items i0 … i9, in the order of each history."""
    items = items_frame(spark, [f"i{number}" for number in range(10)])
    frame = tokens.numbered(tokens.tokens(events_frame(spark, log), items, SOURCE, buckets))
    return frame.orderBy("user_id", "place").collect()


def test_a_token_holds_the_fields_that_the_source_fills():
    assert tokens.token_fields(SOURCE) == (
        "item_index",
        "action",
        "event_at_us",
        "reward",
        "page",
        "position",
    )


def test_actions_are_indices_and_context_is_codes(spark):
    log = [
        ("u", "i3", 1, "liked", {"page": "home", "position": 0}),
        ("u", "i4", 2, "seen", {"page": "home", "position": 99}),
        ("u", "i5", 3, "seen", {"position": -4}),
    ]
    first, second, third = rows(spark, log, buckets=8)
    assert [row["action"] for row in (first, second, third)] == [1, 0, 0]
    assert first["page"] == second["page"] and 1 <= first["page"] <= 7
    # 0 is missing; a number n becomes 1 + n, clamped to the codes 1 to 7.
    assert third["page"] == 0
    assert [row["position"] for row in (first, second, third)] == [1, 7, 1]


OUTCOMES = {
    "watch_seconds": [0.0, 0.41421357, 1.0, 2.9, 3.0, 3599.0, 1e12, None],
    "completion_fraction": [0.0, 0.29, 0.3, 0.7, 1.0, 2.5, 1e9, None],
    "rating": [0.5, 1.0, 3.74, 3.75, 5.0, 1e9, -1.0, None],
}


def test_how_an_event_went_has_the_codes_that_serving_computes(spark):
    source = SOURCE.model_copy(
        update={"events": SOURCE.events.model_copy(update={name: "x" for name in OUTCOMES})}
    )
    given = [dict(zip(OUTCOMES, values, strict=True)) for values in zip(*OUTCOMES.values(), strict=True)]
    log = [("u", "i1", number, "seen", values) for number, values in enumerate(given)]
    frame = tokens.tokens(events_frame(spark, log), items_frame(spark, ["i1"]), source, 64)
    rows = frame.orderBy("event_at_us").collect()
    assert [{name: row[name] for name in OUTCOMES} for row in rows] == [
        {name: field_code(name, value, 64) for name, value in values.items()} for values in given
    ]


def test_an_event_whose_item_is_unknown_is_dropped(spark):
    assert [row["item_index"] for row in rows(spark, [("u", "i1", 1), ("u", "stranger", 2)])] == [1]


def test_histories_are_numbered_from_zero(spark):
    log = [("a", "i1", 5), ("b", "i2", 1), ("a", "i3", 2)]
    numbers = [(row["user_id"], row["place"], row["events"]) for row in rows(spark, log)]
    assert numbers == [("a", 0, 2), ("a", 1, 2), ("b", 0, 1)]


def test_ties_keep_the_order_of_the_lines_in_any_order_of_arrival(spark):
    lines = [("i4", 1), ("i2", 2), ("i9", 3), ("i1", 4)]
    for order in (lines, lines[::-1]):
        log = [("u", item, 5, "seen", {"line_number": line, "event_id": item}) for item, line in order]
        numbered = rows(spark, log)
        assert [row["item_index"] for row in numbered] == [4, 2, 9, 1]
        assert {row["events"] for row in numbered} == {4}


def test_a_small_catalogue_is_broadcast_and_a_large_one_is_not(spark, plan_of, monkeypatch):
    events, items = events_frame(spark, [("u", "i1", 1)]), items_frame(spark, ["i0", "i1"])
    spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
    try:
        for limit, join in ((2, "BroadcastHashJoin"), (1, "SortMergeJoin")):
            monkeypatch.setattr(tokens, "BROADCAST_ITEMS", limit)
            frame = tokens.tokens(events, tokens.broadcastable(items), SOURCE, 8)
            assert join in plan_of(frame)
    finally:
        spark.conf.unset("spark.sql.autoBroadcastJoinThreshold")


def test_positions_are_array_indices_of_the_tokens_that_meet_the_condition(spark):
    frame = spark.sql("SELECT array(struct(3 AS r), struct(0 AS r), struct(1 AS r)) AS row")
    positions = tokens.positions_where("row", lambda token: token["r"] > 0)
    assert frame.select(positions).first()[0] == [0, 2]
