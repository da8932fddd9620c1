"""Codes of context fields, and the values behind them."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations.instants import DAY_US
from expectations.tables import location
from model.data.context import column_value, context_code, field_code, read_context_names


def test_context_codes_are_those_of_the_data_plane():
    # Spark: SELECT xxhash64('abc') = 1423657621850124518
    assert context_code("abc", 32) == 1 + 1423657621850124518 % 31
    assert context_code(None, 32) == 0
    assert [context_code(number, 32) for number in (0, 5, 31, 1000)] == [1, 6, 31, 31]


@pytest.mark.parametrize("value", [3, "3", 3.0, np.int64(3)])
def test_a_value_takes_the_type_of_its_column(value):
    assert context_code(column_value("position", value), 32) == 1 + 3
    assert column_value("page", value) == str(value)


@pytest.mark.parametrize(
    ("field", "codes"),
    [
        ("watch_seconds", {0.0: 1, 0.4: 1, 1.0: 3, 3.0: 5, 7.0: 7, 1e300: 31, None: 0, -1.0: 0}),
        ("completion_fraction", {0.0: 1, 0.3: 4, 0.7: 8, 1.0: 11, 2.5: 26, 99.0: 31, None: 0}),
        ("rating", {0.5: 2, 1.0: 3, 3.75: 9, 5.0: 11, "4": 9, -2.0: 0}),
    ],
)
def test_how_an_event_went_is_counted_in_steps(field, codes):
    assert {value: field_code(field, value, 32) for value in codes} == codes


@pytest.mark.parametrize("value", ["long", True, float("nan"), [3]])
def test_a_signal_that_is_not_a_number_is_refused(value):
    with pytest.raises(ValueError, match="rating is .*; allowed is a number"):
        field_code("rating", value, 32)


def test_other_fields_have_the_code_of_their_column():
    assert field_code("position", "3", 32) == 4 and field_code("page", None, 32) == 0
    assert field_code("page", 3, 32) == context_code("3", 32)


def test_a_missing_value_stays_missing():
    assert column_value("position", None) is None and column_value("page", None) is None


@pytest.mark.parametrize("value", ["", "top", "3.5", 3.5, float("nan"), float("inf"), True, [3]])
def test_a_position_that_is_not_a_whole_number_is_refused(value):
    with pytest.raises(ValueError, match="position is .*; allowed is a whole number"):
        column_value("position", value)


def test_the_windows_values_are_named_by_code(tmp_path):
    days = [date(1970, 1, number) for number in (1, 2, 3, 3, 4, 9)]
    rows = pa.table({"event_date": days, "country": ["XX", "NL", "FR", None, "NL", "YY"]})
    write_deltalake(location(str(tmp_path), "tiny", "events"), rows)
    names = read_context_names(str(tmp_path), "tiny", 0, "country", 1 * DAY_US, 4 * DAY_US, 32)
    assert names == {0: "unknown", context_code("NL", 32): "NL", context_code("FR", 32): "FR"}


def test_values_that_share_a_code_share_a_name(tmp_path):
    rows = pa.table({"event_date": [date(1970, 1, 1)] * 3, "page": pa.array([0, 7, 9], pa.int32())})
    write_deltalake(location(str(tmp_path), "tiny", "events"), rows)
    assert read_context_names(str(tmp_path), "tiny", 0, "page", 0, DAY_US, 8) == {
        0: "unknown",
        1: "0",
        7: "7/9",
    }
