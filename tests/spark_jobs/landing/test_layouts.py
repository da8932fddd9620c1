"""What every layout is opened into: the same added columns, whatever the format."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from spark_jobs.landing.expressions import FAILED
from spark_jobs.landing.kinds import KIND_LETTERS
from spark_jobs.landing.layouts import META, spelled
from tests.spark_jobs.landed import jsonl, mapped, mapped_lines, source


def write(path, kind):
    """One good line of user, item and time."""
    if kind == "jsonl":
        jsonl(path, {"u": "a", "i": "1", "t": 5})
    elif kind == "parquet":
        write_table(pa.table({"u": ["a"], "i": ["1"], "t": [5]}), path)
    else:
        path.write_text("u,i,t\na,1,5\n".replace(",", "," if kind == "csv" else "\t"))


@pytest.mark.parametrize(("kind", "line_number"), [("jsonl", 1), ("csv", 2), ("tsv", 2), ("parquet", 1)])
def test_every_format_gives_the_same_columns(spark, landing, kind, line_number):
    write(landing / f"a.{kind}", kind)
    files = mapped(spark, landing, source(events={"files": (f"*.{kind}",), "format": kind}))
    (part,) = files.parts
    assert part.columns == [*META, KIND_LETTERS, "user", "item", "time", FAILED]
    assert set(files.columns) == {"u", "i", "t"} and list(files.line_counts.values()) == [1]
    (row,) = mapped_lines(files)
    assert (row["__line_number"], row["__problem"]) == (line_number, None)
    assert (row["user"], row["item"], str(row["time"])) == ("a", "1", "5")
    assert "5" in row["__raw"]


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("u", ("U", "u"), "u"),
        ("user", ("User", "t"), "User"),
        ("USER", ("User", "user"), None),
        ("x", ("u",), None),
    ],
)
def test_a_name_means_the_exact_column_or_the_only_one_alike(name, columns, expected):
    assert spelled(name, columns) == expected
