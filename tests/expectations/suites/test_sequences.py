"""The suite on sequences: chunks that partition the events pass; each broken row is found and named."""

from __future__ import annotations

from datetime import UTC, datetime

from expectations.bounds import LossBounds
from expectations.instants import microseconds
from expectations.runner import judge
from expectations.suites import sequences as suite
from expectations.tables import EVENTS, ITEMS, SEQUENCES, TOKEN_FIELDS
from tests.expectations.suites.frames import failing, frame, names, outcomes

SPLIT = datetime(2024, 1, 10, tzinfo=UTC)
LIMITS = suite.Limits(
    split=SPLIT, items=3, actions=2, max_length=4, context_length=2, max_targets=2, bounds=LossBounds()
)
LABELS = suite.Labels(positions=100, labels=30, past=(0.5, 0.4))
ITEM_OF = (0, 1, 2, 0, 1)


def at(hour):
    return microseconds(datetime(2024, 1, 9, hour, tzinfo=UTC))


def chunk(user, number, first, hours, loss_start=0, targets=(), tail=(), **values):
    """A row whose events are at these hours, an item each as in ITEM_OF; `tail` gives hours too."""
    row = {
        "cycle": "2024-01-20",
        "user_id": user,
        "chunk": number,
        "first_position": first,
        "item_index": [ITEM_OF[hour] for hour in hours],
        "action": [0] * len(hours),
        "event_at_us": [at(hour) for hour in hours],
        "reward": [1.0 if place in targets else 0.0 for place in range(len(hours))],
        "loss_start": loss_start,
        "target_positions": list(targets),
        "tail_item_index": [ITEM_OF[hour] for hour in tail],
        "tail_event_at_us": [at(hour) for hour in tail],
        "tail_reward": [1.0] * len(tail),
    }
    return row | values


def judged(spark, sequences, histories, labels=LABELS):
    """`histories`: hours of the events of each user up to the split."""
    events = [
        {"user_id": user, "item_id": f"i{ITEM_OF[hour]}", "event_at": datetime(2024, 1, 9, hour, tzinfo=UTC)}
        for user, hours in histories.items()
        for hour in hours
    ]
    events.append({"user_id": "u1", "item_id": "i0", "event_at": datetime(2024, 1, 11, tzinfo=UTC)})
    items = frame(spark, ITEMS, [{"item_id": f"i{index}", "item_index": index} for index in range(3)])
    rows = frame(spark, SEQUENCES, sequences).coalesce(1)
    batches = suite.batches(rows, frame(spark, EVENTS, events), items, LIMITS, labels)
    return judge("sequences", batches, suite.expectations(LIMITS, labels), suite.AGGREGATES)


def test_sound_chunks_pass(spark):
    rows = [
        chunk("u1", 0, 0, (0, 1, 2, 3), targets=(1,), tail=(4,)),
        chunk("u1", 1, 2, (2, 3, 4), loss_start=2, targets=(2,), page=[1, 2, 3]),
        chunk("u2", 0, 0, (1, 1), targets=(0, 1)),
    ]
    assert outcomes(judged(spark, rows, {"u1": (0, 1, 2, 3, 4), "u2": (1, 1)})) == {}


def test_each_broken_row_is_found(spark):
    rows = [
        chunk("arrays", 0, 0, (0, 1), **{name: [1] for name in TOKEN_FIELDS}),
        chunk("codes", 0, 0, (0, 1), item_index=[-1, 3], action=[-1, 2]),
        chunk("empty", 0, 0, (0,), loss_start=1),
        chunk("late", 0, 0, (0,), targets=(0,), event_at_us=[microseconds(SPLIT) + 1]),
        chunk("long", 0, 0, (0, 1, 2, 3, 4)),
        chunk("order", 0, 0, (1, 0)),
        chunk("rewards", 0, 0, (0, 1), reward=[1.0, -1.0], target_positions=[1]),
        chunk("twice", 0, 0, (0,)),
        chunk("twice", 0, 0, (0,)),
        chunk("tail", 0, 0, (2, 3), tail=(4, 1, 0), tail_reward=[1.0, 0.0, float("inf")]),
        chunk("gap", 0, 0, (0, 1)),
        chunk("gap", 2, 1, (1, 2, 3, 4), loss_start=3, targets=(3,)),
    ]
    histories = {name: (0, 1) for name in ("arrays", "codes", "order", "rewards")}
    histories |= {"empty": (), "late": (0,), "long": (0, 1, 2, 3, 4), "twice": (0, 0), "tail": (2, 3)}
    histories |= {"gap": (0, 1, 2, 3, 4), "forgotten": (0,)}
    result = judged(spark, rows, histories, suite.Labels(positions=1000, labels=1, past=(0.5, 0.4)))
    assert outcomes(result) == dict.fromkeys(
        (
            "user_id_chunk_unique",
            *(f"{name}_length_equal" for name in TOKEN_FIELDS),
            "length_in_range",
            "loss_start_in_range",
            "tail_length_in_range",
            "smallest_item_index_in_range",
            "largest_item_index_in_range",
            "smallest_action_in_range",
            "largest_action_in_range",
            "smallest_reward_in_range",
            "largest_reward_in_range",
            "targets_are_rewarded",
            "tail_rewards_positive",
            "in_time_order",
            "tail_in_time_order",
            "tail_after_row",
            "nothing_past_the_split",
            "chunks_continue",
            "tails_complete",
            "chunks_numbered",
            "loss_positions_add_up",
            "loss_times_add_up",
            "loss_items_add_up",
            "labels_of_sequences",
        ),
        "failed",
    )
    assert failing(result, "user_id_chunk_unique") == [("twice", 0), ("twice", 0)]
    assert names(suite.expectations(LIMITS, LABELS)) - set(outcomes(result)) == {"sequences_not_empty"}
    assert failing(result, "page_length_equal") == [("arrays", 0, 1, 2)]
    assert failing(result, "length_in_range") == [("long", 0, 5)]
    assert failing(result, "targets_are_rewarded") == [("rewards", 0, False)]
    assert failing(result, "nothing_past_the_split") == [("late", 0, "2024-01-10T00:00:00.000001+00:00")]
    assert failing(result, "tail_after_row") == [
        ("tail", 0, "2024-01-09T03:00:00+00:00", "2024-01-09T00:00:00+00:00")
    ]
    # The second chunk of `gap` begins its loss positions at 4, where the first ended at 2.
    assert ("gap", 2, 4, 2) in failing(result, "chunks_continue")
    assert failing(result, "chunks_numbered") == [("gap", 2, 3), ("twice", 2, 1)]
    assert ("gap", 3, 5) in failing(result, "loss_positions_add_up")
    assert ("forgotten", 0, 1) in failing(result, "loss_positions_add_up")
    assert ("codes", 2, 1) in failing(result, "loss_items_add_up")


def test_without_a_sequence_or_a_label_the_suite_fails(spark):
    nothing = suite.Labels(positions=0, labels=0)
    assert outcomes(judged(spark, [], {}, nothing)) == dict.fromkeys(
        ("sequences_not_empty", "labels_of_sequences"), "failed"
    )


def test_many_chunks_of_one_user_are_judged_in_one_pass(spark):
    """Each row has a tail of what follows; a frame that Spark adds up anew for every row would take minutes."""
    rows = [chunk("u", place, place, (0,), targets=(0,)) | {"chunk": place} for place in range(20_000)]
    beside = suite.chunks(frame(spark, SEQUENCES, rows).coalesce(1), LIMITS.max_targets)
    later = {row["chunk"]: row["later_targets"] for row in beside.where("chunk >= 19997").collect()}
    assert later == {19_997: 2, 19_998: 1, 19_999: 0}
