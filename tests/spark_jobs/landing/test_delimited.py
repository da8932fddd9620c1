"""CSV and TSV: headers, quotes, and lines with the wrong number of fields."""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import datetime

import pytest

from spark_jobs.landing.delimited import delimited_groups
from spark_jobs.landing.files import find
from tests.spark_jobs.landed import checked, source


def groups(spark, landing, kind="csv"):
    unreadable: dict[str, str] = {}
    files = find(spark, str(landing), ("*",))
    names = {file.file_id: file.name for file in files}
    opened = delimited_groups(spark, files, kind, unreadable)
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


def test_a_quote_inside_quotes_is_doubled(spark, landing):
    (landing / "a.csv").write_text('u,i\n"say ""Up""","a,b"\n')
    ((group,), unreadable) = groups(spark, landing)
    assert unreadable == {}
    assert group.lines.select("u", "i").first() == ('say "Up"', "a,b")


def test_tsv_has_no_quoting(spark, landing):
    (landing / "a.tsv").write_text('u\ti\n"x\ty"\n')
    ((group,), _) = groups(spark, landing, "tsv")
    assert group.lines.select("u", "i").first() == ('"x', 'y"')


def test_empty_and_repeated_header_names_become_positions(spark, landing):
    (landing / "a.csv").write_text("u, ,U,i\na,b,c,d\n")
    ((group,), _) = groups(spark, landing)
    assert group.columns == ("u", "_2", "_3", "i")
    assert group.lines.select("u", "_2", "_3", "i").first() == ("a", "b", "c", "d")


def test_the_header_is_no_line_and_files_of_one_header_are_one_group(spark, landing):
    (landing / "a.csv").write_text("u,i\na,1\nb,2\n")
    (landing / "b.csv").write_text("u,i\nc,3\n")
    (landing / "c.csv").write_text("i,u\n")
    opened, _ = groups(spark, landing)
    assert sorted(sorted(group.counts.values()) for group in opened) == [[0], [1, 2]]


@pytest.mark.parametrize("content", [b"\n\n", b"  \nu,i\n"])
def test_a_blank_first_line_is_an_unreadable_file(spark, landing, content):
    (landing / "blank.csv").write_bytes(content)
    (landing / "empty.csv.gz").write_bytes(gzip.compress(b""))
    opened, unreadable = groups(spark, landing)
    assert opened == []
    assert unreadable == {"blank.csv": "the first line, which should name the columns, is blank"}
