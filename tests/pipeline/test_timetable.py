from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction
from sqlalchemy.orm import Session, object_session

from pipeline import timetable
from pipeline.timetable import CutoffTimetable
from tests.airflow_records import create_due_run, parse, runs

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAILY = CutoffTimetable(FIRST, timedelta(days=1))
UNBOUNDED = TimeRestriction(None, None, catchup=True)
NO_CATCHUP = TimeRestriction(FIRST - timedelta(days=1), None, catchup=False)


def at(monkeypatch: pytest.MonkeyPatch, *moment: int) -> None:
    """Sets the timetable's clock."""
    monkeypatch.setattr(timetable, "_now", lambda: datetime(*moment, tzinfo=UTC))


def interval(end: datetime, days: float = 1.0) -> DataInterval:
    return DataInterval(end - timedelta(days=days), end)


def next_cutoff(
    schedule: CutoffTimetable, last: DataInterval | None = None, restriction: TimeRestriction = NO_CATCHUP
) -> datetime | None:
    info = schedule.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
    return info and info.run_after


def a_dag(schedule: CutoffTimetable) -> DAG:
    start = schedule.first - schedule.interval
    return DAG("cycles", schedule=schedule, start_date=start, catchup=False, max_active_runs=1)


def end_run(run: DagRun) -> None:
    """Marks a run as successful; a DAG has one active run at most."""
    run.state = "success"
    object_session(run).flush()


def test_a_run_covers_the_interval_that_ends_at_its_cutoff():
    info = DAILY.next_dagrun_info(last_automated_data_interval=None, restriction=UNBOUNDED)
    assert info.run_after == info.data_interval.end == FIRST
    assert info.data_interval.start == info.logical_date == datetime(2023, 12, 31, tzinfo=UTC)


@pytest.mark.parametrize("last", [None, datetime(2026, 1, 1, tzinfo=UTC)])
def test_airflow_stores_it_with_the_dag_and_reads_it_back(last: datetime | None):
    given = CutoffTimetable(FIRST, timedelta(days=28, hours=8), last)
    stored = json.loads(json.dumps(DagSerialization.to_dict(a_dag(given))))
    assert "pipeline.timetable.CutoffTimetable" in json.dumps(stored)
    read = DagSerialization.from_dict(stored).timetable
    assert (read.first, read.interval, read.last) == (given.first, given.interval, given.last)
    assert read.summary == given.summary


def test_its_summary_says_the_schedule_in_words():
    last = datetime(1998, 4, 23, tzinfo=UTC)
    first = datetime(1997, 12, 4, tzinfo=UTC)
    assert CutoffTimetable(first, timedelta(days=28), last).summary == (
        "every 28 days from 1997-12-04 to 1998-04-23"
    )
    assert CutoffTimetable(first, timedelta(hours=12)).description == "every 0.5 days from 1997-12-04"


def test_a_schedule_without_end_goes_on_after_a_thousand_cycles(monkeypatch: pytest.MonkeyPatch):
    at(monkeypatch, 2037, 5, 6, 7)
    today = datetime(2037, 5, 6, tzinfo=UTC)
    assert next_cutoff(DAILY) == today
    assert next_cutoff(DAILY, interval(today)) == datetime(2037, 5, 7, tzinfo=UTC)


def test_of_missed_cycles_the_last_is_due_and_no_earlier_one(monkeypatch: pytest.MonkeyPatch):
    at(monkeypatch, 2026, 3, 10, 15)
    ran = interval(datetime(2026, 3, 4, tzinfo=UTC))
    assert next_cutoff(DAILY, ran) == datetime(2026, 3, 10, tzinfo=UTC)
    assert next_cutoff(DAILY, interval(datetime(2026, 3, 10, tzinfo=UTC))) == datetime(
        2026, 3, 11, tzinfo=UTC
    )


def test_a_first_cutoff_in_the_future_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    at(monkeypatch, 2023, 6, 1)
    assert next_cutoff(DAILY) == FIRST


def test_a_cutoff_is_due_at_its_instant(monkeypatch: pytest.MonkeyPatch):
    at(monkeypatch, 2026, 3, 10)
    assert next_cutoff(DAILY) == datetime(2026, 3, 10, tzinfo=UTC)


def test_the_last_cycle_stays_due_for_one_interval_and_none_follows(monkeypatch: pytest.MonkeyPatch):
    last = datetime(2024, 1, 29, tzinfo=UTC)
    weekly = CutoffTimetable(FIRST, timedelta(days=7), last)
    before = interval(datetime(2024, 1, 22, tzinfo=UTC), 7)
    at(monkeypatch, 2024, 2, 4, 23, 59)
    assert next_cutoff(weekly, before) == last
    assert next_cutoff(weekly, interval(last, 7)) is None
    at(monkeypatch, 2024, 2, 5)
    assert next_cutoff(weekly, before) is None
    assert next_cutoff(weekly) is None


def test_a_last_date_off_the_grid_ends_the_schedule_before_it():
    weekly = CutoffTimetable(FIRST, timedelta(days=7), datetime(2024, 1, 17, tzinfo=UTC))
    assert next_cutoff(weekly, interval(datetime(2024, 1, 8, tzinfo=UTC), 7), UNBOUNDED) == datetime(
        2024, 1, 15, tzinfo=UTC
    )
    assert next_cutoff(weekly, interval(datetime(2024, 1, 15, tzinfo=UTC), 7), UNBOUNDED) is None


@pytest.mark.parametrize("days", [0.5, 1 / 3, 1.25, 28.125])
def test_intervals_of_fractional_days_do_not_drift(days: float):
    schedule = CutoffTimetable(FIRST, timedelta(days=days))
    schedule = CutoffTimetable.deserialize(json.loads(json.dumps(schedule.serialize())))
    cutoffs, last = [], None
    for _ in range(50):
        info = schedule.next_dagrun_info(last_automated_data_interval=last, restriction=UNBOUNDED)
        cutoffs.append(info.run_after)
        last = info.data_interval
    assert cutoffs == [FIRST + number * timedelta(days=days) for number in range(50)]


@pytest.mark.parametrize("days", [0.0, -7.0])
def test_an_interval_that_is_not_positive_is_refused(days: float):
    with pytest.raises(ValueError, match="must be positive"):
        CutoffTimetable(FIRST, timedelta(days=days))


def test_a_longer_interval_passes_over_cutoffs_whose_interval_starts_before_the_last_runs():
    # Airflow would take the run of 10 January, whose interval starts on 27 December, for one it has.
    fortnightly = CutoffTimetable(datetime(2024, 1, 10, tzinfo=UTC), timedelta(days=14))
    last = DataInterval(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 8, tzinfo=UTC))
    assert next_cutoff(fortnightly, last, UNBOUNDED) == datetime(2024, 1, 24, tzinfo=UTC)


def test_a_run_of_the_earlier_listed_schedule_is_followed_by_one_that_airflow_can_tell_from_it():
    # Listed due times had intervals of no length, so a run was known by its cutoff.
    cutoff = datetime(2026, 3, 10, tzinfo=UTC)
    following = DAILY.next_dagrun_info(
        last_automated_data_interval=DataInterval(cutoff, cutoff), restriction=UNBOUNDED
    )
    assert following.logical_date > cutoff


def test_reading_the_file_between_due_time_and_run_loses_nothing(
    airflow_session: Session, monkeypatch: pytest.MonkeyPatch
):
    at(monkeypatch, 2026, 3, 10, 1)
    model = parse(a_dag(DAILY), airflow_session)
    create_due_run(model, airflow_session)
    assert model.next_dagrun_create_after == datetime(2026, 3, 11, tzinfo=UTC)
    end_run(*runs("cycles", airflow_session))
    at(monkeypatch, 2026, 3, 11, 0, 0, 5)
    model = parse(a_dag(DAILY), airflow_session)
    assert model.next_dagrun_create_after == datetime(2026, 3, 11, tzinfo=UTC)
    create_due_run(parse(a_dag(DAILY), airflow_session), airflow_session)
    assert [run.data_interval_end.day for run in runs("cycles", airflow_session)] == [10, 11]
    assert [run.logical_date.day for run in runs("cycles", airflow_session)] == [9, 10]


def test_a_scheduler_that_was_stopped_for_days_creates_the_last_missed_run_alone(
    airflow_session: Session, monkeypatch: pytest.MonkeyPatch
):
    at(monkeypatch, 2026, 3, 4, 1)
    model = parse(a_dag(DAILY), airflow_session)
    at(monkeypatch, 2026, 3, 10, 15)  # the scheduler is quicker than the DAG processor
    create_due_run(model, airflow_session)
    assert [run.data_interval_end.day for run in runs("cycles", airflow_session)] == [10]
    assert model.next_dagrun_create_after == datetime(2026, 3, 11, tzinfo=UTC)


def test_the_run_created_late_is_never_after_the_last_cutoff(
    airflow_session: Session, monkeypatch: pytest.MonkeyPatch
):
    schedule = CutoffTimetable(FIRST, timedelta(days=1), datetime(2026, 3, 6, tzinfo=UTC))
    at(monkeypatch, 2026, 3, 4, 1)
    model = parse(a_dag(schedule), airflow_session)
    at(monkeypatch, 2026, 3, 10, 15)
    create_due_run(model, airflow_session)
    assert [run.data_interval_end.day for run in runs("cycles", airflow_session)] == [6]
    assert model.next_dagrun_create_after is None


def test_a_backfill_has_exactly_the_cutoffs_of_its_range(airflow_session: Session):
    weekly = CutoffTimetable(FIRST, timedelta(days=7), datetime(2024, 2, 5, tzinfo=UTC))
    dag = DagSerialization.from_dict(DagSerialization.to_dict(a_dag(weekly)))

    def cutoffs(start: tuple[int, int], end: tuple[int, int]) -> list[str]:
        infos = dag.iter_dagrun_infos_between(
            datetime(2024, *start, tzinfo=UTC), datetime(2024, *end, tzinfo=UTC)
        )
        return [f"{info.data_interval.end:%m-%d}" for info in infos]

    assert cutoffs((1, 8), (1, 22)) == ["01-08", "01-15", "01-22"]
    assert cutoffs((1, 9), (1, 21)) == ["01-15"]
    assert cutoffs((1, 1), (12, 31)) == ["01-01", "01-08", "01-15", "01-22", "01-29", "02-05"]
