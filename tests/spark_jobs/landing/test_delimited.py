"""CSV and TSV: headers, quotes, and lines with the wrong number of fields."""

from __future__ import annotations

import bz2
import gzip
from collections import Counter
from datetime import datetime

import pytest

from spark_jobs.config import EventMapping
from spark_jobs.landing.delimited import delimited_groups, dialect_of
from spark_jobs.landing.files import find
from spark_jobs.landing.records import BAD_QUOTES, NOT_CLOSED, Dialect
from tests.spark_jobs.landed import checked, source

COMMA, TAB = Dialect(",", '"', None), Dialect("\t", None, None)


def groups(spark, landing, dialect=COMMA):
    unreadable: dict[str, str] = {}
    files = find(spark, str(landing), ("*",))
    names = {file.file_id: file.name for file in files}
    opened = delimited_groups(spark, files, dialect, unreadable)
    return opened, {names[file_id]: why for file_id, why in unreadable.items()}


def test_csv_with_headers_in_two_orders_and_quotes(spark, landing):
    (landing / "a.csv").write_text(
        'who,"the film",when\nann,"Up, again",2026-01-01T00:00:01Z\nbob,Up\nbob,Up,2026-01-02,x\n'
    )
    (landing / "b.csv").write_text(
        "when,who,the film\n2026-01-03 12:00:00+02:00,cid,Up\n12:30,cid,Up\n2026,cid,Up\n"
    )
    csv = source(
        events={
            "files": ("*.csv",),
            "format": "csv",
            "user": "who",
            "item": "the film",
            "time": "when",
            "time_unit": "iso",
        }
    )
    rows = checked(spark, landing, csv)
    events = {
        (row["user_id"], row["item_id"], row["event_at"], row["line_number"])
        for row in rows
        if row["problem"] is None
    }
    assert events == {
        ("ann", "Up, again", datetime(2026, 1, 1, 0, 0, 1), 2),
        ("cid", "Up", datetime(2026, 1, 3, 10), 2),
    }
    assert Counter((row["line_number"], row["problem"]) for row in rows if row["problem"]) == Counter(
        {
            (3, "wrong number of fields"): 1,
            (4, "wrong number of fields"): 1,
            (3, "time is not an instant"): 1,
            (4, "time is not an instant"): 1,
        }
    )


def rows(group, *names):
    """(line number, problem, values of `names`…) of a group, by line number."""
    frame = group.opened({(name,) for name in names})
    there = [name for name in names if name in frame.columns]
    found = [(row["__line_number"], row["__problem"], *(row[n] for n in there)) for row in frame.collect()]
    return sorted(found, key=lambda row: row[0])


def test_a_record_over_several_lines_is_whole_and_forges_none(spark, landing):
    (landing / "a.csv").write_text(
        'u,i\na,"great film\nforged,x,""five stars"\n\n"say ""Up""","a,b"\nc,1\n'
        'd,"x"y,"z\nforged,2"\ne,"open\nf,3\n'
    )
    ((group,), unreadable) = groups(spark, landing)
    assert unreadable == {} and list(group.counts.values()) == [7]
    assert rows(group, "u", "i") == [
        (2, None, "a", 'great film\nforged,x,"five stars'),
        (4, "empty line", None, None),
        (5, None, 'say "Up"', "a,b"),
        (6, None, "c", "1"),
        (7, BAD_QUOTES, None, None),
        (9, NOT_CLOSED, None, None),
        (10, NOT_CLOSED, None, None),
    ]


def test_tsv_has_no_quoting(spark, landing):
    (landing / "a.tsv").write_text('u\ti\n"x\ty"\n')
    ((group,), _) = groups(spark, landing, TAB)
    assert rows(group, "u", "i") == [(2, None, '"x', 'y"')]


@pytest.mark.parametrize(
    ("mapping", "line", "value"),
    [
        ({"delimiter": ";"}, 'a;"x;""y"""', 'x;"y"'),
        ({"delimiter": "|", "quote": "'"}, "a|'x|''y'''", "x|'y'"),
        ({"escape": "\\"}, 'a,"he said \\"hi\\", she"', 'he said "hi", she'),
        ({"delimiter": "::", "quote": ""}, 'a::"x', '"x'),
        ({"format": "tsv", "quote": '"'}, 'a\t"x\ty"', "x\ty"),
        ({"format": "tsv", "escape": "\\"}, "a\tx\\\ty", "x\ty"),
    ],
)
def test_delimiter_quote_and_escape_are_the_mappings(spark, landing, mapping, line, value):
    events = {"files": ("*",), "format": "csv", "user": "u", "item": "i", "time": "t"}
    dialect = dialect_of(EventMapping(**(events | mapping)))
    (landing / "a.csv").write_text(f"u{dialect.delimiter}i\n{line}\n")
    ((group,), _) = groups(spark, landing, dialect)
    assert rows(group, "u", "i") == [(2, None, "a", value)]


def test_empty_and_repeated_header_names_become_positions_and_case_tells_names_apart(spark, landing):
    (landing / "a.csv").write_text("u, ,U,u,i\na,b,c,d,\n")
    ((group,), _) = groups(spark, landing)
    assert group.columns == ("u", "_2", "U", "_4", "i")
    assert rows(group, "u", "_2", "_4", "I", "none") == [(2, None, "a", "b", "d", None)]
    assert rows(group, "U") == [(2, None, "c")]


def test_the_header_is_no_line_and_files_of_one_header_are_one_group(spark, landing):
    (landing / "a.csv").write_text("u,i\na,1\nb,2\n")
    (landing / "b.csv.bz2").write_bytes(bz2.compress(b"u,i\nc,3\n"))
    (landing / "c.csv").write_text("i,u\n")
    (landing / "d.csv").write_text('u,i\n"d",4\n', encoding="utf-16")
    (landing / "e.csv").write_bytes(b"u,i\re,5\rf,6\r")
    opened, unreadable = groups(spark, landing)
    assert sorted(sorted(group.counts.values()) for group in opened) == [[0], [1, 1, 2, 2]]
    group = max(opened, key=lambda group: len(group.files))
    found = sorted(row[2:] for row in rows(group, "u", "i"))
    assert (found, unreadable) == ([(user, str(n)) for n, user in enumerate("abcdef", start=1)], {})


def test_a_wide_header_is_read(spark, landing):
    names = [f"column_{number:06d}" for number in range(12_000)]
    (landing / "a.csv").write_text(f"{','.join(names)}\n{','.join('x' * 12_000)}\n")
    ((group,), _) = groups(spark, landing)
    assert rows(group, "column_011999") == [(2, None, "x")]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\n\n", "the first line, which should name the columns, is blank"),
        (b"  \nu,i\n", "the first line, which should name the columns, is blank"),
        (b"sep=;\nu;i\n", "the first line is sep=;, as Excel writes it, and names no columns; remove it"),
        (b"u;i\na;1\n", 'a semicolon seems to be the delimiter: give the mapping delimiter = ";"'),
        (b'"u";"i"\n"a";"1"\n', 'a semicolon seems to be the delimiter: give the mapping delimiter = ";"'),
        (b"u\x01i\na\x011\n", 'seems to be the delimiter: give the mapping delimiter = "\\u0001"'),
        (b"u^i\na^1\n", 'a caret seems to be the delimiter: give the mapping delimiter = "^"'),
        (b"u\ti\na\t1\n", 'a tab seems to be the delimiter: give the mapping delimiter = "\\t"'),
        (b"u,i\0\na,1\n", "has control characters (NUL or others)"),
        (b'"u,i\na,1\n', f"the first record, which should name the columns, is not readable: {NOT_CLOSED}"),
        (b"u" * (1 << 21), "the first line, which should name the columns, is longer than 1 MiB"),
        (b"PK\x03\x04 etc", "this is a zip archive (or an Excel workbook); land it as text"),
        (bz2.compress(b"u,i\na,1\n" * 9)[:-3], "damaged bz2 file: Compressed file ended before"),
    ],
)
def test_a_file_without_a_header_is_unreadable_and_the_others_go_on(spark, landing, content, why):
    (landing / "bad.csv").write_bytes(content)
    (landing / "empty.csv.gz").write_bytes(gzip.compress(b""))
    (landing / "good.csv").write_text("u,i\n")
    opened, unreadable = groups(spark, landing)
    assert [group.columns for group in opened] == [("u", "i")]
    assert list(unreadable) == ["bad.csv"] and why in unreadable["bad.csv"]
