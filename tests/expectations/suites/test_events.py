"""The suite on events: a whole table passes; each broken row is found and named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from expectations.drift import drift, window
from expectations.figures import Window
from expectations.new_lines import Reasons, counted, examples, new_files
from expectations.runner import judge
from expectations.suites import events as suite
from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from tests.expectations.suites.frames import failing, frame, outcomes

SPLIT = datetime(2024, 1, 3, tzinfo=UTC)
CUTOFF = datetime(2024, 1, 5, tzinfo=UTC)
LIMITS = suite.Limits(
    actions=("view", "like"),
    earliest=datetime(2000, 1, 1, tzinfo=UTC),
    latest=datetime(2030, 1, 1, tzinfo=UTC),
    max_faulty_fraction=0.25,
    max_conflict_fraction=0.05,
    min_window_events=1,
    min_volume_ratio=0.25,
    max_volume_ratio=4.0,
    max_action_mix_distance=0.3,
)


def event(number, day, **values):
    at = datetime(2024, 1, day, 12, tzinfo=UTC)
    row = {
        "event_id": f"e{number}",
        "user_id": "u",
        "item_id": "i",
        "event_at": at,
        "action": "view",
        "file_id": "f",
        "line_number": number,
        "event_date": at.date(),
    }
    return row | values


def judged(spark, events, files, rejected, earlier):
    table = frame(spark, EVENTS, events).coalesce(1)
    ingested, refused = frame(spark, INGESTED_FILES, files), frame(spark, REJECTED_EVENTS, rejected)
    now = window(table, SPLIT, CUTOFF)
    of_new = (ingested, refused, "2024-01-05", 7, Reasons("excluded", "repeated", conflicts=("conflict",)))
    new = replace(counted(new_files(*of_new)), examples=examples(*of_new))
    measured = suite.Measured(new, now, drift(now, earlier))
    batches = suite.batches(spark, table, ingested, refused, CUTOFF, measured)
    return judge("events", batches, suite.expectations(LIMITS, measured), suite.AGGREGATES)


def test_a_sound_table_passes(spark):
    events = [event(1, 1), event(2, 2, rating=4.0), event(3, 3, position=0), event(4, 4, watch_seconds=0.5)]
    files = [
        {"file_id": "f", "file_path": "a", "line_count": 6, "accepted_count": 4, "rejected_count": 2},
        {"file_id": "x", "file_path": "x", "line_count": 4, "accepted_count": 0, "rejected_count": 4},
    ]
    # The faulty lines of `x` do not count, since its cycle passed; nor does the repeated line of `f`.
    files = [files[0] | {"cycle": "2024-01-05"}, files[1] | {"cycle": "2023-12-05"}]
    rejected = [
        {"file_id": "f", "line_number": 5, "reason": "no user"},
        {"file_id": "f", "reason": "repeated"},
    ]
    rejected += [{"file_id": "x", "reason": "no user"}] * 4
    result = judged(spark, events, files, rejected, earlier=[])
    assert outcomes(result) == {"volume_drift": "not_applicable", "action_mix_drift": "not_applicable"}


def test_an_event_id_that_names_several_events_is_found(spark):
    file = {"file_id": "f", "file_path": "a", "line_count": 20, "cycle": "2024-01-05"}
    for conflicts, expected in ((1, {}), (2, {"event_ids_name_one_event": "failed"})):
        events = [event(number, 4) for number in range(20 - conflicts)]
        files = [file | {"accepted_count": len(events), "rejected_count": conflicts}]
        rejected = [{"file_id": "f", "line_number": 30 + n, "reason": "conflict"} for n in range(conflicts)]
        found = outcomes(judged(spark, events, files, rejected, earlier=[]))
        assert {name: value for name, value in found.items() if value != "not_applicable"} == expected


def test_a_window_without_an_event_is_found(spark):
    files = [{"file_id": "f", "file_path": "a", "line_count": 1, "accepted_count": 1, "rejected_count": 0}]
    result = judged(spark, [event(1, 1)], files, [], earlier=[])
    assert outcomes(result)["window_not_empty"] == "failed"


def test_a_file_that_cannot_be_read_is_named(spark):
    events = [event(1, 1), event(2, 4)]
    counts = {"file_path": "a", "accepted_count": 2, "rejected_count": 0, "cycle": "2023-12-05"}
    files = [
        counts | {"file_id": "f", "line_count": 2, "mapping_digest": "m"},
        {"file_id": "x", "file_path": "torn.parquet", "line_count": 1, "accepted_count": 0}
        | {"rejected_count": 1, "cycle": "2023-12-05", "mapping_digest": ""},
    ]
    rejected = [{"file_id": "x", "line_number": 1, "reason": "not a readable Parquet file"}]
    result = judged(spark, events, files, rejected, earlier=[])
    assert outcomes(result)["file_readable"] == "failed"
    assert failing(result, "file_readable") == [("torn.parquet", "x", 1)]


def test_each_broken_row_is_found(spark):
    late = CUTOFF + timedelta(days=1)
    events = [
        event(1, 1),
        event(2, 1),
        event(2, 4, line_number=3),
        event(4, 2, action="stare"),
        event(5, 2),
        event(6, 2, event_at=datetime(1970, 1, 1, tzinfo=UTC), event_date=date(1970, 1, 1)),
        event(7, 2, watch_seconds=float("inf")),
        event(8, 2, rating=float("nan")),
        event(9, 2, completion_fraction=float("inf")),
        event(10, 2, position=-3),
        event(11, 2),
        event(
            12,
            6,
            event_at=late,
            event_date=late.date(),
            action="after the cutoff, not judged yet",
            file_id="g",
        ),
    ]
    files = [
        {"file_id": "f", "file_path": "a", "line_count": 11, "accepted_count": 11, "rejected_count": 1},
        {"file_id": "h", "file_path": "b", "line_count": 1, "accepted_count": 1, "rejected_count": 0},
        {"file_id": "y", "file_path": "y", "line_count": 3, "accepted_count": 0, "rejected_count": 3},
    ]
    files[2]["cycle"] = "2024-01-05"
    rejected = [{"file_id": "y", "reason": "no user"}] * 2 + [{"file_id": "y", "reason": "repeated"}]
    result = judged(spark, events, files, rejected, earlier=[Window(2.0, {"like": 10})])
    assert outcomes(result) == dict.fromkeys(
        (
            "event_id_unique",
            "action_known",
            "event_at_in_range",
            "watch_seconds_in_range",
            "completion_fraction_in_range",
            "rating_in_range",
            "position_in_range",
            "accepted_are_events",
            "rejected_are_kept",
            "faulty_lines_few",
            "volume_drift",
            "action_mix_drift",
        ),
        "failed",
    )
    rest = {"file_readable", "event_ids_name_one_event", "window_not_empty"}
    expected = {judgement.expectation.name for judgement in result.judgements}
    assert expected - set(outcomes(result)) == rest
    assert failing(result, "event_id_unique") == [("e2", "f", 2), ("e2", "f", 3)]
    assert failing(result, "action_known") == [("e4", "f", 4, "stare")]
    assert failing(result, "event_at_in_range") == [("e6", "f", 6, "1970-01-01T00:00:00+00:00")]
    assert failing(result, "watch_seconds_in_range") == [("e7", "f", 7, float("inf"))]
    assert failing(result, "accepted_are_events") == [(None, "g", 1, None), ("b", "h", 0, 1)]
    assert failing(result, "rejected_are_kept") == [(None, "g", 0, None), ("a", "f", 0, 1)]
