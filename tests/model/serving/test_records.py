"""Times of plain records."""

from __future__ import annotations

import pytest

from model.serving.records import HistoryError, instant


@pytest.mark.parametrize("value", ["1970-01-02", "1970-01-02T00:00:00+00:00", 86_400, 86_400.0])
def test_iso_text_and_seconds_since_1970_are_read(value):
    assert instant(value, "record 0") == 86_400_000_000


@pytest.mark.parametrize("value", ["yesterday", "", "1970-13-01", float("nan")])
def test_anything_else_is_refused_with_its_place_and_what_is_allowed(value):
    with pytest.raises(HistoryError, match="record 3 has the time .*; allowed is ISO 8601 text or seconds"):
        instant(value, "record 3")
