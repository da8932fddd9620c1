"""Lines of erased people, and texts that name them."""

from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from spark_jobs.landing.erased import ERASED, NO_TEXT, names_erased, refuse_erased, user_digest

ANN = user_digest("films", "ann@example.org")


def test_lines_of_an_erased_user_are_refused_without_their_text(spark):
    columns = "problem string, raw string, user_id string, item_id string"
    rows = [
        (None, None, "ann@example.org", "x"),
        ("unknown action", "{ann@example.org", "ann@example.org", "x"),
        ("not valid JSON", '{"u": "ann@example.org"', None, None),
        ("not valid JSON", '{"u": "joann@example.org"', None, None),
        (None, None, "bob", "x"),
    ]
    lines = spark.createDataFrame(rows, columns)
    assert [tuple(row) for row in refuse_erased(lines, "films", [ANN]).collect()] == [
        (ERASED, NO_TEXT, None, "x"),
        (ERASED, NO_TEXT, None, "x"),
        ("not valid JSON", NO_TEXT, None, None),
        rows[3],
        rows[4],
    ]
    assert refuse_erased(lines, "films", ()) is lines


@pytest.mark.parametrize(
    ("user", "text", "named"),
    [
        ("u1", "u1,x,5", True),
        ("u1", "u12,x,5", False),
        ("u-1", 'user "u-1" did', True),
        ("1", "u-1", True),  # rather too much than too little
        ("7", None, False),
    ],
)
def test_a_word_of_a_text_may_be_the_id(spark, user, text, named):
    frame = spark.createDataFrame([(text,)], "raw string")
    found = frame.select(names_erased("films", F.col("raw"), [user_digest("films", user)])).first()[0]
    assert found is named
