"""Records of whole files: quoted fields over several lines, and JSON values."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.landing import records
from spark_jobs.landing.records import (
    BAD_QUOTES,
    NOT_CLOSED,
    Dialect,
    Record,
    delimited_records,
    holds_json_values,
    json_values,
    line_records,
)
from spark_jobs.landing.unpacking import DamagedFile

COMMA = Dialect(",", '"', None)


def cut(text: str, dialect: Dialect = COMMA) -> list[tuple]:
    """(number, fields, problem) of a text's records."""
    found = delimited_records(text.encode("utf-8", "surrogateescape").split(b"\n"), dialect)
    return [(r.number, r.fields and [cell.decode() for cell in r.fields], r.problem) for r in found]


def test_lines_are_records_without_fields():
    assert list(line_records([b"a", b"b"])) == [Record(1, b"a", None, None), Record(2, b"b", None, None)]


def test_a_refused_record_takes_its_lines_with_it():
    text = 'a,"x"y,"open\nforged,1"\nb,2\n"c" ,3\nd,4'
    assert cut(text) == [
        (1, None, BAD_QUOTES),
        (3, ["b", "2"], None),
        (4, None, BAD_QUOTES),
        (5, ["d", "4"], None),
    ]


@pytest.mark.parametrize("begin", ['a,"open', 'a,"x"y,"open'])
def test_a_field_that_is_never_closed_refuses_every_line_from_its_first_on(begin, monkeypatch):
    text = f"z,0\n{begin}\nb,2\n" + "c,3\n" * 20
    refused = [(number, None, NOT_CLOSED) for number in range(2, 25)]
    assert cut(text) == [(1, ["z", "0"], None), *refused]
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 40)
    assert cut(text + 'late"') == [(1, ["z", "0"], None), *refused[:-1], (24, None, NOT_CLOSED)]


def test_a_carriage_return_inside_a_line_is_text():
    assert cut('a\rb,"c\rd"') == [(1, ["a\rb", "c\rd"], None)]


def test_bytes_that_are_no_utf8_survive():
    (record,) = delimited_records([b'\xff,"\xfe"'], COMMA)
    assert record.fields == [b"\xff", b"\xfe"] and record.raw == b'\xff,"\xfe"'


CELLS = st.text(st.sampled_from('ab,"\n;\\ \r'), max_size=6)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=5))
def test_what_the_csv_module_writes_comes_back_with_true_line_numbers(table):
    text, numbers, line = io.StringIO(), [], 1
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in table:
        numbers.append(line)
        writer.writerow(row)
        line = text.getvalue().count("\n") + 1
    assert cut(text.getvalue().removesuffix("\n")) == (
        [(number, row, None) for number, row in zip(numbers, table, strict=True)] or [(1, [], None)]
    )


@given(st.lists(st.text(st.sampled_from('a,"\n'), max_size=9), max_size=6))
def test_no_line_is_lost_or_counted_twice(texts):
    lines = "\n".join(texts).encode().split(b"\n")
    found = list(delimited_records(lines, COMMA))
    assert b"\n".join(record.raw for record in found).split(b"\n") == lines
    starts = [1 + sum(record.raw.count(b"\n") + 1 for record in found[:place]) for place in range(len(found))]
    assert [record.number for record in found] == starts


def values(text: str, piece: int = 1 << 20) -> list[tuple[int, str]]:
    content = text.encode()
    pieces = [content[at : at + piece] for at in range(0, len(content), piece)]
    return [(record.number, record.raw.decode()) for record in json_values(pieces)]


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_json_values_keep_their_text(piece):
    text = ' [{"é": "]},"}, {"b":\n1.50}]\n[] [7]{"c": 1e5} '
    found = [(1, '{"é": "]},"}'), (2, '{"b":\n1.50}'), (3, "7"), (4, '{"c": 1e5}')]
    assert values(text, piece) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"a": 1},\n{"a": ', "not valid JSON on line 2: Expecting value"),
        ('[{"a": 1},\n\n{"a": x}]', "not valid JSON on line 3: Expecting value"),
        ('[{"a": 1}\n', "the JSON array is not closed: the file ends on line 2"),
        ('[{"a": 1}\n{"a": 2}]', "not valid JSON on line 2: a comma is missing between values"),
        ('[{"a": 1},]', "not valid JSON on line 1: Expecting value"),
        ("[[" + '{"a":' * 20_000, "the JSON on line 1 is nested too deeply"),
    ],
)
@pytest.mark.parametrize("piece", [5, 1 << 20])
def test_text_that_is_no_json_is_damaged(text, why, piece):
    with pytest.raises(DamagedFile) as refused:
        values(text, piece)
    assert str(refused.value) == why


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ('[{"u": 1}', True),
        ("\n [ \n {", True),
        ("[]", True),
        ('{\n"u": 1\n}\n{', True),
        ('{"u": 1}\n{"u": 2}', False),
        ('{"u": \n{"u": 2}', False),
        ("[INFO] started\n{}", False),
        ("[1, 2]\n[3, 4]", False),
        ("", False),
    ],
)
def test_which_files_hold_values_instead_of_lines(head, expected):
    assert holds_json_values(head.encode()) is expected
