"""The suite on losses: a sound log passes; each kind of loss is found, with where it is and what to do."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from expectations.bounds import LossBounds
from expectations.figures import DayLines, Days, FileLines, LateEvents
from expectations.losses import Compared, Limits, Losses, Past, Retyped
from expectations.runner import judge
from expectations.suites import losses as suite
from tests.expectations.suites.frames import failing, names, outcomes

LIMITS = Limits(LossBounds(), 0.05, ("country",), "jsonl")
ON_TIME = LateEvents("2026-01-20T00:00:00+00:00", 400, {"up to an hour": 5}, 0, 0)


def landed(path, lines=400, lost=0, **values):
    known = {"size_bytes": 100 * lines, "repeats": 0, "nulls": {"country": 0}}
    return FileLines(**{"path": path, "lines": lines, "accepted": lines - lost} | known | values)


def day(place, events=100, **values):
    known = {"labels": 50, "nulls": {"country": 0}}
    return DayLines((date(2026, 1, 1) + timedelta(days=place)).isoformat(), events, **known | values)


PAST = Past(tuple(landed(f"d-{place}.jsonl") for place in range(3)), (0, 0))
DAYS_BEFORE = tuple(day(place) for place in range(20))


def judged(spark, losses):
    batches = suite.batches(spark, LIMITS, losses)
    return judge("losses", batches, suite.expectations(LIMITS, losses), suite.AGGREGATES)


def losses(files, days, late=ON_TIME, past=PAST, after_the_last=0, retyped=()):
    whole = Days(tuple(days), DAYS_BEFORE, after_the_last)
    return Losses(tuple(files), whole, late, past, columns=Compared(8, retyped))


def test_a_sound_log_passes_and_says_what_was_measured(spark):
    result = judged(spark, losses([landed("d-3.jsonl", nulls={"country": 4})], [day(20), day(21)]))
    assert outcomes(result) == {}
    told = {judgement.expectation.name: judgement.observed for judgement in result.judgements}
    assert all(told.values())
    assert told["null_country_of_file"] == "1.0\u00a0% of 400 events without country in d-3.jsonl; 1 judged"
    assert told["log_reaches_the_cutoff"] == "0 of 2 days of the window come after the last event"
    assert told["events_come_in_time"] == (
        "5 of 400 new events came late (5 up to an hour), 0 of them as context only, 0.0\u00a0% of the new ones; "
        "0 of these high-value"
    )


def test_each_kind_of_loss_is_found(spark):
    files = [
        landed("d-4.jsonl", 40, faulty=4, lost=4),
        landed("d-5.jsonl", lost=400, excluded=400),
        landed("d-6.jsonl", lost=399, duplicates=399, repeats=399, size_bytes=900_000),
        landed("d-7.jsonl", nulls={"country": 390}),
    ]
    days = [
        day(20),
        day(21, 0, labels=0),
        day(22, excluded=300),
        day(23, duplicates=300, labels=0, nulls={"country": 100}),
    ]
    late = LateEvents(ON_TIME.since, 400, {"up to a day": 100, "more than 30 days": 200}, 200, 150)
    retyped = tuple(Retyped(f"d-{n}.jsonl", "ts", "numbers", "text", 1.0) for n in range(4, 8))
    whole = losses(files, days, late, after_the_last=1, retyped=retyped)
    result = judged(spark, whole)
    assert outcomes(result) == dict.fromkeys(names(suite.expectations(LIMITS, whole)), "failed")
    assert failing(result, "lines_of_file") == [("d-4.jsonl", 40, 40.0, 100.0, None, False)]
    assert [row[0] for row in failing(result, "events_of_day")] == ["2026-01-22"]
    by_name = {judgement.expectation.name: judgement for judgement in result.judgements}
    columns = by_name["columns_keep_their_kind"]
    assert "column ts of d-4.jsonl was numbers and is text on 100.0\u00a0% of its lines; " in columns.observed
    assert columns.observed.endswith("; and 1 more") and "read both" in columns.expectation.remedy
    assert failing(result, "columns_keep_their_kind")[3] == ("d-7.jsonl", "ts", "numbers", "text", 1.0, False)
    excluded = by_name["excluded_lines_of_file"]
    assert "100.0\u00a0% of 400 lines excluded by where in d-5.jsonl, allowed at most" in excluded.observed
    assert "compare the columns that events.where names" in excluded.expectation.remedy
    assert (
        "200 of them as context only, 50.0\u00a0% of the new ones" in by_name["events_come_in_time"].observed
    )
    assert all(judgement.expectation.remedy and judgement.observed for judgement in result.judgements)


@pytest.mark.parametrize("files", [[], [landed("torn.jsonl", 1, 1, readable=False)]])
def test_what_cannot_be_judged_says_why(spark, files):
    result = judged(spark, Losses(tuple(files), Days((), ()), None))
    assert outcomes(result) == dict.fromkeys(
        (judgement.expectation.name for judgement in result.judgements), "not_applicable"
    )
    messages = {judgement.message for judgement in result.judgements}
    assert messages == {
        f"not judged: {'no new file can be read' if files else 'no new file'}",
        "not judged: the window has no whole day",
        "not judged: no earlier cycle to compare with",
        "not judged: no earlier file that this mapping read",
    }
