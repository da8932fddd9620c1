"""Columns beside those of earlier files: what was retyped or has vanished is found, and what is new or uneven is not."""

from __future__ import annotations

import pytest

from expectations.bounds import LossBounds
from expectations.figures import FileLines, KindLines
from expectations.kinds import MILLISECONDS, MISSING, SECONDS
from expectations.losses_of_columns import compared


def landed(path, mapping="m", readable=True, faulty=None, **columns):
    """A file; `columns` gives lines by kind, `faulty` those of them that were refused, by kind."""
    kinds = {
        name: {kind: KindLines(count, (faulty or {}).get(kind, 0)) for kind, count in of.items()}
        for name, of in columns.items()
    }
    return FileLines(path, 100, 100, 100, readable=readable, kinds=kinds, mapping=mapping)


def found(file, *before):
    result = compared([file], before, LossBounds(), 0.05)
    return [(one.column, one.was, one.now, round(one.share, 3)) for one in result.retyped]


NUMBERS = landed("d-1", ts={SECONDS: 400}, country={"text": 380, MISSING: 20})


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"ts": {SECONDS: 400}}, []),
        ({"ts": {MILLISECONDS: 400}}, [("ts", SECONDS, MILLISECONDS, 1.0)]),
        ({"ts": {"dates": 400}}, [("ts", SECONDS, "dates", 1.0)]),
        ({"ts": {SECONDS: 200, "text": 200}}, [("ts", SECONDS, "text", 0.5)]),
        ({"ts": {SECONDS: 390, "text": 10}}, []),  # what chance and dirt explain
        ({"country": {"objects": 380, MISSING: 20}}, [("country", "text", "objects", 0.95)]),
        ({"country": {"text": 10, MISSING: 390}}, []),  # its share of missing values is judged elsewhere
        ({"country": {MISSING: 400}}, [("country", "text", MISSING, 1.0)]),
        ({"country": {MISSING: 8}}, []),  # too few lines to tell
        ({"device": {"text": 400}}, []),  # no earlier file says what it was
    ],
)
def test_a_column_is_compared_with_the_files_before(columns, expected):
    assert found(landed("d-2", **columns), NUMBERS) == expected


def test_a_new_column_passes_and_an_uneven_one_widens_its_own_bounds():
    before = [landed(f"d-{day}", id={"numbers": 100 * day, "text": 400 - 100 * day}) for day in (1, 2, 3)]
    assert found(landed("d-9", id={"numbers": 380, "text": 20}), *before) == []
    assert found(landed("d-9", id={"text": 400}), landed("d-1", id={MISSING: 400})) == []


def test_files_of_another_mapping_or_another_kind_of_name_are_not_the_past():
    retyped = landed("web-2", id={"text": 400})
    assert found(retyped, landed("web-1", mapping="other", id={"numbers": 400})) == []
    assert found(retyped, landed("app-1", id={"numbers": 400}), landed("web-1", id={"text": 400})) == []
    assert found(retyped, landed("app-1", id={"numbers": 400})) == [("id", "numbers", "text", 1.0)]
    assert (
        found(landed("web-2", readable=False, id={"text": 400}), landed("web-1", id={"numbers": 400})) == []
    )


def test_without_a_past_the_faulty_lines_are_compared_with_the_others():
    grown = landed("log", ts={SECONDS: 360, "dates": 40}, faulty={"dates": 40})
    assert found(grown) == [("ts", SECONDS, "dates", 0.1)]
    result = compared(
        [landed("log-2", ts={"dates": 40}, faulty={"dates": 40}), NUMBERS], (), LossBounds(), 0.05
    )
    assert [one.words for one in result.retyped] == [
        "column ts of log-2 was seconds since 1970 and is dates on 100.0\u00a0% of its lines"
    ]
    # Faulty lines of the kind that sound ones have say nothing of the column.
    assert found(landed("log", action={"text": 400}, faulty={"text": 300})) == []
    assert found(landed("log", ts={SECONDS: 390, "dates": 10}, faulty={"dates": 10})) == []
