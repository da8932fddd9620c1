"""Events read by days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations.instants import HOUR_US, microseconds
from expectations.tables import location
from model.data.events import batches_of_days, read_events

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path) -> str:
    at = [START + timedelta(hours=hour) for hour in (50, 1, 30, 30, 80)]
    rows = pa.table(
        {
            "item_id": ["b", "a", "unknown", "a", "b"],
            "event_at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "event_date": pa.array([instant.date() for instant in at]),
        }
    )
    write_deltalake(location(str(tmp_path), "s", "events"), rows, partition_by=["event_date"])
    return str(tmp_path)


def at(hour: int) -> int:
    return microseconds(START + timedelta(hours=hour))


def test_events_between_two_instants_are_read_in_order_of_time(lake):
    log = read_events(lake, "s", 0, pa.array(["a", "b"]), at(1), at(50))
    assert log.item_index.tolist() == [0, 1]
    assert [(time - at(0)) / HOUR_US for time in log.event_at_us.tolist()] == [30, 50]


def test_a_log_may_begin_with_its_first_event(lake):
    log = read_events(lake, "s", 0, pa.array(["a", "b"]), None, at(50))
    assert log.item_index.tolist() == [0, 0, 1]
    assert log.until(at(30)).item_index.tolist() == [0, 0]


def test_a_span_without_events_is_an_empty_log(lake):
    log = read_events(lake, "s", 0, pa.array(["a", "b"]), at(200), at(300))
    assert log.item_index.size == log.event_at_us.size == 0


def test_whole_days_are_read(lake):
    batches = batches_of_days(lake, "s", 0, ("item_id",), at(26), at(49))
    assert sorted(item for batch in batches for item in batch["item_id"].to_pylist()) == ["a", "b", "unknown"]
