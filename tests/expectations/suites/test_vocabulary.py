"""The suite on vocabulary: dense tokens and true counts pass; each broken row is found and named."""

from __future__ import annotations

from datetime import UTC, datetime

from expectations.runner import judge
from expectations.suites import vocabulary as suite
from expectations.tables import EVENTS, ITEMS, VOCABULARY
from tests.expectations.suites.frames import failing, frame, names, outcomes

SPLIT = datetime(2024, 1, 10, tzinfo=UTC)
CYCLE, PARENT = "2024-01-20", "2024-01-10"


def row(token, index, count, added_in=CYCLE):
    return {
        "cycle": CYCLE,
        "item_token": token,
        "item_index": index,
        "event_count": count,
        "added_in": added_in,
        "retired": False,
    }


def judged(spark, vocabulary, counts, parent=None, late=()):
    """`counts`: events up to the split by item; `late`: items of events after it."""
    names = [f"i{index}" for index in range(len(counts))]
    events = [
        {"item_id": name, "event_at": SPLIT}
        for name, count in zip(names, counts, strict=True)
        for _ in range(count)
    ]
    events += [{"item_id": name, "event_at": datetime(2024, 1, 11, tzinfo=UTC)} for name in late]
    items = [{"item_id": name, "item_index": index} for index, name in enumerate(names)]
    batches = suite.batches(
        frame(spark, VOCABULARY, vocabulary),
        frame(spark, VOCABULARY, parent) if parent else None,
        frame(spark, ITEMS, items),
        frame(spark, EVENTS, events),
        CYCLE,
        SPLIT,
        min_events=2,
    )
    return judge("vocabulary", batches, suite.expectations(bool(parent), min_events=2), suite.AGGREGATES)


def test_a_sound_vocabulary_passes(spark):
    parent = [row(0, 1, 2, PARENT)]
    # i1 has fallen to one event and keeps its token; i2 comes to two events only after the split.
    sound = [row(0, 1, 1, PARENT), row(1, 0, 3)]
    assert outcomes(judged(spark, sound, counts=(3, 1, 1), parent=parent, late=("i2",))) == {}


def test_each_broken_row_is_found(spark):
    parent = [row(0, 0, 2, PARENT), row(1, 1, 2, PARENT), row(2, 2, 2, PARENT)]
    broken = [
        row(0, 0, 2, CYCLE),
        row(1, 3, 2, PARENT),
        row(4, 4, 1),
        row(-1, 4, 1),
        row(9, 99, 3),
        row(9, 1, 4),
    ]
    result = judged(spark, broken, counts=(2, 3, 0, 2, 1, 2), parent=parent, late=("i1",))
    assert outcomes(result) == dict.fromkeys(
        (
            "item_token_unique",
            "item_index_unique",
            "tokens_dense",
            "items_exist",
            "event_count_true",
            "added_with_enough_events",
            "frequent_items_in_vocabulary",
            "parent_tokens_kept",
            "parent_added_in_kept",
        ),
        "failed",
    )
    assert names(suite.expectations(True, 2)) - set(outcomes(result)) == {"vocabulary_not_empty"}
    assert failing(result, "item_token_unique") == [(9, 1), (9, 99)]
    assert failing(result, "item_index_unique") == [(-1, 4), (4, 4)]
    assert failing(result, "tokens_dense") == [(6, 10)]
    assert failing(result, "items_exist") == [(9, 99, False)]
    # 4 counted with the one event after the split, 3 up to it; item 99 has no event at all.
    assert failing(result, "event_count_true") == [(9, 1, 4, 3), (9, 99, 3, 0)]
    assert failing(result, "added_with_enough_events") == [(-1, 4, 1), (4, 4, 1)]
    assert failing(result, "frequent_items_in_vocabulary") == [(5, 2, None)]
    assert failing(result, "parent_tokens_kept") == [(1, 1, 3), (2, 2, -1)]
    assert failing(result, "parent_added_in_kept") == [(0, 0, PARENT, CYCLE), (2, 2, PARENT, "absent")]


def test_an_empty_vocabulary_fails(spark):
    empty = frame(spark, VOCABULARY, [])
    first = suite.expectations(has_parent=False, min_events=2)[:1]
    assert outcomes(judge("vocabulary", {"vocabulary": empty}, first)) == {"vocabulary_not_empty": "failed"}
